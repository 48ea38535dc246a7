"""The rules of HTTP/2 one by one, RFC 9113 section by section and RFC 7541 for header blocks, as raw
frames against a running Canter, in plain text and over TLS.

Leaves what the app sees, floods and slow clients to ``test_http2``.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.certificates import Authority
from harness.server import Server

APP = """
def application(environ, start_response):
    body = environ["wsgi.input"].read() or b"hello"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32
PROTOCOL, FLOW, CLOSED, SIZE, COMPRESSION = 1, 3, 5, 6, 9


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = struct.pack(">I", len(payload))[1:]
    return length + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(*fields: tuple[bytes, bytes]) -> bytes:
    """A header block of literals without Huffman coding (RFC 7541, section 6.2.2)."""
    return b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields
    )


METHOD, SCHEME, PATH = (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")
HOST = (b":authority", b"a")
ASKED = (METHOD, SCHEME, PATH, HOST)
POSTED = ((b":method", b"POST"), SCHEME, PATH, HOST)


def get(stream: int = 1, fields: bytes | None = None, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, block(*ASKED) if fields is None else fields)


def post(stream: int = 1, *more: tuple[bytes, bytes]) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, block(*POSTED, *more))


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def window(stream: int, by: int) -> bytes:
    return frame(WINDOW, 0, stream, struct.pack(">I", by))


ENDED = get()
"""A stream that the client has ended."""
RESET = post() + frame(RST, 0, 1, struct.pack(">I", 8))

