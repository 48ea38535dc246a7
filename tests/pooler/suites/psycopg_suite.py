"""Owns the runs of the test suites of psycopg 2 and psycopg 3 through the pooler, compared with the
same runs straight to PostgreSQL: ``make psycopg-suite``.

Leaves the outcomes to ``outcomes`` and what may differ to ``psycopg_differences.txt``. psycopg 2's
suite comes with its source distribution. psycopg 3's is in its repository alone: the archive of the
installed version's tag is downloaded from GitHub, or ``--source`` or ``CANTER_PSYCOPG_SOURCE``
names a checkout, whose own package is tested then.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

import outcomes  # noqa: E402
from harness.pooler import Pooler, Way, url_of  # noqa: E402
from harness.postgres import Postgres  # noqa: E402

VERSION = "2.9.13"
ARCHIVE = "https://github.com/psycopg/psycopg/archive/refs/tags/{}.tar.gz"
FOLDER = ROOT / "build" / "suites"
HERE = Path(__file__).resolve().parent
DIFFERENCES = HERE.parent / "psycopg_differences.txt"
FAST = {
    "psycopg2": ("tests/test_connection.py", "tests/test_transaction.py", "tests/test_cursor.py"),
    "psycopg3": (
        *("tests/test_prepared.py", "tests/test_pipeline.py", "tests/test_transaction.py"),
        *("tests/test_cursor_server.py", "tests/test_copy.py", "tests/pq/test_pgconn.py"),
    ),
}
ABOUT_OTHERS = (
    *("slow", "timing", "flakey", "crdb", "mypy", "subprocess", "refcount", "dns", "gevent"),
)
"""Marks of psycopg 3's tests that measure time or are not about the server."""


