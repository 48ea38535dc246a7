"""Every byte at the beginning, in the middle and at the end of each part of a request over HTTP/2, as it is and in
Huffman's code (RFC 7541, section 5.2), against a running Canter: its stream ends or the app sees it, as over HTTP/1.1, and the
connection goes on (RFC 9113, sections 8.1.1 and 8.2.1).

Leaves the rules that are not about single bytes to ``test_http2_rules``.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.server import Server
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from test_http2_rules import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST, Wire, frame

APP = """
def application(environ, start_response):
    named = sorted(name for name in environ if name.startswith("HTTP_") and name not in ("HTTP_HOST", "HTTP_X_REQUEST_ID"))
    seen = [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_HOST"]]
    body = repr((seen, [(name, environ[name]) for name in named])).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

CODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

GOOD = {":method": b"GET", ":scheme": b"http", ":path": b"/", ":authority": b"aa"}

STREAMS = 16
"""Bytes on each connection."""

PLACES: dict[str, Callable[[bytes], list[bytes]]] = {
    "name": lambda byte: [byte + b"-a", b"a" + byte + b"a", b"a-" + byte],
    "value": lambda byte: [byte + b"bc", b"b" + byte + b"c", b"bc" + byte],
    ":method": lambda byte: [byte + b"ET", b"G" + byte + b"T", b"GE" + byte],
    ":path": lambda byte: [byte + b"b", b"/b" + byte + b"c", b"/bc" + byte],
    ":authority": lambda byte: [byte + b"b", b"b" + byte + b"c", b"bc" + byte],
    ":scheme": lambda byte: [byte + b"ttp", b"ht" + byte + b"p", b"htt" + byte],
}


def text(data: bytes, is_coded: bool) -> bytes:
    data = CODER.encode(data) if is_coded else data
    return bytes([len(data) | 0x80 * is_coded]) + data


def block(place: str, said: bytes, is_coded: bool, first: int) -> bytes:
    """A header block of literals, each kept in the table or not (RFC 7541, sections 6.2.1 and 6.2.2)."""
    kind = bytes([first])
    fields = [(name.encode(), said if name == place else good) for name, good in GOOD.items()]
    if place == "name":
        fields.append((said, b"b"))
    elif place == "value":
        fields.append((b"a", said))
    return b"".join(kind + text(name, is_coded) + text(value, is_coded) for name, value in fields)


class Asked(Wire):
    """One stream after the other."""

    def __init__(self, server: Server) -> None:
        raw = socket.create_connection(server.address, timeout=20)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(raw)
        self.stream = -1
        self.coming = self.frames()

    def ask(self, fields: bytes) -> bytes | None:
        """What the app saw; None where the stream was ended or refused."""
        self.stream += 2
        self.send(frame(HEADERS, END_STREAM | END_HEADERS, self.stream, fields))
        seen, is_answered = b"", False
        for kind, flags, stream, payload in self.coming:
            assert kind != GOAWAY, payload
            if stream != self.stream:
                continue
            if kind == RST:
                return None
            if kind == HEADERS:
                # 200 stands in the static table (appendix A).
                is_answered = payload[:1] == b"\x88"
            if kind == DATA:
                seen += payload
            if flags & END_STREAM:
                return seen if is_answered else None
        raise AssertionError("the connection has ended")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(folder / "bytes", APP, "--http2", "plain") as server:
        yield server


class Plain:
    """The same over HTTP/1.1, on a connection for as long as it lasts."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.raw: socket.socket | None = None

    def close(self) -> None:
        if self.raw:
            self.raw.close()
        self.raw = None

    def ask(self, place: str, said: bytes) -> bytes | None:
        method, path, host = (said if place == one else GOOD[one] for one in (":method", ":path", ":authority"))
        line = {"name": said + b": b\r\n", "value": b"a: " + said + b"\r\n"}.get(place, b"")
        head = method + b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + line + b"\r\n"
        self.raw = self.raw or socket.create_connection(self.server.address, timeout=20)
        self.raw.sendall(head)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self.raw.recv(65536)
            assert piece, answer
            answer += piece
        top, _, body = answer.partition(b"\r\n\r\n")
        if not top.startswith(b"HTTP/1.1 200 "):
            self.close()
            return None
        length = int(top.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self.raw.recv(65536)
        assert len(body) == length
        return body


def is_other_rule(place: str, said: bytes) -> bool:
    """Where HTTP/2 has a rule of its own for what HTTP/1.1 takes."""
    if place == "name":
        # No capitals, and a colon ends no name (section 8.2.1).
        return said != said.lower() or b":" in said
    if place in ("value", ":authority"):
        # White space around it is no part of it in HTTP/1.1, and none may be here.
        return said.strip(b" \t") != said
    # What no target has (RFC 3986, appendix A): the library refuses three of them.
    return place == ":path" and any(byte in said for byte in b"<>`")


@pytest.mark.parametrize("first", [0x00, 0x40, 0x10], ids=["passing", "kept", "never kept"])
@pytest.mark.parametrize("is_coded", [False, True], ids=["plain", "coded"])
@pytest.mark.parametrize("place", PLACES)
def test_h8_every_byte_in_every_place_is_what_it_is_over_http1(
    server: Server, place: str, is_coded: bool, first: int
) -> None:
    wrong = []
    with contextlib.closing(Plain(server)) as plain:
        for many in range(0, 256, STREAMS):
            # What the library itself resets is counted on each connection (H2).
            with Asked(server) as wire:
                for byte in range(many, many + STREAMS):
                    for said in PLACES[place](bytes([byte])):
                        seen = wire.ask(block(place, said, is_coded, first))
                        if place == ":scheme":
                            # HTTP/1.1 has none there: any but http is none of ours, in capitals or not.
                            expected = wire.ask(block("", b"", is_coded, first)) if said.lower() == b"http" else None
                        elif is_other_rule(place, said):
                            expected = None
                        else:
                            expected = plain.ask(place, said)
                        if seen != expected:
                            wrong.append((said, seen, expected))
    assert not wrong, f"{len(wrong)} of 768: {wrong[:20]}"
