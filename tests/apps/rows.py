"""Owns the views of the tests about WSGI (PEP 3333); each does one thing that the PEP speaks of.

All of them keep to the PEP, so that ``validated`` can wrap them; what breaks it is in ``broken``.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reins import hold, tell

Environ = dict[str, Any]
Start = Callable[..., Any]
Body = Iterable[bytes]

TEXT = [("Content-Type", "text/plain")]


def seen(environ: Environ, start_response: Start) -> Body:
    """Everything in the environ, as JSON."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: told(value) for key, value in environ.items()}).encode()]


def told(value: object) -> object:
    return value if isinstance(value, (str, bool, tuple)) else type(value).__name__


def calls(environ: Environ, start_response: Start) -> Body:
    """Evaluates the lines of the header ``X-Calls`` with the request's body as ``input``."""
    results = [
        repr(eval(line, {"input": environ["wsgi.input"]}))
        for line in environ["HTTP_X_CALLS"].split(";")
    ]
    start_response("200 OK", TEXT)
    return ["\n".join(results).encode()]


def late(environ: Environ, start_response: Start) -> Body:
    """Calls ``start_response`` only when the first chunk is asked for."""

    def chunks() -> Iterator[bytes]:
        start_response("202 Late", TEXT)
        yield b"late "
        yield b"body"

    return chunks()


def written(environ: Environ, start_response: Start) -> Body:
    """Uses the old ``write``."""
    write = start_response("200 OK", TEXT)
    write(b"written ")
    write(b"and ")
    return [b"returned"]


def changes_its_mind(environ: Environ, start_response: Start) -> Body:
    """An error before anything was sent: the second status counts."""
    start_response("200 OK", [*TEXT, ("X-First", "1")])
    try:
        raise ValueError("late")
    except ValueError:
        start_response("503 Sorry", [*TEXT, ("X-Second", "1")], sys.exc_info())
    return [b"sorry"]


def too_late(environ: Environ, start_response: Start) -> Body:
    """An error after something was sent: ``start_response`` raises it again."""
    start_response("200 OK", TEXT)
    yield b"part"
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("503 Sorry", TEXT, sys.exc_info())
    yield b"never"


class Closing:
    """Says when it is closed."""

    def __init__(self, chunks: Iterable[bytes], wait: bool = False) -> None:
        self.chunks = iter(chunks)
        self.wait = wait

    def __iter__(self) -> Closing:
        return self

    def __next__(self) -> bytes:
        if self.wait:
            hold("next")
        return next(self.chunks)

    def close(self) -> None:
        tell("closed")


def closing(environ: Environ, start_response: Start) -> Body:
    start_response("200 OK", TEXT)
    return Closing([b"a", b"b"])


def closing_slowly(environ: Environ, start_response: Start) -> Body:
    start_response("200 OK", TEXT)
    return Closing([b"a", b"b", b"c"], wait=True)


def closing_after_an_error(environ: Environ, start_response: Start) -> Body:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("in the middle")

    start_response("200 OK", TEXT)
    return Closing(chunks())


def file(environ: Environ, start_response: Start) -> Body:
    """100 kB from a file, from the offset in the query on; maybe with a length of its own."""
    offset, _, length = environ["QUERY_STRING"].partition("&")
    handle = tempfile.TemporaryFile()
    handle.write(bytes(range(250)) * 400)
    handle.seek(int(offset))
    headers = [("Content-Type", "application/octet-stream")]
    if length:
        headers.append(("Content-Length", length))
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](handle, 4096)  # type: ignore[no-any-return]


def not_a_file(environ: Environ, start_response: Start) -> Body:
    """A file wrapper around something that has no descriptor."""
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory" * 5000))  # type: ignore[no-any-return]


def bodies(environ: Environ, start_response: Start) -> Body:
    """The status is in the query, the body's chunks behind it."""
    status, *chunks = environ["QUERY_STRING"].split("&")
    bare = status.startswith(("204", "304"))
    start_response(status.replace("+", " "), [] if bare else TEXT)
    return [] if bare else [chunk.encode() for chunk in chunks]


def error_log(environ: Environ, start_response: Start) -> Body:
    """Writes to ``wsgi.errors``."""
    environ["wsgi.errors"].write("said by the app\n")
    environ["wsgi.errors"].writelines(["in two ", "parts\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", TEXT)
    return [b"logged"]


def broken_view(environ: Environ, start_response: Start) -> Body:
    raise RuntimeError("broken on purpose")


VIEWS: dict[str, Callable[[Environ, Start], Body]] = {
    "/calls": calls,
    "/late": late,
    "/written": written,
    "/changes-its-mind": changes_its_mind,
    "/too-late": too_late,
    "/closing": closing,
    "/closing-slowly": closing_slowly,
    "/closing-after-an-error": closing_after_an_error,
    "/file": file,
    "/not-a-file": not_a_file,
    "/bodies": bodies,
    "/error-log": error_log,
    "/broken": broken_view,
}


def application(environ: Environ, start_response: Start) -> Body:
    return VIEWS.get(environ["PATH_INFO"], seen)(environ, start_response)