# A breach of the connection ends it with one of these codes.
CONNECTION: list[tuple[str, bytes, set[int]]] = [
    ("4.2 data too long", post() + frame(DATA, 0, 1, bytes(16385)), {SIZE}),
    ("4.2 headers too long", frame(HEADERS, END_HEADERS, 1, bytes(16385)), {SIZE}),
    ("4.3 no header block", get(fields=b"\x40"), {COMPRESSION}),
    ("4.3 a frame within a block", get(flags=0) + frame(PRIORITY, 0, 1, bytes(5)), {PROTOCOL}),
    ("5.5 an unknown frame within a block", get(flags=0) + frame(0x42, 0, 1, bytes(5)), {PROTOCOL}),
    ("4.3 another stream within a block", get(flags=0) + get(3), {PROTOCOL}),
    ("5.1 data on an idle stream", frame(DATA, 0, 1, b"x"), {PROTOCOL}),
    ("5.1 reset of an idle stream", frame(RST, 0, 1, bytes(4)), {PROTOCOL}),
    ("5.1 window of an idle stream", window(1, 1), {PROTOCOL}),
    ("5.1 continuation on an idle stream", frame(CONTINUATION, 4, 1, block(*ASKED)), {PROTOCOL}),
    ("5.1 data after the end", ENDED + frame(DATA, 0, 1, b"x"), {CLOSED}),
    ("5.1 headers after the end", ENDED + get(), {CLOSED}),
    ("5.1 continuation after the end", ENDED + frame(CONTINUATION, 4, 1), {CLOSED, PROTOCOL}),
    ("5.1 data after a reset", RESET + frame(DATA, 0, 1, b"x"), {CLOSED}),
    ("5.1 headers after a reset", RESET + get(), {CLOSED}),
    ("5.1.1 an even stream", get(2), {PROTOCOL}),
    ("5.1.1 a lower stream", get(5) + get(3), {PROTOCOL}),
    ("6.1 data on stream 0", frame(DATA, 0, 0, b"x"), {PROTOCOL}),
    ("6.1 more padding than data", post() + frame(DATA, PADDED, 1, b"\x05ab"), {PROTOCOL}),
    ("6.1 no length of the padding", post() + frame(DATA, PADDED, 1), {PROTOCOL, SIZE}),
    ("6.2 no length of the padding", frame(HEADERS, 13, 1), {PROTOCOL, SIZE, COMPRESSION}),
    ("6.2 headers too short for their priority", frame(HEADERS, 37, 1, bytes(4)), {PROTOCOL, SIZE, COMPRESSION}),
    ("6.2 headers on stream 0", get(0), {PROTOCOL}),
    ("6.2 more padding than headers", get(fields=b"\xff\x82", flags=13), {PROTOCOL, COMPRESSION}),
    ("6.3 priority on stream 0", frame(PRIORITY, 0, 0, bytes(5)), {PROTOCOL}),
    ("6.3 a priority of four bytes", frame(PRIORITY, 0, 3, bytes(4)), {SIZE}),
    ("6.4 reset on stream 0", frame(RST, 0, 0, bytes(4)), {PROTOCOL}),
    ("6.4 a reset of three bytes", post() + frame(RST, 0, 1, bytes(3)), {SIZE}),
    ("6.5 an answer with settings", frame(SETTINGS, 1, 0, bytes(6)), {SIZE}),
    ("6.5 settings on a stream", frame(SETTINGS, 0, 1), {PROTOCOL}),
    ("6.5 settings of seven bytes", frame(SETTINGS, 0, 0, bytes(7)), {SIZE}),
    ("6.5.2 push of 2", setting(2, 2), {PROTOCOL}),
    ("6.5.2 too large a window", setting(4, 2**31), {FLOW}),
    ("6.5.2 too small a frame", setting(5, 16383), {PROTOCOL}),
    ("6.5.2 too large a frame", setting(5, 2**24), {PROTOCOL}),
    ("6.6 a promise of a client", post() + frame(PUSH, 4, 1, struct.pack(">I", 2) + block(*ASKED)), {PROTOCOL}),
    ("6.7 ping on a stream", frame(PING, 0, 1, bytes(8)), {PROTOCOL}),
    ("6.7 a ping of seven bytes", frame(PING, 0, 0, bytes(7)), {SIZE}),
    ("6.8 goaway on a stream", frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    ("6.9 a window opened by nothing", window(0, 0), {PROTOCOL}),
    ("6.9 a window of three bytes", frame(WINDOW, 0, 0, bytes(3)), {SIZE}),
    ("6.9 a stream's window opened by nothing", post() + window(1, 0), {PROTOCOL}),
    ("6.9.1 the connection's window overflows", window(0, 2**31 - 1), {FLOW}),
    ("6.9.2 settings that overflow a stream's window", post() + window(1, 2**31 - 1 - 65535) + setting(4, 65536), {FLOW}),
    ("6.10 continuation after the block", post() + frame(CONTINUATION, 4, 1, b""), {PROTOCOL}),
    ("6.10 continuation on stream 0", get(flags=0) + frame(CONTINUATION, 4, 0), {PROTOCOL}),
    ("6.10 continuation on another stream", get(flags=0) + frame(CONTINUATION, 4, 3), {PROTOCOL}),
    ("6.10 continuation after data", post() + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, 4, 1), {PROTOCOL}),
    ("8.2.1 an empty name", get(fields=block(*ASKED) + b"\0\0\1b"), {COMPRESSION, PROTOCOL}),
    ("8.2.1 an empty name in trailers", post() + frame(HEADERS, 5, 1, b"\0\0\1b"), {COMPRESSION, PROTOCOL}),
    ("hpack 2.3.3 an index beyond the tables", get(fields=b"\xff\x80\x7f"), {COMPRESSION}),
    ("hpack 2.3.3 an index of an empty table", get(fields=block(*ASKED) + b"\xc6"), {COMPRESSION}),
    ("hpack 2.3.3 a name in an empty table", get(fields=block(*ASKED) + b"\x0f\x37\1a"), {COMPRESSION}),
    ("hpack 4.3 an index of an emptied table", get(fields=block(*ASKED) + b"\x40\1a\1b") + get(3, fields=b"\x20" + block(*ASKED) + b"\xbe"), {COMPRESSION}),
    ("hpack 5.2 a string longer than the block", get(fields=b"\x00\x7f\x00a"), {COMPRESSION}),
    ("hpack 5.2 padding of more than seven bits", get(fields=block(*ASKED) + b"\0\1a\x82\x1f\xff"), {COMPRESSION, PROTOCOL}),
    ("hpack 5.2 padding of zeros", get(fields=block(*ASKED) + b"\0\1a\x81\x18"), {COMPRESSION, PROTOCOL}),
    ("hpack 6.1 index 0", get(fields=block(*ASKED) + b"\x80"), {COMPRESSION}),
    ("hpack 6.3 a table larger than allowed", get(fields=b"\x3f\xe2\x1f" + block(*ASKED)), {COMPRESSION}),
    ("hpack 4.2 a new size at the end", get(fields=block(*ASKED) + b"\x3f\x01"), {COMPRESSION}),
]  # fmt: skip


