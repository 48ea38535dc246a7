"""Tests of finding a Django project's app beside ``manage.py``. No Django is needed."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from canter.project import VARIABLE, ProjectError, find_app, settings_module, warm

_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's settings module is neither found by, nor left for, another one."""
    # Set before it is deleted, so that what the code under test sets is taken back, too.
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(sys, "path", list(sys.path))


def project(folder: Path, manage: str, settings: str | None = "") -> str:
    """Write a project into ``folder``; answer the name of its package."""
    package = f"site_{next(_NUMBERS)}"
    (folder / "manage.py").write_text(manage.replace("PACKAGE", package))
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    if settings is not None:
        (folder / package / "settings.py").write_text(settings.replace("PACKAGE", package))
    return package


STARTPROJECT = """
import os, sys
def main():
    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'PACKAGE.settings')
    raise RuntimeError("manage.py must not be run")
main()
"""

WSGI = "WSGI_APPLICATION = 'PACKAGE.wsgi.application'"


def test_the_app_is_what_the_settings_name(tmp_path: Path) -> None:
    package = project(tmp_path, STARTPROJECT, WSGI)
    assert find_app(str(tmp_path)) == f"{package}.wsgi:application"


@pytest.mark.parametrize(
    "line",
    [
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')",
        'os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"',
        "if True:\n    os.putenv('DJANGO_SETTINGS_MODULE', 'shop.settings')",
    ],
)
def test_the_settings_module_is_read_in_the_ways_people_write_it(tmp_path: Path, line: str) -> None:
    manage = tmp_path / "manage.py"
    manage.write_text(f"import os\n{line}\n")
    assert settings_module(manage) == "shop.settings"


def test_a_computed_settings_module_is_not_guessed(tmp_path: Path) -> None:
    manage = tmp_path / "manage.py"
    manage.write_text("os.environ.setdefault('DJANGO_SETTINGS_MODULE', compute())\n")
    assert settings_module(manage) is None


def test_the_environment_wins_over_manage_py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = project(tmp_path, STARTPROJECT, WSGI)
    (tmp_path / package / "other.py").write_text("WSGI_APPLICATION = 'other.wsgi.app'")
    monkeypatch.setenv(VARIABLE, f"{package}.other")
    assert find_app(str(tmp_path)) == "other.wsgi:app"


def test_settings_without_the_app_fall_back_to_where_startproject_puts_it(tmp_path: Path) -> None:
    package = project(tmp_path, STARTPROJECT)
    with pytest.raises(ProjectError, match="has no WSGI_APPLICATION"):
        find_app(str(tmp_path))
    (tmp_path / package / "wsgi.py").touch()
    assert find_app(str(tmp_path)) == f"{package}.wsgi"


@pytest.mark.parametrize(
    ("manage", "settings", "message"),
    [
        ("", "", f"does not say what {VARIABLE} is"),
        ("def (", "", "manage.py cannot be read"),
        (STARTPROJECT, None, "there is no settings module"),
        (STARTPROJECT, "import not_installed_here", "No module named 'not_installed_here'"),
        (STARTPROJECT, "raise KeyError('SECRET')", "KeyError: 'SECRET'"),
    ],
)
def test_what_is_wrong_with_a_project_is_said(
    tmp_path: Path, manage: str, settings: str | None, message: str
) -> None:
    project(tmp_path, manage, settings)
    with pytest.raises(ProjectError, match=message):
        find_app(str(tmp_path))


def test_a_folder_without_a_project_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="name the app, such as canter serve mysite.wsgi"):
        find_app(str(tmp_path))


@pytest.mark.parametrize(("stands", "named"), [("", "src"), ("src/mysite", "..")])
def test_a_project_in_the_next_folder_is_named(tmp_path: Path, stands: str, named: str) -> None:
    (tmp_path / "src" / "mysite").mkdir(parents=True)
    (tmp_path / "src" / "manage.py").touch()
    (tmp_path / "venv" / "manage.py").parent.mkdir()
    (tmp_path / "venv" / "manage.py").touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    with pytest.raises(ProjectError, match=f"canter serve --chdir {named}"):
        find_app(str(tmp_path / stands))


def test_warming_does_not_import_django() -> None:
    if "django" in sys.modules:
        pytest.skip("something else in this process has imported Django")
    warm()
    assert "django" not in sys.modules
