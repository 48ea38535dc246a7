"""A log that nobody takes, and a terminal that goes away: neither holds Canter up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

from harness.heard import Heard
from harness.operated import Canter, together, until

APP = """
import os, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        open("waits", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.005)
    if environ["PATH_INFO"] == "/raises":
        raise ValueError("long " * 1000)
    own = [("Keep-Alive", "x")] if environ["PATH_INFO"] == "/own" else []
    start_response("200 OK", [("Content-Type", "text/plain"), *own])
    return [b"ok"]
"""


class Deaf(Heard):
    """Reads nothing by itself."""

    def _read(self) -> None:
        """Not by this thread."""


class Unread(Canter):
    """Its log is read when the test wants it."""

    hears = Deaf
    text = ""

    def take(self) -> str:
        """All that has come so far."""
        assert self.process.stderr is not None
        reader = self.process.stderr.fileno()
        if select.select([reader], [], [], 0)[0]:
            self.text += os.read(reader, 1 << 20).decode()
            self._heard.lines = self.text.splitlines()
        return self.text

    def fill(self) -> None:
        """Leave no room for anybody; through a description of our own, which does not wait."""
        own = os.open(f"/proc/{self.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(own, b"-" * 4096)
        os.close(own)


def test_a_log_that_nobody_reads_stops_neither_requests_nor_signals(tmp_path: Path) -> None:
    with Unread(tmp_path, APP, "-w", "1") as canter:
        until(lambda: "worker is ready" in canter.take())
        canter.fill()
        # Each of these says something, the front and the supervisor.
        canter.signal(signal.SIGTTIN)
        until(lambda: len(canter.named("worker")) == 2)
        victim = canter.named("worker")[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in canter.named("worker") and len(canter.named("worker")) == 2)
        assert canter.get().status == 200
        canter.take()
        canter.signal(signal.SIGTTIN)
        until(lambda: "lines of this log were dropped" in canter.take())
        assert canter.get().status == 200
        canter.fill()
        assert canter.stop() == 0


def test_what_a_worker_has_to_say_of_its_app_does_not_hold_it_up(tmp_path: Path) -> None:
    with Unread(tmp_path, APP, "-w", "1", "--threads", "2") as canter:
        until(lambda: "worker is ready" in canter.take())
        canter.fill()
        statuses = [canter.get(path).status for path in ("/raises", "/own", "/raises", "/")]
        assert statuses == [500, 200, 500, 200]
        until(lambda: canter.take() == canter.take())
        assert canter.get("/raises").status == 500
        # What nobody took is counted, and the next entry is whole.
        until(lambda: canter.take().endswith(f"ValueError: {'long ' * 1000}\n"))
        assert "lines of this log were dropped" in canter.text
        assert canter.stop() == 0


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, dict[str, object]]]:
    """Its other end, and how a program is started that it is the terminal of."""
    near, far = pty.openpty()
    settings: dict[str, object] = {
        "stdin": far,
        "start_new_session": True,
        "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    }
    try:
        yield near, settings
    finally:
        os.close(far)


def test_closing_the_terminal_stops_the_server_and_what_runs_is_finished(tmp_path: Path) -> None:
    with terminal() as (near, settings), Canter(tmp_path, APP, "-w", "1", **settings) as canter:
        canter.wait_ready()

        def close() -> int:
            until((tmp_path / "waits").exists)
            # A SIGHUP while it is there is for the code.
            canter.signal(signal.SIGHUP)
            canter.wait_log("the code was read again")
            os.close(near)
            assert "SIGHUP, and its terminal was closed" in canter.wait_log("stopping")
            (tmp_path / "go").touch()
            return canter.wait()

        assert together([lambda: canter.get("/wait").status, close]) == [200, 0]


def test_what_was_started_with_nohup_outlives_the_terminal(tmp_path: Path) -> None:
    with terminal() as (near, settings):
        settings |= {"stdin": subprocess.DEVNULL, "preexec_fn": None}
        with Canter(tmp_path, APP, "-w", "1", wrapper=["nohup"], **settings) as canter:
            canter.wait_ready()
            os.close(near)
            canter.signal(signal.SIGHUP)
            canter.wait_log("the code was read again")
            assert canter.get().status == 200