def with_(*more: tuple[bytes, bytes]) -> bytes:
    return get(fields=block(*ASKED, *more))


def without(field: tuple[bytes, bytes], *more: tuple[bytes, bytes]) -> bytes:
    return get(fields=block(*[one for one in ASKED if one is not field], *more))


# What is malformed ends its stream, with a reset or a 4xx, and no other (sections 5.4.2 and 8.1.1): the last one
# that is opened here.
STREAM: list[tuple[str, bytes]] = [
    ("6.9.1 a stream's window overflows", post() + window(1, 2**31 - 1)),
    ("8.1.1 a length that is too long", post(1, (b"content-length", b"5")) + frame(DATA, 1, 1, b"ab")),
    ("8.1.1 a length that is too short", post(1, (b"content-length", b"1")) + frame(DATA, 1, 1, b"ab")),
    ("8.1.1 a length without a body", get(fields=block(*POSTED, (b"content-length", b"3")))),
    ("8.1 trailers that do not end the stream", post() + frame(DATA, 0, 1, b"ab") + frame(HEADERS, 4, 1, block((b"x-sum", b"1")))),
    ("8.2.1 an upper-case name", with_((b"X-Test", b"a"))),
    ("8.2.1 a coded upper-case name", get(fields=block(*ASKED) + b"\0\x81\x87\1a")),
    ("8.2.1 an upper-case name of an earlier block", get(fields=block(*ASKED) + b"\x40\1A\1b") + get(3, fields=block(*ASKED) + b"\x0f\x2f\1a")),
    ("8.2.1 a field of an earlier block that had one", get(fields=block(*ASKED) + b"\x40\1A\1b") + get(3, fields=block(*ASKED) + b"\xbe")),
    ("8.2.1 a name beyond ASCII", with_((b"x-\xc3\xa4", b"a"))),
    ("8.2.1 a coded zero in a value", get(fields=block(*ASKED) + b"\0\1a\x82\xff\xc7")),
    ("8.2.1 a coded line break in a value that is kept", get(fields=block(*ASKED) + b"\x40\1a\x84\xff\xff\xff\xf3")),
    ("8.2.1 an upper-case name in trailers", post() + frame(DATA, 0, 1, b"ab") + frame(HEADERS, 5, 1, block((b"X-Sum", b"1")))),
    ("8.2.1 a coded upper-case name in trailers", post() + frame(HEADERS, 5, 1, b"\0\x81\x87\1b")),
    ("8.2.1 an upper-case name of an earlier block in trailers", get(fields=block(*ASKED) + b"\x40\1A\1b") + post(3) + frame(HEADERS, 5, 3, b"\xbe")),
    ("8.2.1 a line break in a value of trailers", post() + frame(HEADERS, 5, 1, block((b"x-sum", b"1\r\n")))),
    ("8.2.1 a coded line break in a value of trailers", post() + frame(HEADERS, 5, 1, b"\0\1a\x84\xff\xff\xff\xf3")),
    ("8.2.1 a name with a space", with_((b"x test", b"a"))),
    ("8.2.1 a name with a colon", with_((b"x:test", b"a"))),
    ("8.2.1 a line break in a value", with_((b"x-test", b"a\r\nb: c"))),
    ("8.2.1 a zero in a value", with_((b"x-test", b"a\0b"))),
    ("8.2.1 space around a value", with_((b"x-test", b" a "))),
    ("8.2.2 connection", with_((b"connection", b"keep-alive"))),
    ("8.2.2 proxy-connection", with_((b"proxy-connection", b"keep-alive"))),
    ("8.2.2 keep-alive", with_((b"keep-alive", b"5"))),
    ("8.2.2 transfer-encoding (H2.TE)", with_((b"transfer-encoding", b"chunked"))),
    ("8.2.2 upgrade", with_((b"upgrade", b"websocket"))),
    ("8.2.2 te other than trailers", with_((b"te", b"gzip"))),
    ("8.3 a field of responses", get(fields=block((b":status", b"200"), *ASKED))),
    ("8.3 an unknown pseudo-field", get(fields=block((b":test", b"a"), *ASKED))),
    ("8.3 a pseudo-field after others", without(PATH, (b"x-test", b"a"), PATH)),
    ("8.3 a pseudo-field twice", get(fields=block(METHOD, *ASKED))),
    ("8.3 the path twice", get(fields=block(*ASKED, PATH))),
    ("8.3.1 no method", without(METHOD)),
    ("8.3.1 no scheme", without(SCHEME)),
    ("8.3.1 a scheme that is not of the web", without(SCHEME, (b":scheme", b"ftp"))),
    ("8.3.1 no path", without(PATH)),
    ("8.3.1 a method that is none", get(fields=block((b":method", b"GET /x HTTP/1.1"), SCHEME, PATH, HOST))),
    ("8.3.1 a path that is no text", get(fields=block(METHOD, SCHEME, HOST, (b":path", b"/\xff")))),
    ("8.3.1 an empty path", without(PATH, (b":path", b""))),
    ("8.3.1 a path without a slash", without(PATH, (b":path", b"a"))),
    ("8.3.1 a fragment (RFC 9112 3.2)", without(PATH, (b":path", b"/a#b"))),
    ("8.3.1 a coded fragment", get(fields=block(METHOD, SCHEME, HOST) + b"\x04\x83\x63\xfe\xbf")),
    ("8.3.1 a fragment, its field's name of an earlier block", get(fields=block(METHOD, SCHEME, HOST) + b"\x44\1/") + get(3, fields=block(METHOD, SCHEME, HOST) + b"\x0f\x2f\2/#")),
    ("8.3.1 a fragment of an earlier block", get(fields=block(METHOD, SCHEME, HOST) + b"\x44\2/#") + get(3, fields=block(METHOD, SCHEME, HOST) + b"\xbe")),
    ("8.3.1 a coded 1 in a path", get(fields=block(METHOD, SCHEME, HOST) + b"\x04\x84\x63\xff\xfe\xc7")),
    ("8.3.1 a coded 2 in a path", get(fields=block(METHOD, SCHEME, HOST) + b"\x04\x85\x63\xff\xff\xf8\xbf")),
    ("8.3.1 a coded 1 in an authority", get(fields=block(METHOD, SCHEME, PATH) + b"\x01\x83\xff\xff\xb1")),
    ("8.3.1 a coded 2 in an authority", get(fields=block(METHOD, SCHEME, PATH) + b"\x01\x84\xff\xff\xfe\x2f")),
    ("8.3.1 a coded 2 in a path whose name is of an earlier block", get(fields=block(METHOD, SCHEME, HOST) + b"\x44\1/") + get(3, fields=block(METHOD, SCHEME, HOST) + b"\x0f\x2f\x85\x63\xff\xff\xf8\xbf")),
    ("8.3.1 a coded 2 in a scheme", get(fields=block(METHOD, PATH, HOST) + b"\x06\x84\xff\xff\xfe\x2f")),
    ("8.3.1 an authority with a user", without(HOST, (b":authority", b"u@a"))),
    ("8.3.1 host and authority differ", with_((b"host", b"other"))),
    ("H2.CL a length that is two", post(1, (b"content-length", b"1, 1")) + frame(DATA, 1, 1, b"a")),
    ("H2.CL two lengths", post(1, (b"content-length", b"1"), (b"content-length", b"2")) + frame(DATA, 1, 1, b"a")),
    ("H2.CL a length with a sign", post(1, (b"content-length", b"+1")) + frame(DATA, 1, 1, b"a")),
    ("8.5 connect with a path", without(METHOD, (b":method", b"CONNECT"))),
]  # fmt: skip

