"""``canter bench`` as a person sees it: a pause on a terminal, the report in a browser.

Leaves what is counted to ``test_bench``.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.benched import OK, always, bench, requests, serving
from harness.browser import CHROMIUM, Browser, read_by_day_and_by_night
from harness.operated import PATIENCE, PROGRAM


class Terminal:
    """A run with keyboard and screen; its report goes to ``out``."""

    def __init__(self, *words: str) -> None:
        self.main, end = pty.openpty()
        self.seen = b""
        self.running = subprocess.Popen([PROGRAM, "bench", *words], stdin=end, stdout=end, stderr=end)
        os.close(end)

    def read_until(self, *words: bytes) -> None:
        """Reads on until all of the words have come since the last time."""
        seen, until = b"", time.monotonic() + PATIENCE
        while not all(word in seen for word in words):
            assert time.monotonic() < until, seen
            if select.select([self.main], [], [], 1)[0]:
                seen += os.read(self.main, 65_536)
        self.seen += seen

    def end(self) -> int:
        """Waits for the end, reading what is still said."""
        while True:
            try:
                self.seen += os.read(self.main, 65_536)
            except OSError:
                return self.running.wait(PATIENCE)


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    it = Terminal(*words)
    try:
        yield it
    finally:
        it.running.kill()
        it.running.wait()
        os.close(it.main)


PAUSED = b"paused; any key: go on, q or Ctrl-C: end"


@pytest.mark.parametrize("end", ["q", "Ctrl-C"])
def test_ctrl_c_pauses_with_the_report_so_far_and_a_key_goes_on(end: str, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    with serving(always(OK)) as url:
        with terminal(url, "--users", "2", "-d", "600s", "--json", str(out)) as it:
            it.read_until(b" of 600 s  2 users  ")
            it.running.send_signal(signal.SIGINT)
            it.read_until(b"did not go to its end: it is paused.", b"answers  ", PAUSED)
            assert not out.exists() or not out.read_text()
            os.write(it.main, b"\n")
            it.read_until(b" of 600 s  2 users  ")
            it.running.send_signal(signal.SIGINT)
            it.read_until(PAUSED)
            if end == "q":
                os.write(it.main, b"q")
            else:
                it.running.send_signal(signal.SIGINT)
            assert it.end() == 0
    assert b"ended by hand" in it.seen
    told = json.loads(out.read_text())
    assert told["ended_early"] == "ended by hand"
    assert told["hits"] == told["latency"]["count"] > 0 and told["errors"] == 0


def test_nothing_is_asked_in_a_pause_and_its_time_is_not_counted(tmp_path: Path) -> None:
    asked: list[float] = []

    def handle(connection: socket.socket) -> None:
        for _ in requests(connection):
            asked.append(time.monotonic())
            connection.sendall(OK)

    out = tmp_path / "r.json"
    with serving(handle) as url:
        with terminal(url, "--rate", "50/s", "-d", "4s", "--json", str(out)) as it:
            it.read_until(b" of 4 s  ")
            it.running.send_signal(signal.SIGINT)
            it.read_until(PAUSED + b"\r\n")
            begin = time.monotonic()
            # As long as somebody needs to read: nothing must happen meanwhile, which nothing tells of.
            assert not select.select([it.main], [], [], 3)[0]
            end = time.monotonic()
            os.write(it.main, b" ")
            assert it.end() == 0
    told = json.loads(out.read_text())
    # All of them are asked where the machine has time, none in the pause, and none counts it as a wait.
    assert told["hits"] + told["errors"] == len(asked)
    assert len(asked) + told["generator"]["unsent"] == 200
    assert not [at for at in asked if begin + 1 < at < end], (begin, end)
    assert told["time_s"] == pytest.approx(4, abs=2) and told["latency"]["p90_ms"] < 1500
    assert "ended_early" not in told or told["ended_early"] is None


@pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: reports are NOT tested in a browser")
def test_the_report_of_a_run_reads_well_in_a_browser(tmp_path: Path) -> None:
    busy = threading.Semaphore(3)

    def handle(connection: socket.socket) -> None:
        for line, _, _ in requests(connection):
            with busy:
                time.sleep(0.1)
            connection.sendall(OK if "bad" not in line else OK.replace(b"200 OK", b"500 No"))

    page, urls = tmp_path / "bench.html", tmp_path / "urls.txt"
    urls.write_text("/ weight=20\n/bad?<b>&long=" + "x" * 200 + "\n")
    with serving(handle) as url:
        words = ["--ramp", "1-40:4s", "--timeout", "400ms", "--url-list", str(urls), "--html", str(page)]
        done = bench(url, *words, "--fail-if", "p95>100ms")
    assert done.returncode == 8, done.stderr
    read_by_day_and_by_night(page, tmp_path)
    with Browser(page.as_uri()) as browser:
        browser.wait("document.readyState === 'complete'")
        text = browser.run("document.body.innerText")
        marks = browser.run("[...document.querySelectorAll('svg text')].map(it => it.textContent).join('|')")
    assert "first error" in marks and "first time-out" in marks, marks
    assert "p95>100ms" in text and "/bad?<b>&long=" in text
