"""Owns the rows about finding an app by its name."""

from __future__ import annotations

import sys

import pytest

from canter.loader import LoadError, load

SOURCE = """
def application(environ, start_response): return ["application"]
def app(environ, start_response): return ["app"]
class shop:
    wsgi = staticmethod(lambda environ, start_response: ["shop"])
number = 7
"""

FACTORY = """
def create_app(word="made", *, twice=False):
    return lambda environ, start_response: [word * 2 if twice else word]
def broken(): raise KeyError("secret")
"""


ASYNC = """
async def app(scope, receive, send): pass
class Starlet:
    async def __call__(self, scope, receive, send): pass
star = Starlet()
"""


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    for name, source in {
        "one_site": SOURCE,
        "two_site": "app = lambda environ, start_response: ['app']",
        "no_site": "wsgi_app = None",
        "bad_site": "raise ValueError('bad')",
        "poor_site": "import no_such_library.part",
        "exit_site": "import sys; sys.exit(1)",
        "made_site": FACTORY,
        "lost_site": "import lost_settings",
        "async_site": ASYNC,
    }.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("one_site", "application"),
        ("one_site:application", "application"),
        ("one_site:app", "app"),
        ("one_site:shop.wsgi", "shop"),
        ("two_site", "app"),
        ("made_site:create_app()", "made"),
        ("made_site:create_app('shop', twice=True)", "shopshop"),
    ],
)
def test_an_app_is_found_by_its_name(name, answer):
    assert load(name)({}, None) == [answer]


@pytest.mark.parametrize(
    ("name", "sentence", "cause"),
    [
        ("", "not the name of an app", None),
        (":app", "not the name of an app", None),
        ("one_site:", "not the name of an app", None),
        ("one/site.py", "not the name of an app", None),
        ("nowhere", "there is no module 'nowhere'", None),
        ("nowhere.wsgi", "there is no module 'nowhere'", None),
        ("one_site.wsgi", "there is no module 'one_site.wsgi'", None),
        ("one_site:applicatoin", "did you mean 'application'?", None),
        ("one_site:shop.wsgy", "did you mean 'wsgi'?", None),
        ("two_site:nope", "did you mean 'app'?", None),
        ("no_site:nope", "behind the colon stands the name of the app", None),
        ("one_site:number", "one_site:number is an int, not a WSGI app", None),
        ("no_site", "neither 'application' nor 'app'", None),
        ("bad_site", "ValueError: bad", ValueError),
        ("poor_site", "needs the module 'no_such_library'", ModuleNotFoundError),
        ("exit_site", "SystemExit: 1", SystemExit),
        ("made_site", "did you mean 'made_site:create_app()'?", None),
        ("made_site:create_app(open('x'))", "is no call that can be made", None),
        ("made_site:create_app(**{})", "is no call that can be made", None),
        ("made_site:broken()", "made_site:broken() failed: KeyError", KeyError),
        ("made_site:nope()", "made_site has no 'nope'", None),
        ("one_site:number()", "one_site:number() cannot be called", None),
        ("async_site", "async_site:app is an ASGI app, which is not served yet", None),
        ("async_site:star", "async_site:star is an ASGI app", None),
    ],
)
def test_what_cannot_be_found_is_said_clearly(name, sentence, cause):
    with pytest.raises(LoadError) as caught:
        load(name)
    assert sentence in str(caught.value)
    assert type(caught.value.__cause__) is (cause or type(None))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own to stand in, with no module in it."""
    here = tmp_path / "deep" / "stand"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


def module(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "wsgi.py").touch()


def said(name):
    with pytest.raises(LoadError) as caught:
        load(name)
    return str(caught.value)


def test_a_module_in_a_folder_below_is_named_with_the_folder(folder):
    module(folder / "src", "mysite_below")
    assert "it is in 'src': canter serve --chdir src mysite_below.wsgi" in said("mysite_below.wsgi")


def test_a_module_in_the_folder_above_is_named_with_the_folder(folder):
    module(folder.parent, "mysite_above")
    assert "canter serve --chdir .. mysite_above.wsgi" in said("mysite_above.wsgi")


def test_a_mistyped_module_gets_the_nearest_right_one(folder):
    module(folder, "mysite_near")
    assert "did you mean 'mysite_near.wsgi'?" in said("mysite_naer.wsgi")
    assert "did you mean 'mysite_near.wsgi'?" in said("mysite_near.wgsi")


def test_a_package_with_a_wsgi_module_is_no_app_but_near(folder, monkeypatch):
    module(folder, "mysite_package")
    monkeypatch.syspath_prepend(folder)
    assert "did you mean mysite_package.wsgi?" in said("mysite_package")


def test_a_settings_module_that_is_not_there_is_the_variables_fault(monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "lost_settings.production")
    assert "DJANGO_SETTINGS_MODULE is 'lost_settings.production'" in said("lost_site")


@pytest.mark.parametrize(
    ("name", "text"),
    [("site.py", "name its module: canter serve site"), ("shop.ini", "paste.deploy.loadapp")],
)
def test_a_file_is_told_from_a_module(folder, name, text):
    (folder / name).touch()
    assert text in said(name)


def test_a_missing_library_names_the_python_and_the_projects_own_environment(folder):
    assert sys.executable in said("poor_site")
    assert "--python" in said("poor_site")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").touch()
    assert f"{folder}/.venv/bin/python -m pip install canter" in said("poor_site")
