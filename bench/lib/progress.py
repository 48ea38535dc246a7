"""What a person sees on standard error while the comparison runs."""

from __future__ import annotations

import sys
import time


def say(text: str) -> None:
    """One lasting line."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Progress:
    """The state of a run of many measurements: which, how fast, how long still."""

    def __init__(self, expected_seconds: list[float]) -> None:
        self._expected = expected_seconds
        self._done = 0
        self._began = time.monotonic()
        self._label = ""
        self._live = sys.stderr.isatty()

    def begin(self, label: str) -> None:
        """A measurement starts."""
        self._label = label
        self.live("starting")

    def live(self, text: str) -> None:
        """How it stands; on a terminal only, where the line can be overwritten."""
        if self._live:
            sys.stderr.write(f"\r\033[K{self._line(text)}")
            sys.stderr.flush()

    def end(self, text: str) -> None:
        """A measurement is over; its line stays."""
        line = self._line(text)
        self._done += 1
        sys.stderr.write(f"\r\033[K{line}\n" if self._live else f"{line}\n")
        sys.stderr.flush()

    def _line(self, text: str) -> str:
        count = f"[{self._done + 1}/{len(self._expected)}]"
        return f"{count} {self._label}: {text} ({self._left()} left)"

    def _left(self) -> str:
        # The plan knows how long each measurement should take; what has run corrects it.
        planned = sum(self._expected[: self._done])
        rest = sum(self._expected[self._done :])
        if planned:
            rest *= (time.monotonic() - self._began) / planned
        minutes, seconds = divmod(round(rest), 60)
        return f"{minutes} min" if minutes >= 2 else f"{minutes * 60 + seconds} s"
