"""Other servers' parsers behind one shape: owns calling each of them in-process.

Comparing what they say is left to ``run.py``.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import httptools
from gunicorn.config import Config
from gunicorn.http.body import EOFReader
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.parser import RequestParser
from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Request:
    """One request as a parser understood it."""

    method: bytes
    target: bytes
    body: bytes


@dataclass(frozen=True)
class Reading:
    """One connection's input as a parser understood it."""

    requests: tuple[Request, ...]
    #: ``keep``, ``close``, ``incomplete``, ``upgrade``, or ``refused: why``.
    end: str

    def at(self, index: int) -> Request | str:
        """The request with this number, or how the reading ended before it."""
        return self.requests[index] if index < len(self.requests) else self.end


def read_h11(data: bytes) -> Reading:
    """Read with h11, which keeps to the grammar but for lone LFs."""
    requests: list[Request] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    head: h11.Request | None = None
    body = b""
    try:
        if data:  # no bytes would mean the end of the connection
            connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return Reading(tuple(requests), "close")
            if event is h11.NEED_DATA:
                pending = head is not None or connection.trailing_data[0]
                return Reading(tuple(requests), "incomplete" if pending else "keep")
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                requests.append(Request(head.method, head.target, body))
                head = None
                # A 200 would make a tunnel of CONNECT.
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return Reading(tuple(requests), "close")
                connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        return Reading(tuple(requests), f"refused: {error}")


class _Collector:
    """The callbacks that httptools asks for."""

    def __init__(self) -> None:
        self.parser: Any = None
        self.requests: list[Request] = []
        self.target = b""
        self.body = b""
        self.inside = False
        self.keep = True

    def on_message_begin(self) -> None:
        """Start anew."""
        self.target, self.body, self.inside = b"", b"", True

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self.target += url

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Take note of a whole request."""
        self.keep = self.parser.should_keep_alive()
        self.requests.append(Request(self.parser.get_method(), self.target, self.body))
        self.inside = False


def read_httptools(data: bytes) -> Reading:
    """Read with httptools, which is llhttp, the parser of Node.js."""
    collector = _Collector()
    collector.parser = httptools.HttpRequestParser(collector)
    try:
        collector.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return Reading(tuple(collector.requests), "upgrade")
    except httptools.HttpParserError as error:
        # After `Connection: close` llhttp calls further bytes an error.
        if collector.keep or collector.inside:
            return Reading(tuple(collector.requests), f"refused: {error}")
    if not collector.keep:
        return Reading(tuple(collector.requests), "close")
    return Reading(tuple(collector.requests), "incomplete" if collector.inside else "keep")


_WAITRESS = Adjustments(max_request_body_size=1 << 20)


def read_waitress(data: bytes) -> Reading:
    """Read with waitress."""
    requests: list[Request] = []
    while data:
        parser = HTTPRequestParser(_WAITRESS)
        while data and not parser.completed:
            try:
                data = data[parser.received(data) :]
            except ValueError as error:
                # Of an address in brackets that is none; it answers 500.
                return Reading(tuple(requests), f"refused: {error}")
        if not parser.completed:
            return Reading(tuple(requests), "incomplete")
        if parser.error is not None:
            return Reading(tuple(requests), f"refused: {parser.error.body}")
        if parser.empty:
            continue
        # The version is missing from an HTTP/0.9 request, which waitress takes.
        method, target = (parser.first_line.split() + [b"", b""])[:2]
        requests.append(Request(method, target, parser.get_body_stream().read()))
        parser.close()
        if parser.connection_close:
            return Reading(tuple(requests), "close")
    return Reading(tuple(requests), "keep")


def _gunicorn_config() -> Config:
    config = Config()
    config.set("limit_request_line", 8190)
    return config


_GUNICORN = _gunicorn_config()


def read_gunicorn(data: bytes) -> Reading:
    """Read with gunicorn."""
    requests: list[Request] = []
    parser = RequestParser(_GUNICORN, [data], ("127.0.0.1", 1))
    while True:
        try:
            message = next(parser)
            length = next((v for n, v in message.headers if n == "CONTENT-LENGTH"), "0")
            body = b"" if isinstance(message.body.reader, EOFReader) else message.body.read()
            if int(length) > len(body):
                return Reading(tuple(requests), "incomplete")
        except StopIteration:
            return Reading(tuple(requests), "close" if requests else "incomplete")
        except NoMoreData as error:
            empty = not getattr(error, "buf", None) and parser.mesg is not None
            return Reading(tuple(requests), "keep" if empty and requests else "incomplete")
        except ParseException as error:
            return Reading(tuple(requests), f"refused: {type(error).__name__} {error}")
        method, target = message.method.encode("latin-1"), message.uri.encode("latin-1")
        requests.append(Request(method, target, body))


PEERS: dict[str, Callable[[bytes], Reading]] = {
    "h11": read_h11,
    "httptools": read_httptools,
    "waitress": read_waitress,
    "gunicorn": read_gunicorn,
}


def read_canter(inputs: Iterable[bytes]) -> list[Reading]:
    """Read all inputs with Canter's codec, in one run of its example program."""
    framed = b"".join(len(data).to_bytes(4, "little") + data for data in inputs)
    command = ["cargo", "run", "--quiet", "--package", "canter-http", "--example", "decode"]
    done = subprocess.run(command, cwd=ROOT, input=framed, capture_output=True, check=True)
    return [_canter_reading(line) for line in done.stdout.decode("ascii").splitlines()]


def _canter_reading(line: str) -> Reading:
    words = iter(line.split(" "))
    requests: list[Request] = []
    for word in words:
        if word == "request":
            method, target, body = (
                bytes.fromhex(text) if text != "-" else b""
                for text in (next(words), next(words), next(words))
            )
            requests.append(Request(method, target, body))
            continue
        end = next(words)
        usual = end in ("keep", "close", "incomplete")
        return Reading(tuple(requests), end if usual else f"refused: {end}")
    raise ValueError(f"a line without an end: {line!r}")
