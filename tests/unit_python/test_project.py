"""Tests of finding a Django project's app beside ``manage.py``. No Django is needed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from canter.loader import LoadError
from canter.project import VARIABLE, ProjectError, find_app, load_app, settings_module

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
    # What `runserver` does.
    assert find_app(str(tmp_path)) == "django.core.wsgi:get_wsgi_application()"
    (tmp_path / package / "wsgi.py").touch()
    assert find_app(str(tmp_path)) == f"{package}.wsgi"


@pytest.mark.parametrize(
    ("manage", "settings", "message"),
    [
        ("", "", f"does not say what {VARIABLE} is"),
        ("def (", "", "manage.py cannot be read"),
        (STARTPROJECT, None, "there is no settings module"),
    ],
)
def test_what_is_wrong_with_a_project_is_said(
    tmp_path: Path, manage: str, settings: str | None, message: str
) -> None:
    project(tmp_path, manage, settings)
    with pytest.raises(ProjectError, match=message):
        find_app(str(tmp_path))


def test_the_settings_are_read_and_not_imported(tmp_path: Path) -> None:
    package = project(tmp_path, STARTPROJECT, "raise RuntimeError('too early')\n" + WSGI)
    assert find_app(str(tmp_path)) == f"{package}.wsgi:application"
    assert package not in sys.modules


@pytest.mark.parametrize(
    "settings",
    [
        "WSGI_APPLICATION: str = 'PACKAGE.wsgi.application'",
        "class Common:\n    WSGI_APPLICATION = 'PACKAGE.wsgi.application'",
        "from .base import *",
        "from PACKAGE.base import *",
        "from .layers import *",
    ],
)
def test_the_app_is_found_where_settings_take_it_from(tmp_path: Path, settings: str) -> None:
    package = project(tmp_path, STARTPROJECT, settings)
    (tmp_path / package / "base.py").write_text(WSGI.replace("PACKAGE", package))
    (tmp_path / package / "layers").mkdir()
    (tmp_path / package / "layers" / "__init__.py").write_text("from ..base import *")
    assert find_app(str(tmp_path)) == f"{package}.wsgi:application"


@pytest.mark.parametrize("app", ["PACKAGE/settings/wsgi.py", "PACKAGE/wsgi.py", "wsgi.py", "web/wsgi.py"])
def test_a_computed_app_is_looked_for_beside_the_settings_and_near(tmp_path: Path, app: str) -> None:
    manage = STARTPROJECT.replace("settings", "settings.local")
    package = project(tmp_path, manage, None)
    (tmp_path / package / "settings").mkdir()
    local = tmp_path / package / "settings" / "local.py"
    local.write_text("WSGI_APPLICATION = compute()")
    file = tmp_path / app.replace("PACKAGE", package)
    file.parent.mkdir(exist_ok=True)
    file.touch()
    name = app.replace("PACKAGE", package).removesuffix(".py").replace("/", ".")
    assert find_app(str(tmp_path)) == name


def test_a_manage_py_that_extends_the_path_is_told_how_to_name_the_app(tmp_path: Path) -> None:
    manage = "import sys\nsys.path.append('src')" + STARTPROJECT
    package = project(tmp_path, manage, None)
    (tmp_path / package / "__init__.py").unlink()
    (tmp_path / package).rmdir()
    (tmp_path / "src" / package).mkdir(parents=True)
    (tmp_path / "src" / package / "settings.py").touch()
    with pytest.raises(ProjectError, match=f"canter serve --pythonpath src {package}.wsgi"):
        find_app(str(tmp_path))


SERVED = """
import os
{first}
application = lambda environ, start_response: [os.environ.get("DJANGO_SETTINGS_MODULE")]
application.served = os.environ["DJANGO_SETTINGS_MODULE"]
"""
NOT_SET_UP = """
import os
class ImproperlyConfigured(Exception): pass
if "DJANGO_SETTINGS_MODULE" not in os.environ:
    raise ImproperlyConfigured("You must define the environment variable DJANGO_SETTINGS_MODULE")
"""


@pytest.mark.parametrize(
    ("first", "environ", "served", "warns"),
    [
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'PACKAGE.settings')", None, "PACKAGE.settings", False),
        # As cookiecutter-django has it, and a file of variables that is read by the wsgi module.
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'production')", None, "production", True),
        ("os.environ['DJANGO_SETTINGS_' + 'MODULE'] = 'production'", None, "production", True),
        # Nobody says but manage.py.
        (NOT_SET_UP, None, "PACKAGE.settings", False),
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'production')", "given", "given", False),
    ],
)
def test_a_site_runs_with_the_settings_that_its_wsgi_module_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    first: str,
    environ: str | None,
    served: str,
    warns: bool,
) -> None:
    package = project(tmp_path, STARTPROJECT, "raise RuntimeError('settings of manage.py')")
    (tmp_path / package / "wsgi.py").write_text(SERVED.format(first=first.replace("PACKAGE", package)))
    if environ:
        monkeypatch.setenv(VARIABLE, environ)
    name, app = load_app(str(tmp_path))
    assert name == f"{package}.wsgi"
    assert vars(app)["served"] == served.replace("PACKAGE", package)
    told = capfd.readouterr().err
    assert ("runs with the settings 'production'" in told) == warns, told
    assert (f"manage.py names '{package}.settings'" in told) == warns, told


def test_a_wsgi_module_that_fails_otherwise_is_imported_once(tmp_path: Path) -> None:
    package = project(tmp_path, STARTPROJECT)
    (tmp_path / package / "wsgi.py").write_text("raise KeyError('SECRET')")
    with pytest.raises(LoadError, match="KeyError: 'SECRET'"):
        load_app(str(tmp_path))


def test_settings_that_fail_and_are_not_those_of_manage_py_are_named(tmp_path: Path) -> None:
    package = project(tmp_path, STARTPROJECT)
    # As cookiecutter-django's, on a machine without production's variables.
    fails = "raise ValueError('Set the DJANGO_SECRET_KEY environment variable')"
    source = SERVED.format(first=f"os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'production')\n{fails}")
    (tmp_path / package / "wsgi.py").write_text(source)
    with pytest.raises(LoadError, match="DJANGO_SECRET_KEY") as caught:
        load_app(str(tmp_path))
    what, _, hint = str(caught.value).partition("; ")
    assert what.endswith("DJANGO_SECRET_KEY environment variable")
    assert f"'production', which {package}.wsgi names" in hint
    assert f"DJANGO_SETTINGS_MODULE={package}.settings canter serve" in hint
    # What failed is shown as before.
    assert isinstance(caught.value.__cause__, ValueError)


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
    program = "import sys; from canter.project import warm; warm(); assert 'django' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_url_patterns_that_cannot_be_imported_are_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken_urls.py").write_text("import not_installed_here")
    program = (
        "from django.conf import settings\n"
        "settings.configure(ROOT_URLCONF='broken_urls')\n"
        "import django.core.wsgi\n"
        "django.core.wsgi.get_wsgi_application()\n"
        "from canter.project import warm\n"
        "warm()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "canter: the URL patterns of the project cannot be imported" in done.stderr
    assert "No module named 'not_installed_here'" in done.stderr
