"""How many processes and threads run the app: as many as set, and without a number as many as
help.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from harness.operated import Canter, scale, stat_of, together, until, used_in_a_second

APP = """
import os, threading, time
lock = threading.Lock()
now = most = 0
def application(environ, start_response):
    global now, most
    path, word = environ["PATH_INFO"], environ["QUERY_STRING"]
    with lock:
        now += 1
        most = max(most, now)
    try:
        if path == "/wait":
            time.sleep(float(word))
        elif path == "/compute":
            end = time.thread_time() + float(word)
            while time.thread_time() < end:
                sum(range(1000))
        answer = {
            "/most": str(most),
            "/threads": str(len(os.listdir("/proc/self/task"))),
        }.get(path, f"{os.getpid()} {threading.get_ident()}")
    finally:
        with lock:
            now -= 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]
"""


def test_workers_2_are_two_processes_and_both_serve(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "--workers", "2", "--threads", "1") as canter:
        canter.wait_ready(2)
        workers = canter.named("worker")
        assert len(workers) == 2
        replies = together([lambda: canter.get("/wait?0.2")] * 8)
        assert {int(reply.text.split()[0]) for reply in replies} == set(workers)


def test_workers_are_children_of_the_supervisor_which_has_one_thread(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)
        for worker in canter.named("worker"):
            assert stat_of(worker)[1] == str(canter.pid)
        assert len(os.listdir(f"/proc/{canter.pid}/task")) == 1


def test_threads_1_never_runs_two_requests_at_once(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--threads", "1") as canter:
        replies = together([lambda: canter.get("/wait?0.02")] * 20)
        assert {reply.status for reply in replies} == {200}
        assert len({reply.text for reply in replies}) == 1
        assert canter.get("/most").text == "1"


def test_threads_4_runs_four_at_once_and_no_more(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--threads", "4") as canter:
        together([lambda: canter.get("/wait?0.1")] * 12)
        assert canter.get("/most").text == "4"


def test_sixty_waiting_requests_run_together_in_one_worker_without_a_flag(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        started = time.monotonic()
        replies = together([lambda: canter.get("/wait?0.5")] * 60)
        seconds = time.monotonic() - started
        assert {reply.status for reply in replies} == {200}
        # One after the other they would take thirty seconds, two at a time fifteen.
        assert seconds < 15
        assert int(canter.get("/most").text) > 10


def test_requests_that_compute_stay_on_few_threads(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        together([lambda: canter.get("/compute?0.03")] * 40)
        assert int(canter.get("/most").text) <= 20


def test_after_a_burst_one_thread_serves_what_comes_one_by_one(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        together([lambda: canter.get("/wait?0.2")] * 30)
        # The last of the burst may still be on their way back to their places.
        until(lambda: len({canter.get().text for _ in range(20)}) == 1, what="one thread")


def test_idle_workers_use_no_cpu(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)
        canter.get()
        pids = canter.family()
        until(lambda: used_in_a_second(*pids) <= 0.03, what="a second without work")


def test_sigttin_adds_a_worker_and_sigttou_takes_one_away(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        canter.signal(signal.SIGTTIN)
        canter.wait_ready(2)
        assert len(canter.named("worker")) == 2
        canter.signal(signal.SIGTTOU)
        until(lambda: len(canter.named("worker")) == 1)
        canter.signal(signal.SIGTTOU)
        canter.wait_log("number of workers changed", times=3)
        assert canter.get().status == 200
        assert len(canter.named("worker")) == 1


HELD = """
import os, sys, threading
lock, held = threading.Lock(), 0
def application(environ, start_response):
    global held
    path = environ["PATH_INFO"]
    if path == "/hold":
        with lock:
            held += 1
        gate = os.open("gate", os.O_RDONLY)
        os.read(gate, 1)
        os.close(gate)
        with lock:
            held -= 1
    elif path == "/set":
        sys.setswitchinterval(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{held} {sys.getswitchinterval():.6f}".encode()]
"""


SLOW = 60.0
"""Seconds for what takes many threads, on a loaded machine."""
MANY_WAIT = ("-w", "1", "--threads", "64", "--timeout", "120s")


@contextlib.contextmanager
def holding(canter: Canter, count: int) -> Iterator[None]:
    """So many more requests of ``HELD`` wait in the app; in the end all go on, for which no thread
    is needed.
    """
    before = int(canter.get("/").text.split()[0])
    gate = canter.folder / "gate"
    with contextlib.suppress(FileExistsError):
        os.mkfifo(gate)
    with ThreadPoolExecutor(count) as pool, contextlib.ExitStack() as stack:
        replies = [pool.submit(canter.get, "/hold", timeout=2 * SLOW) for _ in range(count)]
        try:
            # The last of them may come late where the machine has no time for more threads.
            most = before + count * 4 // 5
            until(lambda: int(canter.get("/").text.split()[0]) >= most, SLOW, "requests that wait")
            yield
        finally:
            opened = os.open(gate, os.O_RDWR)
            stack.callback(os.close, opened)
            os.write(opened, bytes(1000))
            wait(replies)
        assert {reply.result().status for reply in replies} == {200}


def interval(canter: Canter) -> str:
    return canter.get("/").text.split()[1]


def test_many_threads_that_wait_take_longer_turns_until_they_are_few(tmp_path: Path) -> None:
    with Canter(tmp_path, HELD, *MANY_WAIT) as canter:
        with holding(canter, 8):
            assert interval(canter) == "0.005000"
            with holding(canter, 24):
                until(lambda: interval(canter) == "0.020000", SLOW, "longer turns")
        until(lambda: interval(canter) == "0.005000", SLOW, "turns as before")


def test_fewer_threads_while_it_serves_take_turns_as_before(tmp_path: Path) -> None:
    flags = (*MANY_WAIT, "--threads-min", "40")
    with Canter(tmp_path, HELD, *flags, env={"XDG_RUNTIME_DIR": str(tmp_path)}) as canter:
        canter.wait_ready()
        admin = tmp_path / "canter" / f"{canter.process.pid}.sock"
        with holding(canter, 32):
            until(lambda: interval(canter) == "0.020000", SLOW, "longer turns")
            assert scale(admin, "threads=1") == 202
        until(lambda: interval(canter) == "0.005000", SLOW, "turns as before")


@pytest.mark.parametrize("when", ["at import", "while many wait"])
def test_the_length_of_turns_that_an_app_has_set_stays(tmp_path: Path, when: str) -> None:
    app = HELD + ("sys.setswitchinterval(0.001)" if when == "at import" else "")
    with Canter(tmp_path, app, *MANY_WAIT) as canter:
        with holding(canter, 32):
            if when == "while many wait":
                until(lambda: interval(canter) == "0.020000", SLOW, "longer turns")
                canter.get("/set?0.001")
            assert interval(canter) == "0.001000"
        until(lambda: canter.get("/").text.startswith("0 "), SLOW, "the end of all")
        assert {interval(canter) for _ in range(20)} == {"0.001000"}


def runners(canter: Canter, count: int) -> dict[str, set[str]]:
    """The threads that run so many requests which wait, by process."""
    replies = together([lambda: canter.get("/wait?0.1")] * count)
    assert {reply.status for reply in replies} == {200}
    found: dict[str, set[str]] = {}
    for reply in replies:
        pid, thread = reply.text.split()
        found.setdefault(pid, set()).add(thread)
    return found


def test_b1_workers_and_threads_change_while_it_serves_and_no_request_is_lost(tmp_path: Path) -> None:
    shown = tmp_path / "admin.sock"
    flags = ("-w", "1", "--threads", "6", "--admin-bind", f"unix:{shown}")
    with Canter(tmp_path, APP, *flags, env={"XDG_RUNTIME_DIR": str(tmp_path)}) as canter:
        canter.wait_ready()
        # Others may reach the socket of the dashboard; that of the commands is this user's own.
        assert scale(shown, "threads=1") == 404
        admin = tmp_path / "canter" / f"{canter.process.pid}.sock"
        with_one = int(canter.get("/threads").text)
        until(lambda: len(*runners(canter, 12).values()) == 6, what="six threads")
        assert scale(admin, "threads=1") == 202
        # Those beyond end, with all that they hold.
        until(lambda: int(canter.get("/threads").text) <= with_one + 1, what="fewer threads")
        assert len(*runners(canter, 12).values()) <= 2
        assert scale(admin, "threads=5") == 202
        until(lambda: len(*runners(canter, 15).values()) == 5, what="more threads")
        old = canter.one("worker")
        with ThreadPoolExecutor(4) as pool:
            meanwhile = [pool.submit(canter.get, "/wait?0.02") for _ in range(200)]
            assert scale(admin, "workers=3&threads=1&fresh=1") == 202
            until(lambda: old not in canter.named("worker"), what="the old worker's end")
            until(lambda: len(canter.named("worker")) == 3, what="three workers")
            assert {each.result().status for each in meanwhile} == {200}
        # Workers that came later were told, too.
        assert all(len(threads) <= 2 for threads in runners(canter, 24).values())
        assert scale(admin, "workers=1") == 202
        until(lambda: len(canter.named("worker")) == 1, what="one worker")
        assert scale(admin, "workers=0") == 400
        assert canter.get().status == 200


def test_signals_for_the_terminal_s_group_leave_workers_alone(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        worker = canter.one("worker")
        for number in (signal.SIGINT, signal.SIGINT):
            os.kill(worker, number)
        assert canter.get().text.split()[0] == str(worker)
