"""Owns what a program that runs says on its standard error: taking it line by line, looking in it, waiting
for what is still to come.

Leaves starting and ending the program to ``operated`` and ``pooler``.
"""

from __future__ import annotations

import re
import subprocess
import threading

from harness.waiting import PATIENCE, until


class Heard:
    """The standard error of ``process``, read by a thread from the start on."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def matching(self, pattern: str, since: int = 0) -> list[str]:
        """The lines that match, from the one with that number on."""
        return [line for line in self.lines[since:] if re.search(pattern, line)]

    def wait(
        self, pattern: str, *, since: int = 0, times: int = 1, seconds: float = PATIENCE
    ) -> str:
        """Wait until as many lines match; the last of them."""

        def enough() -> list[str] | None:
            lines = self.matching(pattern, since)
            if len(lines) < times and self.process.poll() is not None:
                self.end()
                lines = self.matching(pattern, since)
                assert len(lines) >= times, f"ended without {pattern!r}:\n{self.text}"
            return lines if len(lines) >= times else None

        try:
            return until(enough, seconds)[times - 1]
        except AssertionError as error:
            raise AssertionError(f"{pattern!r} not in the log:\n{self.text}") from error

    def end(self) -> None:
        """Wait for the last line of a program that has ended."""
        self._reader.join(5)
