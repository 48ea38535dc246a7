"""Owns PostgreSQL's protocol 3 by hand: each message as bytes, a raw client, a scripted server.

Leaves out all that a driver does for its user: nothing is checked, ordered or completed here, so
that a test can send half a message, a wrong length, or die at any point. Section numbers of the
PostgreSQL manual: 55.2 (flow), 55.7 (formats).
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from harness.operated import PATIENCE

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102

TEXT_OID = 25
INT4_OID = 23


# --- messages of a client


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message; the length counts itself."""
    return kind + struct.pack("!i", len(body) + 4) + body


def untyped(code: int, body: bytes = b"") -> bytes:
    """The first message of a connection, which has no kind."""
    return struct.pack("!ii", len(body) + 8, code) + body


def cstring(text: str | bytes) -> bytes:
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def startup(version: tuple[int, int] = (3, 0), **params: str) -> bytes:
    """StartupMessage."""
    body = b"".join(cstring(name) + cstring(value) for name, value in params.items())
    return untyped(version[0] << 16 | version[1], body + b"\0")


def ssl_request() -> bytes:
    return untyped(SSL_REQUEST)


def gss_request() -> bytes:
    return untyped(GSS_REQUEST)


def cancel_request(pid: int, secret: bytes) -> bytes:
    return untyped(CANCEL_REQUEST, struct.pack("!i", pid) + secret)


def password(text: str) -> bytes:
    return message(b"p", cstring(text))


def query(sql: str | bytes) -> bytes:
    return message(b"Q", cstring(sql))


def parse(sql: str | bytes, name: str = "", oids: Sequence[int] = ()) -> bytes:
    types = struct.pack(f"!h{len(oids)}I", len(oids), *oids)
    return message(b"P", cstring(name) + cstring(sql) + types)


def bind(name: str = "", values: Sequence[bytes | None] = (), portal: str = "") -> bytes:
    """Bind with text parameters and text results."""
    parts = [cstring(portal), cstring(name), struct.pack("!hh", 0, len(values))]
    for value in values:
        parts.append(struct.pack("!i", -1 if value is None else len(value)) + (value or b""))
    return message(b"B", b"".join(parts) + struct.pack("!h", 0))


def describe(name: str = "", kind: bytes = b"S") -> bytes:
    """Describe of a statement, or with ``kind=b"P"`` of a portal."""
    return message(b"D", kind + cstring(name))


def execute(rows: int = 0, portal: str = "") -> bytes:
    return message(b"E", cstring(portal) + struct.pack("!i", rows))


def close(name: str = "", kind: bytes = b"S") -> bytes:
    return message(b"C", kind + cstring(name))


def flush() -> bytes:
    return message(b"H")


def sync() -> bytes:
    return message(b"S")


def terminate() -> bytes:
    return message(b"X")


def copy_data(data: bytes) -> bytes:
    return message(b"d", data)


def copy_done() -> bytes:
    return message(b"c")


def copy_fail(why: str) -> bytes:
    return message(b"f", cstring(why))


def function_call(oid: int, *values: bytes) -> bytes:
    """FunctionCall with text arguments."""
    parts = [struct.pack("!Ihh", oid, 0, len(values))]
    parts += [struct.pack("!i", len(value)) + value for value in values]
    return message(b"F", b"".join(parts) + struct.pack("!h", 0))


def extended(sql: str, *values: bytes | None, name: str = "") -> bytes:
    """Parse, Bind, Describe, Execute of one statement; no Sync."""
    parts = [parse(sql, name), bind(name, values), describe(kind=b"P"), execute()]
    return b"".join(parts)


# --- messages of a server


def authentication(code: int = 0, body: bytes = b"") -> bytes:
    return message(b"R", struct.pack("!i", code) + body)


def parameter_status(name: str, value: str) -> bytes:
    return message(b"S", cstring(name) + cstring(value))


def backend_key(pid: int = 1, secret: bytes = b"abcd") -> bytes:
    return message(b"K", struct.pack("!i", pid) + secret)


def ready(status: bytes = b"I") -> bytes:
    return message(b"Z", status)


def command_complete(tag: str) -> bytes:
    return message(b"C", cstring(tag))


def row_description(*names: str) -> bytes:
    fields = [cstring(name) + struct.pack("!IhIhih", 0, 0, TEXT_OID, -1, -1, 0) for name in names]
    return message(b"T", struct.pack("!h", len(names)) + b"".join(fields))


def data_row(*values: bytes | None) -> bytes:
    parts = [struct.pack("!h", len(values))]
    for value in values:
        parts.append(struct.pack("!i", -1 if value is None else len(value)) + (value or b""))
    return message(b"D", b"".join(parts))


