"""Owns finding the app of a Django project from its ``manage.py``, and getting ready what every
worker would otherwise build for itself.

Leaves importing the app to ``canter.loader``. Nothing of the project is run to find its settings.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from canter import nearby

VARIABLE = "DJANGO_SETTINGS_MODULE"


class ProjectError(Exception):
    """There is no project here, or it does not say what to serve.

    When the project's own code has failed, ``__cause__`` is what it raised.
    """


def find_app(directory: str) -> str:
    """The app of the project in ``directory``, as ``module:attribute``."""
    manage = Path(directory) / "manage.py"
    if not manage.is_file():
        below = nearby.project_below(Path(directory))
        hint = (
            f"there is one in {below!r}: canter serve --chdir {below}"
            if below
            else "name the app, such as canter serve mysite.wsgi, or start in the project's folder"
        )
        raise ProjectError(
            f"there is no app to serve: no module was named, and {directory} has no manage.py; "
            + hint
        )
    module = os.environ.get(VARIABLE) or settings_module(manage)
    if module is None:
        raise ProjectError(
            f"manage.py does not say what {VARIABLE} is; "
            f"set that variable, or name the app: canter serve mysite.wsgi"
        )
    os.environ.setdefault(VARIABLE, module)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return wsgi_application(module)


def settings_module(manage: Path) -> str | None:
    """The settings module that ``manage.py`` names, read without running it."""
    try:
        tree = ast.parse(manage.read_bytes(), str(manage))
    except (OSError, SyntaxError, ValueError) as error:
        raise ProjectError(
            f"manage.py cannot be read: {error}; name the app: canter serve mysite.wsgi"
        ) from error
    for node in ast.walk(tree):
        name = _assigned(node)
        if name:
            return name
    return None


def _assigned(node: ast.AST) -> str | None:
    """The value a statement gives the variable, in the ways people write it."""
    match node:
        # os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings"), os.putenv(...)
        case ast.Call(args=[ast.Constant(value=name), ast.Constant(value=str(value))]) if (
            name == VARIABLE
        ):
            return value
        # os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
        case ast.Assign(
            targets=[ast.Subscript(slice=ast.Constant(value=name))],
            value=ast.Constant(value=str(value)),
        ) if name == VARIABLE:
            return value
    return None


def wsgi_application(settings_name: str) -> str:
    """What the settings call ``WSGI_APPLICATION``, as ``module:attribute``."""
    try:
        settings = importlib.import_module(settings_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if settings_name == missing or settings_name.startswith(missing + "."):
            raise ProjectError(
                f"there is no settings module {settings_name!r}; "
                f"correct {VARIABLE}, or start in the project's folder"
            ) from None
        raise ProjectError(f"importing {settings_name} failed: {error}") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ProjectError(
            f"importing {settings_name} failed: {type(error).__name__}: {error}"
        ) from error
    path = getattr(settings, "WSGI_APPLICATION", None)
    if not isinstance(path, str) or "." not in path:
        return _guess(settings_name)
    module, _dot, attribute = path.rpartition(".")
    return f"{module}:{attribute}"


def _guess(settings_name: str) -> str:
    """Where ``startproject`` puts the app: ``wsgi.py`` beside ``settings.py``."""
    package = settings_name.partition(".")[0]
    try:
        found = importlib.util.find_spec(f"{package}.wsgi")
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ProjectError(
            f"{settings_name} has no WSGI_APPLICATION; name the app: canter serve mysite.wsgi"
        )
    return f"{package}.wsgi"


def warm() -> None:
    """Import what Django would import with the first request, so that all workers share it."""
    if "django.core.wsgi" not in sys.modules:
        return
    # A URL configuration that fails will say so with the first request, with a traceback.
    with contextlib.suppress(Exception):
        from django.apps import apps
        from django.urls import get_resolver

        if apps.ready:
            _walk(get_resolver().url_patterns, 0)


def _walk(patterns: object, depth: int) -> None:
    """Includes are imported when their patterns are asked for."""
    if depth > 20 or not isinstance(patterns, (list, tuple)):
        return
    for pattern in patterns:
        _walk(getattr(pattern, "url_patterns", None), depth + 1)
