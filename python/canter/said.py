"""Owns what Canter's Python side says in the log: as text for people, or as one object with facts where
``--log-format`` asks for that.

Leaves writing it, which never waits for a reader, to ``canter._worker``, and what an app says to the app.
"""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

_form = "human"
_warned: set[str] = set()


def start(form: str, level: str) -> None:
    """Take over ``--log-format`` and ``--log-level``, for this process and its forks."""
    global _form
    _form = form
    try:
        from canter import _worker
    except ImportError:
        return
    _worker.start_log(form, level)


def say(message: str, *, text: str | None = None, level: str = "error", **facts: object) -> None:
    """Write one entry: ``message`` and ``facts`` for programs; for people ``text``, by default the message."""
    shown = message if text is None else text
    try:
        from canter import _worker
    except ImportError:
        # Of a package without its extension the log is the least that is missing.
        print(f"canter: {shown}", file=sys.stderr, flush=True)
        return
    pairs = [(key, _plain(str(value))) for key, value in facts.items()]
    _worker.log_entry(level, _plain(shown), _plain(message), pairs)


def once(text: str) -> None:
    """Warn of something that may come again and again, once in this process."""
    if text not in _warned:
        _warned.add(text)
        say(text, level="warn")


def cause(message: str, error: BaseException, trace: TracebackType | None) -> None:
    """Write why something failed; for people its traceback alone, as Python prints it."""
    if _form == "human":
        traceback.print_exception(type(error), error, trace)
        sys.stderr.flush()
        return
    text = "".join(traceback.format_exception(type(error), error, trace))
    say(message, error=type(error).__name__, traceback=text)


def _plain(text: str) -> str:
    """Text that can be written: what came from bytes may hold halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
