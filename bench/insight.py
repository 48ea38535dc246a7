"""What it costs to be watched, in processor time, which a busy machine lengthens least: a query of
Django's ORM with and without Canter's hook, and with ``--pages`` a request to a server with and without
``--insight``, both running, asked in turn.

Run it with a Python that has canter and Django: ``python bench/insight.py``. Leaves throughput of a
whole server to ``run.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)

import django  # noqa: E402

django.setup()

from canter import insight  # noqa: E402
from django.contrib.auth.models import Group  # noqa: E402
from django.core.handlers.base import BaseHandler  # noqa: E402, F401
from django.db import connection  # noqa: E402

QUERIES = 20
"""Queries in a request."""


def loop() -> None:
    """One query for each of several rows, from one line: what is watched most closely."""
    for number in range(QUERIES):
        list(Group.objects.filter(pk=number))


def apart() -> None:
    """The same number of queries, each with words of its own."""
    for number in range(QUERIES):
        list(Group.objects.filter(pk=1)[: number + 1])


def watched(ask: Callable[[], None], request: Any) -> None:
    """As a worker runs a request: the hook, and the report at its end."""
    insight._local.request = request
    insight._local.state = None
    ask()
    if request is not None:
        insight.report()


def cost_us(ask: Callable[[], None], request: Any, times: int) -> float:
    """Processor time of one query."""
    before = time.thread_time()
    for _ in range(times):
        watched(ask, request)
    return (time.thread_time() - before) * 1e6 / times / QUERIES


# --- whole requests

ROOT = Path(__file__).resolve().parent.parent
HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]
"""
CONNECTIONS = 8


class Served:
    """A server, asked over connections that are kept."""

    def __init__(self, folder: Path, app: str | None, path: str, *flags: str) -> None:
        program = [sys.executable, "-m", "canter", "serve", *([app] if app else []), "--bind", "127.0.0.1:0"]
        program += ["--workers", "1", "--threads", "2", "--cache=off", "--access-logfile", "none", *flags]
        self.process = subprocess.Popen(program, cwd=folder, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        port = None
        for line in self.process.stderr:
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            port = port or (int(found[1]) if found else None)
            if "worker is ready" in line:
                break
        assert port, "the server does not start"
        self.clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        self.request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def ask(self, times: int) -> None:
        """So many requests on each connection."""
        for _ in range(times):
            for client in self.clients:
                client.sendall(self.request)
            for client in self.clients:
                _read(client)

    def spent_us(self) -> float:
        """Processor time of all its processes up to now."""
        pids = [self.process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        # The clock of a process, threads that have ended counted (clock_getcpuclockid(3)).
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids) * 1e6

    def close(self) -> None:
        """Stop it."""
        for client in self.clients:
            client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def _read(client: socket.socket) -> None:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _some(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length, head
    left = int(length[1]) - len(body)
    while left > 0:
        left -= len(_some(client))


def _some(client: socket.socket) -> bytes:
    received = client.recv(1 << 16)
    if not received:
        raise RuntimeError("the server has closed the connection")
    return received


@contextlib.contextmanager
def sites() -> Iterator[dict[str, tuple[Path, str | None, str, int]]]:
    """Folder, app and path of each page, and how much dearer than the first it is, about."""
    with tempfile.TemporaryDirectory() as name:
        hello, reader = Path(name) / "hello", Path(name) / "reader"
        hello.mkdir()
        (hello / "hello.py").write_text(HELLO, encoding="utf-8")
        shutil.copytree(ROOT / "examples" / "reader", reader, ignore=shutil.ignore_patterns("var"))
        env = {**os.environ, "READER_DEBUG": "1"}
        env.pop("DATABASE_URL", None)
        subprocess.run([sys.executable, "manage.py", "setup_demo"], cwd=reader, env=env, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        yield {
            "raw hello": (hello, "hello", "/", 1),
            "ORM page, 1 query": (reader, None, "/recent/", 20),
            "ORM page, 176 queries": (reader, None, "/api/orders/", 400),
        }


def pages(rounds: int, requests: int, more: list[str]) -> None:
    """Both servers run; each round asks one and then the other, in changing order."""
    print("processor time of front and worker for a request, microseconds")
    with sites() as known:
        for name, (folder, app, path, price) in known.items():
            pair = [Served(folder, app, path, "--insight=false"), Served(folder, app, path, *more)]
            times = max(2, requests // CONNECTIONS // price)
            seen: list[list[float]] = [[], []]
            try:
                for one in pair:
                    one.ask(times)
                for number in range(rounds):
                    for which in (number % 2, 1 - number % 2):
                        before = pair[which].spent_us()
                        pair[which].ask(times)
                        cost = pair[which].spent_us() - before
                        seen[which].append(cost / times / CONNECTIONS)
            finally:
                for one in pair:
                    one.close()
            ratios = [on / off for off, on in zip(*seen)]
            off, on = map(statistics.median, seen)
            print(
                f"{name:22} off {off:8.1f}  on {on:8.1f}  ratio: median {statistics.median(ratios):.3f}, "
                f"of the least rounds {min(seen[1]) / min(seen[0]):.3f}"
            )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=50, help="in a round, of 20 queries each")
    parser.add_argument("--pages", action="store_true", help="whole requests instead; try --requests 16000")
    parser.add_argument("--flag", action="append", default=[], help="more for the server that watches")
    chosen = parser.parse_args()
    if chosen.pages:
        pages(chosen.rounds, chosen.requests, chosen.flag)
        return 0
    with connection.schema_editor() as editor:
        editor.create_model(Group)
    assert insight.install()
    hook = insight.observe
    request = SimpleNamespace(resolver_match=None)
    print(f"Python {sys.version.split()[0]}, Django {django.__version__}; microseconds a query")
    for ask in (loop, apart):
        cost_us(ask, request, chosen.requests)
        plain, seen = [], []
        for _ in range(chosen.rounds):
            connection.execute_wrappers.clear()
            plain.append(cost_us(ask, None, chosen.requests))
            connection.execute_wrappers.append(hook)
            seen.append(cost_us(ask, request, chosen.requests))
        more = [one - other for one, other in zip(seen, plain)]
        print(
            f"{ask.__name__:6} plain {statistics.median(plain):6.1f}  watched {statistics.median(seen):6.1f}"
            f"  more: median {statistics.median(more):5.2f}, least rounds {min(seen) - min(plain):5.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
