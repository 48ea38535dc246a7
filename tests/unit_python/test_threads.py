"""Owns the rows about threads: how many there are, which one is called, when they end."""

from __future__ import annotations

import threading
import time

import pytest
from worker_harness import LIMIT, Request, serving


def ok(start_response):
    start_response("200 OK", [])
    return [threading.current_thread().name.encode()]


def test_requests_that_wait_get_as_many_threads_as_they_need():
    together = threading.Barrier(20)

    def app(environ, start_response):
        together.wait(LIMIT)
        return ok(start_response)

    with serving(app, threads=32) as worker:
        numbers = [worker.offer(Request(), slot) for slot in range(20)]
        worker.front.look()
        answers = [worker.answer(number) for number in numbers]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 20


def test_the_cap_holds():
    inside = threading.Semaphore(0)
    go_on = threading.Event()
    most = []
    running = []

    def app(environ, start_response):
        running.append(1)
        most.append(len(running))
        inside.release()
        assert go_on.wait(LIMIT)
        running.pop()
        return ok(start_response)

    with serving(app, threads=3) as worker:
        numbers = [worker.offer(Request(), slot) for slot in range(9)]
        worker.front.look()
        for _ in range(3):
            assert inside.acquire(timeout=LIMIT)
        # The look goes on while requests wait; it has had many windows when these are over.
        assert not inside.acquire(timeout=0.1)
        assert worker.front.untaken() == 6
        go_on.set()
        assert all(worker.answer(number).status == 200 for number in numbers)
    assert max(most) == 3


def test_threads_min_are_there_from_the_start():
    together = threading.Barrier(4)

    def app(environ, start_response):
        together.wait(LIMIT)
        return ok(start_response)

    with serving(app, threads=4, threads_min=4) as worker:
        numbers = [worker.offer(Request(), slot) for slot in range(4)]
        worker.front.look()
        assert all(worker.answer(number).status == 200 for number in numbers)
        names = {thread.name for thread in threading.enumerate()}
        assert {f"canter-{n}" for n in range(1, 5)} <= names


@pytest.mark.parametrize("threads_min", [1, 3])
def test_idle_threads_end_and_their_thread_locals_with_them(threads_min):
    together = threading.Barrier(5)
    ended = threading.Semaphore(0)
    local = threading.local()

    class Connection:
        def __del__(self):
            ended.release()

    def app(environ, start_response):
        local.connection = Connection()
        together.wait(LIMIT)
        return ok(start_response)

    with serving(app, threads=8, threads_min=threads_min, idle_seconds=0.05) as worker:
        numbers = [worker.offer(Request(), slot) for slot in range(5)]
        worker.front.look()
        for number in numbers:
            worker.answer(number)
        for _ in range(5 - threads_min):
            assert ended.acquire(timeout=LIMIT)
        assert not ended.acquire(timeout=0.2), "the others stay"
        together = threading.Barrier(1)
        assert worker.get().status == 200


def test_after_a_burst_the_last_used_threads_do_the_work_and_the_others_end():
    together = threading.Barrier(6)
    ended = threading.Semaphore(0)
    local = threading.local()

    class Connection:
        def __del__(self):
            ended.release()

    def app(environ, start_response):
        if not hasattr(local, "connection"):
            local.connection = Connection()
        together.wait(LIMIT)
        return ok(start_response)

    def at_once(worker, count):
        numbers = [worker.offer(Request(), slot) for slot in range(count)]
        worker.front.look()
        for number in numbers:
            worker.answer(number)

    with serving(app, threads=8, idle_seconds=0.3) as worker:
        at_once(worker, 6)
        together = threading.Barrier(2)
        end_by = time.monotonic() + LIMIT
        left = 4
        while left and time.monotonic() < end_by:
            # Were they taken in turn, no thread would ever be idle for long.
            at_once(worker, 2)
            left -= ended.acquire(blocking=False)
        assert left == 0


def test_one_request_after_the_other_stays_with_one_thread():
    with serving(lambda environ, start_response: ok(start_response), threads=8) as worker:
        names = {worker.get().body for _ in range(200)}
        numbers = [worker.offer(Request(), slot) for slot in range(200)]
        names |= {worker.answer(number).body for number in numbers}
    assert names == {b"canter-1"}


@pytest.mark.parametrize("waiting", [0, 1, 5])
def test_an_answer_never_waits_behind_a_slow_request(waiting):
    go_on = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            assert go_on.wait(LIMIT)
        return ok(start_response)

    def before(worker):
        quick, slow = Request(), Request(path=b"/slow", target=b"/slow")
        for slot, request in enumerate([quick, slow] + [quick] * waiting):
            worker.offer(request, slot)
        assert not worker.front.fall_asleep()

    with serving(app, before, threads=1) as worker:
        if waiting:
            # With more in the ring the answer may be held for company, until the front looks.
            worker.front.look()
        assert worker.front.is_woken_within(LIMIT)
        assert worker.answer(1).status == 200
        go_on.set()
        for number in range(2, worker.number + 1):
            assert worker.answer(number).status == 200


def test_a_request_that_was_taken_back_is_skipped():
    ran = []

    def app(environ, start_response):
        ran.append(environ["PATH_INFO"])
        return ok(start_response)

    def before(worker):
        for slot, path in enumerate([b"/a", b"/b", b"/c"]):
            worker.offer(Request(path=path), slot)
        assert worker.front.reclaim(1)

    with serving(app, before) as worker:
        assert worker.answer(1).status == worker.answer(3).status == 200
        assert worker.front.is_free(1) and not worker.front.reclaim(0)
    assert ran == ["/a", "/c"]
