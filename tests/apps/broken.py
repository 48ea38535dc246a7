"""Owns an app that breaks PEP 3333 in the way that the request's body says, as a Python literal:
``(status, headers, body)``. A body that is a list of literals is returned as it is; as a tuple
``("stream", [...])`` it is a generator.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    text = environ["wsgi.input"].read().decode()
    if not text:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]
    if environ["PATH_INFO"] == "/code":
        return eval(text, {"environ": environ, "start": start_response})
    status, headers, body = ast.literal_eval(text)
    start_response(status, headers)
    if isinstance(body, tuple) and body[:1] == ("stream",):
        return stream(body[1])
    return body


def stream(chunks: list[Any]) -> Iterator[Any]:
    yield from chunks
