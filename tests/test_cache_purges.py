"""What makes stored pages old before their time: unsafe requests, what their answers name, and purges by
address, host and tag; and answers in other forms than a short whole one: parts, files, streams. Names begin with the letter and number of what they check (A never stored, D freshness
and validators, P purging).

Leaves the tiers below memory to ``test_cache_disk`` and ``test_cache_shared``.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import canter
import pytest
from harness.control import Reins
from harness.operated import until
from harness.pages import count, is_hit, status
from harness.raw import Client
from harness.server import Server

TOKEN = "a-token-for-the-tests"
RULE = "/*/* ttl=10m grace=1h"


@pytest.fixture(scope="module")
def server(all_reins: Reins) -> Iterator[Server]:
    words = ("--cache-rule", RULE, "--threads", "40", "--cache-token", TOKEN)
    with Server(all_reins.folder, "pages", *words) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


def test_a8_where_a_form_leads_is_fresh_and_where_a_login_leads_is_shown_once_more(
    client: Client,
) -> None:
    first = client.get("/a/article")
    client.post("/a/comment?s=302&h=Location:/a/article", b"x")
    after = client.get("/a/article")
    assert "fwd=stale" in status(after) and count(after) > count(first)
    client.post("/a/login?s=302&h=Location:/a/article&h=Set-Cookie:sessionid%3Dx", b"x")
    shown = client.get("/a/article")
    assert is_hit(shown) and shown.body == after.body
    assert until(lambda: client.get("/a/article").body != after.body, 20)
    # A message for the next page says nothing of who the visitor is.
    client.post("/a/comment?s=302&h=Location:/a/article&h=Set-Cookie:messages%3Dx", b"x")
    assert "fwd=stale" in status(client.get("/a/article"))


@pytest.mark.parametrize(
    ("had", "gets", "is_a_login"),
    [
        ("", "sessionid=x", True),
        ("sessionid=old", "sessionid=x", True),
        ("sessionid=x", 'sessionid=""; Max-Age=0', True),
        ("sessionid=x", "sessionid=x; Max-Age=0", True),
        # As with SESSION_SAVE_EVERY_REQUEST.
        ("a=b; sessionid=x", "sessionid=x; Max-Age=1209600", False),
        ("a=b", 'sessionid=""; Max-Age=0', False),
    ],
)
def test_a8_only_another_session_is_a_login(
    client: Client, had: str, gets: str, is_a_login: bool
) -> None:
    page = f"/a/kept-{len(had)}-{len(gets)}"
    client.get(page)
    assert is_hit(client.get(page))
    answer = f"s=302&h=Location:{page}&h=Set-Cookie:{quote(gets)}"
    assert client.post(f"/a/form?{answer}", b"x", f"Cookie: {had}").status == 302
    assert is_hit(client.get(page)) == is_a_login


def test_a8_unsafe_requests_keep_no_other_page_from_being_stored(
    server: Server, reins: Reins
) -> None:
    with server.client() as slow, server.client() as other:
        slow.send("GET /hold/slow HTTP/1.1\r\nHost: test\r\n\r\n")
        held = reins.held()
        for number in range(100):
            other.post(f"/a/busy-{number}?s=302&h=Location:/a/search-{number}", b"x")
        held.go()
        assert "stored" in status(slow.response())


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/p/caf%C3%A9/", "url=/p/caf%25C3%25A9/"),
        ("/p/two%20words", "url=/p/two%2520words"),
        ("/p/%C3%A9t%C3%A9/1", "prefix=/p/%25C3%25A9t"),
        ("/p/typed-%C3%A9", "url=/p/typed-%C3%A9"),
        ("/p/query?page=2&a=1", "url=http://test/p/query%3Fpage=2%26a=1"),
        ("/p/mail?x=1", "url=http://test:80/p/mail%3Futm_source=mail%26x=1"),
        ("/p/host", "host=TEST:80"),
    ],
)
def test_p_a_purge_finds_a_page_as_its_address_is_written(
    client: Client, path: str, word: str
) -> None:
    first = client.get(path)
    assert is_hit(client.get(path))
    purged = client.post(f"/-/purge?hard=1&{word}", b"", f"Authorization: Bearer {TOKEN}")
    assert purged.status == 200 and purged.text.split()[-1] != "0"
    assert client.get(path).body != first.body


@pytest.mark.parametrize(
    "line",
    ['If-None-Match: {etag}', "Range: bytes=0-0", 'If-Match: "x"', "Range: bytes=9999999-"],
)
def test_d4_word_of_a_stored_page_varies_as_the_page_does(client: Client, line: str) -> None:
    path = "/d/varies?lines=100&h=Vary:Accept-Language"
    client.get(path)
    whole = client.get(path, "Accept-Encoding: gzip")
    assert is_hit(whole) and "Accept-Encoding" in " ".join(whole.all("Vary"))
    told = client.get(path, "Accept-Encoding: gzip", line.format(etag=whole["ETag"]))
    assert told.status in (206, 304, 412, 416)
    assert told.status in (412, 416) or "Accept-Language" in " ".join(told.all("Vary"))
    assert "Accept-Encoding" in " ".join(told.all("Vary"))


def test_d7_a_body_that_came_in_a_file_is_kept_or_said_to_be_too_large(client: Client) -> None:
    kept, large = "/d/file?lines=5000", "/d/large?lines=20000&h=Surrogate-Key:x"
    first = client.get(kept)
    assert "stored" in status(first) and len(first.body) > 300_000
    again = client.get(kept)
    assert is_hit(again) and again.body == first.body
    plain = "/file?lines=5000&h=Cache-Control:max-age%3D60"
    assert "stored" in status(client.get(plain)) and is_hit(client.get(plain))
    told = client.get(large)
    assert status(told).endswith("detail=too-large") and told.all("Surrogate-Key") == []
    assert status(client.get(large)).startswith("canter; fwd=bypass")


def test_a8_an_unsafe_request_that_is_answered_by_a_file_invalidates(client: Client) -> None:
    path = "/a/report?lines=5000"
    first = client.get(path)
    assert is_hit(client.get(path))
    client.post(path, b"x")
    assert client.get(path).body != first.body


def test_d5_a_stream_tells_browsers_what_the_stored_page_does(
    server: Server, reins: Reins
) -> None:
    with server.client() as client:
        client.send(
            "GET /stream/told?h=Cache-Control:max-age%3D86400&h=Expires:0 HTTP/1.1\r\n"
            "Host: test\r\nConnection: close\r\n\r\n"
        )
        head = client.head()
        assert head.all("Cache-Control") == ["max-age=0"] and head.all("Expires") == []
        reins.held().go()
        client.rest()


def test_p_many_words_are_purged_in_several_requests(server: Server, client: Client) -> None:
    words = "&".join(f"tag=item-{number}" for number in range(201))
    refused = client.post(f"/-/purge?{words}", b"", f"Authorization: Bearer {TOKEN}")
    assert refused.status == 400 and "more than 200 words in one request" in refused.text
    page = "/p/many?h=Surrogate-Key:item-999"
    client.get(page)
    tags = [f"item-{number}" for number in range(1000)]
    assert canter.purge(tag=tags, hard=True, server=server.url, token=TOKEN) == 1
    assert not is_hit(client.get(page))
