"""Owns measuring what it costs to be watched: a query of Django's ORM with and without Canter's hook, in processor
time, and with ``--pages`` requests to a server with and without ``--insight``, in requests a second and in
processor time. Both servers run all the time and are asked in turn. With ``--beside`` there are more of them: the
same server without ``--insight`` and the same site watched by OpenTelemetry, Sentry's SDK or django-zeal.

Run it with a Python that has canter and Django: ``python bench/insight.py``. Leaves comparing with other servers to
``run.py``, and statements that cost nothing to ``statements.py``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

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


def watched(ask: Callable[[], None]) -> Callable[[], None]:
    """As a worker runs a request: its begin, its statements, and the report at its end."""
    hook = insight.hook
    assert hook is not None
    request = SimpleNamespace(method="GET", resolver_match=None)

    def run() -> None:
        hook.begin(request)
        ask()
        insight.report()

    return run


def cost_us(run: Callable[[], None], times: int) -> float:
    """Processor time of one query."""
    before = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - before) * 1e6 / times / QUERIES


def queries(rounds: int, requests: int) -> None:
    """Each round runs the requests without the hook, then with it."""
    with connection.schema_editor() as editor:
        editor.create_model(Group)
    assert insight.install() and insight.hook is not None
    observe = insight.hook.observe
    print(f"Python {sys.version.split()[0]}, Django {django.__version__}; microseconds of processor time a query")
    for ask in (loop, apart):
        run = watched(ask)
        cost_us(run, requests)
        plain, seen = [], []
        for _ in range(rounds):
            connection.execute_wrappers.clear()
            plain.append(cost_us(ask, requests))
            connection.execute_wrappers.append(observe)
            seen.append(cost_us(run, requests))
        more = [one - other for one, other in zip(seen, plain)]
        print(
            f"{ask.__name__:6} plain {statistics.median(plain):6.1f}  watched {statistics.median(seen):6.1f}"
            f"  more: median {statistics.median(more):5.2f}, least rounds {min(seen) - min(plain):5.2f}"
        )


# --- whole requests

ROOT = Path(__file__).resolve().parent.parent
HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]
"""
USERS = 8



# How each is switched on by its documentation. What is sent goes nowhere, so that only the app's side is counted.
BESIDE = {
    "opentelemetry": """
import os
# Named first: the instrumentation looks into Django's settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "reader_site.settings"
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Nowhere()))
trace.set_tracer_provider(provider)
DjangoInstrumentor().instrument()
SQLite3Instrumentor().instrument()
from reader_site.wsgi import application
""",
    "sentry": """
import sentry_sdk
from sentry_sdk.transport import Transport

class Nowhere(Transport):
    def capture_envelope(self, envelope):
        pass

sentry_sdk.init(dsn="http://key@127.0.0.1/1", traces_sample_rate=1.0, transport=Nowhere)
from reader_site.wsgi import application
""",
    "zeal": """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "beside_settings"
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
""",
}
SETTINGS = """
from reader_site.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "zeal"]
MIDDLEWARE = ["zeal.middleware.zeal_middleware", *MIDDLEWARE]
ZEAL_RAISE = False
"""


class Served:
    """A server, and what asks it."""

    def __init__(self, folder: Path, app: str | None, path: str, *flags: str) -> None:
        program = [sys.executable, "-m", "canter", "serve", *([app] if app else []), "--bind", "127.0.0.1:0"]
        program += ["--workers", "1", "--threads", "2", "--cache=off", "--access-logfile", "none", *flags]
        self.process = subprocess.Popen(program, cwd=folder, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        port = None
        for line in self.process.stderr:
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            port = port or (found[1] if found else None)
            if "worker is ready" in line:
                break
        assert port, "the server does not start"
        # Read to its end, as an app that warns a lot waits where nobody reads.
        threading.Thread(target=collections.deque, args=(self.process.stderr, 0), daemon=True).start()
        self.url = f"http://127.0.0.1:{port}{path}"

    def ask(self, requests: int) -> tuple[float, float]:
        """Answers a second to so many requests, and microseconds of processor time for each."""
        program = [sys.executable, "-m", "canter", "bench", self.url, "--users", str(USERS)]
        program += ["-n", str(requests), "-d", "10m", "--inside", "off", "--quiet", "--json", "-"]
        before = self._spent_us()
        done = subprocess.run(program, check=True, capture_output=True, text=True)
        spent = self._spent_us() - before
        told = json.loads(done.stdout)
        if told["hits"] != requests or told["errors"] or told["timeouts"]:
            raise RuntimeError(f"{self.url} fails: {done.stdout[:2000]}")
        return told["rate"], spent / requests

    def _spent_us(self) -> float:
        """Of all its processes up to now, front and workers."""
        pids = [self.process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        # The clock of a process, threads that have ended counted (clock_getcpuclockid(3)).
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids) * 1e6

    def close(self) -> None:
        """Stop it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


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
        for other, source in BESIDE.items():
            (reader / f"beside_{other}.py").write_text(source, encoding="utf-8")
        (reader / "beside_settings.py").write_text(SETTINGS, encoding="utf-8")
        yield {
            "raw hello": (hello, "hello", "/", 1),
            "ORM page, 1 query": (reader, None, "/recent/", 20),
            "ORM page, 176 queries": (reader, None, "/api/orders/", 400),
        }


def pages(rounds: int, requests: int, only: str, more: list[str], beside: list[str]) -> None:
    """All servers run; each round asks one after the other, in turning order. The first is not watched."""
    print(f"one worker, two threads, {USERS} users of canter bench; CPU: front and worker, microseconds a request")
    with sites() as known:
        for name, (folder, app, path, price) in known.items():
            if only not in name or (beside and app):
                continue
            served = {
                "off": Served(folder, app, path, "--insight=false"),
                "on": Served(folder, app, path, *more),
            }
            for other in beside:
                served[other] = Served(folder, f"beside_{other}:application", path, "--insight=false")
            names = list(served)
            times = max(2 * USERS, requests // price)
            seen: dict[str, list[tuple[float, float]]] = {one: [] for one in names}
            try:
                for one in served.values():
                    one.ask(times)
                for number in range(rounds):
                    first = number % len(names)
                    for one in names[first:] + names[:first]:
                        seen[one].append(served[one].ask(times))
            finally:
                for one in served.values():
                    one.close()
            for at, what in enumerate(("a second", "CPU")):
                off = [row[at] for row in seen["off"]]
                for one in names[1:]:
                    on = [row[at] for row in seen[one]]
                    ratios = sorted(watched / plain for plain, watched in zip(off, on))
                    quarter = len(ratios) // 4
                    print(
                        f"{name:22} {what:8} off {statistics.median(off):9.1f}  {one} {statistics.median(on):9.1f}"
                        f"  {one}/off: median {statistics.median(ratios):.3f},"
                        f" middle half {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}"
                    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, help="in a round: 50 of 20 queries each; with --pages 16000")
    parser.add_argument("--pages", action="store_true", help="whole requests to servers instead")
    parser.add_argument("--only", default="", help="with --pages: those with this in their name")
    parser.add_argument("--flag", action="append", default=[], help="more for the server that watches")
    parser.add_argument("--beside", action="append", default=[], choices=list(BESIDE),
                        help="with --pages: the site watched by this, too")  # fmt: skip
    chosen = parser.parse_args()
    if chosen.pages:
        pages(chosen.rounds, chosen.requests or 16_000, chosen.only, chosen.flag, chosen.beside)
    else:
        queries(chosen.rounds, chosen.requests or 50)
    return 0


if __name__ == "__main__":
    sys.exit(main())
