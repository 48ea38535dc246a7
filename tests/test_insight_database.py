"""What is known of databases: how long statements took and what the pool does, by the names of OpenTelemetry, and
the statements of an app that is no Django. Ids are those of the acceptance list (C SQL, D observability).
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness import shop
from harness.browser import CHROMIUM, Browser
from harness.collector import Collector, attributes
from harness.control import Reins
from harness.dbsite import environment
from harness.operated import PATIENCE, PROGRAM, clean_env, until
from harness.postgres import Postgres
from harness.server import JSON_LOG, Server

OF_DJANGO = re.compile("django|related|in_bulk|fetch_mode|QuerySet|annotate|settings", re.IGNORECASE)


def metrics(server: Server) -> dict[str, float]:
    """Series of databases with their values."""
    status, _fields, text = shop.get(server, "/-/canter/metrics")
    assert status == 200
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("db_client"))
    return {series: float(value) for series, _, value in lines}


def pool_of(server: Server) -> dict[str, Any]:
    pool: dict[str, Any] = shop.data(server)["pool"]
    return pool


def routes_of(server: Server, requests: int) -> list[dict[str, Any]]:
    """The routes, once so many requests were counted: an answer is here before its request is over."""

    def found() -> list[dict[str, Any]] | None:
        routes: list[dict[str, Any]] = shop.data(server)["routes"]
        return routes if sum(one["requests"] for one in routes) >= requests else None

    return until(found, PATIENCE, f"{requests} requests")


# --- the pool


def test_d3_a_wait_for_the_only_connection_is_told_while_it_lasts_and_after(
    reins: Reins, postgres: Postgres, database: str
) -> None:
    flags = ("--db-connections", "1", "--threads", "2", "--threads-min", "2")
    env = environment(postgres, database, reins.folder)
    with Collector() as collector:
        otlp = ("--otlp-endpoint", collector.url)
        with (
            Server(reins.folder, "dbsite", *JSON_LOG, *flags, *otlp, env=env) as server,
            server.client() as first,
            server.client() as second,
        ):
            first.send("GET /held/ HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: holds\r\n\r\n")
            held = reins.held()
            before = pool_of(server)["waited_ms"]
            second.send("GET /opened/ HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: waits\r\n\r\n")
            until(lambda: pool_of(server)["waiting"] == 1, PATIENCE, "a request that waits")
            began = time.monotonic()
            (pool,) = (set(re.findall(r'pool_name="([^"]+)"', "".join(metrics(server)))))
            assert pool.endswith(f"/{database}")

            def told(name: str, more: str = "") -> float:
                return metrics(server)[f'db_client_connection_{name}{{db_client_connection_pool_name="{pool}"{more}}}']

            states = [told("count", f',db_client_connection_state="{state}"') for state in ("used", "idle")]
            assert states == [1, 0]
            assert (told("max"), told("pending_requests"), told("timeouts_total")) == (1, 1, 0)
            waits = told("wait_time_seconds_count")
            least = (time.monotonic() - began) * 1000
            held.go()
            assert (first.response().status, second.response().status) == (200, 200)
            assert server.access_entry("waits")["pool_ms"] >= least
            after = pool_of(server)
            assert after["waiting"] == 0 and after["waited_ms"] >= before + least, (before, least, after)
            assert told("pending_requests") == 0
            assert told("wait_time_seconds_count") > waits
            assert told("wait_time_seconds_sum") >= least / 1000
        told_last = collector.metrics()
    for name in ("count", "max", "pending_requests"):
        level = told_last[f"db.client.connection.{name}"].sum
        assert level.data_points and not level.is_monotonic
    assert told_last["db.client.connection.timeouts"].sum.is_monotonic
    assert told_last["db.client.connection.max"].unit == "{connection}"
    for name in ("wait_time", "use_time"):
        metric = told_last[f"db.client.connection.{name}"]
        (point,) = metric.histogram.data_points
        assert attributes(point) == {"db.client.connection.pool.name": pool}
        assert metric.unit == "s" and point.count == sum(point.bucket_counts)
        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1 and 60.0 in point.explicit_bounds
    assert told_last["db.client.connection.wait_time"].histogram.data_points[0].sum >= least / 1000


TILES = """Object.fromEntries([...document.querySelectorAll('#tiles > div')].map(it =>
    [it.querySelector('dt').textContent, [it.querySelector('dd').textContent, it.querySelector('dd').className]]))"""


@pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: the dashboard is NOT tested in a browser")
def test_d5_the_pool_of_a_real_database_is_seen_live_on_the_dashboard(
    reins: Reins, postgres: Postgres, database: str
) -> None:
    """The tiles of an idle pool, of one whose only connection a view holds while another waits, and of one after it."""
    flags = ("--db-connections", "1", "--threads", "2", "--threads-min", "2")
    env = environment(postgres, database, reins.folder)
    with (
        Server(reins.folder, "dbsite", *flags, env=env) as server,
        Browser(f"{server.url}/-/canter") as browser,
        server.client() as first,
        server.client() as second,
    ):

        def shows(pool: str, wait: list[str]) -> None:
            wanted = json.dumps([[pool, ""], wait])
            browser.wait(f"(it => JSON.stringify([it['Pool'], it['Wait for pool']]) === JSON.stringify({wanted}))({TILES})")

        browser.wait("document.body?.dataset.ready === 'yes' && document.getElementById('state').textContent === 'live'")
        shows("0 of 0 busy", ["0", ""])
        first.send("GET /held/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        held = reins.held()
        shows("1 of 1 busy", ["0", ""])
        second.send("GET /opened/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        shows("1 of 1 busy", ["1", "bad"])
        held.go()
        assert (first.response().status, second.response().status) == (200, 200)
        shows("0 of 1 busy", ["0", ""])


def test_d3_statements_are_counted_by_database_and_by_what_they_do(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    site = {"databases": {"default": entry}}
    name = "db_client_operation_duration_seconds_count"
    with (
        Collector() as collector,
        Server(
            tmp_path / "lite",
            "dbsite",
            "--otlp-endpoint",
            collector.url,
            env={"SITE": json.dumps(site), "HOME": str(tmp_path)},
        ) as server,
    ):
        for path in ("/opened/", "/opened/", "/write/"):
            shop.get(server, path, Host="localhost")
        routes_of(server, 3)
        found = metrics(server)
        assert found[f'{name}{{db_system_name="sqlite",db_operation_name="SELECT"}}'] == 2
        # There is no such table.
        failed = ',error_type="OperationalError"'
        assert found[f'{name}{{db_system_name="sqlite",db_operation_name="INSERT"{failed}}}'] == 1
        assert not any("db_client_connection" in series for series in found), "there is no pool"
        # Each of its histograms has its end.
        ends = [series for series in found if 'le="+Inf"' in series]
        assert len(ends) == sum(series.startswith(name) for series in found) == 2
    duration = collector.metrics()["db.client.operation.duration"]
    assert duration.unit == "s"
    points = {attributes(point)["db.operation.name"]: point for point in duration.histogram.data_points}
    assert points["SELECT"].count == 2 and list(points["SELECT"].explicit_bounds)[0] == 0.001
    assert attributes(points["INSERT"])["error.type"] == "OperationalError"
    with Server(tmp_path / "site", "dbsite", env=environment(postgres, database, tmp_path)) as server:
        shop.get(server, "/write/", Host="localhost")
        shop.get(server, "/raw/", Host="localhost")
        routes_of(server, 2)
        found = metrics(server)
        failed = ',error_type="ProgrammingError"'
        assert found[f'{name}{{db_system_name="postgresql",db_operation_name="INSERT"{failed}}}'] == 1
        # One of Django's, and six that were seen on the wire.
        assert found[f'{name}{{db_system_name="postgresql",db_operation_name="SELECT"}}'] == 7


def test_c1_statements_of_a_view_that_does_not_block_belong_to_its_request(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    with Server(tmp_path / "site", "dbsite", *JSON_LOG, env=environment(postgres, database, tmp_path)) as server:
        assert shop.get(server, "/later/", Host="localhost", X_Request_Id="later")[0] == 200
        line = server.access_entry("later")
        assert (line["route"], line["queries"]) == ("/later/", 3) and line["sql_ms"] > 0, line
        (statement,) = [row for row in shop.data(server)["statements"] if row["sql"].startswith("SELECT")]
        (place,) = statement["places"]
        assert place["function"] == "opened" and place["file"].endswith("dbsite.py") and place["calls"] == 3


# --- an app that is no Django


def test_d3_routes_without_end_and_with_forged_names_stay_within_the_bound(tmp_path: Path) -> None:
    source = """
