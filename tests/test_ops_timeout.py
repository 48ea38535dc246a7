"""A request that takes too long: its client is told at once, the log says where it hangs, and what
it holds is won back.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harness.operated import Canter, cpu_seconds, together, until

APP = """
import ctypes, os, threading, time
def application(environ, start_response):
    path, word = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/sleep":
        hang()
    elif path == "/spin":
        while True:
            pass
    elif path == "/lock":
        # Sleeps without letting go of the interpreter.
        ctypes.PyDLL(None).usleep(30_000_000)
    elif path == "/power":
        10 ** (10 ** 9)
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
def hang():
    time.sleep(60)
def stream():
    for number in range(8):
        yield b"%d\\n" % number
        time.sleep(0.2)
"""

LATE = 10.0
"""Seconds that nothing takes when it works, on a loaded machine either; what hangs, hangs longer."""


def stop(process: int) -> None:
    """Stop a process. The signal alone leaves its threads time for a few requests more."""
    os.kill(process, signal.SIGSTOP)
    tasks = Path(f"/proc/{process}/task")

    def has_stopped() -> bool:
        states = [(task / "stat").read_text().rpartition(")")[2].split() for task in tasks.iterdir()]
        return all(state[0] == "T" for state in states)

    until(has_stopped, what="all threads of the process to stop")


FLAGS = ("--timeout", "1s", "--graceful-timeout", "1s")


def serves(canter: Canter) -> bool:
    """Whether a request is answered. On a machine that is loaded one may miss the second it has."""
    return canter.get("/").status == 200


def test_a_view_that_sleeps_gets_504_after_the_timeout_and_its_line_is_in_the_log(
    tmp_path: Path,
) -> None:
    with Canter(tmp_path, APP, *FLAGS, "-w", "1") as canter:
        canter.wait_ready()
        reply = canter.get("/sleep?password=hunter2")
        assert reply.status == 504
        assert 1.0 <= reply.seconds < LATE
        assert "GET /sleep" in canter.wait_log("took too long")
        canter.wait_log(r'app\.py", line \d+, in hang')
        assert canter.wait_log(r"time\.sleep\(60\)")
        assert "hunter2" not in canter.log
        until(lambda: serves(canter), 60.0, "service")


def test_an_endless_loop_gets_504_and_other_requests_go_on(tmp_path: Path) -> None:
    # Time enough for the others, which share the interpreter with the loop.
    flags = ("--timeout", "4s", "--graceful-timeout", "1s")
    with Canter(tmp_path, APP, *flags, "-w", "1") as canter:
        canter.wait_ready()
        stuck, *others = together(
            [lambda: canter.get("/spin")] + [lambda: canter.get("/") for _ in range(5)]
        )
        assert stuck.status == 504
        assert 4.0 <= stuck.seconds < 2 * LATE
        assert {reply.status for reply in others} == {200}
        canter.wait_log(r'app\.py", line \d+, in application')
        # Its thread is written off and still computes: the others do not depend on it.
        for _ in range(20):
            reply = canter.get("/")
            assert reply.status == 200
            assert reply.seconds < LATE


def test_native_code_that_keeps_the_interpreter_costs_its_worker(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, *FLAGS, "-w", "1") as canter:
        canter.wait_ready()
        before = canter.one("worker")
        stuck = canter.get("/power")
        assert stuck.status == 504
        assert stuck.seconds < LATE
        # Whoever comes next shows that the worker takes nothing any more.
        assert canter.get("/").status in (200, 503)
        canter.wait_log("worker is being replaced", seconds=60.0)
        canter.wait_log("worker is ready", times=2, seconds=60.0)
        assert canter.get("/").text != str(before)
        until(lambda: before not in canter.named("worker"), 60.0, "the end of the stuck worker")


def test_other_workers_serve_while_one_is_held(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, *FLAGS, "-w", "2") as canter:
        canter.wait_ready(2)

        def steady() -> list[float]:
            return [canter.get("/").seconds for _ in range(50)]

        stuck, times = together([lambda: canter.get("/lock"), steady])
        assert getattr(stuck, "status", None) == 504
        assert isinstance(times, list)
        assert max(times) < LATE


def test_a_worker_with_many_stuck_threads_is_replaced_and_the_rest_served(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, *FLAGS, "-w", "1", "--threads", "4") as canter:
        canter.wait_ready()
        replies = together([lambda: canter.get("/sleep")] * 4)
        assert {reply.status for reply in replies} == {504}
        canter.wait_log("worker is being replaced", seconds=60.0)
        until(lambda: serves(canter), 60.0, "service")


def test_one_stuck_thread_of_threads_1_does_not_end_service(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, *FLAGS, "-w", "1", "--threads", "1") as canter:
        canter.wait_ready()
        assert canter.get("/sleep").status == 504
        until(lambda: serves(canter), 60.0, "service")


def test_a_stopped_worker_is_replaced_and_others_serve(tmp_path: Path) -> None:
    # The time limit is that of a request at the worker that lives, on a machine that is loaded.
    with Canter(tmp_path, APP, "--timeout", "15s", "--graceful-timeout", "1s", "-w", "2") as canter:
        canter.wait_ready(2)
        # The worker that gets a request while none has anything to do.
        victim = int(canter.get("/").text)
        stop(victim)
        # One after the other, so that the worker that lives has always nothing to do; then at once.
        replies = [canter.get("/") for _ in range(4)]
        replies += together([lambda: canter.get("/")] * 10)
        # Offered requests are taken back from a worker that does not begin them.
        assert {reply.status for reply in replies} == {200}
        assert max(reply.seconds for reply in replies) < LATE
        until(lambda: victim not in canter.named("worker"), 60.0, "the end of the stopped worker")
        until(lambda: len(canter.named("worker")) == 2, 60.0)


def test_a_worker_that_stops_while_it_runs_gets_504_and_is_replaced(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, *FLAGS, "-w", "1") as canter:
        canter.wait_ready()
        victim = canter.one("worker")

        def stop_it() -> None:
            used = cpu_seconds(victim)
            until(lambda: cpu_seconds(victim) > used + 0.05, what="the loop to run")
            stop(victim)

        reply, _ = together([lambda: canter.get("/spin"), stop_it])
        assert reply is not None and reply.status == 504
        until(lambda: victim not in canter.named("worker"), 60.0, "the end of the stopped worker")
        until(lambda: serves(canter), 60.0, "service")


def test_a_stream_that_takes_longer_than_the_timeout_is_not_cut(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, *FLAGS, "-w", "1") as canter:
        canter.wait_ready()
        reply = canter.get("/stream")
        assert reply.status == 200
        assert reply.text.split() == [str(number) for number in range(8)]


def test_timeout_0_means_no_limit(tmp_path: Path) -> None:
    source = APP.replace("time.sleep(60)", "time.sleep(1.5)")
    with Canter(tmp_path, source, "--timeout", "0", "-w", "1") as canter:
        assert canter.get("/sleep").status == 200
