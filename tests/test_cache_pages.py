"""The page cache under ``canter serve`` with an app that is no Django site: what is kept, what is never
shared, who waits for whom, and what a hostile request cannot do. Names begin with the letter and
number of what they check (A never stored, B key and inputs, C deception and poisoning, D freshness and
validators, E coalescing, P purging).

Leaves the rules of HTTP to the tests of ``canter-cache`` and the conformance suite.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import canter
import pytest
from harness.control import Reins
from harness.memory import private_kilobytes
from harness.operated import PROGRAM, until
from harness.pages import count, is_hit, status
from harness.raw import Client, Response
from harness.server import Server

TOKEN = "a-token-for-the-tests"
RULES = """
[[cache.rules]]
path = "/private/*"
mode = "bypass"

[[cache.rules]]
path = "/short/*"
ttl = "1s"
grace = "60s"

[[cache.rules]]
path = "/themed/*"
ttl = "10m"
cookies = ["theme"]
headers = ["x-kind"]
query = ["page", "h", "s"]
tags = ["themes"]

[[cache.rules]]
path = "/plain/*"
mode = "respect"

[[cache.rules]]
path = "/*/*"
ttl = "10m"
grace = "1h"
"""


@pytest.fixture(scope="module")
def server(all_reins: Reins) -> Iterator[Server]:
    folder = all_reins.folder
    (folder / "canter.toml").write_text(RULES)
    with Server(folder, "pages", "--threads", "40", "--cache-token", TOKEN) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


def test_a_rule_makes_the_second_request_a_hit_without_the_app(client: Client) -> None:
    first = client.get("/a/hit")
    assert status(first).startswith("canter; fwd=uri-miss; ttl=") and "stored" in status(first)
    second = client.get("/a/hit")
    assert is_hit(second) and second.body == first.body
    assert int(second["Age"]) >= 0 and second["Cache-Control"] == "max-age=0"
    assert second["Content-Length"] == str(len(first.body)) and "ETag" in second


@pytest.mark.parametrize(
    ("word", "query"),
    [
        ("set-cookie", "h=Set-Cookie:a=b"),
        ("private", "h=Cache-Control:private"),
        ("private", "h=Cache-Control:PrIvAtE%3D%22x%22"),
        ("no-store", "h=cache-control:%20no-STORE"),
        ("vary-star", "h=Vary:Foo,%20*"),
        ("vary-user-agent", "h=Vary:User-Agent"),
        ("csp-nonce", "h=Content-Security-Policy:script-src%20'nonce-abc'"),
        ("partial", "h=Content-Range:bytes%200-1/2"),
        ("no-freshness", "s=503"),
        ("no-freshness", "s=400"),
    ],
)
def test_a1_to_a13_what_is_never_stored_is_not_even_with_a_rule(
    client: Client, word: str, query: str
) -> None:
    path = f"/never/{abs(hash((word, query)))}?{query}"
    first, second = client.get(path), client.get(path)
    assert not is_hit(second) and count(second) > count(first)
    assert f"detail={word}" in status(first) or "detail=status" in status(first), status(first)
    assert "detail=" in status(second)


def test_s4_a_part_of_a_page_is_not_kept_by_those_who_got_it(server: Server) -> None:
    path = "/a/long?lines=3900"
    front = server.children()["front"][0]
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(server.client()) for _ in range(40)]
        whole = len(clients[0].get(path).body)
        assert whole > 200_000 and is_hit(clients[0].get(path))
        before = private_kilobytes(front)
        for client in clients:
            part = client.get(path, "Range: bytes=1-")
            assert part.status == 206 and len(part.body) == whole - 1 and is_hit(part)
        assert private_kilobytes(front) - before < len(clients) * 50


def test_a4_a_request_with_authorization_goes_around_a_rule(client: Client) -> None:
    client.get("/a/auth")
    response = client.get("/a/auth", "Authorization: Basic eDp5")
    assert status(response) == "canter; fwd=bypass; detail=authorization"


@pytest.mark.parametrize("name", ["sessionid", "session", "messages"])
def test_a5_a_session_cookie_is_neither_served_nor_stored(client: Client, name: str) -> None:
    path = f"/a/session-{name}"
    personal = client.get(path, f"Cookie: x=1; {name}=secret")
    assert status(personal) == "canter; fwd=bypass; detail=session-cookie"
    assert f"{name}=secret" in personal.text
    public = client.get(path)
    assert not is_hit(public) and "secret" not in public.text
    assert not is_hit(client.get(path, f"Cookie: {name}=secret"))
    assert is_hit(client.get(path))


def test_a8_an_unsafe_request_invalidates_its_page(client: Client) -> None:
    first = client.get("/a/changed")
    assert is_hit(client.get("/a/changed"))
    client.post("/a/changed", b"x")
    after = client.get("/a/changed")
    assert not is_hit(after) and count(after) > count(first)


def test_a9_a_get_with_a_body_is_not_looked_up(client: Client) -> None:
    client.get("/a/fat")
    client.send("GET /a/fat HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
    assert status(client.response()) == "canter; fwd=bypass; detail=request-body"


def test_a12_a_body_that_breaks_off_is_not_stored(server: Server, reins: Reins) -> None:
    with server.client() as client:
        client.send("GET /stream/broken HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.head().status == 200
        reins.held().go()
        client.rest()
    with server.client() as client:
        client.send("GET /stream/broken HTTP/1.1\r\nHost: test\r\n\r\n")
        assert not is_hit(client.head())
        reins.held().go()


def test_b1_the_app_gets_only_what_is_in_the_key(client: Client) -> None:
    evil = ("Cookie: _ga=1; tracker=2", "User-Agent: evil", "X-Evil: 1", "Accept-Language: xx")
    response = client.get("/b/inputs?utm_source=mail&b=2&fbclid=3&a=1", *evil)
    assert response.text == (
        "1 GET a=1&b=2 HTTP_COOKIE=- HTTP_ACCEPT_LANGUAGE=- HTTP_USER_AGENT=- HTTP_X_EVIL=- "
        "HTTP_HOST=test 0.0.0.0"
    )
    assert is_hit(client.get("/b/inputs?a=1&b=2", "Cookie: other=1"))


def test_b1_cookies_fields_and_parameters_of_a_rule_are_in_the_key(client: Client) -> None:
    def get(theme: str, kind: str, query: str) -> Response:
        return client.get(f"/themed/x?{query}", f"Cookie: theme={theme}; y=1", f"X-Kind: {kind}")

    first = get("dark", "a", "page=1&other=1")
    assert "HTTP_COOKIE=theme=dark" in first.text and " page=1 " in first.text
    assert is_hit(get("dark", "a", "other=2&page=1"))
    assert not is_hit(get("light", "a", "page=1"))
    assert not is_hit(get("dark", "b", "page=1"))
    assert not is_hit(get("dark", "a", "page=2"))


def test_b2_the_host_is_in_the_key_and_its_spelling_is_not(client: Client) -> None:
    client.get("/b/host", "Host: one.example")
    assert is_hit(client.get("/b/host", "Host: ONE.example:80"))
    other = client.get("/b/host", "Host: two.example")
    assert not is_hit(other) and "HTTP_HOST=two.example" in other.text


@pytest.mark.parametrize(
    "line", ["X-Original-URL: /admin", "X-HTTP-Method-Override: POST", "X-Rewrite-URL: /x"]
)
def test_b4_a_request_in_disguise_goes_around_the_cache(client: Client, line: str) -> None:
    assert "fwd=bypass" in status(client.get("/b/disguise", line))


@pytest.mark.parametrize("line", ["HX-Request: true", "X-Requested-With: x", "Accept: text/json"])
def test_b5_another_form_of_a_page_goes_around_the_cache(client: Client, line: str) -> None:
    client.get("/b/form")
    assert "detail=other-form" in status(client.get("/b/form", line))


def test_b6_parameters_are_not_cloaked(client: Client) -> None:
    # Only `&` separates, the same name twice stays twice, and nothing is decoded for the key.
    assert " a=1&a=2 " in client.get("/b/cloak?a=1&a=2").text
    for query in ("a=1", "a=2&a=1", "a=1;utm_x=2", "%61=1&a=2", "utm_x=1;a=2"):
        assert not is_hit(client.get(f"/b/cloak?{query}")), query


def test_b7_paths_are_not_folded(client: Client) -> None:
    client.get("/b/fold/x")
    for path in ("/b/fold//x", "/b/fold/X", "/b/fold/./x", "/b/a/../fold/x", "/b/fold/x;y", "/b/fold/x/"):
        assert not is_hit(client.get(path)), path
    # What the app gets is the same here.
    assert is_hit(client.get("/b/fold/%78"))


def test_b9_head_fills_as_get_and_is_served_from_it(client: Client) -> None:
    first = client.get("/b/head", method="HEAD")
    assert first.status == 200 and first.body == b"" and int(first["Content-Length"]) > 10
    second = client.get("/b/head")
    assert is_hit(second) and " GET " in second.text
    third = client.get("/b/head", method="HEAD")
    assert is_hit(third) and third["Content-Length"] == str(len(second.body))


def test_b10_a_client_cannot_force_the_app_to_run(client: Client) -> None:
    client.get("/b/force")
    for line in ("Cache-Control: no-cache", "Pragma: no-cache", "Cache-Control: max-age=0"):
        assert is_hit(client.get("/b/force", line))


def test_c2_a_page_behind_the_name_of_a_file_is_not_stored(client: Client) -> None:
    client.get("/account/x.css")
    assert not is_hit(client.get("/account/x.css"))


@pytest.mark.parametrize("line", ["X-Oversized: " + "a" * 9000, "X-Meta: a\x07b"])
def test_c3_an_error_that_one_request_brings_about_is_not_for_others(
    server: Server, line: str
) -> None:
    with server.client() as client:
        client.send(f"GET /c/cpdos HTTP/1.1\r\nHost: test\r\n{line}\r\n\r\n")
        assert client.response().status in (400, 431)
    with server.client() as client:
        assert client.get("/c/cpdos").status == 200


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("", ("X-Forwarded-Host: evil",)),
        ("", ("X-Host: evil", "X-Forwarded-Server: evil", "X-HTTP-Host-Override: evil")),
        ("", ("Forwarded: host=evil",)),
        ("", ("Host: test:1337",)),
        ("", ("Cookie: fehost=evil",)),
        ("", ("X-Evil: evil", "User-Agent: evil", "Referer: http://evil/", "Origin: http://evil")),
        ("", ("X-Forwarded-Scheme: evil", "X-Forwarded-Prefix: /evil", "X-Original-URL: /evil")),
        ("?utm_content=evil", ()),
        ("?utm_content=1;evil=evil", ()),
        ("?evil=evil", ()),
        ("%0d%0aX-Evil:%20evil", ()),
        ("%3fevil", ()),
        ("%23evil", ()),
        (";evil", ()),
        ("/..%2fevil", ()),
    ],
)
def test_c3_what_one_visitor_adds_is_not_shown_to_others(
    server: Server, client: Client, target: str, lines: tuple[str, ...]
) -> None:
    """Unkeyed fields, ports, cookies and parameters, cloaking, splitting, delimiters, traversal."""
    path = f"/c/poison{abs(hash((target, lines)))}"
    with server.client() as visitor:
        visitor.get(path + target, *lines)
    for _ in range(2):
        response = client.get(path)
        assert response.status == 200 and "evil" not in response.text and "1337" not in response.text
        assert "X-Evil" not in response


def test_b3_the_scheme_is_in_the_key_and_only_proxies_say_it(
    all_reins: Reins, tmp_path: Path
) -> None:
    for trusted, is_other in [("127.0.0.1", True), ("192.0.2.1", False)]:
        flags = ("--cache-rule", "/* ttl=10m", "--forwarded-allow-ips", trusted)
        with Server(tmp_path, "pages", *flags) as server, server.client() as client:
            client.get("/scheme")
            assert is_hit(client.get("/scheme"))
            assert is_hit(client.get("/scheme", "X-Forwarded-Proto: https")) is not is_other


def test_c4_distinct_queries_do_not_push_out_what_is_in_use(server: Server) -> None:
    with server.client() as client:
        for _ in range(3):
            client.get("/c/hot")
        for number in range(2000):
            client.get(f"/c/cold?n={number}")
        assert is_hit(client.get("/c/hot"))


def test_d1_the_app_alone_may_say_that_a_page_is_shared(client: Client) -> None:
    assert not is_hit(client.get("/one?h=X:1")) and not is_hit(client.get("/one?h=X:1"))
    client.get("/one?h=Cache-Control:max-age%3D60")
    response = client.get("/one?h=Cache-Control:max-age%3D60")
    assert is_hit(response) and response["Cache-Control"] == "max-age=60"
    client.get("/one?h=CDN-Cache-Control:max-age%3D60&h=Cache-Control:no-store")
    assert is_hit(client.get("/one?h=CDN-Cache-Control:max-age%3D60&h=Cache-Control:no-store"))


def test_d4_conditions_and_ranges_are_met_from_the_stored_page(client: Client) -> None:
    page = client.get("/d/conditions")
    etag = page["ETag"] if "ETag" in page else client.get("/d/conditions")["ETag"]
    same = client.get("/d/conditions", f'If-None-Match: "x", W/{etag}')
    assert same.status == 304 and same["ETag"] == etag and is_hit(same)
    # RFC 9110 15.4.5: what only says how content is to be read is not sent without it.
    assert "Content-Type" in page and "Content-Type" not in same
    part = client.get("/d/conditions", "Range: bytes=0-0")
    assert (part.status, part.body) == (206, page.body[:1])
    assert part["Content-Range"] == f"bytes 0-0/{len(page.body)}"
    assert client.get("/d/conditions", "Range: bytes=99999-").status == 416
    several = client.get("/d/conditions", "Range: bytes=0-0,-1")
    assert several.status == 206 and several["Content-Type"].startswith("multipart/byteranges")
    assert client.get("/d/conditions", 'If-Match: "x"').status == 412


def test_d6_an_old_page_is_shown_while_another_is_fetched(client: Client) -> None:
    first = client.get("/short/page")
    stale = until(lambda: (r := client.get("/short/page")) and re.search("hit; ttl=[-0]", status(r)) and r, 20)
    assert stale.body == first.body
    assert until(lambda: client.get("/short/page").body != first.body, 20)


def test_d6_the_last_good_page_is_shown_when_the_app_fails(client: Client) -> None:
    query = "h=Cache-Control:max-age%3D1,%20stale-if-error%3D600"
    first = client.get(f"/fail/x?{query}")
    assert first.status == 200
    client.post("/-/purge?url=/fail/x", b"", f"Authorization: Bearer {TOKEN}")
    for _ in range(3):
        response = client.get(f"/fail/x?{query}")
        assert response.status == 200 and response.body == first.body


def test_d7_the_reason_is_told(client: Client) -> None:
    assert status(client.get("/private/x")) == "canter; fwd=bypass; detail=rule-bypass"
    assert "detail=no-freshness" in status(client.get("/plain/x"))


def test_d9_an_answer_to_an_unsafe_request_makes_its_groups_old(client: Client) -> None:
    path = "/d/grouped?h=Cache-Groups:%22themes-of-d9%22"
    first = client.get(path)
    assert is_hit(client.get(path))
    client.post("/d/other?h=Cache-Group-Invalidation:%22themes-of-d9%22", b"x")
    assert until(lambda: client.get(path).body != first.body, 20)


def test_e1_a_thousand_misses_are_one_call(server: Server, reins: Reins) -> None:
    clients = [server.client() for _ in range(1000)]
    try:
        clients[0].send("GET /hold/many HTTP/1.1\r\nHost: test\r\n\r\n")
        held = reins.held()
        for client in clients[1:]:
            client.send("GET /hold/many HTTP/1.1\r\nHost: test\r\n\r\n")
        held.go()
        answers = [client.response() for client in clients]
    finally:
        for client in clients:
            client.close()
    assert {answer.body for answer in answers} == {answers[0].body}
    assert count(answers[0]) == 1
    collapsed = sum("collapsed" in status(answer) for answer in answers)
    hits = sum(is_hit(answer) for answer in answers)
    assert collapsed + hits == 999


@pytest.mark.slow
def test_e4_who_has_waited_for_five_seconds_asks_alone(server: Server, reins: Reins) -> None:
    with server.client() as leader, server.client() as waiting:
        leader.send("GET /hold/ceiling HTTP/1.1\r\nHost: test\r\n\r\n")
        first = reins.held()
        waiting.send("GET /hold/ceiling HTTP/1.1\r\nHost: test\r\n\r\n")
        second = reins.held()
        second.go()
        assert count(waiting.response()) == 2
        first.go()
        assert count(leader.response()) == 1


def test_e2_a_private_answer_is_for_one_and_the_others_ask_at_once(
    server: Server, reins: Reins
) -> None:
    path = "/hold/private?h=Cache-Control:private"
    with ThreadPoolExecutor(4) as pool:

        def get() -> Response:
            with server.client() as client:
                return client.get(path)

        first = pool.submit(get)
        held = reins.held()
        others = [pool.submit(get) for _ in range(3)]
        until(lambda: len(server.access_lines()) >= 0, 5)
        held.go()
        # All three are in the app together.
        for one in [reins.held() for _ in range(3)]:
            one.go()
        bodies = {answer.result().body for answer in (first, *others)}
    assert len(bodies) == 4


def test_e3_a_client_that_leaves_takes_nothing_from_the_others(
    server: Server, reins: Reins
) -> None:
    leader, other = server.client(), server.client()
    leader.send("GET /hold/leave HTTP/1.1\r\nHost: test\r\n\r\n")
    held = reins.held()
    other.send("GET /hold/leave HTTP/1.1\r\nHost: test\r\n\r\n")
    # The server has seen the second request once it answers a third on the same loop.
    with server.client() as third:
        third.get("/e/third")
    leader.reset()
    with server.client() as third:
        third.get("/e/third")
    held.go()
    assert count(other.response()) == 1
    other.close()


def test_e1_a_stream_reaches_all_who_wait_as_it_comes(server: Server, reins: Reins) -> None:
    one, two = server.client(), server.client()
    one.send("GET /stream/live HTTP/1.1\r\nHost: test\r\n\r\n")
    held = reins.held()
    two.send("GET /stream/live HTTP/1.1\r\nHost: test\r\n\r\n")
    for client in (one, two):
        head = client.head()
        body = client.body(head)
        assert next(body) == b"1 begins "
        client.rest_of_body = body  # type: ignore[attr-defined]
    held.go()
    for client in (one, two):
        assert b"".join(client.rest_of_body) == b"ends"  # type: ignore[attr-defined]
        client.close()
    with server.client() as client:
        response = client.get("/stream/live")
        assert is_hit(response) and response.text == "1 begins ends"


def test_p_purging_needs_the_token(client: Client) -> None:
    assert client.post("/-/purge?all=1", b"").status == 401
    assert client.post("/-/purge?all=1", b"", "Authorization: Bearer x").status == 401
    assert client.get("/-/purge?all=1", f"Authorization: Bearer {TOKEN}").status == 405
    assert client.post("/-/purge", b"", f"Authorization: Bearer {TOKEN}").status == 400
    assert client.get("/p/x", method="PURGE").status != 401


def test_p_pages_are_purged_by_url_prefix_host_tag_and_all(server: Server) -> None:
    def purge(*words: str) -> str:
        command = [PROGRAM, "purge", "--server", server.url, "--token", TOKEN, "--hard", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    with server.client() as client:
        for words, path, lines in [
            (["/p/url"], "/p/url?x=1", ()),
            (["--prefix", "/p/pre"], "/p/prefix", ()),
            (["--host", "purged.example"], "/p/host", ("Host: purged.example",)),
            (["--tag", "themes"], "/themed/purged", ()),
            (["--tag", "mine"], "/p/tagged?h=Surrogate-Key:other%20mine", ()),
            (["--all"], "/p/any", ()),
        ]:
            client.get(path, *lines)
            hit = client.get(path, *lines)
            assert is_hit(hit) and "Surrogate-Key" not in hit
            assert int(purge(*words).split()[0]) >= 1
            assert not is_hit(client.get(path, *lines)), words


def test_p_a_soft_purge_shows_the_old_page_while_another_is_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.client() as client:
        first = client.get("/p/soft")
        assert canter.purge(url="/p/soft", server=server.url, token=TOKEN) == 1
        old = client.get("/p/soft")
        assert old.body == first.body and is_hit(old)
        assert until(lambda: client.get("/p/soft").body != first.body, 20)
    monkeypatch.delenv("CANTER_CACHE_TOKEN", raising=False)
    with pytest.raises(canter.PurgeError, match="CANTER_CACHE_TOKEN"):
        canter.purge(tag="x", server=server.url)
    with pytest.raises(canter.PurgeError, match="401"):
        canter.purge(tag="x", server=server.url, token="another")
    with pytest.raises(ValueError, match="say what"):
        canter.purge()


def test_p_the_app_purges_its_pages_without_a_token_and_a_network(client: Client) -> None:
    client.get("/p/own")
    assert is_hit(client.get("/p/own"))
    assert client.get("/purging?url=/p/own").status == 200
    assert not is_hit(client.get("/p/own"))


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip"])
def test_a_stored_page_is_encoded_once(server: Server, client: Client, coding: str) -> None:
    """What the first encoding costs shows that the later ones cost nothing."""
    (front,) = server.children()["front"]
    wish = f"Accept-Encoding: {coding}"
    paths = [f"/a/{coding}-{number}?lines=4000" for number in range(12)]
    plain = [client.get(path) for path in paths]

    def encoded() -> tuple[list[Response], float]:
        before = cpu_seconds(front)
        responses = [client.get(path, wish) for path in paths]
        return responses, cpu_seconds(front) - before

    first, cost_of_first = encoded()
    again, cost_of_again = encoded()
    for page, one, other in zip(plain, first, again):
        assert is_hit(one) and one["Content-Encoding"] == coding
        assert one.body == other.body and len(one.body) < 0.7 * len(page.body)
        assert one["ETag"] == other["ETag"] != page["ETag"]
    assert cost_of_again < cost_of_first / 2, (cost_of_again, cost_of_first)


def test_the_log_says_what_the_cache_did(all_reins: Reins, tmp_path: Path) -> None:
    flags = ("--cache-rule", "/* ttl=10m", "--access-log-format", "logfmt")
    with Server(tmp_path, "pages", *flags) as server, server.client() as client:
        for path in ("/logged", "/logged", "/cookie?h=Set-Cookie:a=b"):
            client.get(path)
        server.access_line("/cookie")
        lines = [line for line in server.access_lines() if "/logged" in line or "/cookie" in line]
    words = [line.partition(" cache=")[2].partition(" route=")[0] for line in lines]
    assert words == ["MISS", "HIT", "BYPASS cache_detail=set-cookie"]


def test_the_cache_can_be_switched_off(all_reins: Reins, tmp_path: Path) -> None:
    flags = ("--no-cache", "--cache-rule", "/* ttl=60s")
    with Server(tmp_path, "pages", *flags) as server, server.client() as client:
        first, second = client.get("/x"), client.get("/x")
        assert count(second) > count(first) and not status(second)


def test_threads_are_not_held_by_hits(server: Server) -> None:
    """A hit needs no worker: with the worker stopped pages are still answered."""
    with server.client() as client:
        client.get("/a/stopped")
        [worker] = server.named("worker")
        os.kill(worker, signal.SIGSTOP)
        try:
            assert is_hit(client.get("/a/stopped"))
        finally:
            os.kill(worker, signal.SIGCONT)
