"""Owns a ``canter serve`` that tests speak HTTP to: quick settings, its addresses, its access
log, and an end that is checked: exit code 0, nothing on the log that says "panicked", no process
left.

Leaves processes and signals to ``operated``, bytes on the wire to ``raw``.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.operated import PATIENCE, Canter, until
from harness.raw import Address, Client

APPS = Path(__file__).resolve().parent.parent / "apps"

RUNNING: list[Server] = []
"""The servers of this moment, whose logs are shown beside a failure."""

JSON_LOG = ("--access-log-format", "json")
"""Flags for an access log that ``access_entry`` reads."""

QUICK = ("--workers", "1", "--graceful-timeout", "5s", "--python", sys.executable)


class Server(Canter):
    """``canter serve`` in ``folder`` with a module of ``tests/apps`` or an app's source."""

    def __init__(
        self,
        folder: Path,
        app: str,
        *flags: str,
        bind: Sequence[str] = ("127.0.0.1:0",),
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        is_source = "\n" in app
        logged = () if any("access-log" in flag for flag in flags) else ("--access-logfile", "-")
        super().__init__(
            folder,
            app if is_source else "",
            *QUICK,
            *logged,
            *flags,
            env={"PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            bind=bind,
            # No app: canter finds the project beside manage.py.
            app=(("app",) if is_source else (app, "--pythonpath", str(APPS)) if app else ()),
        )

    def __enter__(self) -> Server:
        RUNNING.append(self)
        try:
            self.wait_log("worker is ready")
        except BaseException:
            RUNNING.remove(self)
            super().__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self._end_well()
        finally:
            RUNNING.remove(self)
            super().__exit__(*error)

    def _end_well(self) -> None:
        if self.process.poll() is None:
            assert self.stop() == 0, self.log
        assert "panicked" not in self.log
        with contextlib.suppress(AssertionError):
            until(lambda: not self.family())
        assert self.family() == [], f"processes are left:\n{self.log}"

    # --- where it is

    @property
    def url(self) -> str:
        """The address for a browser, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """The first TCP address."""
        return ("127.0.0.1", self.port)

    def client(self, address: Address | None = None) -> Client:
        """A new connection."""
        return Client(address or self.address)

    def children(self) -> dict[str, list[int]]:
        """The processes by role."""
        return {role: self.named(role) for role in ("front", "zygote", "worker")}

    # --- the access log

    def access_lines(self) -> list[str]:
        """The lines so far."""
        return self.stdout.splitlines()

    def access_line(self, pattern: str) -> str:
        """The one line that matches, once it is there: it is written after the response."""

        def found() -> list[str]:
            return [line for line in self.access_lines() if re.search(pattern, line)]

        lines = until(found, PATIENCE, f"{pattern!r} in the access log")
        assert len(lines) == 1, lines
        return lines[0]

    def access_entry(self, request_id: str) -> dict[str, Any]:
        """What the access log, as JSON, says of the request with that id."""
        entry: dict[str, Any] = json.loads(self.access_line(f'"request_id":"{request_id}"'))
        return entry
