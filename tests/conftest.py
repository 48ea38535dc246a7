"""Owns what pytest does for all tests: the folder of a module's server, the reins of its views,
a PostgreSQL and the site on it, room for many clients, and the logs of the servers beside a failure.

Leaves starting servers to ``harness`` and to the modules, each of which wants other settings.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.control import Reins
from harness.operated import has_ipv6
from harness.server import RUNNING, Server

if TYPE_CHECKING:
    from harness.postgres import Postgres

DESCRIPTORS = 8192
"""Open files that the tests want to be allowed at once."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Short enough for the path of a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="canter"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def all_reins(folder: Path) -> Iterator[Reins]:
    """The reins of the module's server, which runs in ``folder``."""
    with Reins(folder) as reins:
        yield reins


@pytest.fixture
def reins(all_reins: Reins) -> Iterator[Reins]:
    """The same, for the time of one test."""
    with all_reins.taken() as reins:
        yield reins


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    # Most modules need none, nor its driver.
    from harness.postgres import Postgres

    with Postgres.running() as running:
        yield running


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The name of a new database."""
    with postgres.database() as name:
        yield name


@pytest.fixture
def serve_site(
    postgres: Postgres, database: str, tmp_path: Path
) -> Iterator[Callable[..., Server]]:
    """Start ``apps/dbsite`` on that database."""
    from harness.dbsite import starting

    with starting(postgres, database, tmp_path) as start:
        yield start


@pytest.fixture
def ipv6() -> None:
    """For a test that is nothing without it."""
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")


def pytest_configure() -> None:
    """Room for tests with a thousand clients, each of which is a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what every running server has said when a test fails."""
    report = yield
    if report.failed:
        for server in RUNNING:
            report.sections.append((f"log of {server.folder.name}", server.log))
    return report
