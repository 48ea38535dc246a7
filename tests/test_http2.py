"""HTTP/2 from outside, with the client of the ``h2`` package and with frames written by hand: the
app sees what it would see over HTTP/1.1, and no client holds more than its share.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest
from harness.certificates import Authority
from harness.memory import private_kilobytes
from harness.operated import until
from harness.server import Server

APP = """
import hashlib
import time


def application(environ, start_response):
    path = environ["PATH_INFO"]
    status, headers = "200 OK", [("Content-Type", "text/plain")]
    if path == "/environ":
        names = ("REQUEST_METHOD", "SERVER_PROTOCOL", "QUERY_STRING", "HTTP_HOST", "HTTP_COOKIE",
                 "HTTP_CONNECTION", "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "wsgi.url_scheme")
        body = [repr({name: environ.get(name) for name in names}).encode()]
    elif path == "/hash":
        body = [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
    elif path == "/stream":
        body = (b"%d" % number * 1000 for number in range(500))
    elif path == "/big":
        body = [b"canter" * 500_000]
    elif path == "/middle":
        body = [b"canter" * 40_000]
    elif path == "/slow":
        open("slow", "w").close()
        time.sleep(0.5)
        body = [b"slow"]
    elif path == "/none":
        status, body = "204 No Content", []
    elif path == "/raise":
        raise RuntimeError("on purpose")
    else:
        body = [b"hello"]
    start_response(status, headers)
    return body
"""

QUICK = ("--header-timeout", "1s", "--rate-grace", "1s", "--keep-alive", "2s")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """For what is cut: its limits are those of a test that wants to see them reached."""
    with Server(folder / "server", APP, "--http2", "plain", *QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def calm(folder: Path) -> Iterator[Server]:
    """For what is not cut, also where this machine is slow."""
    with Server(folder / "calm", APP, "--http2", "plain", "--rate-grace", "60s") as server:
        yield server


class Reply:
    """What came on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        # Grows in place: megabytes that are copied for each frame take minutes.
        self.data = bytearray()
        self.ended = False
        self.reset: int | None = None

    @property
    def body(self) -> bytes:
        return bytes(self.data)

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


class Peer:
    """A client that takes everything that comes, unless told otherwise."""

    def __init__(self, raw: socket.socket, *, window: int | None = None) -> None:
        self.socket = raw
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.takes = window is None
        if window is not None:
            code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
            self.connection.local_settings = h2.settings.Settings(True, {code: window})
        self.connection.initiate_connection()
        self.replies: dict[int, Reply] = {}
        self.closed = False
        self.goaway = False
        self.raw = bytearray()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.connection.data_to_send())

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, **fields: str
    ) -> int:
        stream = self.connection.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "http"), (":authority", "example.org"), (":path", path)]
        headers += [(name.replace("_", "-"), value) for name, value in fields.items()]
        self.connection.send_headers(stream, headers, end_stream=body is None)
        self.replies[stream] = Reply()
        self.flush()
        if body is not None:
            self.send(stream, body)
        return stream

    def send(self, stream: int, body: bytes) -> None:
        while body:
            room = min(
                self.connection.local_flow_control_window(stream),
                self.connection.max_outbound_frame_size,
            )
            if not room:
                self.step()
                continue
            self.connection.send_data(stream, body[:room])
            self.flush()
            body = body[room:]
        self.connection.end_stream(stream)
        self.flush()

    def step(self) -> None:
        """Wait for bytes and take what they say."""
        data = self.socket.recv(65536)
        if not data:
            # Who goes on waiting for something would do so for ever.
            assert not self.closed, "the connection has ended"
            self.closed = True
            return
        self.raw += data
        try:
            events = self.connection.receive_data(data)
        except h2.exceptions.ProtocolError:
            # The package takes nothing after GOAWAY, though streams go on (RFC 9113, 6.8).
            self.goaway |= re.search(rb"\0\0.\x07\0\0\0\0\0", data, re.DOTALL) is not None
            if not self.goaway:
                raise
            return
        for event in events:
            stream = getattr(event, "stream_id", None)
            reply = self.replies.get(stream or 0)
            if isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = True
            if reply is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                reply.headers = dict(event.headers)  # type: ignore[arg-type]
            elif isinstance(event, h2.events.DataReceived):
                reply.data += event.data
                if self.takes:
                    self.connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            elif isinstance(event, h2.events.StreamEnded):
                reply.ended = True
            elif isinstance(event, h2.events.StreamReset):
                reply.reset = int(event.error_code)
        self.flush()

    def reply(self, stream: int) -> Reply:
        reply = self.replies[stream]
        while not reply.ended and reply.reset is None and not self.closed:
            self.step()
        return reply

    def get(self, path: str = "/", **fields: str) -> Reply:
        return self.reply(self.ask(path, **fields))


