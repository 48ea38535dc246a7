"""Owns finding the app that a user has named: ``module:attribute`` or ``module``.

Leaves what to do when that fails to the caller: every failure is a :class:`LoadError` whose text
says what was looked for and what to write instead.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

DEFAULT_ATTRIBUTES = ("application", "app")


class LoadError(Exception):
    """The app could not be found.

    When the app's own code has failed, ``__cause__`` is what it raised.
    """


def load(name: str) -> Callable[..., Any]:
    """Import the app called ``name``, such as ``mysite.wsgi`` or ``shop:create.wsgi_app``."""
    module_name, colon, attribute = name.partition(":")
    if not module_name or (colon and not attribute) or "/" in module_name:
        raise LoadError(
            f"{name!r} is not the name of an app; "
            "write module:attribute, such as mysite.wsgi:application"
        )
    module = _import(module_name)
    app = _attribute(module, attribute) if attribute else _default(module)
    if not callable(app):
        raise LoadError(
            f"{module_name}:{attribute or _default_name(module)} is "
            f"{_article(type(app).__name__)}, not a WSGI app; an app is a callable that takes "
            "environ and start_response"
        )
    found: Callable[..., Any] = app
    return found


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise LoadError(
                f"there is no module {missing!r} here; start canter in the folder that holds it, "
                "or name that folder with --chdir or --pythonpath"
            ) from None
        raise LoadError(
            f"importing {module_name} failed: it needs the module {missing!r}, "
            "which is not installed for this Python"
        ) from error
    except BaseException as error:  # An app may even call sys.exit() while it is imported.
        if isinstance(error, KeyboardInterrupt):
            raise
        raise LoadError(
            f"importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error


def _attribute(module: ModuleType, path: str) -> object:
    found: object = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise LoadError(f"{module.__name__} has no {path!r}{_hint(found, part)}") from None
    return found


def _hint(holder: object, part: str) -> str:
    public = [name for name in dir(holder) if not name.startswith("_")]
    near = difflib.get_close_matches(part, public, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    usual = [name for name in DEFAULT_ATTRIBUTES if name in public]
    if usual:
        return f"; did you mean {usual[0]!r}?"
    return "; behind the colon stands the name of the app, a callable in that module"


def _default_name(module: ModuleType) -> str:
    return next((name for name in DEFAULT_ATTRIBUTES if hasattr(module, name)), "")


def _default(module: ModuleType) -> object:
    name = _default_name(module)
    if not name:
        raise LoadError(
            f"{module.__name__} has neither 'application' nor 'app'; "
            f"name the app, such as {module.__name__}:wsgi_app"
        )
    return getattr(module, name)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
