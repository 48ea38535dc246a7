"""Heads over HTTP/2 that grow, that have too many fields, or that come too late.

Leaves everything else about HTTP/2 to ``test_http2``.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.server import Server
from test_http2 import APP, Peer, Reply, connect, frame, is_ended, private_memory


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """Also where a client of this machine is slow to make up its headers."""
    with Server(folder / "heads", APP, "--http2", "plain", "--rate-grace", "60s") as server:
        yield server


def test_h4_a_header_that_grows_is_refused_and_costs_little(server: Server) -> None:
    front = server.children()["front"][0]
    peer, witness = connect(server), connect(server)
    with peer.socket, witness.socket:
        # What the first request takes is not what is asked about.
        assert witness.get("/").body == b"hello"
        before = private_memory(front)
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


def posted(peer: Peer, length: int) -> int:
    """A request with a header of about so many bytes, whose body is yet to come."""
    stream = peer.connection.get_next_available_stream_id()
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/hash")]
    # Not twice the same: the table would make it short.
    words = "".join(random.choices("abcdefgh", k=length))
    headers += [(f"x-{at}", words[at : at + 5000]) for at in range(0, length, 5000)]
    peer.replies[stream] = Reply()
    peer.connection.send_headers(stream, headers)
    peer.flush()
    return stream


def test_h4_headers_of_many_streams_have_a_bound_together(server: Server) -> None:
    front = server.children()["front"][0]
    peer = connect(server)
    with peer.socket:
        assert peer.get("/").status == 200
        before = private_memory(front)
        streams = [posted(peer, 28_000) for _ in range(90)]
        # Whatever was refused has been by the time that a later question is answered.
        peer.reply(peer.ask("/"))
        refused = [stream for stream in streams if peer.replies[stream].reset is not None]
        # What is beyond 16 KiB of each takes half a megabyte, the rest may be sent again (RFC 9113, section 8.7).
        assert {peer.replies[stream].reset for stream in refused} == {7}
        taken = [stream for stream in streams if stream not in refused]
        assert 30 < len(taken) < 50
        assert private_memory(front) - before < 4_000_000
        for stream in taken:
            peer.connection.end_stream(stream)
        peer.flush()
        assert all(peer.reply(stream).status == 200 for stream in taken)
        again = posted(peer, 28_000)
        peer.connection.end_stream(again)
        peer.flush()
        assert peer.reply(again).status == 200


@pytest.mark.parametrize(
    ("flags", "length", "status"),
    [
        ((), 30_000, 200),
        ((), 34_000, 431),
        (("--limit-request-header", "96KiB"), 90_000, 200),
        (("--limit-request-header", "8191"), 9_000, 431),
    ],
)
def test_h4_a_header_may_be_as_long_as_over_http_1(
    folder: Path, flags: tuple[str, ...], length: int, status: int
) -> None:
    with Server(folder / f"long-{length}", APP, "--http2", "plain", *flags) as server:
        peer = connect(server)
        with peer.socket:
            stream = posted(peer, length)
            peer.connection.end_stream(stream)
            peer.flush()
            assert peer.reply(stream).status == status


@pytest.mark.slow
def test_h7_a_header_that_does_not_end_is_not_waited_for_on_a_busy_connection_either(folder: Path) -> None:
    flags = ("--http2", "plain", "--header-timeout", "1s", "--rate-grace", "60s")
    with Server(folder / "endless", APP, *flags) as server:
        peer = connect(server, window=0)
        with peer.socket:
            stream = peer.ask("/big")
            while not peer.replies[stream].headers:
                peer.step()
            endless = peer.connection.get_next_available_stream_id()
            peer.socket.sendall(frame(1, 0, endless, b"\x82\x84\x86\x41\x01a"))
            began = time.monotonic()
            assert is_ended(peer) and time.monotonic() - began < 30


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
