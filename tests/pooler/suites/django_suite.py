"""Owns the run of Django's own test suite through the pooler, compared with the same run straight
to PostgreSQL: ``make django-suite``.

Leaves settings to ``django_settings`` and the outcomes to ``outcomes``. The suite comes with Django's
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))

import outcomes  # noqa: E402
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
    found: list[outcomes.Outcomes] = []
    with Postgres.running() as postgres:
        prepare(postgres)
        direct = Way(postgres, "suite", postgres.folder, postgres.port)
        found.append(run("straight to PostgreSQL", source, labels, direct))
        with tempfile.TemporaryDirectory(prefix="canter-test-pool-") as folder:
            url = url_of(postgres, "suite", "suite")
            started = Pooler(
                Path(folder), postgres, "suite", connections=arguments.connections, url=url
            )
            with started as pooler:
                found.append(run("through the pooler", source, labels, pooler))
    return 1 if outcomes.compare(*found) or not found[0] else 0


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


def run(title: str, source: Path, labels: list[str], way: Way) -> outcomes.Outcomes:
    """One run of the suite; the outcome of every test."""
    paths = [str(source), str(Path(__file__).parent)]
    env = {
        "CANTER_SUITE_WAY": json.dumps(way.words(user="suite")),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONWARNINGS": "ignore",
    }
    words = ["runtests.py", "--settings=django_settings", "--parallel=1", "--noinput"]
    with tempfile.TemporaryDirectory(prefix="canter-suite-") as folder:
        return outcomes.run(
            f"{title}: {' '.join(labels)}",
            [sys.executable, *words, "--shuffle=1", *labels],
            source / "tests",
            env,
            Path(folder),
        )


if __name__ == "__main__":
    sys.exit(main())
