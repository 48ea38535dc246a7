"""Owns telling what a thread's request does at this moment: its route and its statement.

Leaves the stack to who asks, statements to ``canter.insight``, and when to ask to the front. Nothing
is written down for it while nobody asks: the route is found in the frame of Django's handler.
"""

from __future__ import annotations

from types import FrameType

from canter import insight

HANDLER = ("django/core/handlers/base.py", "get_response")
"""The file and the function whose ``request`` is the one under way."""

MOST_FRAMES = 2000
"""Frames that are walked: an app may recurse without end."""


def current(ident: int, frame: FrameType | None) -> tuple[str, str]:
    """The route of the request in the thread of ``frame``, and the statement it waits for, without
    values; empty where there is none."""
    return route(frame), insight.current(ident) or ""


def route(frame: FrameType | None) -> str:
    """The route of the request that a thread works on; empty before it is resolved."""
    for _ in range(MOST_FRAMES):
        if frame is None:
            break
        code = frame.f_code
        if code.co_name == HANDLER[1] and code.co_filename.endswith(HANDLER[0]):
            match = getattr(frame.f_locals.get("request"), "resolver_match", None)
            pattern = getattr(match, "route", None)
            return insight.route(pattern) if isinstance(pattern, str) else ""
        frame = frame.f_back
    return ""
