"""What a request that breaks a rule of HTTP comes to, group by group of the corpus: it is refused, the
connection ends, and the app never hears of it or of what stands behind it. Names begin with the ids of
the list in ``docs/explain/what-a-client-cannot-do.md``.

Leaves each row's exact answer, however it is cut, to ``test_corpus``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import corpus
import pytest
from harness.raw import head
from harness.server import Server

APP = """
import json

CALLS = []


def application(environ, start_response):
    seen = [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]]
    body = environ["wsgi.input"].read()
    if seen[1] == "/calls":
        body = json.dumps(CALLS).encode()
        CALLS.clear()
    elif seen[1].startswith("/environ"):
        names = ("PATH_INFO", "RAW_URI", "REQUEST_URI", "SCRIPT_NAME", "QUERY_STRING")
        body = json.dumps({name: environ.get(name) for name in names}).encode()
    else:
        CALLS.append(seen)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder / "rules", APP, "--max-body", str(corpus.MAX_BODY)) as server:
        yield server


def calls(server: Server) -> list[list[str]]:
    """What the app was asked for since this was asked last."""
    with server.client() as client:
        asked: list[list[str]] = json.loads(client.get("/calls").body)
        return asked


def refused(server: Server, group: str, at_least: int) -> None:
    """Sends the rows of a group that are refused at once, with a request behind each."""
    rows = [
        row
        for row in corpus.rows()
        if group in row.rule.split() and row.closes and row.answers[0].status >= 400
    ]
    assert len(rows) >= at_least
    calls(server)
    for row in rows:
        with server.client() as client:
            client.send_pieces(iter([row.raw + head("GET", "/behind").encode()]))
            response = client.response("HEAD" if row.raw.startswith(b"HEAD ") else "GET")
            assert (response.status, response.closes) == (row.answers[0].status, True), row.id
            assert client.is_closed(), row.id
    assert calls(server) == []


def test_p4_a_bare_line_end_or_a_control_byte_never_reaches_the_app(server: Server) -> None:
    refused(server, "P4", 60)


def test_p5_a_name_that_is_none_never_reaches_the_app(server: Server) -> None:
    refused(server, "P5", 30)


def test_p6_a_host_that_is_none_or_two_never_reaches_the_app(server: Server) -> None:
    refused(server, "P6", 40)


def test_p7_a_request_line_that_is_none_never_reaches_the_app(server: Server) -> None:
    refused(server, "P7", 40)


def test_p18_a_path_that_two_programs_decode_in_two_ways_never_reaches_the_app(
    server: Server,
) -> None:
    refused(server, "P18", 14)


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.2, other"])
def test_p12_what_follows_an_upgrade_stays_http(server: Server, protocol: str) -> None:
    lines = ("Connection: Upgrade", f"Upgrade: {protocol}")
    with server.client() as client:
        # The next request is read by the rules, not passed on as it is.
        client.send(head("GET", "/first", *lines) + head("GET", "/second") + "\x81\x05hello\r\n\r\n")
        for _ in range(2):
            response = client.response()
            assert response.status == 200 and "Upgrade" not in response
        assert client.response().status == 400 and client.is_closed()
    assert calls(server) == [["GET", "/first", ""], ["GET", "/second", ""]]
    with server.client() as client:
        client.send(head("POST", "/body", *lines, "Content-Length: 5") + "hello")
        assert client.response().body == b"hello"
        assert client.get("/next").status == 200
    assert [path for _method, path, _query in calls(server)] == ["/body", "/next"]


def test_p18_a_path_is_decoded_once_and_told_as_it_came(server: Server) -> None:
    with server.client() as client:
        told = json.loads(client.get("/environ/%2561%2F%c3%a9?b=%2561").body)
    assert told["PATH_INFO"] == "/environ/%61/\xc3\xa9" and told["QUERY_STRING"] == "b=%2561"
    assert told["RAW_URI"] == "/environ/%2561%2F%c3%a9?b=%2561"
