"""Apps that misbehave: each costs at most its own request, or its own worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness.operated import Canter, is_alive, until

BEGIN = """
import os, signal, subprocess, sys, threading, time
def answer(start_response, *parts, status="200 OK", fields=()):
    start_response(status, [("Content-Type", "text/plain"), *fields])
    return [part if isinstance(part, bytes) else str(part).encode() for part in parts]
def application(environ, start_response):
    path, word = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/":
        return answer(start_response, os.getpid())
    return view(environ, start_response, word)
"""


def test_a_huge_stream_costs_neither_memory_nor_a_thread_for_long(tmp_path: Path) -> None:
    source = (
        BEGIN
        + """
def view(environ, start_response, word):
    start_response("200 OK", [])
    return (b"x" * (1 << 20) for _ in range(2048))
"""
    )
    with Canter(tmp_path, source, "-w", "1", "--response-memory", "1MiB") as canter:
        canter.wait_ready()
        with canter.connect() as client:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            total = 0
            buffer = bytearray(1 << 20)
            while count := client.recv_into(buffer):
                total += count
        assert total > 2048 << 20
        for role in ("front", "worker"):
            assert peak_memory(canter.one(role)) < 120 << 20, role


def test_a_large_body_in_one_piece_is_kept_for_a_slow_reader_without_holding_the_worker(
    tmp_path: Path,
) -> None:
    source = (
        BEGIN
        + """
def view(environ, start_response, word):
    return answer(start_response, b"x" * (100 << 20))
"""
    )
    with Canter(tmp_path, source, "-w", "1", "--threads", "1") as canter:
        canter.wait_ready()
        with canter.connect() as client:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            first = client.recv(100)
            assert first.startswith(b"HTTP/1.1 200 ")
            # Nothing more is read, and yet the only thread takes the next request.
            assert canter.get("/").status == 200
            total = len(first)
            buffer = bytearray(1 << 20)
            while count := client.recv_into(buffer):
                total += count
        assert total > 100 << 20
        assert peak_memory(canter.one("front")) < 150 << 20


def test_an_endless_response_ends_when_its_client_leaves_and_is_closed(tmp_path: Path) -> None:
    source = (
        BEGIN
        + """
class Endless:
    def __iter__(self):
        return self
    def __next__(self):
        time.sleep(0.001)
        return b"x" * 100
    def close(self):
        open("closed", "w").close()
def view(environ, start_response, word):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Endless()
"""
    )
    with Canter(tmp_path, source, "-w", "1", "--threads", "1") as canter:
        canter.wait_ready()
        with canter.connect() as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        until((tmp_path / "closed").exists)
        assert canter.get("/").status == 200


VIEWS = {
    "close() raises": ("""
class Body(list):
    def close(self):
        raise RuntimeError("in close")
def view(environ, start_response, word):
    return Body(answer(start_response, "fine"))
""", {200}, "RuntimeError: in close"),
    "sys.exit": ("""
def view(environ, start_response, word):
    sys.exit(7)
""", {500}, "SystemExit: 7"),
    "KeyboardInterrupt": ("""
def view(environ, start_response, word):
    raise KeyboardInterrupt
""", {500}, "KeyboardInterrupt"),
    "endless recursion": ("""
def view(environ, start_response, word):
    return view(environ, start_response, word)
""", {500}, "RecursionError"),
    "MemoryError": ("""
def view(environ, start_response, word):
    return answer(start_response, b"x" * (1 << 60))
""", {500}, "MemoryError"),
    "an exception that cannot be shown": ("""
class Odd(Exception):
    def __str__(self):
        raise ValueError("no words")
def view(environ, start_response, word):
    raise Odd
""", {500}, "Odd"),
    "prints to standard output": ("""
def view(environ, start_response, word):
    print("said by the app")
    return answer(start_response, "fine")
""", {200}, ""),
    "closes standard streams": ("""
def view(environ, start_response, word):
    sys.stdout.close(); sys.stderr = None
    return answer(start_response, "fine")
""", {200}, ""),
    "changes signal handlers at import": ("""
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def view(environ, start_response, word):
    return answer(start_response, "fine")
""", {200}, ""),
    "blocks all signals at import": ("""
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
def view(environ, start_response, word):
    return answer(start_response, "fine")
""", {200}, ""),
    "changes directory, umask and limits": ("""
import resource
def view(environ, start_response, word):
    os.chdir("/"); os.umask(0o777)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return answer(start_response, "fine")