def main() -> int:
    """Run what there is both ways and compare; 1 when there is an unexplained difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", help="the suite's files; all without")
    parser.add_argument("--suite", choices=sorted(FAST), help="this one only")
    parser.add_argument("--fast", action="store_true", help="a part that takes seconds")
    parser.add_argument("--source", default=os.environ.get("CANTER_PSYCOPG_SOURCE"))
    arguments = parser.parse_args()
    failed = 0
    for suite in [arguments.suite] if arguments.suite else sorted(FAST):
        source = psycopg2() if suite == "psycopg2" else psycopg3(arguments.source, arguments.fast)
        if source is None:
            # The normal tests pass where GitHub cannot be reached; what was asked for must run.
            failed += not arguments.fast
            continue
        tests = arguments.tests or (FAST[suite] if arguments.fast else ["tests"])
        failed += both_ways(suite, source, tests)
    return 1 if failed else 0


def psycopg2() -> Path:
    """The folder of psycopg 2's sources, downloaded when it is not there."""
    source = FOLDER / f"psycopg2-{VERSION}"
    if not source.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        words = ["download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        pip = [sys.executable, "-m", "pip", *words, "--dest", str(FOLDER), f"psycopg2=={VERSION}"]
        # Its metadata wants pg_config, though only the archive is needed: one that says anything will do.
        stub = FOLDER / "bin" / "pg_config"
        stub.parent.mkdir(exist_ok=True)
        stub.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "PostgreSQL 15.0" || echo /tmp\n')
        stub.chmod(0o755)
        path = f"{stub.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(pip, check=True, env={**os.environ, "PATH": path})
        unpack(FOLDER / f"psycopg2-{VERSION}.tar.gz")
    return source


def psycopg3(named: str | None, is_fast: bool) -> Path | None:
    """The folder of psycopg 3's sources: the named one, one downloaded before, or a download, which
    the normal tests do without; ``None``, with what to do, when there is none."""
    version = importlib.metadata.version("psycopg")
    source = Path(named).resolve() if named else FOLDER / f"psycopg-{version}"
    why = f"{source} has no tests/conftest.py"
    if not named and not source.is_dir() and is_fast:
        why = "it is not downloaded by the fast run"
    elif not named and not source.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        archive = FOLDER / f"psycopg-{version}.tar.gz"
        try:
            with urllib.request.urlopen(ARCHIVE.format(version), timeout=60) as answer:
                archive.write_bytes(answer.read())
            unpack(archive)
        except (OSError, tarfile.TarError) as error:
            why = f"{ARCHIVE.format(version)}: {error}"
    if (source / "tests" / "conftest.py").is_file():
        return source
    print(
        f"!!! psycopg 3's suite is left out ({why}). `make psycopg-suite` downloads it from GitHub;"
        " where that cannot be reached, unpack the sources of psycopg and name their folder:"
        " CANTER_PSYCOPG_SOURCE=/path/to/psycopg make psycopg-suite"
    )
    return None


def version_of(source: Path) -> str:
    """Of the psycopg 3 there."""
    described = (source / "psycopg" / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"$', described, re.MULTILINE)
    return found[1] if found else "?"


def unpack(archive: Path) -> None:
    """Beside the archive."""
    with tarfile.open(archive) as opened:
        opened.extractall(FOLDER, filter="data")


def both_ways(suite: str, source: Path, tests: list[str] | tuple[str, ...]) -> int:
    """How many unexplained differences there are."""
    with (
        Postgres.running() as postgres,
        tempfile.TemporaryDirectory(prefix="canter-suite-") as name,
    ):
        postgres.admin.execute("CREATE ROLE suite LOGIN SUPERUSER")
        postgres.admin.execute("CREATE DATABASE suite OWNER suite")
        folder = Path(name)
        way = Way(postgres, "suite", postgres.folder, postgres.port)
        tcp = postgres.port
        direct = run(suite, source, tests, way, tcp, folder, "straight to PostgreSQL")
        postgres.admin.execute("DROP DATABASE suite WITH (FORCE)")
        postgres.admin.execute("CREATE DATABASE suite OWNER suite")
        url = url_of(postgres, "suite", "suite")
        with Pooler(folder, postgres, "suite", connections=12, url=url) as pooler:
            tcp = pooler.tcp[1]
            pooled = run(suite, source, tests, pooler, tcp, folder, "through the pooler")
    return outcomes.compare(direct, pooled, outcomes.reviewed(DIFFERENCES, suite))


def run(
    suite: str,
    source: Path,
    tests: list[str] | tuple[str, ...],
    way: Way,
    tcp: int,
    folder: Path,
    how: str,
) -> outcomes.Outcomes:
    """One run of one suite: psycopg 2's over the socket file, psycopg 3's over TCP, where its own
    proxy can stand between."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "outcomes"]
    paths = [HERE]
    chosen: dict[str, str] = {}
    if suite == "psycopg2":
        words += ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(source)]
    else:
        marks = " and ".join(f"not {mark}" for mark in ABOUT_OTHERS)
        words += ["-p", "no:randomly", "-o", f"cache_dir={folder / 'cache'}", "-m", marks]
        # A connection that a failed test left open must not fail another one.
        words += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
        paths += [source / "psycopg", source / "psycopg_pool"]
        if version_of(source) != importlib.metadata.version("psycopg"):
            # The installed C part belongs to another version of the package.
            chosen = {"PSYCOPG_IMPL": "python"}
    env = {
        **chosen,
        "PSYCOPG2_TESTDB": "suite",
        "PSYCOPG2_TESTDB_HOST": str(way.folder),
        "PSYCOPG2_TESTDB_PORT": str(way.port),
        "PSYCOPG2_TESTDB_USER": "suite",
        "PSYCOPG_TEST_DSN": f"host=127.0.0.1 port={tcp} user=suite dbname=suite sslmode=disable",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    return outcomes.run(f"{suite}, {how}", [*words, *tests], source, env, folder)


if __name__ == "__main__":
    sys.exit(main())
