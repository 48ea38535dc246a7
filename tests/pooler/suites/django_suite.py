"""Owns the run of Django's own test suite through the pooler, compared with the same run straight
to PostgreSQL: ``make django-suite``.

Leaves settings and writing down outcomes to ``django_settings``. The suite comes with Django's
source distribution, which pip downloads once. Give labels to run others than the usual ones:
``python tests/pooler/suites/django_suite.py queries aggregation``; ``--fast`` runs a small part.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

from harness.pooler import Pooler, Way, url_of  # noqa: E402
from harness.postgres import Postgres  # noqa: E402

VERSION = "5.2.19"
USUAL = (
    *("backends", "postgres_tests", "transactions", "transaction_hooks", "select_for_update"),
    *("migrations", "migrations2", "schema", "constraints", "delete", "get_or_create", "atomic"),
    *("bulk_create", "basic", "queries", "aggregation", "prefetch_related", "lookup"),
    *("serializers", "test_utils", "timezones", "introspection", "inspectdb", "async"),
    *("db_functions", "expressions", "model_fields", "force_insert_update", "raw_query"),
    *("multiple_database", "custom_pk", "indexes", "servers", "db_utils", "test_runner"),
)
FAST = ("transactions", "transaction_hooks", "select_for_update", "backends.postgresql")
FOLDER = ROOT / "build" / "suites"
CONNECTIONS = 12

Outcomes = dict[str, tuple[str, str]]


def main() -> int:
    """Run both ways and compare; 1 when they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", nargs="*", help="the suite's labels")
    parser.add_argument("--fast", action="store_true", help="a part that takes seconds")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="of the pooler")
    arguments = parser.parse_args()
    source = obtained()
    labels = arguments.labels or (FAST if arguments.fast else USUAL)
    labels = [label for label in labels if (source / "tests" / label.split(".")[0]).is_dir()]
    outcomes: list[Outcomes] = []
    with Postgres.running() as postgres:
        prepare(postgres)
        direct = Way(postgres, "suite", postgres.folder, postgres.port)
        outcomes.append(run("straight to PostgreSQL", source, labels, direct))
        with tempfile.TemporaryDirectory(prefix="canter-test-pool-") as folder:
            url = url_of(postgres, "suite", "suite")
            started = Pooler(
                Path(folder), postgres, "suite", connections=arguments.connections, url=url
            )
            with started as pooler:
                outcomes.append(run("through the pooler", source, labels, pooler))
    return compare(*outcomes)


def prepare(postgres: Postgres) -> None:
    """A role as Django's tests want it, and the databases it connects to at first."""
    postgres.admin.execute("CREATE ROLE suite LOGIN SUPERUSER")
    for name in ("suite", "suite_other"):
        postgres.admin.execute(f"CREATE DATABASE {name} OWNER suite")


def obtained() -> Path:
    """The folder of Django's sources, downloaded when it is not there."""
    source = FOLDER / f"django-{VERSION}"
    if source.is_dir():
        return source
    FOLDER.mkdir(parents=True, exist_ok=True)
    words = ["download", "-q", "--no-deps", "--no-binary", ":all:", "--dest", FOLDER]
    pip = [sys.executable, "-m", "pip", *words, f"django=={VERSION}"]
    subprocess.run([str(word) for word in pip], check=True)
    with tarfile.open(FOLDER / f"django-{VERSION}.tar.gz") as archive:
        archive.extractall(FOLDER, filter="data")
    return source


def run(title: str, source: Path, labels: list[str], way: Way) -> Outcomes:
    """One run of the suite; the outcome of every test."""
    print(f"==> {title}: {' '.join(labels)}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="canter-suite-") as folder:
        written = Path(folder) / "outcomes"
        written.touch()
        env = {
            **os.environ,
            "CANTER_SUITE_WAY": json.dumps(way.words(user="suite")),
            "CANTER_SUITE_OUTCOMES": str(written),
            "PYTHONPATH": os.pathsep.join([str(source), str(Path(__file__).parent)]),
            "PYTHONWARNINGS": "ignore",
        }
        words = ["runtests.py", "--settings=django_settings", "--parallel=1", "--noinput"]
        with (Path(folder) / "log").open("w+") as log:
            process = subprocess.Popen(
                [sys.executable, *words, "--shuffle=1", *labels],
                cwd=source / "tests",
                env=env,
                stdout=log,
                stderr=log,
            )
            watch(process, written)
            log.seek(0)
            tail = log.read()[-3000:]
        found = read(written)
        if process.returncode not in (0, 1) or not found:
            print(tail)
    counts = Counter(outcome for outcome, _ in found.values())
    took = time.monotonic() - started
    words = [f"{count} {outcome}" for outcome, count in sorted(counts.items())]
    print(f"    {len(found)} tests in {took:.0f} s: {', '.join(words)}", flush=True)
    return found


def watch(process: subprocess.Popen[Any], written: Path) -> None:
    """Say how far it is until it ends."""
    while True:
        try:
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            print(f"    {len(written.read_text().splitlines())} tests so far", flush=True)


def read(written: Path) -> Outcomes:
    """The last word on each test; a failure is not taken back."""
    found: Outcomes = {}
    for line in written.read_text(encoding="utf-8").splitlines():
        name, outcome, why = json.loads(line)
        if found.get(name, ("", ""))[0] not in ("failed", "error"):
            found[name] = (outcome, why)
    return found


def compare(direct: Outcomes, pooled: Outcomes) -> int:
    """Print each test whose outcome differs."""
    differing = [
        name
        for name in sorted({*direct, *pooled})
        if direct.get(name, ("not run", ""))[0] != pooled.get(name, ("not run", ""))[0]
    ]
    for name in differing:
        before, after = direct.get(name, ("not run", "")), pooled.get(name, ("not run", ""))
        print(f"\n{name}: {before[0]} straight, {after[0]} through the pooler\n{after[1]}")
    print(f"==> {len(differing)} differences in {len(direct)} tests")
    return 1 if differing or not direct else 0


if __name__ == "__main__":
    sys.exit(main())