def connect(server: Server, *, window: int | None = None) -> Peer:
    raw = socket.create_connection(server.address, timeout=15)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Peer(raw, window=window)


@pytest.fixture
def peer(calm: Server) -> Iterator[Peer]:
    peer = connect(calm)
    with peer.socket:
        yield peer


def test_h8_the_app_sees_what_it_would_see_over_http_1(peer: Peer) -> None:
    stream = peer.connection.get_next_available_stream_id()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "example.org:81"),
              (":path", "/environ?a=%20b"), ("cookie", "a=1"), ("cookie", "b=2")]
    peer.connection.send_headers(stream, fields, end_stream=True)
    peer.replies[stream] = Reply()
    peer.flush()
    seen = eval(peer.reply(stream).body)
    assert seen == {
        "REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/2.0", "QUERY_STRING": "a=%20b",
        "HTTP_HOST": "example.org:81", "HTTP_COOKIE": "a=1; b=2", "HTTP_CONNECTION": None,
        "CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": None, "wsgi.url_scheme": "http",
    }  # fmt: skip


def test_responses_of_every_kind_arrive_whole(peer: Peer) -> None:
    assert (reply := peer.get("/")).body == b"hello" and "connection" not in reply.headers
    assert peer.get("/stream").body == b"".join(b"%d" % number * 1000 for number in range(500))
    big = peer.get("/big")
    assert big.body == b"canter" * 500_000 and big.headers["content-length"] == "3000000"
    assert peer.get("/none").status == 204
    assert peer.get("/raise").status == 500
    head = peer.reply(peer.ask("/big", "HEAD"))
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "3000000")


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize("with_length", [True, False])
def test_uploads_arrive_whole(peer: Peer, size: int, with_length: bool) -> None:
    body = bytes(number % 251 for number in range(1000)) * (size // 1000 + 1)
    body = body[:size]
    fields = {"content_length": str(size)} if with_length else {}
    stream = peer.ask("/hash", "POST", body, **fields)
    assert peer.reply(stream).body == hashlib.sha256(body).hexdigest().encode()


def test_streams_are_answered_side_by_side(peer: Peer) -> None:
    began = time.monotonic()
    streams = [peer.ask("/slow") for _ in range(20)]
    assert [peer.reply(stream).body for stream in streams] == [b"slow"] * 20
    # One after the other they would take ten seconds.
    assert time.monotonic() - began < 9


def test_h8_what_has_no_place_in_http_2_is_refused(calm: Server) -> None:
    for name, value in (("connection", "keep-alive"), ("transfer-encoding", "chunked"), ("upgrade", "x"), ("te", "gzip")):
        peer = connect(calm)
        with peer.socket:
            peer.connection.config.validate_outbound_headers = False
            peer.connection.config.normalize_outbound_headers = False
            reply = peer.get("/", **{name: value})
            assert reply.reset is not None or reply.status == 400, name


def test_h8_a_wrong_length_is_refused(calm: Server) -> None:
    peer = connect(calm)
    with peer.socket:
        stream = peer.ask("/hash", "POST", b"abc", content_length="5")
        reply = peer.reply(stream)
        assert reply.reset is not None or reply.status == 400


def test_h8_host_and_authority_must_agree(peer: Peer) -> None:
    peer.connection.config.validate_outbound_headers = False
    stream = peer.ask("/", host="other.example")
    assert peer.reply(stream).reset == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert peer.get("/", host="example.org").status == 200


def test_h8_space_around_a_value_is_malformed_and_logged(calm: Server, peer: Peer) -> None:
    peer.connection.config.validate_outbound_headers = False
    peer.connection.config.normalize_outbound_headers = False
    stream = peer.ask("/", x_space=" a")
    assert peer.reply(stream).reset == h2.errors.ErrorCodes.PROTOCOL_ERROR
    calm.access_line(r"space around a value.*400|400.*space around a value")
    assert peer.get("/").status == 200


def test_h8_what_breaks_a_rule_ends_the_connection_with_its_error_code(calm: Server) -> None:
    def code_of(*frames: bytes) -> int:
        with connect(calm).socket as raw:
            raw.sendall(b"".join(frames))
            raw.settimeout(20)
            bytes_ = b""
            while piece := raw.recv(65536):
                bytes_ += piece
        while bytes_:
            length = int.from_bytes(bytes_[:3], "big")
            if bytes_[3] == 7:
                return int.from_bytes(bytes_[13:17], "big")
            bytes_ = bytes_[9 + length :]
        raise AssertionError("no GOAWAY")

    get = bytes([0x82, 0x86, 0x84, 0x01, 1]) + b"a"
    assert code_of(frame(6, 0, 0, b"short")) == h2.errors.ErrorCodes.FRAME_SIZE_ERROR
    assert code_of(frame(1, 5, 1, get), frame(0, 0, 1, b"x")) == h2.errors.ErrorCodes.STREAM_CLOSED
    assert code_of(frame(1, 5, 1, b"\x40")) == h2.errors.ErrorCodes.COMPRESSION_ERROR
    assert code_of(frame(4, 0, 0, bytes([0, 4, 255, 0, 0, 0]))) == h2.errors.ErrorCodes.FLOW_CONTROL_ERROR
    assert code_of(frame(1, 4, 1, get), frame(1, 5, 1, b"\x84")) == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert code_of(*[frame(6, 0, 0, bytes(8))] * 1100) == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_a_body_that_is_too_large_is_refused_and_the_connection_lives(folder: Path) -> None:
    with Server(folder / "small", APP, "--http2", "plain", "--max-body", "10kB") as server:
        peer = connect(server)
        with peer.socket:
            stream = peer.ask("/hash", "POST", content_length="1000000")
            del stream
            refused = peer.connection.get_next_available_stream_id()
            headers = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/hash"), ("content-length", "1000000")]
            peer.connection.send_headers(refused, headers)
            peer.replies[refused] = Reply()
            peer.flush()
            assert peer.reply(refused).status == 413
            assert peer.get("/").status == 200


def test_a_client_that_resets_a_stream_disturbs_no_other(peer: Peer) -> None:
    stream = peer.ask("/slow")
    peer.connection.reset_stream(stream, 8)
    peer.flush()
    assert peer.get("/").body == b"hello"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def is_ended(peer: Peer) -> bool:
    """Whether the server ends the connection."""
    try:
        while not peer.closed:
            if not peer.socket.recv(65536):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize(
    ("what", "frames"),
    [
        ("h1 rapid reset", [frame(1, 5, 0, b"\x82\x84\x86\x41\x01a"), frame(3, 0, 0, b"\0\0\0\x08")]),
        ("h3 continuation", [frame(9, 0, 1, b"\0" * 100)]),
        ("h6 settings", [frame(4, 0, 0)]),
        ("h6 ping", [frame(6, 0, 0, b"12345678")]),
        ("h6 empty data", [frame(0, 0, 1)]),
        ("h6 priority", [frame(2, 0, 1, b"\0\0\0\0\x10")]),
        ("h6 window updates", [frame(8, 0, 0, b"\0\0\0\x01")]),
    ],
)  # fmt: skip
def test_floods_end_their_connection_and_no_other(calm: Server, what: str, frames: list[bytes]) -> None:
    witness = connect(calm)
    peer = connect(calm)
    with witness.socket, peer.socket:
        if what in ("h3 continuation", "h6 empty data"):
            peer.socket.sendall(frame(1, 0 if "h3" in what else 4, 1, b"\x83\x84\x86\x41\x01a"))
        try:
            for number in range(5000):
                stream = struct.pack(">I", number * 2 + 1)
                one = b"".join(
                    part[:5] + stream + part[9:] if "h1" in what else part for part in frames
                )
                peer.socket.sendall(one)
        except OSError:
            pass
        peer.socket.settimeout(20)
        assert is_ended(peer)
        assert witness.get("/").body == b"hello"


def test_h5_a_client_that_takes_nothing_is_reset_and_costs_little(server: Server) -> None:
    peer = connect(server, window=0)
    with peer.socket:
        streams = [peer.ask("/big") for _ in range(20)]
        replies = [peer.reply(stream) for stream in streams]
        seen = [(reply.reset, reply.ended, len(reply.body)) for reply in replies]
        assert seen == [(8, False, 0)] * 20


def test_h5_a_client_that_opens_all_windows_and_reads_nothing_is_cut_and_costs_little(
    server: Server,
) -> None:
    front = server.children()["front"][0]
    before = private_memory(front)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        raw.connect(server.address)
        peer = Peer(raw, window=2**31 - 1)
        peer.connection.increment_flow_control_window(2**31 - 1 - 65535)
        # One that is slow is cut before it has asked for all of them.
        with contextlib.suppress(OSError):
            for _ in range(100):
                peer.ask("/big")
        most = 0

        def is_cut() -> bool:
            nonlocal most
            most = max(most, private_memory(front) - before)
            # Bytes on their way hide the reset from everyone but poll(2).
            poll = select.poll()
            poll.register(raw, 0)
            return bool(poll.poll(0))

        until(is_cut, 30)
        assert most < 6_000_000


@pytest.mark.parametrize("path", ["/big", "/middle"])
def test_h5_a_hostile_connection_costs_less_than_two_megabytes(calm: Server, path: str) -> None:
    front = calm.children()["front"][0]
    before = private_memory(front)
    peers = [connect(calm, window=0) for _ in range(4)]
    asked = []
    with contextlib.ExitStack() as held:
        for peer in peers:
            held.enter_context(peer.socket)
            asked.append([peer.ask(path) for _ in range(100)])
        # All that may begin has been answered: nothing waits for a worker.
        for peer, streams in zip(peers, asked, strict=True):
            while not all(peer.replies[stream].headers for stream in streams[:24]):
                peer.step()
        with calm.client() as other:
            assert other.get("/").status == 200
        assert private_memory(front) - before < len(peers) * 2_000_000
        # Whoever takes nothing runs few apps: the rest of its requests never begin.
        begun = sum(bool(reply.headers) for peer in peers for reply in peer.replies.values())
        assert begun <= 24 * len(peers)


def test_h5_streams_that_wait_begin_as_others_are_taken(peer: Peer) -> None:
    streams = [peer.ask("/" if number % 2 else "/stream") for number in range(100)]
    assert all(peer.reply(stream).status == 200 for stream in streams)


def test_h1_what_is_cancelled_before_it_begins_never_runs(calm: Server) -> None:
    peer = connect(calm, window=0)
    with peer.socket:
        streams = [peer.ask("/cancelled") for _ in range(30)]
        while not all(peer.replies[stream].headers for stream in streams[:24]):
            peer.step()
        for stream in streams[24:]:
            peer.connection.reset_stream(stream, 8)
        for stream in streams[:24]:
            peer.connection.increment_flow_control_window(10, stream)
        peer.flush()
        assert all(peer.reply(stream).body == b"hello" for stream in streams[:24])
        last = peer.ask("/after")
        peer.connection.increment_flow_control_window(10, last)
        peer.flush()
        assert peer.reply(last).body == b"hello"
        calm.access_line("/after")
        assert calm.stdout.count("/cancelled") == 24


def private_memory(process: int) -> int:
    """Bytes of memory that are this process's own."""
    return private_kilobytes(process) * 1024


def test_streams_take_no_room_from_connections(folder: Path) -> None:
    flags = ("--http2", "plain", "--max-connections", "3", "--rate-grace", "60s")
    with Server(folder / "roomy", APP, *flags) as server:
        peer = connect(server, window=0)
        with peer.socket:
            streams = [peer.ask("/big") for _ in range(5)]
            while not all(peer.replies[stream].headers for stream in streams):
                peer.step()
            began = time.monotonic()
            with server.client() as other:
                assert other.get("/").status == 200
            # They stay for the grace of a minute.
            assert time.monotonic() - began < 30


def test_h7_a_header_that_does_not_end_is_not_waited_for(server: Server) -> None:
    peer = connect(server)
    with peer.socket:
        peer.socket.sendall(frame(1, 0, 1, b"\x82\x84\x86\x41\x01a"))
        began = time.monotonic()
        assert is_ended(peer) and time.monotonic() - began < 9


def test_h7_a_body_that_trickles_is_not_waited_for(server: Server) -> None:
    peer = connect(server)
    with peer.socket:
        stream = peer.connection.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/hash")]
        peer.connection.send_headers(stream, headers)
        peer.replies[stream] = Reply()
        peer.flush()
        assert peer.reply(stream).status == 408


def test_h7_idle_connections_are_asked_to_go(server: Server) -> None:
    peer = connect(server)
    with peer.socket:
        assert peer.get("/").status == 200
        while not peer.closed:
            peer.step()
        assert peer.goaway


def test_h7_half_a_preface_is_not_waited_for(server: Server) -> None:
    with socket.create_connection(server.address, timeout=10) as raw:
        raw.sendall(b"PRI * HTTP/2.0\r\n")
        raw.settimeout(15)
        while raw.recv(4096):
            pass


def test_f7_a_stop_finishes_streams_and_says_goaway(folder: Path) -> None:
    with Server(folder / "stopped", APP, "--http2", "plain") as server:
        peer = connect(server)
        with peer.socket:
            stream = peer.ask("/slow")
            until((folder / "stopped" / "slow").exists)
            server.process.terminate()
            peer.reply(stream)
            while not peer.closed:
                peer.step()
            assert peer.goaway and b"slow" in peer.raw


class Secured:
    """A certificate for the tests over TLS, and clients that trust it."""

    def __init__(self, folder: Path) -> None:
        authority = Authority("Canter test authority")
        self.root = authority.write(folder / "root.pem")
        pair = authority.issue(folder / "localhost", "localhost", is_server=True)
        self.flags = (f"--certfile={pair.chain}", f"--keyfile={pair.key}")

    def connect(self, server: Server, *offered: str) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.root))
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
        if offered:
            context.set_alpn_protocols(list(offered))
        raw = socket.create_connection(server.address, timeout=10)
        return context.wrap_socket(raw, server_hostname="localhost")


