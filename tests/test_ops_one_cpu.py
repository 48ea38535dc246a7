"""On which CPUs a worker's threads run: while they are many and compute, all of a worker on one, each
worker's on another; what the app starts meanwhile is free.
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
import multiprocessing.util, os, subprocess, sys, threading
ASK = "import os; print(*sorted(os.sched_getaffinity(0)))"

def compute():
    while True:
        sum(range(1000))

def forked():
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, " ".join(map(str, sorted(os.sched_getaffinity(0)))).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read) as answer:
        return answer.read()

def spawned():
    read, write = os.pipe()
    dup = [(os.POSIX_SPAWN_DUP2, write, 1)]
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ASK], os.environ, file_actions=dup)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read) as answer:
        return answer.read()

computing = []

def application(environ, start_response):
    if not computing:
        computing.append(threading.Thread(target=compute, daemon=True))
        computing[0].start()
    path = environ["PATH_INFO"]
    cpus = " ".join(map(str, sorted(os.sched_getaffinity(0))))
    if path == "/hold":
        gate = os.open("gate", os.O_RDONLY)
        os.read(gate, 1)
        os.close(gate)
    elif path == "/run":
        cpus += "," + subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True).stdout
    elif path == "/fork":
        cpus += "," + forked()
    elif path == "/spawn":
        cpus += "," + spawned()
    elif path == "/silent":
        # As `multiprocessing` does with `spawn`: Python tells nobody.
        sleep = [b"sleep", b"100"]
        cpus += f",{multiprocessing.util.spawnv_passfds(b'/bin/sleep', sleep, [])}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()},{cpus}".encode()]
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


def ask(canter: Canter, path: str = "/") -> tuple[int, list[set[int]]]:
    """Which worker answered, and where its thread may run; then where its child may."""
    pid, *sets = canter.get(path).text.split(",")
    return int(pid), [{int(cpu) for cpu in cpus.split()} for cpus in sets]


def allowed(pid: int) -> set[str]:
    """Where the threads of a process may run, as the system lists it."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            lines = (task / "status").read_text().splitlines()
            found |= {line for line in lines if line.startswith("Cpus_allowed_list")}
    return found


def test_many_threads_that_compute_stay_on_one_cpu_until_they_are_few(tmp_path: Path) -> None:
    flags = ("-w", "2", "--threads", "80", "--timeout", "200s")
    with Canter(tmp_path, APP, *flags) as canter:
        canter.wait_ready(2)
        workers = canter.named("worker")
        before = {pid: allowed(pid) for pid in workers}

        def are_apart() -> bool:
            """Whether the main threads, which go first, are on one CPU each, and not on the same."""
            homes = [os.sched_getaffinity(pid) for pid in workers]
            return max(map(len, homes)) == 1 and len(set.union(*homes)) == 2

        def held(path: str) -> set[int] | None:
            """What a request on a thread that is held answers."""
            _, [own, told] = ask(canter, path)
            return told if len(own) == 1 else None

        # With the requests of eight clients there is something to compare.
        with holding(canter, 140), Load(canter, clients=8) as load:
            until(are_apart, SLOW, "each worker on a CPU")
            for path in ("/run", "/fork", "/spawn"):
                assert until(lambda path=path: held(path), SLOW, "a held thread") == ALL, path
            (silent,) = until(lambda: held("/silent"), SLOW, "a held thread")
            try:
                until(lambda: os.sched_getaffinity(silent) == ALL, SLOW, "a free child")
            finally:
                os.kill(silent, signal.SIGKILL)
        assert not load.failures
        until(lambda: {pid: allowed(pid) for pid in workers} == before, SLOW, "all CPUs")
        assert ask(canter)[1] == [ALL]
