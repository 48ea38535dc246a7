"""Asks the slow API behind `/slow/`.

Owns the request and its timeout, and turns everything that can go wrong into one error that knows
which page to show. The address comes from the settings.
"""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from django.conf import settings

_ANSWER_LIMIT_BYTES = 64 * 1024
# Without the proxies of the environment: the upstream is a neighbour, not the internet.
_opener = build_opener(ProxyHandler({}))


class UpstreamError(Exception):
    """The upstream did not answer as it should; `status` is what the visitor gets."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def ask(delay_seconds: float | None) -> dict[str, Any]:
    """Waits for the upstream's answer; it takes `delay_seconds`, or what it was started with."""
    query = "" if delay_seconds is None else f"?delay={delay_seconds:g}"
    timeout = settings.READER_UPSTREAM_TIMEOUT_SECONDS
    try:
        with _opener.open(settings.READER_UPSTREAM_URL + query, timeout=timeout) as response:
            answer = json.loads(response.read(_ANSWER_LIMIT_BYTES))
    except (TimeoutError, URLError, HTTPException, OSError, ValueError) as error:
        raise _explained(error) from error
    if not isinstance(answer, dict):
        raise UpstreamError(502, "it answered something else than a JSON object")
    return answer


def _explained(error: Exception) -> UpstreamError:
    # urllib wraps a failure to connect, but not a failure to read.
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return UpstreamError(504, "it did not answer in time")
    if isinstance(cause, ConnectionRefusedError):
        return UpstreamError(503, "nothing listens there")
    return UpstreamError(502, str(cause) or type(cause).__name__)
