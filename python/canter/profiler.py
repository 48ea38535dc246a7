"""Owns sampling where this process spends its time: it walks the frames of the threads that run
requests, so many times a second, for as long as it was asked to.

Leaves which threads run requests to ``canter._worker``, merging and drawing to the front. It needs no
right to look into other processes, and costs nothing while it is off.

Each sample stands for the time since the one before, so that a sample that comes late, because it has
waited for the interpreter's lock, counts for as much as it has missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType

from canter import insight, looking

MOST_STACKS = 10_000
"""Different stacks that are told apart; what comes beyond stands below its route alone."""

MOST_FRAMES = 200
"""The innermost frames that are kept of a stack."""

MOST_SHARE = 50
"""At least so many times as long as a sample took is slept after it: no more than 2 % of the time."""

MOST_WEIGHT = 20
"""Intervals that one sample may stand for: the machine may have slept."""

Running = Callable[[], "list[tuple[int, int]] | None"]


def sample(running: Running, seconds: float, interval: float, holder: bool) -> str:
    """Sample for so many seconds; answer a line ``route;outer;…;inner microseconds`` for each stack.

    ``running`` answers the threads that run requests, by Python's and by the kernel's number, and
    ``None`` when it is time to end. With ``holder`` time counts only as far as a thread computed:
    CPython does not tell who held its lock, but who has used a CPU since the last sample has held
    it, or has run native code that needs none.
    """
    stacks = _Stacks()
    used: dict[int, int] = {}
    last = began = time.perf_counter()
    while last - began < seconds:
        time.sleep(interval)
        threads = running()
        if threads is None:
            break
        now = time.perf_counter()
        weight = min(now - last, MOST_WEIGHT * interval) * 1e6
        last = now
        frames = sys._current_frames()
        if holder:
            threads, weight = _holder(threads, used)
        for ident, _tid in threads:
            frame = frames.get(ident)
            if frame is not None:
                stacks.add(frame, weight)
        # Else the frames would live on until the next sample, with all that they refer to.
        frames.clear()
        frame = None
        spent = time.perf_counter() - now
        if spent * MOST_SHARE > interval:
            time.sleep(min(spent * MOST_SHARE - interval, 1.0))
    return stacks.text()


def _holder(
    threads: list[tuple[int, int]], used: dict[int, int]
) -> tuple[list[tuple[int, int]], float]:
    """The one thread that has computed most since the last call, if any has, and for how many
    microseconds."""
    best: list[tuple[int, int]] = []
    most = 0
    for thread in threads:
        try:
            # The kernel's number of the CPU clock of a thread (linux/posix-timers.h); one that has
            # ended is an error, unlike with pthread_getcpuclockid().
            now = time.clock_gettime_ns(~thread[1] << 3 | 6)
        except OSError:
            continue
        spent = now - used.get(thread[1], now)
        used[thread[1]] = now
        if spent > most:
            best, most = [thread], spent
    if len(used) > 10_000:
        used.clear()
    return best, most / 1e3


class _Stacks:
    """Time by stack."""

    def __init__(self) -> None:
        self.time: dict[tuple[int, ...], float] = {}
        self.names: dict[tuple[int, ...], str] = {}
        # Kept, so that no other code gets the same id.
        self.codes: dict[int, CodeType] = {}
        self.routes: dict[str, int] = {}

    def add(self, frame: FrameType, weight: float) -> None:
        """Count one thread."""
        route = looking.route(frame)
        key = [self.routes.setdefault(route, len(self.routes))]
        at: FrameType | None = frame
        while at is not None and len(key) <= 2 * MOST_FRAMES:
            code = at.f_code
            key += (id(code), at.f_lasti)
            at = at.f_back
        stack = tuple(key)
        if stack not in self.time:
            if len(self.time) >= MOST_STACKS:
                stack = (key[0],)
                self.names[stack] = _clean(route or "(no route)") + ";(other stacks)"
            else:
                self.names[stack] = self._name(route, frame)
        self.time[stack] = self.time.get(stack, 0.0) + weight

    def _name(self, route: str, frame: FrameType) -> str:
        words: list[str] = []
        at: FrameType | None = frame
        while at is not None and len(words) < MOST_FRAMES:
            code = at.f_code
            self.codes[id(code)] = code
            function = getattr(code, "co_qualname", code.co_name)
            words.append(_clean(f"{function} ({insight.short(code.co_filename)}:{at.f_lineno})"))
            at = at.f_back
        words.append(_clean(route or "(no route)"))
        return ";".join(reversed(words))

    def text(self) -> str:
        """A line for each stack."""
        merged: dict[str, float] = {}
        for stack, spent in self.time.items():
            name = self.names[stack]
            merged[name] = merged.get(name, 0.0) + spent
        return "".join(f"{name} {round(spent)}\n" for name, spent in merged.items())


def _clean(word: str) -> str:
    """A name that neither ends a line nor a frame."""
    printable = "".join(one if one.isprintable() else " " for one in word[:300])
    return printable.replace(";", ":")
