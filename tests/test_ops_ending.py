"""The end of a worker for the app: its threads are waited for and its exit handlers run, however the worker
came to its end, and no longer than there is time.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from harness.operated import Canter, until

APP = """
import atexit, os, tempfile, threading, time

def note(text):
    with open("notes", "a") as notes:
        notes.write(f"{os.getpid()} {text}\\n")

folder = tempfile.TemporaryDirectory()
atexit.register(note, "of the import")

def later():
    # Longer than a stop takes.
    time.sleep(0.8)
    note("of a thread")

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/work":
        atexit.register(note, "of a request")
        threading.Thread(target=later).start()
    if path == "/hang":
        atexit.register(time.sleep, 3600)
    if path == "/fail":
        atexit.register(note, "of a request")
        atexit.register(lambda: 1 / 0)
        atexit.register(exit, 7)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {os.path.isdir(folder.name)}".encode()]
"""

ALL = {"of the import", "of a request", "of a thread"}


def notes_of(folder: Path, pid: int) -> set[str]:
    file = folder / "notes"
    lines = file.read_text().splitlines() if file.exists() else []
    return {line.partition(" ")[2] for line in lines if line.startswith(f"{pid} ")}


@pytest.mark.parametrize("preload", ["on", "off"])
@pytest.mark.parametrize("way", ["SIGTERM", "SIGHUP", "--max-requests"])
def test_exit_handlers_run_and_threads_are_waited_for(
    tmp_path: Path, way: str, preload: str
) -> None:
    flags = ["--max-requests", "1"] if way == "--max-requests" else []
    with Canter(tmp_path, APP, "-w", "1", f"--preload={preload}", *flags) as canter:
        canter.wait_ready()
        pid = int(canter.get("/work").text.split()[0])
        if way != "--max-requests":
            canter.signal(getattr(signal, way))
        until(lambda: notes_of(tmp_path, pid) == ALL)
        if way == "SIGTERM":
            assert canter.wait(10.0) == 0
            assert canter.family() == []
        assert "worker died" not in canter.log


def test_what_all_workers_use_is_not_taken_away_by_the_first_that_ends(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--preload=on", "--max-requests", "1") as canter:
        canter.wait_ready()
        pid = int(canter.get().text.split()[0])
        until(lambda: notes_of(tmp_path, pid) == {"of the import"})
        other, is_there = canter.get().text.split()
        assert int(other) != pid and is_there == "True"


def test_a_handler_that_fails_or_exits_ends_nothing_but_itself(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        pid = int(canter.get("/fail").text.split()[0])
        canter.signal(signal.SIGTERM)
        assert canter.wait(10.0) == 0
        assert notes_of(tmp_path, pid) == {"of the import", "of a request"}
        assert "ZeroDivisionError" in canter.log


def test_a_handler_that_does_not_end_has_the_rest_of_the_graceful_timeout(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "1s") as canter:
        canter.wait_ready()
        canter.get("/hang")
        started = time.monotonic()
        canter.signal(signal.SIGTERM)
        assert canter.wait(10.0) == 0
        assert time.monotonic() - started > 0.8
        assert "did not finish within --graceful-timeout" in canter.log
        assert canter.family() == []


def test_a_handler_that_does_not_end_does_not_keep_a_worker_nobody_watches(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "1s") as canter:
        canter.wait_ready()
        canter.get("/hang")
        canter.signal(signal.SIGKILL)
        canter.wait(10.0)
        until(lambda: canter.family() == [])
