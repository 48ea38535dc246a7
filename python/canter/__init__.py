"""Canter serves a Django site, or any WSGI app, from one command: ``canter serve mysite.wsgi``.

Owns the version and what an app may call. Importing this package has no effect; the work is in the modules that the
program ``canter`` starts.
"""

from canter.purging import PurgeError, purge

__all__ = ["PurgeError", "purge"]

__version__ = "0.1.0"
