"""Bare WSGI application for the raw cases: what it costs to carry a request, and nothing else.

`/` is a hello, `/10k` ten kilobytes, `/echo` gives the request body back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

HELLO = b"Hello, World!"
TEN_KILOBYTES = bytes(range(32, 112)) * 128

_TYPE = ("Content-Type", "text/plain; charset=utf-8")
_HELLO_HEADERS = [_TYPE, ("Content-Length", str(len(HELLO)))]
_TEN_KILOBYTES_HEADERS = [_TYPE, ("Content-Length", str(len(TEN_KILOBYTES)))]


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    path = environ["PATH_INFO"]
    if path == "/":
        start_response("200 OK", list(_HELLO_HEADERS))
        return [HELLO]
    if path == "/10k":
        start_response("200 OK", list(_TEN_KILOBYTES_HEADERS))
        return [TEN_KILOBYTES]
    if path == "/echo":
        body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [_TYPE, ("Content-Length", str(len(body)))])
        return [body]
    start_response("404 Not Found", [_TYPE, ("Content-Length", "0")])
    return [b""]