def shifted(sent: bytes, by: int = 2) -> bytes:
    """The same frames on other streams; what is about the connection stays."""
    out = b""
    while sent:
        length, stream = int.from_bytes(sent[:3], "big"), int.from_bytes(sent[5:9], "big")
        out += sent[:5] + struct.pack(">I", stream + by if stream else 0) + sent[9 : 9 + length]
        sent = sent[9 + length :]
    return out


def last_stream(sent: bytes) -> int:
    most = 0
    while sent:
        length, stream = int.from_bytes(sent[:3], "big"), int.from_bytes(sent[5:9], "big")
        most, sent = max(most, stream), sent[9 + length :]
    return most


# What any client may do.
ALLOWED: list[tuple[str, bytes]] = [
    ("4.1 an unknown frame", frame(0x42, 0xFF, 0, b"anything")),
    ("4.1 unknown flags", frame(PING, 0xFE, 0, bytes(8))),
    ("4.1 the reserved bit", frame(PING, 0, 2**31, bytes(8))),
    ("5.1 priority of an idle stream", frame(PRIORITY, 0, 9, bytes(4) + b"\x10")),
    ("5.1 window after the end", get(3) + window(3, 100)),
    ("5.1 reset after the end", get(3) + frame(RST, 0, 3, struct.pack(">I", 8))),
    ("5.3.1 a priority that depends on itself", frame(PRIORITY, 0, 9, struct.pack(">I", 9) + b"\x10")),
    ("6.1 padding of data", post(3) + frame(DATA, PADDED | 1, 3, b"\x02ab" + bytes(2))),
    ("6.2 padding and priority", frame(HEADERS, 45, 3, b"\x02" + bytes(4) + b"\x10" + block(*ASKED) + bytes(2))),
    ("6.5.2 an unknown setting", setting(0xFF, 1)),
    ("6.7 an answer to a ping that was none", frame(PING, 1, 0, bytes(8))),
    ("7 a reset with an unknown code", post(3) + frame(RST, 0, 3, struct.pack(">I", 0xFFFF))),
    ("6.9.2 a window of nothing for a while", setting(4, 0) + setting(4, 65535)),
    ("6.10 a block in three frames", frame(HEADERS, 1, 3, block(*ASKED[:2])) + frame(CONTINUATION, 0, 3, block(PATH)) + frame(CONTINUATION, 4, 3, block(HOST))),
    ("8.2.2 te of trailers", get(3, block(*ASKED, (b"te", b"trailers")))),
    ("8.1 trailers", post(3) + frame(DATA, 0, 3, b"ab") + frame(HEADERS, 5, 3, block((b"x-sum", b"1")))),
    ("hpack 4.2 a new size at the beginning", get(3, b"\x3f\x01" + block(*ASKED))),
    ("hpack 2.3.3 an index of what was put in", get(3, block(*ASKED) + b"\x40\1a\1b") + get(5, block(*ASKED) + b"\xbe")),
]  # fmt: skip