@pytest.fixture(scope="module")
def secured(folder: Path) -> Secured:
    return Secured(folder)


def is_http_1(tls: ssl.SSLSocket) -> bool:
    tls.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return tls.recv(15).startswith(b"HTTP/1.1 200")


def test_http_2_over_tls_is_agreed_on_and_http_1_still_spoken(
    folder: Path, secured: Secured
) -> None:
    with Server(folder / "tls", APP, *secured.flags, "--rate-grace", "3s") as server:
        with secured.connect(server, "h2", "http/1.1") as tls:
            assert tls.selected_alpn_protocol() == "h2"
            peer = Peer(tls)
            assert peer.get("/big").body == b"canter" * 500_000
            assert b"'https'" in peer.get("/environ").body
        with secured.connect(server, "http/1.1") as tls:
            assert tls.selected_alpn_protocol() == "http/1.1" and is_http_1(tls)
        with secured.connect(server) as tls:
            assert tls.selected_alpn_protocol() is None and is_http_1(tls)
        # h5: the rules against those who take nothing are the same.
        with secured.connect(server, "h2") as tls:
            peer = Peer(tls, window=0)
            streams = [peer.ask("/big") for _ in range(3)]
            assert [peer.reply(stream).reset for stream in streams] == [8] * 3


def test_http_2_that_is_off_is_not_offered(folder: Path, secured: Secured) -> None:
    with Server(folder / "h1", APP, *secured.flags, "--http2", "off") as server:
        with secured.connect(server, "h2", "http/1.1") as tls:
            assert tls.selected_alpn_protocol() == "http/1.1" and is_http_1(tls)


def test_without_leave_plain_http_2_is_not_spoken(folder: Path) -> None:
    with Server(folder / "off", APP) as server:
        with socket.create_connection(server.address, timeout=10) as raw:
            raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert raw.recv(12).startswith(b"HTTP/1.1 ")


def test_the_log_says_which_protocol_it_was(calm: Server, peer: Peer) -> None:
    peer.get("/logged")
    assert '"GET /logged HTTP/2.0" 200' in calm.access_line("/logged")
