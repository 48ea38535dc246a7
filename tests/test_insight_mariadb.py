"""Django on a MariaDB: its statements are counted, told without their values and advised on as those of any engine.
Ids are those of the acceptance list (C SQL, D observability).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("django")
pytest.importorskip("rest_framework")
pytest.importorskip("pymysql", reason="NO PyMySQL: Django on MariaDB is NOT tested")

from harness import shop
from harness.mariadb import MariaDb
from harness.operated import PATIENCE, PROGRAM, clean_env, until
from harness.server import JSON_LOG, Server

APPS = Path(__file__).resolve().parent / "apps"


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Server]:
    """The site, filled."""
    with MariaDb(folder / "maria") as maria:
        env = {"MARIADB": str(maria.socket), "HOME": str(folder)}
        # Not by the server: what tables take is no part of what is looked at.
        filling = [sys.executable, "-c", "import mariasite; mariasite.relations.fill()"]
        done = subprocess.run(filling, cwd=APPS, env=os.environ | env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        with Server(folder / "site", "mariasite", *JSON_LOG, "--threads", "1", env=env) as server:
            yield server


def queries_of(server: Server, request_id: str) -> int:
    line = server.access_entry(request_id)
    assert line["sql_ms"] > 0, line
    return int(line["queries"])


@pytest.mark.parametrize(
    ("page", "advice"),
    [
        ("forward", 'Book.objects.select_related("author")'),
        ("reverse", 'Author.objects.prefetch_related("books")'),
        ("count", "Count("),
    ],
)
def test_c1_repeats_on_mariadb_are_counted_and_the_advice_names_the_relation(
    site: Server, page: str, advice: str
) -> None:
    assert shop.get(site, f"/{page}/", X_Request_Id=page)[0] == 200
    assert queries_of(site, page) == 9
    route = "GET /<name>/"

    def found() -> list[dict[str, object]]:
        findings = shop.data(site, "findings")["findings"]
        return [one for one in findings if one["rule"] == "n_plus_one" and advice in one["advice"]]

    (one,) = until(found, PATIENCE, advice)
    assert (one["route"], one["count"]) == (route, 8), one
    assert str(one["file"]).endswith("relations.py") and one["line"], one
    assert re.match("SELECT .* FROM library_", str(one["sql"])), one


def test_c1_c11_values_of_its_strings_are_told_nowhere(site: Server) -> None:
    assert shop.get(site, "/quoted", X_Request_Id="quoted")[2] == "quoted"
    assert shop.get(site, "/wrong", X_Request_Id="wrong")[0] == 500
    assert queries_of(site, "quoted") == 6

    def found() -> list[str]:
        return [row["sql"] for row in shop.data(site)["statements"] if row["sql"].startswith("SELECT ?")]

    (text,) = set(until(found, PATIENCE, "the statement"))
    assert text == "SELECT ?, ?, ?, ?, name FROM library_author WHERE id = ? OR name = ? LIMIT ?"
    metrics = shop.get(site, "/-/canter/metrics")[2]
    count = "db_client_operation_duration_seconds_count"
    (asked,) = re.findall(rf'{count}{{db_system_name="mysql",db_operation_name="SELECT"}} (\d+)', metrics)
    assert int(asked) >= 6
    failed = f'{count}{{db_system_name="mysql",db_operation_name="INSERT",error_type="ProgrammingError"}} 1'
    assert failed in metrics, metrics
    told = [metrics, shop.get(site, "/-/canter/data.json")[2], shop.get(site, "/-/canter/findings.json")[2]]
    for command in (["queries"], ["queries", "--format", "sarif"], ["top", "--once"], ["doctor"]):
        words = [PROGRAM, *command, shop.socket_of(site)]
        done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode in (0, 8), done
        told.append(done.stdout + done.stderr)
    assert not [text for text in told if "hunter2" in text or "68756e" in text]


def test_explain_of_a_statement_on_mariadb_says_that_it_is_for_postgresql(site: Server) -> None:
    assert shop.get(site, "/forward/")[0] == 200
    findings = until(lambda: shop.data(site, "findings")["findings"], PATIENCE, "a finding")
    words = [PROGRAM, "queries", shop.socket_of(site), "--explain", findings[0]["id"]]

    def told() -> str:
        done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=PATIENCE)
        text = done.stdout + done.stderr
        # As often as a database is asked.
        return "" if "a moment ago" in text else text

    assert "PostgreSQL" in until(told, PATIENCE, "an answer")
