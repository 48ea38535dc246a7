"""Requests over HTTP/2 that the server is made to reset (CVE-2025-8671): after a few of them the
connection ends, and no other is disturbed.

Leaves other floods to ``test_http2``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.server import Server
from test_http2 import connect, frame, is_ended

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("resets")
    with Server(folder, APP, "--http2", "plain") as server:
        yield server


#: What makes a server reset a stream that its client has just opened (CVE-2025-8671).
MADE: list[tuple[str, Callable[[int], bytes]]] = [
    ("an update of nothing", lambda stream: frame(8, 0, stream, struct.pack(">I", 0))),
    ("a window that overflows", lambda stream: frame(8, 0, stream, struct.pack(">I", 2**31 - 1))),
    ("data after the end", lambda stream: frame(0, 1, stream, b"x")),
    ("headers after the end", lambda stream: frame(1, 5, stream, b"\x82")),
    ("a stream that depends on itself", lambda stream: frame(2, 0, stream, struct.pack(">IB", stream, 1))),
    ("a priority of four bytes", lambda stream: frame(2, 0, stream, b"1234")),
    ("a reset of three bytes", lambda stream: frame(3, 0, stream, b"123")),
]


@pytest.mark.parametrize(("what", "breach"), MADE, ids=[what for what, _ in MADE])
def test_h2_streams_that_the_server_is_made_to_reset_end_the_connection(
    server: Server, what: str, breach: Callable[[int], bytes]
) -> None:
    path = "/made/" + what.replace(" ", "-")
    head = b"\x82\x86\x41\x01a\x04" + bytes([len(path)]) + path.encode()
    witness = connect(server)
    peer = connect(server)
    with witness.socket, peer.socket:
        try:
            for stream in range(1, 801, 2):
                peer.socket.sendall(frame(1, 5, stream, head) + breach(stream))
        except OSError:
            pass  # It has ended already.
        assert is_ended(peer)
        assert witness.reply(witness.ask("/after")).status == 200
    # The connection ends before the hundredth.
    assert server.stdout.count(path) <= 100
