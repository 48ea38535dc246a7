"""Owns the app that answers 200 to everything, with the length of the request's body."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    length = len(environ["wsgi.input"].read())
    # No body, so that the answer to a HEAD among others looks the same.
    start_response("200 OK", [("X-Body-Length", str(length)), ("Content-Length", "0")])
    return [b""]