class Secured:
    """A certificate for this machine, and who trusts it."""

    def __init__(self, folder: Path) -> None:
        authority = Authority("Canter test authority")
        self.pair = authority.issue(folder / "localhost", "localhost", is_server=True)
        self.context = ssl._create_unverified_context()
        self.context.set_alpn_protocols(["h2"])


@pytest.fixture(scope="module", params=["plain", "tls"])
def connect(folder: Path, request: pytest.FixtureRequest) -> Iterator[type[Wire]]:
    way: str = request.param
    flags: tuple[str, ...] = ("--http2", "plain")
    secured = None
    if way == "tls":
        secured = Secured(folder)
        flags = (f"--certfile={secured.pair.chain}", f"--keyfile={secured.pair.key}")
    with Server(folder / way, APP, *flags) as server:

        class Here(Wire):
            def __init__(self) -> None:
                raw = socket.create_connection(server.address, timeout=20)
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                super().__init__(secured.context.wrap_socket(raw) if secured else raw)

        yield Here


class Wire:
    """A connection past its preface, read frame by frame."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.ahead = b""
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def send(self, data: bytes) -> None:
        # A server that has had enough may have closed; what it said can still be read.
        with contextlib.suppress(OSError):
            self.raw.sendall(data)

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of what comes, to the end."""
        while True:
            head = self._exactly(9)
            if len(head) < 9:
                return
            payload = self._exactly(int.from_bytes(head[:3], "big"))
            yield head[3], head[4], int.from_bytes(head[5:], "big"), payload

    def _exactly(self, count: int) -> bytes:
        while len(self.ahead) < count:
            try:
                piece = self.raw.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                break
            self.ahead += piece
        data, self.ahead = self.ahead[:count], self.ahead[count:]
        return data


@pytest.mark.parametrize(("sent", "codes"), [row[1:] for row in CONNECTION], ids=[row[0] for row in CONNECTION])
def test_h8_a_breach_of_the_connection_ends_it_with_its_code(
    connect: type[Wire], sent: bytes, codes: set[int]
) -> None:
    with connect() as wire:  # type: ignore[call-arg]
        wire.send(sent)
        last = None
        for kind, _, _, payload in wire.frames():
            if kind == GOAWAY:
                last = int.from_bytes(payload[4:8], "big")
        assert last in codes


