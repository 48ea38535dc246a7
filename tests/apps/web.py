"""Owns the views of the tests about HTTP: small, and as controllable as the tests need.

Leaves what PEP 3333 says about apps to ``rows``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reins import hold, tell

Environ = dict[str, Any]
Start = Callable[..., Any]
Body = Iterable[bytes]

TEXT = [("Content-Type", "text/plain")]


def hello(environ: Environ, start_response: Start) -> Body:
    start_response("200 OK", TEXT)
    return [b"hello"]


def echo(environ: Environ, start_response: Start) -> Body:
    """The body, and what is said of its length."""
    body = environ["wsgi.input"].read()
    said = environ.get("CONTENT_LENGTH", "")
    start_response("200 OK", [*TEXT, ("X-Length", said)])
    return [body]


def digest(environ: Environ, start_response: Start) -> Body:
    """The hash of the body, read in pieces."""
    summary = hashlib.sha256()
    while piece := environ["wsgi.input"].read(65536):
        summary.update(piece)
    start_response("200 OK", [*TEXT, ("X-Length", environ.get("CONTENT_LENGTH", ""))])
    return [summary.hexdigest().encode()]


def seen(environ: Environ, start_response: Start) -> Body:
    """The environ, as far as it is text."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({k: v for k, v in environ.items() if isinstance(v, str)}).encode()]


def answer(environ: Environ, start_response: Start) -> Body:
    """What the request's body says, as a Python literal: status, headers and body."""
    status, headers, body = ast.literal_eval(environ["wsgi.input"].read().decode())
    start_response(status, headers)
    return body  # type: ignore[no-any-return]


def big(environ: Environ, start_response: Start) -> Body:
    """As many bytes as the query says, in one piece."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [pattern(int(environ["QUERY_STRING"]))]


def big_in_pieces(environ: Environ, start_response: Start) -> Body:
    """The same as a stream; says when the app is done with it."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])

    def stream() -> Iterator[bytes]:
        data = pattern(int(environ["QUERY_STRING"]))
        for at in range(0, len(data), 65536):
            yield data[at : at + 65536]
        tell("produced")

    return stream()


def held(environ: Environ, start_response: Start) -> Body:
    """Waits for the test."""
    hold(environ["QUERY_STRING"])
    start_response("200 OK", TEXT)
    return [environ["QUERY_STRING"].encode()]


def told(environ: Environ, start_response: Start) -> Body:
    """Says that it runs."""
    tell(environ["QUERY_STRING"])
    start_response("200 OK", TEXT)
    return [environ["QUERY_STRING"].encode()]


def stream(environ: Environ, start_response: Start) -> Body:
    """Three chunks, or so many more; the next is made when the test says so. Says when it is closed."""
    more = int(environ["QUERY_STRING"] or 0)
    return Stream(start_response, [b"one", b"two", b"three"] + [b"more"] * more)


def events(environ: Environ, start_response: Start) -> Body:
    """Server-sent events, made like ``stream``."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return Stream(None, [b"data: 1\n\n", b"data: 2\n\n"])


class Stream:
    """Waits before each chunk but the first."""

    def __init__(self, start_response: Start | None, chunks: list[bytes]) -> None:
        if start_response is not None:
            start_response("200 OK", TEXT)
        self.chunks = iter(chunks)
        self.count = 0

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        self.count += 1
        if self.count > 1:
            hold(f"before {self.count}")
        return next(self.chunks)

    def close(self) -> None:
        tell("closed")


def hog(environ: Environ, start_response: Start) -> Body:
    """Waits for the test, then computes for as long as the query says, and lets nobody else have the interpreter."""
    hold("hog")
    usual = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        end = time.thread_time() + float(environ["QUERY_STRING"])
        while time.thread_time() < end:
            pass
    finally:
        sys.setswitchinterval(usual)
    start_response("200 OK", TEXT)
    return [b"hogged"]


def fails(environ: Environ, start_response: Start) -> Body:
    raise RuntimeError("this view always fails")


def pattern(size: int) -> bytes:
    """Bytes in which any gap, repetition or swap shows."""
    return hashlib.shake_128(b"pattern").digest(size)


VIEWS = {
    "/echo": echo,
    "/digest": digest,
    "/environ": seen,
    "/answer": answer,
    "/big": big,
    "/big-in-pieces": big_in_pieces,
    "/held": held,
    "/told": told,
    "/stream": stream,
    "/events": events,
    "/hog": hog,
    "/fails": fails,
}


def application(environ: Environ, start_response: Start) -> Body:
    return VIEWS.get(environ["PATH_INFO"], hello)(environ, start_response)
