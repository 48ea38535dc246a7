"""Owns the rows about a worker process: its start, its end, signals, stacks."""

from __future__ import annotations

import os
import signal

import pytest
from worker_harness import Request, serving, until
from worker_process import worker_process

FORKING = """
import json, os, sys
from canter.loader import load
from canter.worker import WorkerSettings, run
order = json.loads(sys.argv[1])
app = load(order["app"])
pid = os.fork()
if pid == 0:
    os._exit(run(app, WorkerSettings(**order["worker"]), (4, 5, 6, 7)))
for fd in (4, 5, 6, 7):
    os.close(fd)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def path(text: str) -> Request:
    return Request(path=text.encode(), target=text.encode())


@pytest.mark.parametrize("program", [None, FORKING], ids=["fresh", "forked"])
def test_a_worker_serves_and_ends_with_0_when_drained(program):
    with worker_process("tiny", program) as worker:
        worker.event("Ready")
        assert worker.get().body == b"hello"
        assert worker.end() == 0
        worker.event("End")


def test_drain_finishes_what_runs_and_what_is_in_the_ring():
    with worker_process("tiny", threads=1) as worker:
        worker.event("Ready")
        numbers = [worker.offer(path("/moment"), slot) for slot in range(3)]
        worker.front.drain()
        assert [worker.answer(number).body for number in numbers] == [b"waited"] * 3
        assert worker.wait() == 0


def test_a_process_that_computes_gets_no_other_thread():
    with worker_process("tiny", threads=16) as worker:
        worker.event("Ready")
        numbers = [worker.offer(path("/compute"), slot) for slot in range(10)]
        worker.front.look()
        names = {worker.answer(number).body for number in numbers}
    # On a machine that is loaded it may look for a moment as if it waited.
    assert len(names) <= 2 and all(name.endswith(f" {worker.pid}".encode()) for name in names), names


def test_sigterm_asks_the_front_to_let_it_go():
    with worker_process("tiny") as worker:
        worker.event("Ready")
        os.kill(worker.pid, signal.SIGTERM)
        worker.event("Leaving")
        assert worker.get().body == b"hello"
        assert worker.end() == 0


def test_sigint_changes_nothing():
    with worker_process("tiny") as worker:
        worker.event("Ready")
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
        worker.event("Leaving")
        assert worker.get().body == b"hello"
        assert worker.end() == 0


def test_programs_of_the_app_inherit_no_changed_signals():
    with worker_process("tiny") as worker:
        worker.event("Ready")
        lines = worker.get(path("/signals")).body.decode().split()
    masks = dict(zip(lines[::2], lines[1::2], strict=True))
    assert int(masks["SigBlk:"], 16) == 0
    for number in (signal.SIGINT, signal.SIGTERM):
        assert not int(masks["SigIgn:"], 16) >> (number - 1) & 1


def test_a_worker_whose_front_has_gone_finishes_and_ends():
    with worker_process("tiny") as worker:
        worker.event("Ready")
        worker.offer(path("/moment"))
        until(lambda: worker.front.has_started(0))
        worker.front.hang_up()
        assert worker.wait() == 0


def test_a_worker_whose_front_has_gone_does_not_wait_for_ever():
    with worker_process("tiny", orphan_seconds=0.2) as worker:
        worker.event("Ready")
        worker.offer(path("/block"))
        until(lambda: worker.front.has_started(0))
        worker.front.hang_up()
        assert worker.wait() == 4
        assert "requests did not end" in worker.log.read_text()


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("broken", "RuntimeError: broken while it was imported"),
        ("nowhere", "there is no module 'nowhere' here"),
        ("tiny:hallo", "did you mean 'hello'?"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_exit_code_3(app, sentence):
    with worker_process(app) as worker:
        assert worker.wait() == 3
        kind, _, fields = worker.link.recv(65536).decode().partition("\n")
        assert kind == "failed" and sentence in fields


def test_the_stack_of_a_waiting_request_is_given():
    with worker_process("tiny", threads=2, threads_min=2) as worker:
        worker.event("Ready")
        number = worker.offer(path("/block"))
        texts = []

        def is_waiting():
            worker.front.dump(0, number)
            _, answered, text = worker.event("Stack")
            assert answered == number
            texts.append(text)
            return "go_on.wait()" in text

        until(is_waiting)
        assert "in block" in texts[-1] and "in application" in texts[-1]
        worker.offer(path("/release"), 1)
        worker.front.look()
        assert worker.answer(number).body == b"blocked"


def test_the_stack_of_a_request_that_has_ended_is_empty():
    with worker_process("tiny") as worker:
        worker.event("Ready")
        worker.get()
        worker.front.dump(0, 1)
        assert worker.event("Stack") == ("Stack", 1, "")


def test_the_stack_is_given_also_while_native_code_holds_the_interpreter():
    with worker_process("tiny") as worker:
        worker.event("Ready")
        number = worker.offer(path("/hold"))
        texts = []

        def is_held():
            worker.front.dump(0, number)
            texts.append(worker.event("Stack")[2])
            return "in hold_the_lock" in texts[-1]

        until(is_held)
        assert "most recent call first" in texts[-1]


def test_connections_opened_before_the_fork_are_closed(monkeypatch):
    import sys
    import types

    closed = []
    database = types.ModuleType("django.db")
    database.connections = types.SimpleNamespace(close_all=lambda: closed.append(1))
    monkeypatch.setitem(sys.modules, "django.db", database)

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]

    with serving(app) as worker:
        assert worker.get().body == b"x"
    assert closed == [1]


def test_a_worker_that_imports_the_app_itself_has_the_number_it_was_given():
    with worker_process("tiny", worker_id=7, debug=True) as worker:
        worker.event("Ready")
        assert worker.get(path("/name")).body == f"canter-1 {worker.pid}".encode()
