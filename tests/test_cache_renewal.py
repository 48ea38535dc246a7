"""Old pages and who renews them, under ``canter serve`` with an app that is no Django site: what a client
says of itself is in no page for others, and what it changes is shown to nobody any more. Names begin with
the letter and number of what they check, as in ``test_cache_pages``.

Leaves what is kept at all, and who waits for whom, to ``test_cache_pages``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.control import Reins
from harness.operated import until
from harness.pages import count, is_hit, status
from harness.raw import Client
from harness.server import Server

RULES = """
[[cache.rules]]
path = "/short/*"
ttl = "1s"
grace = "60s"

[[cache.rules]]
path = "/browser/*"
ttl = "10m"
browser-ttl = "1m"

[[cache.rules]]
path = "/*/*"
ttl = "10m"
grace = "1h"
"""


@pytest.fixture(scope="module")
def server(all_reins: Reins) -> Iterator[Server]:
    folder = all_reins.folder
    (folder / "canter.toml").write_text(RULES)
    with Server(folder, "pages", "--threads", "40") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


EVIL = "//evil.example/attack"


def test_c3_no_clients_request_id_is_in_a_page_of_a_rule(client: Client) -> None:
    first = client.get("/short/named", f"X-Request-ID: {EVIL}")
    assert "stored" in status(first) and EVIL not in first.text

    def renewed() -> bool:
        response = client.get("/short/named", f"X-Request-ID: {EVIL}")
        assert EVIL not in response.text
        return count(response) > 1

    assert until(renewed)


def test_c3_what_a_clients_request_id_made_is_not_kept(server: Server, client: Client) -> None:
    path = "/named?h=Cache-Control:public,max-age%3D1,stale-while-revalidate%3D60"
    own = client.get(path, f"X-Request-ID: {EVIL}")
    assert EVIL in own.text and status(own) == "canter; fwd=uri-miss; detail=client-id"
    # It stands for one: what others ask is kept, and what is kept is confirmed under no client's id.
    assert "stored" in status(client.get(path))

    def renewed() -> bool:
        response = client.get(path, f"X-Request-ID: {EVIL}")
        assert EVIL not in response.text
        return count(response) > 2

    assert until(renewed)
    # Also where it is confirmed before it is shown.
    path = "/named2?h=Cache-Control:public,max-age%3D1"
    client.get(path)

    def confirmed() -> bool:
        response = client.get(path, f"X-Request-ID: {EVIL}")
        assert EVIL not in response.text
        return count(response) > 1

    assert until(confirmed)


def test_c3_an_id_of_a_trusted_proxy_is_no_reason(tmp_path: Path) -> None:
    with Server(tmp_path, "pages", "--forwarded-allow-ips", "127.0.0.1") as server:
        with server.client() as client:
            path = "/named?h=Cache-Control:public,max-age%3D60"
            assert "stored" in status(client.get(path, "X-Request-ID: from-the-proxy"))

def test_a8_an_old_page_is_not_shown_after_an_unsafe_request_though_it_might_be_otherwise(
    client: Client,
) -> None:
    path = "/changed?h=Cache-Control:max-age%3D60,stale-while-revalidate%3D600"
    first = client.get(path)
    assert is_hit(client.get(path))
    client.post(path, b"x")
    after = client.get(path)
    assert not is_hit(after) and count(after) > count(first) + 1
    assert is_hit(client.get(path))


def test_d6_head_leaves_an_old_page_to_be_renewed_by_others(client: Client) -> None:
    path = "/headed?h=Cache-Control:max-age%3D1,stale-while-revalidate%3D600"
    first = client.get(path)
    until(lambda: "ttl=1" not in status(client.get(path, method="HEAD")))
    for _ in range(3):
        client.get(path, method="HEAD")
    assert until(lambda: count(r := client.get(path)) > count(first) and r)


def test_d3_what_a_client_has_confirms_no_page_for_others(client: Client) -> None:
    path = "/named3?h=Cache-Control:max-age%3D1"
    client.get(path)

    def renewed() -> bool:
        response = client.get(path, "If-None-Match: \"other\"", "Range: bytes=0-1", "If-Range: \"no\"")
        assert "HTTP_IF_NONE_MATCH=-" in response.text and "HTTP_RANGE=-" in response.text
        return count(response) > 1

    # What is asked before anything is stored is the client's own, and is not in the page.
    assert until(renewed)


def test_e2_a_page_that_failed_once_is_kept_as_soon_as_it_is_mended(client: Client) -> None:
    assert client.get("/mended/500").status == 500
    assert until(lambda: is_hit(client.get("/mended/500")), 20)
    # One that was no page is kept at once.
    assert client.get("/mended/302").status == 302
    assert "stored" in status(client.get("/mended/302"))


def test_b5_codings_that_the_app_is_not_told_are_one_page(client: Client) -> None:
    path = "/coded?h=Cache-Control:max-age%3D60&h=Vary:Accept-Encoding"
    client.get(path, "Accept-Encoding: br")
    assert is_hit(client.get(path, "Accept-Encoding: gzip")) and is_hit(client.get(path))


def test_d1_browsers_keep_a_page_for_the_rules_time_whatever_its_age(client: Client) -> None:
    tag = client.get("/browser/page")["ETag"]
    for fields in ((), (f"If-None-Match: {tag}",)):
        old = until(lambda: (r := client.get("/browser/page", *fields)) and int(r["Age"]) > 0 and r)
        assert is_hit(old) and old["Cache-Control"] == f"max-age={60 + int(old['Age'])}"


def test_c2_a_page_behind_the_name_of_a_file_is_not_stored_without_a_rule(client: Client) -> None:
    path = "/account.css?h=Cache-Control:max-age%3D60"
    client.get(path)
    assert "detail=type-mismatch" in status(client.get(path))


def test_e3_when_the_call_dies_one_of_those_who_wait_asks_for_all(
    server: Server, reins: Reins
) -> None:
    clients = [server.client() for _ in range(4)]
    get = "GET /dies/once HTTP/1.1\r\nHost: test\r\n\r\n"
    clients[0].send(get)
    held = reins.held()
    for client in clients[1:]:
        client.send(get)
    # The server has seen them once it answers another on the same loop, without the app.
    with server.client() as other:
        for _ in range(2):
            other.send("GET /e/third HTTP/1.1\r\nHost: test\r\nExpect: nonsense\r\n\r\n")
            other.response()
            break
    held.go()
    answers = [client.response() for client in clients]
    assert answers[0].status in (502, 503)
    assert [count(answer) for answer in answers[1:]] == [1, 1, 1]
    for client in clients:
        client.close()
