"""Owns a worker under test in a process of its own, started as the supervisor does it.

Leaves workers within the test's process to `worker_harness`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from worker_harness import LIMIT, Running

from canter import __version__
from canter._worker import _TestFront

APPS = Path(__file__).parent / "apps"


class Process(Running):
    """A worker process and the front that plays with it."""

    def __init__(self, front: Any, pid: int, link: socket.socket, log: Path) -> None:
        super().__init__(front, SimpleNamespace(is_alive=lambda: False), [])  # type: ignore[arg-type]
        self.pid = pid
        #: To the supervisor.
        self.link = link
        self.log = log
        self.code: int | None = None

    def wait(self) -> int:
        if self.code is None:
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)
        return self.code


@contextmanager
def worker_process(app: str, program: str | None = None, **settings: Any) -> Iterator[Process]:
    """Start a single worker for an app in `apps/`, or `program` in its place."""
    front = _TestFront()
    link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.settimeout(LIMIT)
    given = [theirs.detach(), *front.worker_fds()]
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in given]
    for fd in given:
        os.close(fd)
    with link, tempfile.NamedTemporaryFile() as log:
        actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + at) for at, fd in enumerate(high)]
        actions.append((os.POSIX_SPAWN_DUP2, log.fileno(), 2))
        number = settings.pop("worker_id", 0)
        order = json.dumps({"version": __version__, "app": app, "worker": settings})
        command = ["-c", program] if program else ["-m", "canter.zygote"]
        environment = {**os.environ, "PYTHONPATH": f"{APPS}:{os.environ.get('PYTHONPATH', '')}"}
        argv = [sys.executable, *command, order, str(number)]
        pid = os.posix_spawn(sys.executable, argv, environment, file_actions=actions)
        for fd in high:
            os.close(fd)
        process = Process(front, pid, link, Path(log.name))
        try:
            yield process
        finally:
            if process.code is None:
                os.kill(pid, 9)
                process.wait()
