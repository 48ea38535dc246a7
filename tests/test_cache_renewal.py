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
from harness.pages import status
from harness.raw import Client, Response
from harness.server import Server

RULES = """
[[cache.rules]]
path = "/short/*"
ttl = "1s"
grace = "60s"

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


def count(response: Response) -> int:
    return int(response.text.split()[0])


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
