"""SIGKILL to each kind of process in turn: the rest goes on or comes back, and nothing is left
behind.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
from pathlib import Path

import pytest
from harness.operated import Canter, Load, is_alive, together, until, waiting

APP = """
import os, time
version = "one"
def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        open("waits", "w").close()
        time.sleep(float(environ["QUERY_STRING"]))
        open("waited", "w").close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [version.encode(), b" ", str(os.getpid()).encode()]
"""


def answers_again(canter: Canter) -> bool:
    try:
        return canter.get(timeout=5.0).status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_the_front_is_back_on_the_same_port(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)
        port, front = canter.port, canter.one("front")
        os.kill(front, signal.SIGKILL)
        # The supervisor holds the listening socket: connections wait, and are not refused.
        reply = canter.get()
        assert reply.status == 200
        assert canter.port == port
        assert canter.one("front") != front
        assert "SIGKILL" in canter.wait_log("the front died")
        assert canter.stop() == 0


def test_a_connection_to_a_front_that_dies_is_closed(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        with waiting(canter) as client:
            os.kill(canter.one("front"), signal.SIGKILL)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""


def test_a_request_that_runs_when_the_front_dies_is_finished(tmp_path: Path) -> None:
    """It may be within a transaction, and nobody else will run it."""
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        with waiting(canter, "POST /wait?0.3 HTTP/1.1"):
            worker = canter.one("worker")
            os.kill(canter.one("front"), signal.SIGKILL)
            until(lambda: not is_alive(worker), what="the end of the old worker")
            assert (tmp_path / "waited").exists()
            assert canter.get().status == 200


def test_the_front_comes_back_again_and_again(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        for _ in range(3):
            os.kill(canter.one("front"), signal.SIGKILL)
            until(lambda: answers_again(canter))
        assert canter.stop() == 0


@pytest.mark.slow
def test_a_front_that_hangs_is_replaced(tmp_path: Path) -> None:
    """Without a service manager after half a minute; with one, before that would act."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with manager:
        manager.bind(str(tmp_path / "notify"))
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "8000000"}
        with Canter(tmp_path, APP, "-w", "1", env=env) as canter:
            canter.wait_ready()
            front = canter.one("front")
            os.kill(front, signal.SIGSTOP)
            # Connections wait with the supervisor's socket until somebody takes them.
            assert canter.get(timeout=20).status == 200
            canter.wait_log("the front hangs")
            assert "SIGKILL" in canter.wait_log("the front died")
            assert canter.one("front") != front


def test_the_death_of_the_zygote_hurts_nobody_and_workers_can_still_be_made(
    tmp_path: Path,
) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)
        zygote = canter.one("zygote")
        with Load(canter, 2) as load:
            os.kill(zygote, signal.SIGKILL)
            canter.wait_log("the zygote died")
            until(lambda: any(pid != zygote for pid in canter.named("zygote")))
            until(lambda: len(load.replies) > 50)
        assert load.failures == []
        os.kill(canter.named("worker")[0], signal.SIGKILL)
        canter.wait_log("worker is ready", times=3)
        canter.write(APP.replace('"one"', '"two"'))
        canter.signal(signal.SIGHUP)
        until(lambda: canter.get().text.startswith("two"))


def test_a_worker_that_dies_with_the_zygote_is_replaced_all_the_same(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        for pid in canter.named("zygote") + canter.named("worker"):
            os.kill(pid, signal.SIGKILL)
        assert canter.get().status == 200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_the_death_of_the_supervisor_leaves_no_process_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Canter(tmp_path, APP, "-w", "2", "--graceful-timeout", "1s") as canter:
        canter.wait_ready(2)
        with waiting(canter):
            canter.signal(number)
            canter.wait()
            until(lambda: not canter.family(), what="the end of every process")


def test_the_death_of_the_supervisor_lets_requests_finish(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "5s") as canter:
        canter.wait_ready()

        def kill() -> None:
            until((tmp_path / "waits").exists)
            canter.signal(signal.SIGKILL)

        reply, _ = together([lambda: canter.get("/wait?0.3"), kill])
        assert reply is not None and reply.status == 200
        until(lambda: not canter.family(), what="the end of every process")


def test_the_port_is_free_again_after_everything_was_killed(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        port = canter.port
        for pid in canter.family():
            # The front ends by itself when it sees the supervisor gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not canter.family())

        def is_free() -> bool:
            # A process that ends lets go of its memory first, and of its sockets then.
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
                return True
            return False

        until(is_free, what="the port to be free")


def test_every_process_killed_in_turn_under_load_recovers(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)
        with Load(canter, 2) as load:
            for role in ("worker", "zygote", "front", "worker", "front", "zygote"):
                victim = until(lambda role=role: canter.named(role))[0]
                os.kill(victim, signal.SIGKILL)
                until(lambda: answers_again(canter), what=f"an answer after the end of the {role}")
                until(lambda role=role, victim=victim: set(canter.named(role)) - {victim})
            done = len(load.replies)
            until(lambda: len(load.replies) > done + 50)
        assert canter.stop() == 0
        assert canter.family() == []