@pytest.mark.parametrize("sent", [row[1] for row in STREAM], ids=[row[0] for row in STREAM])
def test_h8_what_is_malformed_ends_its_stream_and_no_other(connect: type[Wire], sent: bytes) -> None:
    with connect() as wire:  # type: ignore[call-arg]
        # Another one is open before it.
        sent = shifted(sent)
        bad = last_stream(sent)
        wire.send(post(1) + frame(DATA, 0, 1, b"be") + sent)
        for kind, _, stream, payload in wire.frames():
            assert kind != GOAWAY, payload
            if kind == RST and stream == bad:
                break
            if kind == HEADERS and stream == bad:
                # 400 stands in the static table (RFC 7541, appendix A); other 4xx do not.
                assert payload[:1] == b"\x8c" or payload[1:5] in (b"\x82\x68\x1f", b"\x03405")
                break
        else:
            raise AssertionError("the connection has ended")
        wire.send(frame(DATA, END_STREAM, 1, b"fore") + get(11))
        bodies = {1: b"", 11: b""}
        for kind, flags, stream, payload in wire.frames():
            if kind == DATA and stream in bodies:
                bodies[stream] += payload
            if bodies == {1: b"before", 11: b"hello"}:
                break
        assert bodies == {1: b"before", 11: b"hello"}


def test_h8_malformed_trailers_are_told_of_by_their_own_stream(connect: type[Wire]) -> None:
    """And not by the one that was opened last."""
    with connect() as wire:  # type: ignore[call-arg]
        wire.send(get(1, block(*ASKED) + b"\x40\1A\1b"))
        assert next(stream for kind, _, stream, _ in wire.frames() if kind in (RST, GOAWAY)) == 1
        ended = {}
        wire.send(post(3) + get(5) + frame(HEADERS, 5, 3, b"\xbe"))
        for kind, flags, stream, _ in wire.frames():
            assert kind != GOAWAY
            if kind == RST or (kind == DATA and flags & END_STREAM):
                ended[stream] = kind
            if len(ended) == 2:
                break
        assert ended == {3: RST, 5: DATA}


def test_h8_no_number_of_malformed_trailers_ends_the_connection(connect: type[Wire]) -> None:
    """Nor where their request was handed over long ago."""
    with connect() as wire:  # type: ignore[call-arg]
        for stream in range(1, 401, 2):
            wire.send(post(stream) + frame(DATA, 0, stream, b"a") + frame(HEADERS, 5, stream, block((b"X", b""))))
            assert next(one for kind, _, one, _ in wire.frames() if kind in (RST, GOAWAY)) == stream
        wire.send(get(401))
        assert any(kind == DATA and stream == 401 for kind, _, stream, _ in wire.frames())


def test_h8_no_number_of_malformed_requests_that_are_refused_ends_the_connection(connect: type[Wire]) -> None:
    """Whoever forwards requests of many clients on one connection does not answer for each of them."""
    with connect() as wire:  # type: ignore[call-arg]
        for number in range(200):
            bad, good = number * 4 + 1, number * 4 + 3
            path = b"/#" if number % 2 else b"/"
            wire.send(get(bad, block(METHOD, SCHEME, HOST, (b":path", path), (b"X" if path == b"/" else b"x", b""))))
            assert next(stream for kind, _, stream, _ in wire.frames() if kind in (RST, GOAWAY)) == bad
        wire.send(get(good))
        assert any(kind == DATA and stream == good for kind, _, stream, _ in wire.frames())


