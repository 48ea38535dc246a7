"""Starting and stopping servers, and what a tree of processes costs in CPU time and memory.

Reads `/proc`; knows nothing of HTTP. Every process started here runs in a session of its own, and
`stop_all` ends every session that is still there.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 3.0
_running: list[Processes] = []


@dataclass(frozen=True)
class Stat:
    """The fields of `/proc/PID/stat` that matter here (proc(5))."""

    parent: int
    session: int
    state: str
    ticks: int


def _stat(pid: int) -> Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name may hold spaces and brackets; the fields begin after its last bracket, with field 3.
    fields = text.rpartition(")")[2].split()
    # utime, stime and those of reaped children: fields 14 to 17.
    return Stat(int(fields[1]), int(fields[3]), fields[0], sum(map(int, fields[11:15])))


def tree(roots: list[int]) -> list[int]:
    """The roots, everything in their sessions, and all descendants, oldest first."""
    stats = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = set(roots)
    grown = True
    while grown:
        grown = False
        for pid, stat in stats.items():
            if stat and pid not in found and (stat.parent in found or stat.session in roots):
                found.add(pid)
                grown = True
    return sorted(pid for pid in found if stats.get(pid) and stats[pid].state != "Z")  # type: ignore[union-attr]


def cpu_seconds(roots: list[int]) -> float:
    """User and system time of a tree so far, that of children already reaped included."""
    stats = (_stat(pid) for pid in tree(roots))
    return sum(stat.ticks for stat in stats if stat) / TICKS


def _kib(path: str, field: str) -> int:
    try:
        with open(path) as lines:
            for line in lines:
                if line.startswith(field):
                    return int(line.split()[1])
    except OSError:
        pass  # Gone since it was listed.
    return 0


def pss_kib(roots: list[int]) -> int:
    """Proportional set size of a tree: memory shared by its processes counts once."""
    return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in tree(roots))


def rss_kib(pid: int) -> int:
    """Resident memory of one process."""
    return _kib(f"/proc/{pid}/status", "VmRSS:")


def same_program_children(root: int) -> list[int]:
    """Descendants that run the root's executable: Canter's front beside its supervisor."""

    def program(pid: int) -> str:
        try:
            return os.readlink(f"/proc/{pid}/exe")
        except OSError:
            return ""

    return [pid for pid in tree([root]) if pid != root and program(pid) == program(root) != ""]


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_file_limit() -> None:
    """As many open files as the system allows, for a thousand connections on each side."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Processes:
    """One or more commands that together are one server."""

    def __init__(
        self,
        commands: list[list[str]],
        *,
        environment: dict[str, str],
        directory: Path,
        log: Path,
        user: int | None = None,
    ) -> None:
        self.log = log
        self._children: list[subprocess.Popen[bytes]] = []
        _running.append(self)
        with log.open("wb") as output:
            for command in commands:
                self._children.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        env=environment,
                        cwd=directory,
                        start_new_session=True,
                        user=user,
                        group=user,
                        extra_groups=None if user is None else [],
                    )
                )

    @property
    def roots(self) -> list[int]:
        """The process ids that were started directly."""
        return [child.pid for child in self._children]

    def ended(self) -> str | None:
        """What to say if one of the commands is no longer running."""
        for child in self._children:
            if child.poll() is not None:
                return f"exited with {child.returncode}: {self.last_words()}"
        return None

    def last_words(self) -> str:
        """The end of what was written to standard output and error."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])[-300:]

    def stop(self) -> None:
        """End everything, politely for a few seconds, and wait until it is gone."""
        if self not in _running:
            return
        _running.remove(self)
        members = tree(self.roots)
        for child in self._children:
            _signal(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            for child in self._children:
                child.poll()
            if not any(map(_alive, members)):
                break
            time.sleep(0.02)
        for pid in {*members, *tree(self.roots)}:
            _signal(pid, signal.SIGKILL)
        for child in self._children:
            child.wait()


def stop_all() -> None:
    """End every server that is still running."""
    for processes in list(_running):
        processes.stop()


def _alive(pid: int) -> bool:
    stat = _stat(pid)
    return stat is not None and stat.state != "Z"


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
