"""Owns a worker under test: `_worker.serve` in a thread, with `_TestFront` playing the front.

Leaves the rows to the test files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from canter import worker
from canter._worker import _TestFront

LIMIT = 30.0
"""Seconds after which something that should have come counts as missing."""


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process or thread is about to do."""
    end_by = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end_by, "it did not happen"


@dataclass(frozen=True)
class Request:
    """A request as the front hands it on; the attributes are those that `_TestFront` reads."""

    method: bytes = b"GET"
    target: bytes = b"/"
    path: bytes = b"/"
    query: bytes = b""
    version: int = 1
    https: bool = False
    client: bytes = b"192.0.2.7"
    client_port: int = 4711
    server: bytes = b"example.org"
    server_port: int = 8000
    id: bytes = b"req-1"
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    file: tuple[int, int] | None = None


@dataclass
class Answer:
    """All records of one answer."""

    records: list[dict[str, Any]]

    @property
    def status(self) -> int:
        return self.records[0]["status"]

    @property
    def reason(self) -> bytes:
        return self.records[0]["reason"]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        return self.records[0]["fields"]

    @property
    def body(self) -> bytes:
        return b"".join(record["body"] for record in self.records)

    @property
    def kinds(self) -> list[str]:
        return [record["kind"] for record in self.records]


class Running:
    """A worker that serves, and the front that plays with it."""

    def __init__(self, front: Any, thread: threading.Thread, codes: list[int]) -> None:
        self.front = front
        self.thread = thread
        self.codes = codes
        self.number = 0
        self.pending: dict[int, list[dict[str, Any]]] = {}

    def offer(self, request: Request, slot: int = 0) -> int:
        self.number += 1
        assert self.front.offer(slot, self.number, request)
        self.front.wake_worker()
        return self.number

    def record(self, number: int) -> dict[str, Any]:
        """The next record that answers request `number`."""
        while not self.pending.get(number):
            record = self.front.take(LIMIT)
            assert record is not None, f"no record for request {number}"
            if record["last"]:
                self.front.free(record["slot"])
            self.pending.setdefault(record["number"], []).append(record)
        return self.pending[number].pop(0)

    def answer(self, number: int) -> Answer:
        records = [self.record(number)]
        while not records[-1]["last"]:
            records.append(self.record(number))
        return Answer(records)

    def get(self, request: Request | None = None, **facts: Any) -> Answer:
        return self.answer(self.offer(replace(request or Request(), **facts)))

    def event(self, name: str) -> tuple[str, int, str]:
        event = self.front.event(LIMIT)
        assert event is not None and event[0] == name, event
        return event

    def end(self) -> int:
        """Drain the worker and answer its exit code."""
        self.front.drain()
        return self.wait()

    def wait(self) -> int:
        self.thread.join(LIMIT)
        assert not self.thread.is_alive(), "the worker does not end"
        return self.codes[0]


@contextmanager
def serving(
    app: Callable[..., Any],
    before: Callable[[Running], object] = lambda running: None,
    **settings: Any,
) -> Iterator[Running]:
    """Run `app` in a worker; drain it at the end, where it must exit with 0.

    `before` is called while the worker has not begun, so that it finds the ring as left there.
    """
    front = _TestFront()
    fds = front.worker_fds()
    codes: list[int] = []

    def serve() -> None:
        codes.append(worker.run(app, worker.WorkerSettings(**settings), fds))

    thread = threading.Thread(target=serve, daemon=True)
    running = Running(front, thread, codes)
    before(running)
    thread.start()
    running.event("Ready")
    yield running
    if thread.is_alive():
        assert running.end() == 0
