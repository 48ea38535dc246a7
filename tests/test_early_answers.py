"""A refusal can be read while 20 MB of a body are on their way (S8): by clients that send everything
before they read, over HTTP/1.1, TLS and HTTP/2.

``CANTER_TEST_TRIES=100`` repeats each as often as the goal says.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.certificates import Authority
from harness.server import Server
from test_http2 import Peer, Reply

APP = """
def application(environ, start_response):
    start_response("401 Unauthorized", [("WWW-Authenticate", "Basic"), ("Content-Length", "2")])
    return [b"no"]
"""

SIZE = 20_000_000
TRIES = int(os.environ.get("CANTER_TEST_TRIES", "3"))
# What is announced decides: too large at all, more than any disk has room for, or fine for a
# server whose app then says no.
ANNOUNCED = {413: 10**17, 503: 10**15, 401: SIZE}


class Site:
    """One server that speaks TLS and one that does not."""

    def __init__(self, plain: Server, secure: Server, context: ssl.SSLContext) -> None:
        self.plain = plain
        self.secure = secure
        self.context = context

    def connect(self, way: str) -> socket.socket:
        server = self.secure if way == "tls" else self.plain
        raw = socket.create_connection(server.address, timeout=60)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(raw) if way == "tls" else raw


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    pair = Authority("Canter test authority").issue(folder / "localhost", "localhost", is_server=True)
    flags = ("--max-body", f"{10**16}", "--http2", "plain")
    tls = (f"--certfile={pair.chain}", f"--keyfile={pair.key}")
    with (
        Server(folder / "plain", APP, *flags) as plain,
        Server(folder / "secure", APP, *flags, *tls) as secure,
    ):
        yield Site(plain, secure, ssl._create_unverified_context())


def over_http_1(raw: socket.socket, announced: int) -> int:
    """The status that a client reads which sends first and reads then."""
    with contextlib.suppress(OSError):
        raw.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {announced}\r\n\r\n".encode())
        for _ in range(SIZE // 50_000):
            raw.sendall(b"x" * 50_000)
    with contextlib.suppress(OSError):
        return int(raw.recv(12)[9:] or 0)
    return 0


def over_http_2(raw: socket.socket, announced: int) -> int:
    """The same, as far as the windows let it send."""
    peer = Peer(raw)
    stream = peer.connection.get_next_available_stream_id()
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
    peer.connection.send_headers(stream, [*fields, ("content-length", str(announced))])
    peer.replies[stream] = reply = Reply()
    peer.flush()
    left = SIZE
    while left and not reply.headers:
        room = min(peer.connection.local_flow_control_window(stream), 16384, left)
        if room:
            peer.connection.send_data(stream, b"x" * room, end_stream=room == left)
            peer.flush()
            left -= room
        else:
            peer.step()
    while not reply.headers:
        peer.step()
    return reply.status


@pytest.mark.parametrize("way", ["http/1.1", "tls", "http/2"])
@pytest.mark.parametrize("status", ANNOUNCED)
def test_s8_a_refusal_is_read_every_time(site: Site, way: str, status: int) -> None:
    ask = over_http_2 if way == "http/2" else over_http_1
    seen = []
    for _ in range(TRIES):
        with site.connect(way) as raw:
            seen.append(ask(raw, ANNOUNCED[status]))
    assert seen == [status] * TRIES
