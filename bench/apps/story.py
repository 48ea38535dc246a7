"""WSGI application of the runs about the page cache: pages of which each costs some work, and a count of
how often that was done.

`/calls` says how often; everything else is a page of about `STORY_BYTES` bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable
from typing import Any

BYTES = int(os.environ.get("STORY_BYTES", "20000"))

CALLS = itertools.count(1)
_SO_FAR = [0]


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    path = environ["PATH_INFO"]
    if path == "/calls":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "no-store")])
        return [str(_SO_FAR[0]).encode()]
    _SO_FAR[0] = next(CALLS)
    words: list[str] = []
    for number in range(BYTES // 80):
        words.append(f"<p>{hashlib.sha256(f'{path} {number}'.encode()).hexdigest()}</p>")
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return ["\n".join(words).encode()]
