"""On which CPUs a worker's threads run: while they are many and compute, all on one; what the app starts
meanwhile is free.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from harness.operated import Canter, Load, until

ALL = os.sched_getaffinity(0)

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="the machine has one CPU")

APP = """
import os, subprocess, threading

def compute():
    while True:
        sum(range(1000))

def cpus(pid=0):
    return " ".join(map(str, sorted(os.sched_getaffinity(pid))))

def application(environ, start_response):
    path = environ["PATH_INFO"]
    words = [cpus()]
    if path == "/hold":
        gate = os.open("gate", os.O_RDONLY)
        os.read(gate, 1)
        os.close(gate)
    elif path == "/compute":
        threading.Thread(target=compute, daemon=True).start()
    elif path == "/run":
        # A shell that has started another program once it has said so.
        command = "sleep 100 & echo $!; wait"
        shell = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True)
        pids = [shell.pid, int(shell.stdout.readline())]
        words += [str(pid) for pid in pids] + [cpus(pid) for pid in pids]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [",".join(words).encode()]
"""

SLOW = 60.0
"""Seconds for what takes many threads, on a loaded machine."""


@contextlib.contextmanager
def holding(canter: Canter, count: int) -> Iterator[None]:
    """So many requests wait in the app."""
    gate = canter.folder / "gate"
    os.mkfifo(gate)
    with ThreadPoolExecutor(count) as pool:
        replies = [pool.submit(canter.get, "/hold", timeout=3 * SLOW) for _ in range(count)]
        opened = None
        try:
            yield
        finally:
            opened = os.open(gate, os.O_RDWR)
            os.write(opened, bytes(1000))
            wait(replies)
            os.close(opened)
        assert {reply.result().status for reply in replies} == {200}


def cpus(word: str) -> set[int]:
    return {int(cpu) for cpu in word.split()}


def started(canter: Canter) -> list[int] | None:
    """The programs that a request has started; none where its thread was not held."""
    own, *rest = canter.get("/run").text.split(",")
    pids, places = [int(pid) for pid in rest[:2]], [cpus(word) for word in rest[2:]]
    if len(cpus(own)) == 1 and all(len(place) == 1 for place in places):
        return pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return None


def allowed(pid: int) -> set[str]:
    """Where the threads of a process may run, as the system lists it."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            lines = (task / "status").read_text().splitlines()
            found |= {line for line in lines if line.startswith("Cpus_allowed_list")}
    return found


def test_many_threads_that_compute_stay_on_one_cpu_until_they_are_few(tmp_path: Path) -> None:
    flags = ("-w", "1", "--threads", "80", "--timeout", "200s")
    with Canter(tmp_path, APP, *flags) as canter:
        canter.wait_ready()
        (worker,) = canter.named("worker")
        before = allowed(worker)

        def is_freed() -> bool:
            """Whether what is started on a thread that is held may run everywhere while that is held still."""
            pids = until(lambda: started(canter), SLOW, "a held thread")
            try:
                while os.sched_getaffinity(worker) != ALL:
                    if all(os.sched_getaffinity(pid) == ALL for pid in pids):
                        return os.sched_getaffinity(worker) != ALL
                # They have parted meanwhile, and all are free.
                return False
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)

        tasks = Path(f"/proc/{worker}/task")
        with holding(canter, 60), contextlib.ExitStack() as stack:
            until(lambda: len(list(tasks.iterdir())) > 60, SLOW, "threads that wait")
            canter.get("/compute")
            # With the requests of two clients there is something to compare.
            load = stack.enter_context(Load(canter, clients=2))
            until(is_freed, SLOW, "programs that run everywhere")
        assert not load.failures
        until(lambda: allowed(worker) == before, SLOW, "all CPUs")
        assert cpus(canter.get().text.split(",")[0]) == ALL
