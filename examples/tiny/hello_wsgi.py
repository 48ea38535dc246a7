"""The smallest applications worth serving: plain WSGI (PEP 3333), no framework.

    canter serve hello_wsgi            (the callable is named `application`)

    GET  /       "Hello, world!", 14 bytes
    GET  /page   an HTML page of exactly 10 KB (10,240 bytes)
    POST /echo   whatever was sent, with its own Content-Type

Nothing is computed for a request that could be made before, so what a load test sees is the
server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[[str, Headers], object]

PAGE_BYTES = 10 * 1024
ECHO_LIMIT_BYTES = 64 * 1024 * 1024

HELLO = b"Hello, world!\n"
_TOP = b"<!doctype html>\n<html lang=en>\n<title>10 KB</title>\n<p>\n"
_LINE = b"The quick brown fox jumps over the lazy dog.\n"
PAGE = (_TOP + _LINE * (PAGE_BYTES // len(_LINE) + 1))[: PAGE_BYTES - 1] + b"\n"


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Chooses by path; anything else is not found."""
    path = environ.get("PATH_INFO", "/")
    if path == "/echo":
        return echo(environ, start_response)
    if path == "/page":
        return _answer(start_response, "200 OK", "text/html; charset=utf-8", PAGE)
    if path in ("/", ""):
        return _answer(start_response, "200 OK", "text/plain; charset=utf-8", HELLO)
    return _answer(start_response, "404 Not Found", "text/plain; charset=utf-8", b"Not found\n")


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Sends the body back; the server has it whole before this runs, so `read()` cannot wait."""
    if environ["REQUEST_METHOD"] != "POST":
        headers = [("Allow", "POST"), ("Content-Type", "text/plain"), ("Content-Length", "0")]
        start_response("405 Method Not Allowed", headers)
        return []
    # One byte more than the limit tells a body of just that size from one that is too long.
    body = environ["wsgi.input"].read(_wanted(environ))
    if len(body) > ECHO_LIMIT_BYTES:
        return _answer(start_response, "413 Content Too Large", "text/plain", b"Too large\n")
    kind = environ.get("CONTENT_TYPE") or "application/octet-stream"
    return _answer(start_response, "200 OK", kind, body)


def _wanted(environ: Environ) -> int:
    """How much to read: PEP 3333 lets an application read no more than Content-Length.

    A chunked request has none; a server that has decoded it (`wsgi.input_terminated`) ends the
    input by itself.
    """
    if environ.get("wsgi.input_terminated"):
        return ECHO_LIMIT_BYTES + 1
    length = environ.get("CONTENT_LENGTH") or "0"
    return min(int(length), ECHO_LIMIT_BYTES + 1) if length.isdigit() else 0


def _answer(start_response: StartResponse, status: str, kind: str, body: bytes) -> Iterable[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
