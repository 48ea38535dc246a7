"""The page cache with a Django site: cookies, languages, sessions, messages and tokens are known from its
settings, and no page of one visitor reaches another. Names begin with the letter and number of what they
check (A never shared, B key and inputs).

Leaves apps that are no Django sites to ``test_cache_pages``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.pages import is_hit, status
from harness.raw import Client
from harness.server import Server

pytest.importorskip("django")

RULE = ("--cache-rule", "/* ttl=10m")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder, "pagesite", *RULE) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


def test_b1_visitors_with_other_cookies_share_a_page(client: Client) -> None:
    first = client.get("/share/", "Cookie: _ga=1; csrftoken=abc")
    assert "[]" in first.text
    assert is_hit(client.get("/share/", "Cookie: _ga=2; __cf_bm=x"))


def test_a5_the_session_is_known_from_the_settings(client: Client) -> None:
    client.get("/seat/")
    personal = client.get("/seat/", "Cookie: seat=x")
    assert status(personal) == "canter; fwd=bypass; detail=session-cookie"
    assert "[seat]" in personal.text
    # The usual name is any other cookie here.
    assert is_hit(client.get("/seat/", "Cookie: sessionid=x"))


def test_a1_a_page_that_sets_the_session_is_for_one(client: Client) -> None:
    first, second = client.get("/visit/"), client.get("/visit/")
    assert "detail=set-cookie" in status(first)
    assert "detail=set-cookie" in status(second) and not is_hit(second)
    assert first["Set-Cookie"] != "" and first.body != second.body


def test_a7_a_page_that_only_looked_for_a_session_is_shared_without_one(client: Client) -> None:
    first = client.get("/looked/")
    assert first["Vary"].lower().count("cookie") == 1
    assert is_hit(client.get("/looked/", "Cookie: _ga=1"))
    assert not is_hit(client.get("/looked/", "Cookie: seat=x"))


def test_a1_a_page_with_a_token_is_for_one_and_keeps_the_visitors_token(client: Client) -> None:
    first = client.get("/form/")
    assert "detail=set-cookie" in status(first)
    token = first["Set-Cookie"].split(";")[0]
    again = client.get("/form/?new", f"Cookie: {token}")
    # The page was made for this visitor's own token, not for a new one.
    assert again["Set-Cookie"].split(";")[0] == token and not is_hit(again)


def test_a5_a_message_is_for_one(client: Client) -> None:
    said = client.get("/said/")
    assert not is_hit(client.get("/said/"))
    message = said["Set-Cookie"].split(";")[0]
    assert message.startswith("messages=")
    assert "detail=session-cookie" in status(client.get("/share/", f"Cookie: {message}"))


def test_b5_each_language_has_its_page_however_it_was_chosen(client: Client) -> None:
    assert " en " in client.get("/speak/", "Accept-Language: fr").text
    german = client.get("/speak/", "Accept-Language: de-AT,de;q=0.8,en;q=0.5")
    assert " de " in german.text and not is_hit(german)
    for line in (
        "Accept-Language: de",
        "Accept-Language: fr, de;q=0.1",
        "Cookie: django_language=de",
    ):
        response = client.get("/speak/", line)
        assert is_hit(response) and response.body == german.body, line
    both = client.get("/speak/", "Accept-Language: de", "Cookie: django_language=en")
    assert " en " in both.text and is_hit(both)
    evil = client.get("/speak/", "Cookie: django_language=../../x")
    assert " en " in evil.text and is_hit(evil)


def test_b5_a_rule_changes_no_visitors_language(tmp_path: Path) -> None:
    names = ["en", "zh-hans", "zh-hant", "de", "pt-br", "es-ar", "es", "xx-yy"]
    env = {"SITE": json.dumps({"LANGUAGES": [(name, name) for name in names]})}
    tags = [*names, "zh-TW", "zh-HK", "zh-Hant-TW", "zh-Hans-CN", "zh-CN", "zh-sg", "zh", "pt", "es-MX", "xx", "*"]
    accepted = [f"{one}{weight},{other}" for one in tags for weight in ("", ";q=0.4") for other in ("de", "fr")]
    accepted += ["zh-HK,zh;q=0.9", "de;q=1x", "de;x=1", "de;q=0", "de,,pt", "de,", ",de", "de;q=.5", "d\xe9,de"]
    with Server(tmp_path, "pagesite", "--cache-rule", "/ruled/* ttl=10m", env=env) as server:
        with server.client() as client:
            for value in [*tags, *accepted]:
                ruled, plain = (
                    client.get(path, f"Accept-Language: {value}").text.split()[1]
                    for path in ("/ruled/", "/plain/")
                )
                assert ruled == plain, value
            for value in ("zh-TW", "zh-tw", "zh-hant-tw", "pt", "xx-yy", "XX", "nonsense"):
                ruled, plain = (
                    client.get(path, f"Cookie: django_language={value}").text.split()[1]
                    for path in ("/ruled/", "/plain/")
                )
                assert ruled == plain, value


def test_b1_a_cookie_whose_name_django_strips_is_shared_with_nobody(tmp_path: Path) -> None:
    for space in ("\xa0", "\xc2\xa0", "\xe2\x80\x83", "\x85"):
        with Server(tmp_path, "pagesite") as server, server.client() as client:
            cookie = f"Cookie: {space}django_language=de"
            response = client.get("/own/", cookie)
            assert status(response) == "canter; fwd=bypass; detail=cookie-name"
            assert not is_hit(client.get("/own/"))
            assert "detail=cookie-name" in status(client.get("/own/", cookie))


def test_b2_a_host_that_is_not_served_is_nothing_to_keep(client: Client) -> None:
    for _ in range(2):
        response = client.get("/host/", "Host: evil.example")
        assert response.status == 400 and not is_hit(response)


def test_a14_nothing_is_kept_under_debug(tmp_path: Path) -> None:
    env = {"SITE": json.dumps({"DEBUG": True})}
    with Server(tmp_path, "pagesite", *RULE, env=env) as server, server.client() as client:
        client.get("/page/")
        response = client.get("/page/")
        assert not is_hit(response) and not status(response)


def test_without_a_rule_only_what_the_app_says_is_kept(tmp_path: Path) -> None:
    with Server(tmp_path, "pagesite") as server, server.client() as client:
        client.get("/page/")
        assert not is_hit(client.get("/page/"))
        client.get("/own/")
        assert is_hit(client.get("/own/"))
        assert "with a rule such as" not in server.log
        # The language cookie counts although Django does not say so.
        assert not is_hit(client.get("/own/", "Cookie: django_language=de"))
        assert "detail=session-cookie" in status(client.get("/own/", "Cookie: seat=x"))
