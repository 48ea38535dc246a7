"""Canter serves a Django site, or any WSGI app, from one command: ``canter serve mysite.wsgi``.

Owns the version and what an app may call. Importing this package has no effect; the work is in the modules that the
program ``canter`` starts.
"""

# Known to type checkers by its name; `typing` itself would be an import, too.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from canter.purging import PurgeError, purge

__all__ = ["PurgeError", "purge"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import what an app may call when it is first asked for."""
    if name in __all__:
        from canter import purging

        return getattr(purging, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
