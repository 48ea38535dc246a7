"""What ``canter.django_static`` reads from settings, with settings that are only pretended.

Leaves what the front makes of it to ``tests/test_static.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from canter import django_static
from canter.django_static import Described, describe, wrap


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    (tmp_path / "a.css").write_text("a")
    found = SimpleNamespace(
        configured=True,
        DEBUG=False,
        INSTALLED_APPS=["django.contrib.staticfiles"],
        MIDDLEWARE=[],
        STATIC_URL="/static/",
        STATIC_ROOT=tmp_path,
        FORCE_SCRIPT_NAME=None,
        MEDIA_URL="",
        MEDIA_ROOT="",
        SECURE_CONTENT_TYPE_NOSNIFF=True,
    )
    monkeypatch.setitem(sys.modules, "django.conf", SimpleNamespace(settings=found))  # type: ignore[arg-type]
    monkeypatch.setattr(django_static, "_manifest", lambda: None)
    return found


def words(found: Described, kind: str) -> list[list[str]]:
    return [line.split("\t")[1:] for line in found.lines if line.startswith(kind + "\t")]


def test_nothing_is_said_where_there_is_no_django(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "django.conf", raising=False)
    assert describe(static=True, media=True) == Described()
    app = object()
    assert wrap(app) is app  # type: ignore[arg-type, comparison-overlap]


def test_the_folder_and_the_usual_rules(settings: Any, tmp_path: Path) -> None:
    found = describe(static=True, media=False)
    assert words(found, "static") == [["/static/", str(tmp_path)]]
    assert words(found, "max-age") == [["60"]] and words(found, "cors") == [["all"]]
    assert found.notes == []


@pytest.mark.parametrize("setting", ["STATIC_ROOT", "WHITENOISE_ROOT", "MEDIA_ROOT"])
@pytest.mark.parametrize("held", ["manage.py", "the settings"])
def test_a_folder_that_holds_more_than_static_files_is_not_served(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, held: str
) -> None:
    settings.STATIC_ROOT, folder = tmp_path / "static", tmp_path / "all"
    (folder / "site" / "media").mkdir(parents=True)
    settings.STATIC_ROOT.mkdir()
    for other in (folder, settings.STATIC_ROOT):
        (other / "a.css").touch()
    setattr(settings, setting, str(folder))
    media = setting == "MEDIA_ROOT"
    settings.MEDIA_URL = "media/"
    found = describe(static=True, media=media)
    assert [line for line in found.lines if str(folder) in line] and found.notes == []
    if held == "manage.py":
        (folder / "manage.py").touch()
    else:
        settings.SETTINGS_MODULE = "settings_of_a_test"
        module = SimpleNamespace(__file__=str(folder / "site" / "settings.py"))
        monkeypatch.setitem(sys.modules, "settings_of_a_test", module)  # type: ignore[arg-type]
    found = describe(static=True, media=media)
    assert [line for line in found.lines if str(folder) in line] == []
    assert len(found.notes) == 1
    assert f"{setting} {str(folder)!r} holds {held}, which would be public" in found.notes[0]


def test_static_files_that_lie_around_uploads_are_served_and_it_is_said(
    settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.css").touch()
    settings.MEDIA_ROOT = tmp_path / "media"
    found = describe(static=True, media=False)
    assert words(found, "static") == [["/static/", str(tmp_path)]]
    assert [note.partition(":")[0] for note in found.notes] == [
        f"STATIC_ROOT {str(tmp_path)!r} holds MEDIA_ROOT"
    ]


@pytest.mark.parametrize(
    ("url", "prefix", "paths"),
    [
        ("static/", None, ["/static/"]),
        ("https://cdn.example/s/", None, ["/s/"]),
        ("//cdn.example/s", None, ["/s/"]),
        ("/app/static/", "/app", ["/app/static/", "/static/"]),
        ("/application/", "/app", ["/application/"]),
        ("/", None, []),
    ],
)
def test_addresses(settings: Any, url: str, prefix: str | None, paths: list[str]) -> None:
    settings.STATIC_URL, settings.FORCE_SCRIPT_NAME = url, prefix
    found = describe(static=True, media=False)
    assert [path for path, _root in words(found, "static")] == paths


def test_settings_of_whitenoise_and_its_fork(settings: Any, tmp_path: Path) -> None:
    settings.WHITENOISE_MAX_AGE = None
    settings.SERVESTATIC_ALLOW_ALL_ORIGINS = False
    settings.WHITENOISE_INDEX_FILE = True
    settings.WHITENOISE_MIMETYPES = {".foo": "application/x-foo", "bad\tname": "x"}
    settings.WHITENOISE_IMMUTABLE_FILE_TEST = r"\.css$"
    settings.WHITENOISE_ADD_HEADERS_FUNCTION = lambda fields, path, url: fields.add_header(
        "X-Path", url
    )
    found = describe(static=True, media=False)
    assert words(found, "max-age") == [["none"]] and words(found, "cors") == [["none"]]
    assert words(found, "index") == [["index.html"]]
    assert words(found, "type") == [[".foo", "application/x-foo"]]
    assert words(found, "immutable") == [["/static/a.css"]]
    assert words(found, "field") == [["/static/a.css", "X-Path", "/static/a.css"]]


def test_a_rule_that_fails_is_told_and_keeps_nothing_back(settings: Any) -> None:
    settings.WHITENOISE_ADD_HEADERS_FUNCTION = lambda *_: 1 / 0
    found = describe(static=True, media=False)
    assert words(found, "static") and "ZeroDivisionError" in found.notes[0]
    settings.WHITENOISE_MAX_AGE = "soon"
    assert "cannot be used" in describe(static=True, media=False).notes[0]


def test_what_is_missing_is_told(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "a.css").unlink()
    assert "collectstatic" in describe(static=True, media=False).notes[0]
    settings.STATIC_ROOT = None
    assert "not set" in describe(static=True, media=False).notes[0]
    settings.INSTALLED_APPS = []
    assert describe(static=True, media=False) == Described()
    assert "no effect" in describe(static=False, media=True).notes[0]


def test_media_and_private_files(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_URL, settings.MEDIA_ROOT = "media/", tmp_path
    settings.SENDFILE_ROOT, settings.SENDFILE_URL = tmp_path, "/private"
    found = describe(static=True, media=True)
    assert words(found, "media") == [["/media/", str(tmp_path)]]
    assert words(found, "sendfile") == [[str(tmp_path)]]
    assert words(found, "internal") == [["/private/", str(tmp_path)]]
    assert not words(describe(static=True, media=False), "media")
