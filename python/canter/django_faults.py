"""Owns the log entry for a Django view that raises, where the project's logging would be silent:
Django's own default shows errors on the console only while ``DEBUG`` is on.

Leaves the answer to Django, and apps that are not Django to ``canter._worker``.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import Any
from urllib.parse import quote

from canter import said

MOST_PATH = 1000
"""The longest path that is copied into a log entry, in characters."""


def install(request_id_header: str) -> None:
    """Report what views raise from now on, when the app that was loaded is a Django project."""
    signals = sys.modules.get("django.core.signals")
    if signals is None:
        return
    key = "HTTP_" + request_id_header.upper().replace("-", "_")

    def report(request: Any = None, **_more: Any) -> None:
        # A defect here must not take the place of the app's.
        with contextlib.suppress(Exception):
            if not is_shown(logging.getLogger("django.request")):
                _write(request, key)

    signals.got_request_exception.connect(report, weak=False, dispatch_uid="canter-fault")


def is_shown(logger: logging.Logger) -> bool:
    """Whether an error that is logged here is written somewhere.

    Mail to the administrators does not count: it goes nowhere unless a project names some.
    """
    error = logging.ERROR
    if not logger.isEnabledFor(error):
        return False
    record = logger.makeRecord(logger.name, error, __file__, 0, "", (), None)
    found = False
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            found = True
            if type(handler).__name__ in ("NullHandler", "AdminEmailHandler"):
                continue
            if handler.level <= error and handler.filter(record):
                return True
        at = at.parent if at.propagate else None
    # Python itself writes what no handler takes.
    return not found and logging.lastResort is not None


def _write(request: Any, key: str) -> None:
    error = sys.exc_info()[1]
    if error is None or request is None:
        return
    path = quote(request.path[:MOST_PATH], safe="/~:@!$&'()*+,;=")
    name = str(request.META.get(key, "-"))
    name = "".join(letter if letter.isprintable() else "?" for letter in name[:MOST_PATH])
    summary = "".join(traceback.format_exception_only(type(error), error)).strip()
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    # What an exception says is often a client's words: no line of it may pose as an entry of the log.
    block = "".join(f"    {_visible(line)}\n" for line in text.rstrip().split("\n"))
    said.say(
        "the request failed",
        text=f"{request.method} {path} failed (request {name}): {_visible(summary)}\n{block}",
        method=request.method,
        path=path,
        request_id=name,
        error=type(error).__name__,
        traceback=text,
    )


def _visible(text: str) -> str:
    """One line that steers no terminal."""
    return "".join(repr(letter)[1:-1] if _is_control(letter) else letter for letter in text)


def _is_control(letter: str) -> bool:
    return letter < " " or "\x7f" <= letter < "\xa0"
