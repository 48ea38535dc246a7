"""What it costs a query to be watched: the same queries of Django's ORM on SQLite in memory, with and
without Canter's hook, in turn, in processor time of the thread, which a busy machine lengthens least.

Run it with a Python that has canter and Django: ``python bench/insight.py``. Leaves throughput of a
whole server to ``run.py``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
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


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--requests", type=int, default=50, help="in a round, of 20 queries each")
    chosen = parser.parse_args()
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
