"""Owns the rows about finding an app by its name."""

from __future__ import annotations

import pytest

from canter.loader import LoadError, load

SOURCE = """
def application(environ, start_response): return ["application"]
def app(environ, start_response): return ["app"]
class shop:
    wsgi = staticmethod(lambda environ, start_response: ["shop"])
number = 7
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
    ],
)
def test_what_cannot_be_found_is_said_clearly(name, sentence, cause):
    with pytest.raises(LoadError) as caught:
        load(name)
    assert sentence in str(caught.value)
    assert type(caught.value.__cause__) is (cause or type(None))
