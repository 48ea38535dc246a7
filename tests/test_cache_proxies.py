"""The page cache behind a proxy: what a proxy says reaches the app as far as it is in the key, and is there
as the app gets it, on pages with a rule and without one. C3 is poisoning, as in ``test_cache_pages``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.control import Reins
from harness.pages import is_hit, status
from harness.raw import Response
from harness.server import Server


@pytest.fixture(scope="module")
def proxied(all_reins: Reins, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--cache-rule", "/proxied/covered/* ttl=10m", "--forwarded-allow-ips", "127.0.0.1")
    with Server(tmp_path_factory.mktemp("proxied"), "pages", *flags) as server:
        yield server


@pytest.mark.parametrize("rule", ["plain", "covered"])
@pytest.mark.parametrize(
    ("lines", "as_if"),
    [
        (["X-Forwarded-Host: b.com", "X-Forwarded-Host: a.com"], ["X-Forwarded-Host: a.com"]),
        (["X-Forwarded-Host: b.com, a.com"], ["X-Forwarded-Host: a.com"]),
        (["X-Forwarded-Port: 1", "x-forwarded-port: 2"], ["X-Forwarded-Port: 2"]),
        (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: a.com"], ["X-Forwarded-Host: a.com"]),
    ],
)
def test_c3_a_proxys_words_are_in_the_key_as_the_app_gets_them(
    proxied: Server, rule: str, lines: list[str], as_if: list[str]
) -> None:
    path = f"/proxied/{rule}/{'-'.join(lines).translate(str.maketrans(': ,', '---'))}"
    with proxied.client() as client:
        others = [line.replace("a.com", "b.com").replace("2", "1") for line in as_if]
        for first in ([], others):
            client.get(path, *first)
        poison = client.get(path, *lines)
        assert not is_hit(poison)
        hit = client.get(path, *as_if)
        assert is_hit(hit) and hit.body == poison.body
        told = json.loads(hit.text.split(maxsplit=1)[1])
        for line in as_if:
            name, value = line.split(": ")
            assert told[f"HTTP_{name.upper().replace('-', '_')}"] == value


@pytest.mark.parametrize("rule", ["plain", "covered"])
@pytest.mark.parametrize(
    "name",
    ["Prefix", "Scheme", "Ssl", "Protocol", "Server", "Proto", "Host", "Port", "Anything"],
)
def test_c3_each_word_of_a_proxy_that_the_app_gets_is_in_the_key(
    proxied: Server, rule: str, name: str
) -> None:
    path = f"/proxied/{rule}/each-{name.lower()}"
    with proxied.client() as client:
        bare = client.get(path)
        said = client.get(path, f"X-Forwarded-{name}: evil")
        is_told = "evil" in said.text
        assert is_told is not is_hit(said)
        # What may say who asks is left out of a page for everybody.
        assert is_told is not (rule == "covered" and name == "Anything")
        again = client.get(path)
        assert is_hit(again) and again.body == bare.body


@pytest.mark.parametrize("rule", ["plain", "covered"])
def test_c3_a_word_that_a_proxy_passes_on_twice_is_nothing_to_keep(
    proxied: Server, rule: str
) -> None:
    path = f"/proxied/{rule}/twice"
    with proxied.client() as client:
        bare = client.get(path, "X-Forwarded-Prefix: /x")
        for _ in range(2):
            twice = client.get(path, "X-Forwarded-Prefix: /x", "x-forwarded-prefix: /evil")
            assert "detail=proxy-repeats" in status(twice)
        again = client.get(path, "X-Forwarded-Prefix: /x")
        assert is_hit(again) and again.body == bare.body and "evil" not in again.text


def test_c3_the_page_of_forwarded_is_in_the_key_and_the_client_is_not(
    all_reins: Reins, tmp_path: Path
) -> None:
    flags = ("--forwarded-allow-ips", "127.0.0.1", "--forwarded-header", "forwarded")
    rules = ("--cache-rule", "/proxied/covered/* ttl=10m")
    with Server(tmp_path, "pages", *flags, *rules) as server, server.client() as client:

        def get(kind: str, host: str, node: str = "192.0.2.1") -> Response:
            line = f"Forwarded: for={node};host={host};proto=http;by=b"
            return client.get(f"/proxied/{kind}/forwarded", line, "X-Forwarded-Host: evil")

        get("plain", "a.com")
        assert is_hit(get("plain", "a.com", "192.0.2.2"))
        assert not is_hit(get("plain", "b.com"))
        # The app learns nothing of either where a rule covers the page.
        assert "evil" not in get("covered", "a.com").text
        assert is_hit(get("covered", "b.com"))


@pytest.mark.parametrize("rule", ["plain", "covered"])
def test_c3_a_host_in_the_target_alone_is_the_host_that_the_app_gets(
    proxied: Server, rule: str
) -> None:
    path = f"/proxied/{rule}/absolute"
    with proxied.client() as visitor:
        visitor.send(f"GET http://alone.example{path} HTTP/1.0\r\n\r\n")
        first = visitor.response()
    with proxied.client() as client:
        second = client.get(path, "Host: alone.example")
        assert is_hit(second) and second.body == first.body
        assert json.loads(second.text.split(maxsplit=1)[1])["HTTP_HOST"] == "alone.example"