""", {200}, ""),
    "forks and leaves the child at once": ("""
def view(environ, start_response, word):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return answer(start_response, "fine")
""", {200}, ""),
    "forks and exits the child by an exception": ("""
def view(environ, start_response, word):
    if os.fork() == 0:
        sys.exit(0)
    return answer(start_response, "fine")
""", {200}, "forked by the app has come back"),
    "forks and answers twice": ("""
def view(environ, start_response, word):
    return answer(start_response, "child" if os.fork() == 0 else "parent")
""", {200}, "forked by the app has come back"),
    "runs a program": ("""
def view(environ, start_response, word):
    ran = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True)
    status = dict(line.split(":\\t", 1) for line in ran.stdout.splitlines() if ":\\t" in line)
    term = 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGINT - 1)
    blocked = (int(status["SigBlk"], 16) | int(status["SigIgn"], 16)) & term
    assert blocked == 0, status
    return answer(start_response, "fine")
""", {200}, ""),
    "closes every descriptor": ("""
def view(environ, start_response, word):
    os.closerange(3, 1000)
    return answer(start_response, "fine")
""", {200, 502, 504}, ""),
    "closes the first descriptors": ("""
def view(environ, start_response, word):
    os.closerange(3, 10)
    return answer(start_response, "fine")
""", {200, 502, 504}, ""),
    "kills itself softly": ("""
def view(environ, start_response, word):
    os.kill(os.getpid(), signal.SIGTERM)
    return answer(start_response, "fine")
""", {200, 502}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_an_app_costs_at_most_its_own_request_when_it(tmp_path: Path, name: str) -> None:
    view, statuses, says = VIEWS[name]
    flags = ("-w", "1", "--timeout", "5s", "--graceful-timeout", "2s")
    with Canter(tmp_path, BEGIN + view, *flags) as canter:
        canter.wait_ready()
        supervisor, front = canter.pid, canter.one("front")
        for turn in range(3):
            assert canter.get(f"/view?{turn}").status in statuses
            assert canter.get("/").status == 200
        if says:
            canter.wait_log(says)
        assert canter.pid == supervisor and canter.one("front") == front
        assert "panicked" not in canter.log
        assert canter.stop() == 0
        assert canter.family() == []


def test_what_the_app_prints_is_seen_at_once(tmp_path: Path) -> None:
    source = (
        BEGIN
        + """
print("at import")
def view(environ, start_response, word):
    print("in the view")
    print("on stderr", file=sys.stderr)
    return answer(start_response, "fine")
"""
    )
    with Canter(tmp_path, source, "-w", "1") as canter:
        canter.get("/print")
        until(lambda: canter.stdout.splitlines() == ["at import", "in the view"])
        canter.wait_log("on stderr")


def test_a_program_started_by_the_app_outlives_a_view_but_not_for_ever_unreaped(
    tmp_path: Path,
) -> None:
    source = (
        BEGIN
        + """
def view(environ, start_response, word):
    # Its parent ends at once: the supervisor inherits it and has to reap it.
    subprocess.run(["sh", "-c", "sleep 0.2 & echo $! > orphan"])
    return answer(start_response, "fine")
"""
    )
    with Canter(tmp_path, source, "-w", "1") as canter:
        assert canter.get("/start").status == 200
        orphan = int((tmp_path / "orphan").read_text())
        until(lambda: not Path(f"/proc/{orphan}").exists(), what="the orphan to be reaped")


def test_a_thread_of_the_app_does_not_keep_a_worker_alive(tmp_path: Path) -> None:
    source = (
        BEGIN
        + """
def view(environ, start_response, word):
    threading.Thread(target=time.sleep, args=(60,)).start()
    return answer(start_response, "fine")
"""
    )
    # Longer than anybody waits for the stop.
    with Canter(tmp_path, source, "-w", "1", "--graceful-timeout", "60s") as canter:
        assert canter.get("/thread").status == 200
        assert canter.stop() == 0


def test_a_leaking_worker_killed_by_the_system_is_replaced(tmp_path: Path) -> None:
    with Canter(tmp_path, BEGIN, "-w", "1") as canter:
        worker = canter.wait_ready().one("worker")
        os.kill(worker, signal.SIGKILL)
        until(lambda: not is_alive(worker))
        assert canter.get("/").status == 200
        assert "out of memory" in canter.wait_log("worker died")


def peak_memory(pid: int) -> int:
    """The most memory the process has had, without what it shares with files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")
