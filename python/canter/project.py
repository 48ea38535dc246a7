"""Owns finding the app of a Django project from its ``manage.py``, importing it with the settings that it
would have under any other server, and getting ready what every worker would otherwise build for itself.

Leaves the import itself to ``canter.loader``. Nothing of the project is run to find its app.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from canter import nearby, said
from canter.loader import LoadError, load

VARIABLE = "DJANGO_SETTINGS_MODULE"

DJANGO_OWN = "django.core.wsgi:get_wsgi_application()"
"""What ``runserver`` serves where a project has no wsgi module of its own."""

MOST_LAYERS = 5
"""Settings that take everything from others, which take everything from others."""


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
    if directory not in sys.path:
        sys.path.insert(0, directory)
    if module is not None:
        return wsgi_application(module, directory)
    app = nearby.only_wsgi(Path(directory))
    if app is None:
        raise ProjectError(
            f"manage.py does not say what {VARIABLE} is; "
            f"set that variable, or name the app: canter serve mysite.wsgi"
        )
    return app


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


def wsgi_application(settings_name: str, directory: str) -> str:
    """What the settings call ``WSGI_APPLICATION``, as ``module:attribute``, or the module ``wsgi`` beside
    them, or Django's own. They are read and not imported: which settings the site runs with is for its wsgi module to say.
    """
    roots = [directory, *sys.path]
    file = _file_of(settings_name, roots)
    path = _declared(settings_name, file, roots, 0) if file is not None else None
    if path is not None:
        module, _dot, attribute = path.rpartition(".")
        return f"{module}:{attribute}"
    parents = settings_name.split(".")[:-1]
    beside = [".".join([*parents[:count], "wsgi"]) for count in range(len(parents), -1, -1)]
    found = next((name for name in beside if _file_of(name, roots) is not None), None)
    found = found or nearby.only_wsgi(Path(directory))
    if found is not None:
        return found
    if file is not None:
        return DJANGO_OWN
    folder = nearby.folder_of(settings_name, Path(directory))
    if folder is not None:
        # A manage.py that adds folders to sys.path does so only where it runs.
        app = f"{settings_name.partition('.')[0]}.wsgi"
        raise ProjectError(
            f"there is no settings module {settings_name!r} in {directory}; it is in {folder!r}: "
            f"canter serve --pythonpath {folder} {app}"
        )
    raise ProjectError(
        f"there is no settings module {settings_name!r}; correct {VARIABLE}, start in the project's "
        "folder, or name the app: canter serve mysite.wsgi"
    )


def _file_of(module_name: str, roots: list[str]) -> Path | None:
    """The source of a module, found without importing the packages that hold it."""
    for root in roots:
        path = Path(root, *module_name.split("."))
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            with contextlib.suppress(OSError, ValueError):
                if file.is_file():
                    return file
    return None


def _declared(module_name: str, file: Path, roots: list[str], depth: int) -> str | None:
    """``WSGI_APPLICATION`` of a settings module, or of one that it takes everything from."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError):
        # Importing it will say so.
        return None
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(app)))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(app)))
            ) if name == "WSGI_APPLICATION" and "." in app:
                return app
    package = module_name.split(".")
    if file.name != "__init__.py":
        package.pop()
    for node in ast.walk(tree) if depth < MOST_LAYERS else ():
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")], module=module, level=level):
                above = package[: len(package) - level + 1] if level else []
                base = ".".join([*above, *([module] if module else [])])
                below = _file_of(base, roots) if base else None
                found = _declared(base, below, roots, depth + 1) if below is not None else None
                if found is not None:
                    return found
    return None


def load_app(directory: str) -> tuple[str, Callable[..., Any]]:
    """Find the app of the project in ``directory`` and import it, as any server would that is given its
    name: its wsgi module says which settings it runs with, and manage.py only where that does not.
    """
    given = os.environ.get(VARIABLE)
    name = find_app(directory)
    of_commands = None if given else settings_module(Path(directory) / "manage.py")
    try:
        app = load(name)
    except LoadError as error:
        if of_commands is None or VARIABLE in os.environ or not _asks_for_settings(error):
            raise _with_settings(error, name, of_commands) from error.__cause__
        os.environ[VARIABLE] = of_commands
        app = load(name)
    served = os.environ.get(VARIABLE)
    if of_commands is not None and served not in (None, of_commands):
        said.say(
            f"the site runs with the settings {served!r}, which {name.partition(':')[0]} names; "
            f"manage.py names {of_commands!r}, so commands run with those unless {VARIABLE} is set",
            level="warn",
        )
    return name, app


def _with_settings(error: LoadError, name: str, of_commands: str | None) -> LoadError:
    """The error together with how to run with the settings of manage.py, where it had others: those for
    production ask for what a developer's machine does not have."""
    served = os.environ.get(VARIABLE)
    if error.__cause__ is None or of_commands is None or served in (None, of_commands):
        return error
    return LoadError(
        f"{error}; it had the settings {served!r}, which {name.partition(':')[0]} names; "
        f"with those of manage.py: {VARIABLE}={of_commands} canter serve"
    )


def _asks_for_settings(error: LoadError) -> bool:
    """Whether Django was set up before anybody had said with what."""
    cause = error.__cause__
    return type(cause).__name__ == "ImproperlyConfigured" and VARIABLE in str(cause)


def warm() -> str | None:
    """Import what Django would import with the first request, so that all workers share it. Why that
    cannot be done, in one line: a reload keeps the old code then, where that had no such fault."""
    if "django.core.wsgi" not in sys.modules:
        return None
    try:
        from django.apps import apps
        from django.conf import settings
        from django.urls import get_resolver

        if apps.ready and getattr(settings, "ROOT_URLCONF", None):
            _walk(get_resolver().url_patterns, 0)
    except Exception as error:
        # The requests that need them fail, and some may not; an app's own health check often does not.
        what = "the URL patterns of the project cannot be imported; requests that need them fail"
        trace = traceback.format_exc()
        said.say(what, text=f"{what}:\n{trace}", traceback=trace)
        why = " ".join("".join(traceback.format_exception_only(error)).split())
        return f"the URL patterns of the project: {why}"
    return None


def _walk(patterns: object, depth: int) -> None:
    """Includes are imported when their patterns are asked for."""
    if depth > 20 or not isinstance(patterns, (list, tuple)):
        return
    for pattern in patterns:
        _walk(getattr(pattern, "url_patterns", None), depth + 1)