def error(code: str, text: str, severity: str = "ERROR", kind: bytes = b"E") -> bytes:
    """ErrorResponse, or with ``kind=b"N"`` NoticeResponse."""
    fields = {"S": severity, "V": severity, "C": code, "M": text}
    body = b"".join(key.encode() + cstring(value) for key, value in fields.items())
    return message(kind, body + b"\0")


GREETING = (
    authentication()
    + parameter_status("server_version", "16.0 (fake)")
    + parameter_status("server_encoding", "UTF8")
    + parameter_status("client_encoding", "UTF8")
    + parameter_status("standard_conforming_strings", "on")
    + parameter_status("TimeZone", "UTC")
    + parameter_status("DateStyle", "ISO, MDY")
    + parameter_status("integer_datetimes", "on")
    + parameter_status("IntervalStyle", "postgres")
    + parameter_status("application_name", "")
    + parameter_status("is_superuser", "off")
    + parameter_status("session_authorization", "site")
    + backend_key()
    + ready()
)
"""What a server says once somebody is in."""


def one_row(value: bytes = b"1") -> bytes:
    """The whole answer to ``SELECT 1``."""
    return row_description("x") + data_row(value) + command_complete("SELECT 1") + ready()


# --- reading


@dataclass(frozen=True)
class Message:
    """A message that came in."""

    kind: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Of an ErrorResponse or NoticeResponse: code letter to text."""
        parts = self.body.split(b"\0")
        return {part[:1].decode(): part[1:].decode(errors="replace") for part in parts if part}

    @property
    def code(self) -> str:
        """The SQLSTATE of an error or a notice."""
        return self.fields["C"]

    @property
    def text(self) -> str:
        """The message of an error or a notice."""
        return self.fields["M"]

    @property
    def tag(self) -> str:
        """The words of a CommandComplete."""
        return self.body.rstrip(b"\0").decode()

    @property
    def values(self) -> list[bytes | None]:
        """The columns of a DataRow."""
        (count,) = struct.unpack_from("!h", self.body)
        at, found = 2, list[bytes | None]()
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.body, at)
            at += 4
            found.append(None if size < 0 else self.body[at : at + size])
            at += max(size, 0)
        return found

    def __repr__(self) -> str:
        return f"{self.kind}:{self.body[:80]!r}"


class Closed(Exception):
    """The other side closed the connection, perhaps within a message."""


class Wire:
    """One connection, either side."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self._reader = connection.makefile("rb")

    def send(self, *parts: bytes) -> None:
        """All parts in one write."""
        self.socket.sendall(b"".join(parts))

    def trickle(self, *parts: bytes, step: int = 1) -> None:
        """A write for every ``step`` bytes."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b"".join(parts)
        for at in range(0, len(data), step):
            self.socket.sendall(data[at : at + step])

    def read(self, count: int) -> bytes:
        """Exactly as many bytes."""
        try:
            data = self._reader.read(count)
        except ConnectionError as lost:
            raise Closed(str(lost)) from None
        if len(data) < count:
            raise Closed(f"{len(data)} of {count} bytes")
        return data

    def receive(self) -> Message:
        """The next message."""
        head = self.read(5)
        (length,) = struct.unpack("!i", head[1:])
        return Message(head[:1].decode("latin-1"), self.read(length - 4))

    def receive_first(self) -> tuple[int, bytes]:
        """Code and body of a connection's first packet."""
        length, code = struct.unpack("!ii", self.read(8))
        return code, self.read(length - 8)

    def until(self, kind: str) -> list[Message]:
        """Messages up to and with the first of a kind."""
        found: list[Message] = []
        while not found or found[-1].kind != kind:
            found.append(self.receive())
        return found

    def rest(self) -> list[Message]:
        """All that comes until the other side closes."""
        found: list[Message] = []
        with contextlib.suppress(Closed):
            while True:
                found.append(self.receive())
        return found

    def is_silent(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes for a while; to be followed by what proves that it would have."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def close(self) -> None:
        """Without a word."""
        self._reader.close()
        self.socket.close()

    def reset(self) -> None:
        """With a RST where there is one (TCP), so that what is on its way is lost."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


class Client(Wire):
    """A client without a mind of its own."""

    key: tuple[int, bytes] = (0, b"")
    params: dict[str, str]

    def __init__(self, address: str | tuple[str, int]) -> None:
        if isinstance(address, str):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE)
            connection.connect(address)
        else:
            connection = socket.create_connection(address, PATIENCE)
        super().__init__(connection)
        self.params = {}

    def start(self, version: tuple[int, int] = (3, 0), **params: str) -> list[Message]:
        """StartupMessage and all up to the first ReadyForQuery, or to the end in an error."""
        self.send(startup(version, **params))
        return self.greeted()

    def greeted(self) -> list[Message]:
        """What comes up to the first ReadyForQuery or the end; key and parameters are kept."""
        found: list[Message] = []
        with contextlib.suppress(Closed):
            while not found or found[-1].kind != "Z":
                found.append(self.receive())
        for one in found:
            if one.kind == "K":
                self.key = struct.unpack("!i", one.body[:4])[0], one.body[4:]
            elif one.kind == "S":
                name, value, _ = one.body.split(b"\0")
                self.params[name.decode()] = value.decode()
        return found

    def ask(self, sql: str) -> list[Message]:
        """A simple query with its whole answer."""
        self.send(query(sql))
        return self.until("Z")

    def value(self, sql: str) -> str | None:
        """The one value of a simple query."""
        found = [one for one in self.ask(sql) if one.kind in "DE"]
        assert found and found[0].kind == "D", found
        value = found[0].values[0]
        return None if value is None else value.decode()


def kinds(messages: Iterable[Message]) -> str:
    """The letters, without what may come at any time (notices, parameters)."""
    return "".join(one.kind for one in messages if one.kind not in "NSA")


def code_of(messages: Iterable[Message]) -> str:
    """The SQLSTATE of the first error; empty without one."""
    return next((one.code for one in messages if one.kind == "E"), "")


def status_of(messages: Sequence[Message]) -> str:
    """What the last ReadyForQuery said."""
    return [one for one in messages if one.kind == "Z"][-1].body.decode()


# --- a server that does as the test says

Script = Callable[["Fake"], None]


class Fake(Wire):
    """One connection of the scripted server."""

    params: dict[str, str]

    def receive_startup(self) -> dict[str, str]:
        """The StartupMessage; a wish for TLS or GSS before it is declined."""
        while True:
            code, body = self.receive_first()
            if code == CANCEL_REQUEST:
                raise Closed("a cancel, which a server answers by closing")
            if code not in (SSL_REQUEST, GSS_REQUEST):
                break
            self.send(b"N")
        words = [word.decode() for word in body.split(b"\0")]
        self.params = dict(zip(words[0:-2:2], words[1:-1:2], strict=False))
        return self.params

    def welcome(self) -> None:
        """Let a client in."""
        self.receive_startup()
        self.send(GREETING)

    def serve(self, answer: Callable[[Message], bytes | None]) -> None:
        """Answer every message until the client leaves; ``None`` closes."""
        while True:
            asked = self.receive()
            if asked.kind == "X":
                return
            reply = answer(asked)
            if reply is None:
                return
            if reply:
                self.send(reply)


class FakeServer:
    """Listens on loopback; each connection runs the script in a thread of its own."""

    def __init__(self, script: Script, port: int = 0) -> None:
        self.script = script
        self.failures: queue.Queue[BaseException] = queue.Queue()
        self.connections: list[Fake] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def url(self, query_words: str = "sslmode=disable") -> str:
        return f"postgresql://site@127.0.0.1:{self.port}/fake?{query_words}"

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=[Fake(connection)], daemon=True).start()

    def _run(self, fake: Fake) -> None:
        self.connections.append(fake)
        try:
            self.script(fake)
        except (Closed, OSError, ValueError):
            pass  # The pooler left, which a script need not foresee; or the test closed it.
        except BaseException as failure:
            self.failures.put(failure)
        finally:
            with contextlib.suppress(OSError):
                fake.close()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for fake in self.connections:
            with contextlib.suppress(OSError):
                fake.socket.shutdown(socket.SHUT_RDWR)
        if not self.failures.empty():
            raise self.failures.get()


def answers(sql_value: bytes = b"1") -> Script:
    """The script of a server that answers every simple query with one row and every Sync with
    ReadyForQuery."""

    def script(fake: Fake) -> None:
        fake.welcome()

        def answer(asked: Message) -> bytes:
            return {"Q": one_row(sql_value), "S": ready()}.get(asked.kind, b"")

        fake.serve(answer)

    return script


def row(messages: Iterable[Message]) -> list[bytes | None]:
    """The values of the only row."""
    found = [one.values for one in messages if one.kind == "D"]
    assert len(found) == 1, messages
    return found[0]


def asked(client: Client, *parts: bytes) -> list[Message]:
    """Sends the parts with a Sync; the whole answer."""
    client.send(*parts, sync())
    return client.until("Z")
