"""Owns a client that sends exactly the bytes a test gives it and reads responses by the letter:
whatever a strict parser would refuse fails the test. Every wait has a deadline.

Leaves what the bytes mean to the tests.
"""

from __future__ import annotations

import random
import re
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from harness.operated import PATIENCE

Address = tuple[str, int] | str
"""A host and port, or the path of a unix socket."""

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
    rb"[\x21-\x7e\x80-\xff])?)?)[\t ]*"
)
_CHUNK_SIZE = re.compile(rb"(?:0|[1-9a-fA-F][0-9a-fA-F]{0,15})")


class Broken(AssertionError):
    """The server sent what no server may send, or ended where it may not."""


class Ended(AssertionError):
    """The connection ended where a response was expected."""


@dataclass
class Response:
    """One response, as it came."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    #: The lengths of the chunks; empty for another framing.
    chunks: list[int] = field(default_factory=list)
    #: ``none``, ``length``, ``chunked`` or ``close``.
    framing: str = "none"

    def __getitem__(self, name: str) -> str:
        """The value of a field that must be there once."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def closes(self) -> bool:
        """Whether it says that the connection ends after it."""
        return "close" in [value.lower() for value in self.all("connection")]


class Client:
    """One connection."""

    def __init__(self, address: Address, patience: float = PATIENCE) -> None:
        self._patience = patience
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(patience)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, patience)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._deadline = 0.0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    # --- sending

    def send(self, data: bytes | str) -> Client:
        """Send as one piece."""
        self.socket.settimeout(self._patience)
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def send_bytewise(self, data: bytes) -> Client:
        """Send every byte as a piece of its own, as far as the server takes them."""
        return self.send_pieces(data[at : at + 1] for at in range(len(data)))

    def send_cut(self, data: bytes, seed: int) -> Client:
        """Send in pieces cut at random, the same for the same seed."""
        return self.send_pieces(pieces(data, seed))

    def send_pieces(self, parts: Iterator[bytes]) -> Client:
        """Send the pieces; one that has been refused may close before it has all of them."""
        try:
            for part in parts:
                self.send(part)
        except ConnectionError:
            pass
        return self

    def get(self, path: str = "/", *lines: str, method: str = "GET") -> Response:
        """One request without a body and its response, on a connection that stays open."""
        self.send(head(method, path, *lines))
        return self.response(method)

    def post(self, path: str, body: bytes, *lines: str) -> Response:
        """One request with a body and its response."""
        self.send(head("POST", path, f"Content-Length: {len(body)}", *lines))
        self.send(body)
        return self.response("POST")

    def half_close(self) -> Client:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    # --- reading

    def response(self, method: str = "GET") -> Response:
        """The next final response, whole. One with status 1xx before it fails the test."""
        response = self.head()
        assert response.status >= 200, response
        for _chunk in self.body(response, method):
            pass
        return response

    def head(self) -> Response:
        """The next status line and fields; the body stays where it is."""
        self._deadline = time.monotonic() + self._patience
        matched = _STATUS_LINE.fullmatch(line := self._line(Ended))
        if matched is None:
            raise Broken(f"status line {line!r}")
        response = Response(int(matched[1]), matched[2].decode("latin-1"), [])
        while line := self._line():
            found = _FIELD_LINE.fullmatch(line)
            if found is None:
                raise Broken(f"field line {line!r}")
            response.fields.append((found[1].decode(), found[2].decode("latin-1")))
        for name in ("content-length", "transfer-encoding", "date", "server", "content-type"):
            if len(response.all(name)) > 1:
                raise Broken(f"{name} is repeated: {response}")
        if response.status < 200 and ("content-length" in response or response.all("connection")):
            raise Broken(f"an interim response with {response.fields}")
        return response

    def body(self, response: Response, method: str = "GET") -> Iterator[bytes]:
        """The pieces of the body as they come; ``response`` gathers them."""
        if "content-length" in response and "transfer-encoding" in response:
            raise Broken(f"two framings: {response.fields}")
        if response.status in (204, 304) or method == "HEAD" or response.status < 200:
            if response.status == 204 and "content-length" in response:
                raise Broken("204 with Content-Length (RFC 9110 8.6)")
            return
        if "transfer-encoding" in response:
            assert response["transfer-encoding"] == "chunked", response.fields
            response.framing = "chunked"
            parts = self._chunks(response)
        elif "content-length" in response:
            response.framing = "length"
            parts = iter([self._exactly(int(response["content-length"]))])
        else:
            response.framing = "close"
            parts = self._rest()
        for part in parts:
            response.body += part
            yield part

    def _chunks(self, response: Response) -> Iterator[bytes]:
        while True:
            self._deadline = time.monotonic() + self._patience
            line = self._line()
            if _CHUNK_SIZE.fullmatch(line) is None:
                raise Broken(f"chunk size {line!r}")
            size = int(line, 16)
            data = self._exactly(size) if size else b""
            if self._line() != b"":
                raise Broken("a chunk that does not end where it says, or a trailer")
            if not size:
                return
            response.chunks.append(size)
            yield data

    def _rest(self) -> Iterator[bytes]:
        while True:
            if self._buffer:
                part = bytes(self._buffer)
                self._buffer.clear()
                yield part
            elif not self._more():
                return

    def is_closed(self) -> bool:
        """Wait for the server to close; False when it sends something instead, or is patient."""
        self._deadline = time.monotonic() + self._patience
        try:
            return not self._buffer and not self._more()
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def is_quiet(self) -> bool:
        """Whether there is nothing to read at this moment: no byte, no end."""
        return not self._buffer and not select.select([self.socket], [], [], 0)[0]

    def rest(self) -> bytes:
        """Everything until the server closes."""
        self._deadline = time.monotonic() + self._patience
        return b"".join(self._rest())

    def _line(self, error: type[AssertionError] = Broken) -> bytes:
        while (at := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > 1 << 20:
                raise Broken("a line without end")
            if not self._more():
                if self._buffer:
                    error = Broken
                raise error(f"closed after {bytes(self._buffer)!r}")
        line = bytes(self._buffer[: at + 1])
        del self._buffer[: at + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Broken(f"line end in {line!r}")
        return line[:-2]

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._deadline = time.monotonic() + self._patience
            if not self._more():
                raise Broken(f"closed {size - len(self._buffer)} bytes early")
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more(self) -> bool:
        """Read on; False at the end."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing more came after {bytes(self._buffer[:200])!r}")
        self.socket.settimeout(left)
        data = self.socket.recv(1 << 18)
        self._buffer += data
        return bool(data)


def head(method: str, path: str, *lines: str, version: str = "1.1") -> str:
    """The head of a request; a ``Host`` comes by itself."""
    host = () if any(line.lower().startswith("host:") for line in lines) else ("Host: test",)
    return "\r\n".join([f"{method} {path} HTTP/{version}", *host, *lines, "", ""])


def chunked(*parts: bytes) -> bytes:
    """A body in the chunked coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """Cut at random places, at most some fifty, the same for the same seed."""
    chance = random.Random(seed)
    longest = max(2, len(data) // 25)
    at = 0
    while at < len(data):
        size = chance.randint(1, longest)
        yield data[at : at + size]
        at += size