@pytest.mark.parametrize("sent", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_h8_what_clients_may_do_is_taken(connect: type[Wire], sent: bytes) -> None:
    with connect() as wire:  # type: ignore[call-arg]
        wire.send(sent + get(11))
        assert any(
            kind == DATA and stream == 11 and payload == b"hello"
            for kind, _, stream, payload in wire.frames()
        )


def test_h8_streams_beyond_the_most_that_may_be_open_are_refused(connect: type[Wire]) -> None:
    """Section 5.1.2."""
    with connect() as wire:  # type: ignore[call-arg]
        wire.send(b"".join(post(stream) for stream in range(1, 205, 2)))
        refused = []
        for kind, _, stream, payload in wire.frames():
            if kind == RST:
                refused.append((stream, int.from_bytes(payload, "big")))
            if len(refused) == 2:
                break
        assert refused == [(201, 7), (203, 7)]
        wire.send(frame(DATA, END_STREAM, 1, b"x"))
        assert any(kind == DATA and stream == 1 for kind, _, stream, _ in wire.frames())


def test_h8_settings_are_acknowledged_each_and_a_ping_is_sent_back(connect: type[Wire]) -> None:
    """Sections 6.5.3 and 6.7."""
    with connect() as wire:  # type: ignore[call-arg]
        wire.send(setting(4, 100) + setting(4, 65535) + frame(PING, 0, 0, b"12345678"))
        acknowledged = 0
        for kind, flags, _, payload in wire.frames():
            acknowledged += (kind, flags) == (SETTINGS, 1)
            if kind == PING:
                break
        # The first are those behind the preface.
        assert (acknowledged, payload) == (3, b"12345678")


def test_h8_no_more_comes_than_the_window_has_room_for_whatever_becomes_of_it(connect: type[Wire]) -> None:
    """Sections 6.9.1 and 6.9.2."""
    with connect() as wire:  # type: ignore[call-arg]

        def body(until: bytes) -> bytes:
            """What came on the stream before that ping came back."""
            wire.send(frame(PING, 0, 0, until))
            came = b""
            for kind, flags, stream, payload in wire.frames():
                if (kind, payload) == (PING, until):
                    return came
                came += payload if (kind, stream) == (DATA, 1) else b""
            raise AssertionError("the connection has ended")

        def arrive(count: int) -> bytes:
            came, number = b"", 0
            while len(came) < count:
                number += 1
                came += body(struct.pack(">Q", number))
            return came

        wire.send(setting(4, 3) + post(1) + frame(DATA, END_STREAM, 1, bytes(20)))
        assert arrive(3) == bytes(3)
        # Below nothing, by what was sent already; and one above.
        wire.send(setting(4, 0) + window(1, 3))
        assert body(b"nothing!") == b""
        wire.send(window(1, 1))
        assert arrive(1) == bytes(1)
        wire.send(setting(4, 2))
        assert arrive(2) == bytes(2)
        wire.send(window(1, 100))
        assert arrive(14) == bytes(14)


def test_h8_a_preface_that_is_none_is_refused(connect: type[Wire]) -> None:
    with connect() as wire:  # type: ignore[call-arg]
        wire.send(frame(PING, 0, 0, b"12345678"))
        assert any(kind == PING and flags == 1 for kind, flags, _, _ in wire.frames())


def test_what_a_client_still_sends_when_it_is_asked_to_go_does_not_reset_the_connection(folder: Path) -> None:
    """A reset may reach the client before the end of the last response (RFC 9112, section 9.6)."""
    with Server(folder / "idle", APP, "--http2", "plain", "--keep-alive", "1s") as server:
        with Wire(socket.create_connection(server.address, timeout=20)) as wire:
            wire.send(get())
            asked = next(payload for kind, flags, _, payload in wire.frames() if (kind, flags) == (PING, 0))
            wire.send(frame(PING, 1, 0, asked) + frame(0xFF, 0, 0, bytes(16384)) * 8)
            while wire.raw.recv(65536):
                pass
            # After a reset the system takes nothing more.
            for _ in range(3):
                wire.raw.sendall(frame(PING, 1, 0, asked))


def test_a_client_that_says_it_goes_is_asked_nothing_at_once(connect: type[Wire]) -> None:
    """It may wait for the answer to a PING of its own, as the httpwg tests of section 7 do."""
    with connect() as wire:  # type: ignore[call-arg]
        wire.send(frame(GOAWAY, 0, 0, bytes(8)))
        wire.raw.settimeout(0.6)
        with pytest.raises(TimeoutError):
            while piece := wire.raw.recv(65536):
                wire.ahead += piece
        wire.raw.settimeout(20)
        wire.send(frame(PING, 0, 0, b"pingpong"))
        words = ((kind, flags) for kind, flags, _, _ in wire.frames() if kind in (PING, GOAWAY))
        assert next(words) == (PING, 1)
