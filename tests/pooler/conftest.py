"""Owns the fixtures of the pooler's tests: one PostgreSQL for all, a database and pooler for each.

Leaves the objects to ``harness``.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.pooler import IS_DIRECT, Pooler, Way
from harness.postgres import Postgres, knows_tls

STARTED: list[Pooler] = []

Start = Callable[..., Any]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pooled: is about the pooler; says nothing without one")
    config.addinivalue_line("markers", "tls_server: needs a PostgreSQL that was built with TLS")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if IS_DIRECT and item.get_closest_marker("pooled"):
            item.add_marker(pytest.mark.skip(reason="there is no pooler"))
        if not knows_tls() and item.get_closest_marker("tls_server"):
            item.add_marker(pytest.mark.skip(reason="this PostgreSQL was built without TLS"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the poolers have said when a test fails."""
    report = yield
    if report.failed:
        for pooler in STARTED:
            report.sections.append(("log of the pooler", pooler.log))
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server."""
    with Postgres.running() as running:
        yield running


@pytest.fixture
def start(postgres: Postgres, database: str) -> Iterator[Start]:
    """Start a pooler as the test wants it."""
    with contextlib.ExitStack() as stack:

        def started(*flags: str, **words: Any) -> Way:
            """``connections``, ``url``, ``dbname``, ``env`` and ``bind`` as ``Pooler`` has them."""
            if IS_DIRECT:
                return Way(postgres, words.get("dbname", database), postgres.folder, postgres.port)
            folder = Path(tempfile.mkdtemp(prefix="canter-test-pool-"))
            stack.callback(shutil.rmtree, folder)
            pooler = Pooler(folder, postgres, words.pop("dbname", database), *flags, **words)
            STARTED.append(pooler)
            stack.callback(STARTED.remove, pooler)
            return stack.enter_context(pooler)

        started.postgres = postgres  # type: ignore[attr-defined]
        started.database = database  # type: ignore[attr-defined]
        yield started


@pytest.fixture
def pooler(start: Start) -> Any:
    """A pooler with two connections to the server."""
    return start(connections=2)


@pytest.fixture
def single(start: Start) -> Any:
    """A pooler with one connection: all clients share it."""
    return start(connections=1)
