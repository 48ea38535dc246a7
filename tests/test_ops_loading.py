"""What visitors get while the app is still being imported, and what the log says of it: a slow import
is neither an overload nor a request that takes too long.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.operated import Canter, Reply, until

APP = """
import os, time
while not os.path.exists("loaded"):
    time.sleep(0.01)
def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

LOADING = "the app is still being loaded"

FAILS = "the app cannot be imported: see the log"


@contextlib.contextmanager
def asking(canter: Canter, path: str = "/", clients: int = 1) -> Iterator[list[Future[Reply]]]:
    """So many ask at the same time; their answers to come."""
    with ThreadPoolExecutor(clients) as pool:
        yield [pool.submit(canter.get, path) for _ in range(clients)]


def wait_queued(canter: Canter, count: int) -> None:
    """Waits until so many wait for a worker."""

    def queued() -> int:
        now: int = json.loads(canter.get("/-/canter/data.json").text)["now"]["queued"]
        return now

    until(lambda: queued() == count, what=f"{count} requests that wait")


def load(canter: Canter) -> None:
    """Lets the import end."""
    (canter.folder / "loaded").touch()


def test_who_cannot_wait_until_the_app_is_loaded_is_told_so_and_the_log_too(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--timeout", "1s") as canter:
        with asking(canter, clients=3) as answers:
            replies = [answer.result() for answer in answers]
        for reply in replies:
            assert reply.status == 503 and reply.seconds >= 1.0
            assert LOADING in reply.text
            assert reply.headers["retry-after"] == "1"
        assert "are answered 503" in canter.wait_log(LOADING)
        load(canter)
        canter.wait_ready()
        assert canter.get().text == "hello"
        assert len(canter.logged("are answered 503")) == 1


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_requests_that_came_while_the_app_was_imported_are_answered(
    tmp_path: Path, preload: str
) -> None:
    with Canter(tmp_path, APP, "-w", "2", f"--preload={preload}") as canter:
        with asking(canter, clients=20) as answers:
            wait_queued(canter, 20)
            load(canter)
            assert {answer.result().status for answer in answers} == {200}
        assert not canter.logged("503")


@pytest.mark.slow
def test_the_time_of_a_request_that_waited_for_the_app_begins_when_it_is_there(
    tmp_path: Path,
) -> None:
    # Waiting and running are each far from the limits, and both together are beyond them.
    flags = ("-w", "1", "--timeout", "10s", "--slow-request", "9s")
    with Canter(tmp_path, APP, *flags) as canter:
        with asking(canter, "/?5", clients=4) as answers:
            wait_queued(canter, 4)
            waiting = time.monotonic()
            until(lambda: time.monotonic() > waiting + 5.5)
            load(canter)
            replies = [answer.result() for answer in answers]
        assert [reply.status for reply in replies] == [200] * 4, canter.log
        assert min(reply.seconds for reply in replies) > 10
        assert not canter.logged("took too long|is slow|replaced")
        known = json.loads(canter.get("/-/canter/data.json").text)
        spent = dict(zip(known["phases"], known["hour"]["phases_ms"], strict=True))
        # What they waited for is not that there were too few workers.
        assert spent["app"] >= 4 * 4900 and spent["queue"] < 4 * 2500, spent


def test_a_full_queue_before_an_app_that_loads_is_no_overload(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--queue-size", "2") as canter:
        with asking(canter, clients=8) as answers:
            canter.wait_log("are answered 503")
            load(canter)
            replies = [answer.result() for answer in answers]
        refused = [reply for reply in replies if reply.status == 503]
        assert refused and all(LOADING in reply.text for reply in refused)
        assert {reply.status for reply in replies} == {200, 503}


def test_readiness_says_that_the_app_is_still_being_loaded(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--health") as canter:
        reply = canter.get("/-/ready")
        assert (reply.status, LOADING in reply.text) == (503, True)
        assert canter.get("/-/live").status == 200
        load(canter)
        canter.wait_ready()
        until(lambda: canter.get("/-/ready").status == 200)


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_nobody_waits_for_an_app_that_cannot_be_imported_until_its_source_changes(
    tmp_path: Path, preload: str
) -> None:
    broken = APP + "\nraise RuntimeError('hunter2')\n"
    flags = ("-w", "1", "--reload", "--health", f"--preload={preload}", "--timeout", "300s")
    with Canter(tmp_path, broken, *flags) as canter:
        with asking(canter, clients=3) as answers:
            wait_queued(canter, 3)
            load(canter)
            canter.wait_log("hunter2")
            replies = [answer.result() for answer in answers]
        replies.append(canter.get())
        for reply in replies:
            assert reply.status == 503 and FAILS in reply.text
            assert "hunter2" not in reply.text and reply.headers["retry-after"] == "1"
        assert FAILS in canter.get("/-/ready").text
        assert not canter.logged(LOADING)
        # A front that was not there when it failed says so, too.
        front = canter.one("front")
        os.kill(front, signal.SIGKILL)
        canter.wait_log("the front died")
        assert FAILS in canter.get().text
        (tmp_path / "loaded").unlink()
        canter.write(APP)
        until(lambda: LOADING in canter.get("/-/ready").text)
        with asking(canter) as answers:
            wait_queued(canter, 1)
            load(canter)
            assert answers[0].result().text == "hello"


@pytest.mark.slow
def test_after_ten_seconds_the_log_says_what_is_waited_for(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        with asking(canter) as answers:
            line = canter.wait_log(f"{LOADING}: requests wait for it", seconds=60)
            assert f"process {canter.one('zygote')} imports it" in line
            load(canter)
            assert answers[0].result().status == 200
