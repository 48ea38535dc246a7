"""``canter top`` on a terminal: a pseudo terminal on which keys are pressed, whose size changes, and
which must be as it was before when it is over. Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import shop
from harness.operated import PROGRAM, until
from harness.server import Server

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

PATIENCE = 60.0
"""Seconds for what takes two, on a loaded machine."""

TAKEN, GIVEN_BACK = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A pseudo terminal with ``canter top`` in it."""

    def __init__(self, *words: str, size: tuple[int, int] = (100, 30)) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.text = ""
        command = [PROGRAM, "top", *words]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def read(self) -> None:
        while select.select([self.ours], [], [], 0.05)[0]:
            self.text += os.read(self.ours, 65536).decode(errors="replace")

    def rows(self) -> dict[int, str]:
        """What stands in each row, since the screen was last cleared."""
        shown = self.text.rpartition("\x1b[2J")[2]
        found = {}
        for row, text in re.findall(r"\x1b\[(\d+);1H(.*?)\x1b\[0m\x1b\[K", shown, re.S):
            found[int(row)] = re.sub(r"\x1b\[\d*m", "", text)
        return found

    def wait(self, condition: Callable[[str], bool], what: str) -> str:
        def met() -> str | None:
            self.read()
            rows = self.rows()
            text = "\n".join(rows[row] for row in sorted(rows))
            return text if condition(text) else None

        try:
            return until(met, PATIENCE, what)
        except AssertionError:
            raise AssertionError(f"{what}: {self.text!r}") from None

    def ends(self) -> int:
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        self.read()
        assert self.process.returncode is not None, "canter top does not end"
        return self.process.returncode

    def assert_given_back(self) -> None:
        assert self.text.count(TAKEN) == self.text.count(GIVEN_BACK) == 1, self.text
        tail = self.text.rpartition(GIVEN_BACK)[0]
        assert tail.endswith("\x1b[0m\x1b[?7h\x1b[?25h"), self.text[-200:]
        assert termios.tcgetattr(self.theirs) == self.before


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("top"), APP) as server:
        shop.get(server, "/")
        yield server


def counted(text: str) -> int:
    """How many requests a picture says."""
    found = re.findall(r"requests (\d+)", text)
    return int(found[-1]) if found else 0


def test_d5_keys_and_sizes_change_what_is_shown(server: Server) -> None:
    with Terminal(shop.socket_of(server)) as terminal:
        # A picture arrives in pieces, and the first requests only with the next one.
        wanted = ("worker 1", "canter ", "queued 0", "p95", "requests/s", "(no route)", "time/hour")
        terminal.wait(lambda text: all(word in text for word in wanted), "the whole picture")
        assert len(terminal.rows()) <= 30
        terminal.read()
        terminal.press("s")
        terminal.wait(lambda _: "\x1b[7mrequests\x1b[0m" in terminal.text, "the other order")
        # What is answered meanwhile is seen without a key.
        before = counted("\n".join(terminal.rows().values()))
        assert shop.get(server, "/")[0] == 200
        terminal.wait(lambda text: counted(text) > before, "the next")
        terminal.resize(40, 12)
        text = terminal.wait(lambda text: "worker 1" not in text and bool(text), "a small one")
        assert all(len(row) <= 40 for row in terminal.rows().values())
        assert max(terminal.rows()) <= 12
        terminal.press("\x1b[B\x1b[A")
        terminal.press("q")
        assert terminal.ends() == 0
        terminal.assert_given_back()


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM", "SIGHUP"])
def test_d5_the_terminal_is_given_back_at_a_signal(server: Server, how: str) -> None:
    with Terminal(shop.socket_of(server)) as terminal:
        terminal.wait(lambda text: "canter " in text, "a picture")
        if how == "ctrl-c":
            # No terminal of control here: what the terminal would send at Ctrl-C.
            terminal.process.send_signal(signal.SIGINT)
        else:
            terminal.process.send_signal(getattr(signal, how))
        assert terminal.ends() == 0
        terminal.assert_given_back()


def test_d5_a_server_that_has_gone_is_told_and_no_server_is_a_fault(tmp_path: Path) -> None:
    with Server(tmp_path, APP) as server:
        socket = shop.socket_of(server)
        terminal = Terminal(socket)
        terminal.wait(lambda text: "canter " in text, "a picture")
    with terminal:
        terminal.wait(lambda text: "asking again" in text, "that it has gone")
        terminal.press("q")
        assert terminal.ends() == 0
        terminal.assert_given_back()
    with Terminal(socket) as terminal:
        assert terminal.ends() not in (0, None)
        assert TAKEN not in terminal.text and "the server does not answer" in terminal.text


def test_d5_what_is_no_terminal_gets_text_without_codes(server: Server) -> None:
    command = [PROGRAM, "top", shop.socket_of(server)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        process.kill()
    assert lines[0].startswith(b"canter ") and b"\x1b" not in b"".join(lines)
