"""Owns a running ``canter serve`` for the tests: its log, its processes, requests to its socket.

Leaves what to do to it to the tests. Nothing here waits by the clock: it waits for lines of the
log, for the ends of processes, and gives up after ``LIMIT`` seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 20.0
"""Seconds after which something that should have happened counts as missing."""

APP = """
import os

VERSION = "one"

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/exit":
        os._exit(9)
    if path == "/slow":
        with open("begun", "wb") as begun:
            begun.write(b"!")
        with open("go", "rb") as go:
            go.read(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{VERSION} {os.getpid()} {os.getppid()}".encode()]
"""


def program() -> str:
    """The installed ``canter``."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    found = shutil.which("canter", path=path)
    if found is None:
        raise RuntimeError("the program canter is not installed beside this Python")
    return found


@dataclass
class Answer:
    """A response, as far as these tests look."""

    status: int
    body: str


@dataclass
class Running:
    """One ``canter serve``."""

    folder: Path
    process: subprocess.Popen[str]
    log: list[dict[str, Any]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, message: str, **fields: object) -> dict[str, Any]:
        """The next line of the log with this message."""
        deadline = time.monotonic() + LIMIT
        while True:
            left = deadline - time.monotonic()
            try:
                line = self._lines.get(timeout=max(left, 0))
            except queue.Empty:
                raise AssertionError(f"no {message!r} in the log: {self.text}") from None
            if line is None:
                raise AssertionError(f"ended without {message!r} in the log: {self.text}")
            self.text.append(line)
            with contextlib.suppress(ValueError):
                entry: dict[str, Any] = json.loads(line)
                self.log.append(entry)
                if entry.get("message") == message and fields.items() <= entry.items():
                    return entry

    def wait_ready(self, workers: int) -> None:
        for _ in range(workers):
            self.wait_for("worker is ready")

    def get(self, path: str = "/") -> Answer:
        """One request on a connection of its own; ConnectionError when it is cut."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LIMIT)
            client.connect(str(self.folder / "s"))
            client.sendall(
                f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
            )
            data = b""
            while part := client.recv(65536):
                data += part
        head, _, body = data.partition(b"\r\n\r\n")
        if not head:
            raise ConnectionError("closed without an answer")
        return Answer(int(head.split(b" ", 2)[1]), body.decode())

    def pid_of(self, name: str) -> int:
        """The one process with this name."""
        (pid,) = self.pids_of(name)
        return pid

    def pids_of(self, name: str) -> list[int]:
        return [pid for pid, comm in self.processes().items() if comm == f"canter-{name}"]

    def processes(self) -> dict[int, str]:
        """All children of the supervisor, by number."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return {int(child): _comm(int(child)) for child in children}
        return {}

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code; the rest of the log is in ``text`` and ``log``."""
        code = self.process.wait(LIMIT)
        while (line := self._lines.get(timeout=LIMIT)) is not None:
            self.text.append(line)
            with contextlib.suppress(ValueError):
                self.log.append(json.loads(line))
        return code

    def messages(self) -> list[str]:
        return [str(entry.get("message")) for entry in self.log]


def _comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


class Slow:
    """The reins of the app's ``/slow``: two FIFOs, so that nobody has to look again and again."""

    def __init__(self, folder: Path) -> None:
        for name in ("begun", "go"):
            os.mkfifo(folder / name)
        # For both directions, or opening would wait for the other side.
        self._begun = os.open(folder / "begun", os.O_RDWR)
        self._go = os.open(folder / "go", os.O_RDWR)

    def wait_begun(self) -> None:
        """Until a request is inside the app."""
        waiter = select.poll()
        waiter.register(self._begun, select.POLLIN)
        assert waiter.poll(LIMIT * 1000), "the request did not reach the app"
        os.read(self._begun, 1)

    def go(self) -> None:
        """Lets one request go on."""
        os.write(self._go, b"!")

    def close(self) -> None:
        os.close(self._begun)
        os.close(self._go)


def kill_and_wait(pid: int) -> None:
    """SIGKILL, and back when the process has ended."""
    with watching(pid) as ended:
        os.kill(pid, signal.SIGKILL)
        assert ended()


@contextlib.contextmanager
def watching(*pids: int) -> Iterator[Callable[[], bool]]:
    """Gives a function that waits for the end of all these processes."""
    fds = [os.pidfd_open(pid) for pid in pids]

    def ended() -> bool:
        deadline = time.monotonic() + LIMIT
        for fd in fds:
            waiter = select.poll()
            waiter.register(fd, select.POLLIN)
            if not waiter.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
        return True

    try:
        yield ended
    finally:
        for fd in fds:
            os.close(fd)


@contextlib.contextmanager
def serving(folder: Path, *args: str, app: str | None = None, **env: str) -> Iterator[Running]:
    """``canter serve`` in ``folder``, on the socket ``s`` there."""
    if app is None:
        (folder / "shop.py").write_text(APP)
        app = "shop"
    process = subprocess.Popen(
        [program(), "serve", app, "-b", f"unix:{folder}/s", "--log-format", "json"]
        + ["--no-access-log", "--python", sys.executable, *args],
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | env,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Running(folder, process)
    threading.Thread(target=running.read_log, daemon=True).start()
    try:
        yield running
    finally:
        # Its processes follow it by themselves; that is what one of the tests is about.
        process.kill()
        process.wait()
