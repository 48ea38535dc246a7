"""``103 Early Hints`` (RFC 8297) by the app's own word: what it tells ahead of its answer, and the
``Link`` fields that its last answer had.

Leaves hints by rule to ``test_trust``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.http2 import hinted
from harness.raw import Client
from harness.server import Server

APP = '''
import threading

go_on = threading.Event()

def application(environ, start_response):
    path = environ["PATH_INFO"]
    hint = environ["wsgi.early_hints"]
    link = ("Link", "</site.css>; rel=preload; as=style")
    fields = [("Content-Length", "2")]
    if path == "/go":
        go_on.set()
    elif path == "/waits":
        hint([link, ("X-Other", "not for a 103")])
        # The hint must be there while the answer is not.
        assert go_on.wait(60)
    elif path == "/elsewhere":
        thread = threading.Thread(target=hint, args=([link],))
        thread.start()
        thread.join()
    elif path == "/many":
        for number in range(1000):
            hint([("Link", f"</{number}>; rel=preload; as=style")])
    elif path == "/broken":
        try:
            hint([("Link", "</a>\\r\\nSet-Cookie: a=b")])
        except ValueError:
            fields.append(("X-Refused", "yes"))
    elif path == "/late":
        write = start_response("200 OK", fields)
        write(b"o")
        hint([link])
        return [b"k"]
    elif path == "/learned":
        fields += [link, ("Link", "</?page=2>; rel=next")]
    start_response("200 OK", fields)
    return [b"ok"]
'''

CSS = b"HTTP/1.1 103 Early Hints\r\nLink: </site.css>; rel=preload; as=style\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hints")
    with Server(folder, APP, "--early-hint", "/learned=link", "--http2", "plain") as server:
        yield server


def head(client: Client) -> bytes:
    """The bytes of the next head, an interim one too."""
    found = b""
    client.socket.settimeout(60)
    while not found.endswith(b"\r\n\r\n"):
        byte = client.socket.recv(1)
        assert byte, found
        found += byte
    return found


def get(path: str, more: str = "") -> str:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n"


def test_p16_the_app_hints_while_it_is_at_work(server: Server) -> None:
    with server.client() as client, server.client() as other:
        client.send(get("/waits"))
        assert head(client) == CSS
        other.send(get("/go"))
        assert other.response().body == b"ok"
        assert client.response().body == b"ok"


def test_p16_a_thread_of_the_app_may_hint_too(server: Server) -> None:
    with server.client() as client:
        client.send(get("/elsewhere"))
        assert head(client) == CSS
        assert client.response().body == b"ok"


def test_p16_hints_are_for_clients_that_can_tell_them_from_the_answer(server: Server) -> None:
    with server.client() as client:
        client.send(get("/elsewhere").replace("1.1", "1.0"))
        assert head(client).startswith(b"HTTP/1.1 200 ")
    with server.client() as client:
        client.send(get("/elsewhere").replace("GET", "HEAD"))
        assert head(client).startswith(b"HTTP/1.1 200 ")


def test_p16_hints_cannot_split_the_response_and_are_bounded(server: Server) -> None:
    with server.client() as client:
        client.send(get("/broken"))
        answer = head(client)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nX-Refused: yes\r\n" in answer
    with server.client() as client:
        client.send(get("/many"))
        interim = 0
        while head(client).startswith(b"HTTP/1.1 103 "):
            interim += 1
        assert interim == 8


def test_p16_hints_behind_the_head_are_left_out(server: Server) -> None:
    with server.client() as client:
        client.send(get("/late"))
        assert client.response().body == b"ok"
        client.send(get("/"))
        assert client.response().body == b"ok"


def test_p16_links_of_the_last_answer_are_hinted_to_the_next_visitor(server: Server) -> None:
    with server.client() as client:
        client.send(get("/learned"))
        assert b"200 OK" in head(client)
        client.socket.recv(2)
        client.send(get("/learned?other", "Sec-Fetch-Mode: navigate\r\n"))
        assert head(client) == CSS
        assert client.response().status == 200
        # Of another host nothing is known, and what a page fetches needs none.
        client.send(get("/learned").replace("Host: a", "Host: b"))
        assert client.response().status == 200
        client.send(get("/learned", "Sec-Fetch-Mode: cors\r\n"))
        assert client.response().status == 200


def test_p16_hints_of_the_app_reach_clients_of_http2(server: Server) -> None:
    assert any(name == b"link" for name, _ in hinted(server, "/elsewhere"))
