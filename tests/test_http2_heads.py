"""Heads over HTTP/2 that grow, that have too many fields, or that come too late.

Leaves everything else about HTTP/2 to ``test_http2``.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.server import Server
from test_http2 import APP, Peer, Reply, connect, frame, private_memory


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder / "heads", APP, "--http2", "plain") as server:
        yield server


def test_h4_a_header_that_grows_is_refused_and_costs_little(server: Server) -> None:
    front = server.children()["front"][0]
    before = private_memory(front)
    peer, witness = connect(server), connect(server)
    with peer.socket, witness.socket:
        # 3 kB on the wire, and a byte for each time it is said again: 9 MB.
        stream = peer.connection.get_next_available_stream_id()
        peer.replies[stream] = Reply()
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/bomb")]
        headers += [("x-bomb", "a" * 3000)] * 3000
        peer.connection.send_headers(stream, headers, end_stream=True)
        peer.flush()
        reply = peer.reply(stream)
        assert peer.goaway and not reply.headers
        assert witness.get("/").body == b"hello"
    assert private_memory(front) - before < 1_000_000


def test_h4_cookies_in_crumbs_are_one_field_and_of_others_there_are_a_hundred(server: Server) -> None:
    peer = connect(server)
    for name, status in (("cookie", 200), ("x-many", 431)):
        stream = peer.connection.get_next_available_stream_id()
        peer.replies[stream] = Reply()
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
        headers += [(name, f"a={number}") for number in range(150)]
        peer.connection.send_headers(stream, headers, end_stream=True)
        peer.flush()
        assert peer.reply(stream).status == status


@pytest.mark.slow
def test_s2_what_the_beginning_takes_is_missing_for_the_first_request(folder: Path) -> None:
    flags = ("--http2", "plain", "--header-timeout", "6s")
    with Server(folder / "late", APP, *flags) as server:
        began = time.monotonic()
        with socket.create_connection(server.address, timeout=4.5) as raw:
            with pytest.raises(TimeoutError):
                raw.recv(1)
            raw.settimeout(15)
            raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            seen = b""
            while goaway(seen) is False and (more := raw.recv(4096)):
                seen += more
        # Ten and a half where the time begins anew.
        assert time.monotonic() - began < 10


def goaway(frames: bytes) -> bool:
    """Whether one of the frames says that the connection ends."""
    while len(frames) >= 9:
        if frames[3] == 7:
            return True
        frames = frames[9 + int.from_bytes(frames[:3], "big") :]
    return False
