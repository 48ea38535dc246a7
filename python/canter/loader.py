"""Owns finding the app that a user has named: ``module:attribute`` or ``module``.

Leaves what to do when that fails to the caller: every failure is a :class:`LoadError` whose text
says what was looked for and what to write instead.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from canter import nearby

DEFAULT_ATTRIBUTES = ("application", "app")
FACTORIES = ("create_app", "make_app", "create_application")
SETTINGS = "DJANGO_SETTINGS_MODULE"


class LoadError(Exception):
    """The app could not be found.

    When the app's own code has failed, ``__cause__`` is what it raised.
    """


def load(name: str) -> Callable[..., Any]:
    """Import the app called ``name``, such as ``mysite.wsgi``, ``shop:site.wsgi_app`` or
    ``shop:create_app()``.
    """
    module_name, colon, attribute = name.partition(":")
    if not module_name or (colon and not attribute) or "/" in module_name:
        raise LoadError(
            f"{name!r} is not the name of an app; "
            "write module:attribute, such as mysite.wsgi:application"
        )
    _refuse_file(module_name)
    module = _import(module_name)
    if attribute.endswith(")"):
        app = _made(module, attribute)
    else:
        app = _attribute(module, attribute) if attribute else _default(module)
    if not callable(app):
        raise LoadError(
            f"{module_name}:{attribute or _default_name(module)} is "
            f"{_article(type(app).__name__)}, not a WSGI app; an app is a callable that takes "
            "environ and start_response"
        )
    if _is_asgi(app):
        raise LoadError(
            f"{module_name}:{attribute or _default_name(module)} is an ASGI app, which is not served "
            "yet; name the site's WSGI app, in a Django project that of the module wsgi"
        )
    found: Callable[..., Any] = app
    return found


def _is_asgi(app: Any) -> bool:
    """Whether calling it makes a coroutine: a function, or an object such as Starlette's and Django's
    own."""
    call = getattr(type(app), "__call__", None)
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def _refuse_file(name: str) -> None:
    """A file is not a module, but it is clear which one is meant."""
    if name.endswith(".py") and Path(name).is_file():
        raise LoadError(f"{name!r} is a file; name its module: canter serve {name[:-3]}")
    if name.endswith(".ini") and Path(name).is_file():
        raise LoadError(
            f"{name!r} describes an app and is not one; write a module that loads it, with "
            f"`application = paste.deploy.loadapp('config:{Path(name).resolve()}')`, and name that"
        )


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise LoadError(
                f"there is no module {missing!r} here; {_elsewhere(module_name)}"
            ) from None
        settings = os.environ.get(SETTINGS, "")
        if missing and (settings == missing or settings.startswith(missing + ".")):
            raise LoadError(
                f"{SETTINGS} is {settings!r}, and there is no module {missing!r} here; "
                f"correct it where it is set: in the environment, or in {module_name}"
            ) from None
        raise LoadError(
            f"importing {module_name} failed: it needs the module {missing!r}, which "
            f"{sys.executable} does not have; {_install()}"
        ) from error
    except BaseException as error:  # An app may even call sys.exit() while it is imported.
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, PermissionError) and str(error.filename).endswith(".py"):
            raise LoadError(
                f"importing {module_name} failed: {error.filename} may not be read; let the user "
                "that Canter runs as read it, or start it as another user"
            ) from error
        raise LoadError(
            f"importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error


def _elsewhere(module_name: str) -> str:
    """What to write instead of a module that is not here."""
    here = Path.cwd()
    near = nearby.near_name(module_name, here)
    if near:
        return f"did you mean {near!r}?"
    folder = nearby.folder_of(module_name, here)
    if folder:
        return f"it is in {folder!r}: canter serve --chdir {folder} {module_name}"
    return (
        "start canter in the folder that holds it, or name that folder with --chdir or --pythonpath"
    )


def _install() -> str:
    """What to do about a library that this Python does not have."""
    own = nearby.environment(Path.cwd())
    if own is not None:
        return (
            f"the project has an environment of its own: {own} -m pip install canter, and run the "
            "canter that stands there"
        )
    return "install it there, or name the Python that has it with --python"


def _made(module: ModuleType, call: str) -> object:
    """What a factory answers: ``create_app()``, with constants as arguments at most."""
    try:
        tree = ast.parse(call, mode="eval").body
        if not isinstance(tree, ast.Call):
            raise ValueError
        values = [ast.literal_eval(value) for value in tree.args]
        named = {word.arg: ast.literal_eval(word.value) for word in tree.keywords if word.arg}
        if len(named) != len(tree.keywords):
            raise ValueError
    except (SyntaxError, ValueError):
        raise LoadError(
            f"{call!r} is no call that can be made; "
            "write create_app(), with numbers and strings as arguments at most"
        ) from None
    factory = _attribute(module, ast.unparse(tree.func))
    if not callable(factory):
        raise LoadError(f"{module.__name__}:{call} cannot be called; leave the brackets out")
    try:
        return factory(*values, **named)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise LoadError(
            f"calling {module.__name__}:{call} failed: {type(error).__name__}: {error}"
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
            f"{module.__name__} has neither 'application' nor 'app'; {_instead(module)}"
        )
    return getattr(module, name)


def _instead(module: ModuleType) -> str:
    """What may be the app of a module that has none by the usual names."""
    name = module.__name__
    if hasattr(module, "__path__") and importlib.util.find_spec(f"{name}.wsgi"):
        return f"did you mean {name}.wsgi?"
    made = next((factory for factory in FACTORIES if hasattr(module, factory)), None)
    if made:
        return f"did you mean '{name}:{made}()'?"
    return f"name the app, such as {name}:wsgi_app"


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