from urllib.parse import unquote
def app(environ, start_response):
    environ["canter.route"] = unquote(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
    forged = "%3Cscript%3Ealert(1)%3C/script%3E%22%7D%201%0D%0Aforged%202%1B[31m"
    with Server(tmp_path, source, *JSON_LOG) as server:
        with server.client() as client:
            for number in range(230):
                assert client.get(f"/?{forged}{number}").status == 200
        routes = routes_of(server, 230)
        assert len(routes) == 201
        (other,) = [one for one in routes if one["route"] == "other"]
        assert other["requests"] == 30
        assert all(one["route"].isprintable() for one in routes)
        text = shop.get(server, "/-/canter/metrics")[2]
        assert text.replace("\n", "").isprintable()
        assert "script" in text and not any(line.startswith("forged") for line in text.splitlines())
        assert all(line.isprintable() for line in server.access_lines())


FLASK = """
from flask import Flask
app = Flask(__name__)
@app.get("/orders/<int:number>")
def order(number):
    return str(number)
"""
BOTTLE = """
import bottle
app = bottle.Bottle()
@app.get("/orders/<number:int>")
def order(number):
    return str(number)
"""
GENERATOR = """
def app(environ, start_response):
    environ["canter.route"] = "/late"
    start_response("200 OK", [("Content-Length", "4")] if environ["PATH_INFO"] == "/known" else [])
    yield b"text"
"""


def test_c10_an_app_that_is_a_generator_says_its_route_with_its_first_chunk(tmp_path: Path) -> None:
    with Server(tmp_path, GENERATOR, *JSON_LOG) as server:
        for path in ("/known", "/unknown"):
            assert shop.get(server, path)[2] == "text"
        told = {one["label"]: one["requests"] for one in routes_of(server, 2)}
        assert told == {"GET /late": 2}


@pytest.mark.parametrize(
    ("framework", "source", "route"),
    [("flask", FLASK, "/orders/<int:number>"), ("bottle", BOTTLE, "/orders/<number:int>")],
)
def test_c10_routes_of_other_frameworks_are_told_by_their_patterns(
    tmp_path: Path, framework: str, source: str, route: str
) -> None:
    pytest.importorskip(framework, reason=f"NO {framework}: its routes are NOT tested")
    with Server(tmp_path, source, *JSON_LOG) as server:
        for path, status in (("/orders/7", 200), ("/orders/8", 200), ("/nothing", 404)):
            assert shop.get(server, path)[0] == status
        told = {one["label"]: one["requests"] for one in routes_of(server, 3)}
        assert told == {f"GET {route}": 2, "GET (no route)": 1}
    with Server(tmp_path, source, *JSON_LOG, "--insight=false") as server:
        assert shop.get(server, "/orders/7", X_Request_Id="unseen")[0] == 200
        assert "route" not in server.access_entry("unseen")


def test_c10_statements_of_an_app_without_django_have_a_route_and_advice_that_fits(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    pytest.importorskip("sqlalchemy", reason="NO SQLAlchemy: statements on the wire of an app like it are NOT tested")
    env = environment(postgres, database, tmp_path)
    with Server(tmp_path / "site", "alchemy", *JSON_LOG, env=env) as server:
        assert shop.get(server, "/fill")[2] == "filled"
        for path in ("/books/7", "/unknown", "/wrong"):
            name = path.strip("/").partition("/")[0]
            text = shop.get(server, path, X_Request_Id=name)[2]
            assert text.count("hunter2") == 6
            line = server.access_entry(name)
            # The books, and the author of each; none for what begins and ends transactions. psycopg forgets
            # what it has prepared when a transaction is rolled back, which is one more.
            assert line["queries"] in (7, 8) and line["sql_ms"] > 0, line
        routes = {"/books/<shelf>", "(no route)"}
        found = [one for one in shop.data(server, "findings")["findings"] if one["rule"] == "n_plus_one"]
        assert {one["route"].removeprefix("GET ") for one in found} >= routes, found
        for one in found:
            assert (one["count"], one["distinct"], one["file"]) == (6, 6, ""), one
            assert one["sql"].startswith("SELECT author.id") and "WHERE author.id = " in one["sql"], one
            assert "join the table" in one["advice"], one
        name = "db_client_operation_duration_seconds_count"
        assert metrics(server)[f'{name}{{db_system_name="postgresql",db_operation_name="SELECT"}}'] >= 21
        address = shop.socket_of(server)
        for command, code in (("queries", 0), ("doctor", 8)):
            words = [PROGRAM, command, address]
            done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == code, done
            assert "SELECT author.id" in done.stdout and "join the table" in done.stdout, done.stdout
            assert not OF_DJANGO.search(done.stdout), done.stdout
            assert "hunter2" not in done.stdout
        words = [PROGRAM, "queries", address, "--explain", found[0]["id"]]
        done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=PATIENCE)
        assert "this app is no Django" in done.stdout + done.stderr, done
        assert shop.get(server, "/hold")[2] == "held"
        held = [one for one in shop.data(server, "findings")["findings"] if one["rule"] == "holding"]
        (found,) = [one for one in held if one["route"] == "GET /hold"]
        assert 140 <= found["lost_ms"] < 1000 * PATIENCE
        top = shop.get(server, "/-/canter/top.txt")[2]
        assert "seen on the wire alone" in top and ":0\n" not in top, top
