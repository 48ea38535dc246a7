"""Owns guessing what was meant when a module, a project or a library is not where it was looked
for: a folder below or above, a near name, another environment.

Leaves the sentence about what is wrong to ``loader`` and ``project``. Only looks at names of files;
nothing of the project is run.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

#: A folder with more entries than this is no project's.
MANY = 500
ENVIRONMENTS = (".venv", "venv", "env")


def folder_of(module_name: str, directory: Path) -> str | None:
    """The folder to start in for this module: one below ``directory``, or the one above."""
    for folder, said in _around(directory):
        if _is_module(folder, module_name):
            return said
    return None


def project_below(directory: Path) -> str | None:
    """A folder below or above this one that has a ``manage.py``."""
    for folder, said in _around(directory):
        if (folder / "manage.py").is_file():
            return said
    return None


def only_wsgi(directory: Path) -> str | None:
    """The module ``wsgi`` of this folder or of a package in it, when there is no other."""
    found = ["wsgi"] if (directory / "wsgi.py").is_file() else []
    below = [entry for entry in _entries(directory) if _is_sources(entry)]
    found += [f"{entry.name}.wsgi" for entry in below if (entry / "wsgi.py").is_file()]
    return found[0] if len(found) == 1 else None


def near_name(module_name: str, directory: Path) -> str | None:
    """A module that is there and whose name is nearly this one."""
    top, dot, rest = module_name.partition(".")
    names = [entry.stem for entry in _entries(directory) if entry.suffix in ("", ".py")]
    for near in difflib.get_close_matches(top, names, n=3):
        found = f"{near}{dot}{rest}"
        if _is_module(directory, found):
            return found
    # The package is there, and what is in it is misspelled.
    above, dot, last = module_name.rpartition(".")
    package = directory.joinpath(*above.split("."))
    if dot and _is_sources(package):
        names = [entry.stem for entry in _entries(package) if entry.suffix in ("", ".py")]
        for near in difflib.get_close_matches(last, names, n=3):
            if _is_module(directory, f"{above}.{near}"):
                return f"{above}.{near}"
    return None


def environment(directory: Path) -> Path | None:
    """The Python of the project's own environment, unless it is the one that runs now."""
    for name in ENVIRONMENTS:
        python = directory / name / "bin" / "python"
        home = directory / name
        if python.exists() and home.resolve() != Path(sys.prefix).resolve():
            return python
    return None


def _around(directory: Path) -> Iterator[tuple[Path, str]]:
    yield from ((entry, entry.name) for entry in _entries(directory) if _is_sources(entry))
    yield directory.parent, ".."


def _entries(directory: Path) -> list[Path]:
    try:
        found = sorted(directory.iterdir())
    except OSError:
        return []
    return found if len(found) <= MANY else []


def _is_sources(entry: Path) -> bool:
    try:
        return (
            entry.is_dir()
            and not entry.name.startswith(".")
            and not (entry / "pyvenv.cfg").exists()
        )
    except OSError:
        return False


def _is_module(folder: Path, module_name: str) -> bool:
    path = folder.joinpath(*module_name.split("."))
    try:
        return path.with_name(path.name + ".py").is_file() or (path / "__init__.py").is_file()
    except (OSError, ValueError):
        return False
