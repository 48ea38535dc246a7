"""What can be done about a finding: acknowledge it, ask the database for its plan; and what
``canter doctor`` reads of the app and says. Ids are those of the acceptance list (C SQL).
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import postgres as programs
from harness import shop
from harness.dbsite import environment
from harness.operated import PATIENCE, PROGRAM, until
from harness.server import Server

BIG = """
from reader.models import Customer
Customer.objects.bulk_create(
    [Customer(name=f"N{n}", email=f"n{n}@example.org") for n in range(12000)]
)
"""

NOTES = "CREATE TABLE notes AS SELECT n AS id, 'n' || n AS title FROM generate_series(1, 30000) n"

VIEWS = """

def loop(request):
    for n in range(6):
        list(Customer.objects.filter(name=f"hunter2-{n}"))
    return HttpResponse("x")


def hold(request, kind):
    import time
    from contextlib import nullcontext
    from django.db import transaction

    with transaction.atomic() if kind == "open" else nullcontext():
        Customer.objects.count()
        time.sleep(0.15)
        Customer.objects.first()
    return HttpResponse("x")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shop.copy(tmp_path_factory.mktemp("acts"), (5, 20, 40))
    shop.manage(folder, "shell", "-v", "0", "-c", BIG)
    add_view(folder)
    return folder


def add_view(folder: Path) -> None:
    views = folder / "reader" / "views" / "shop.py"
    views.write_text(views.read_text(encoding="utf-8") + VIEWS, encoding="utf-8")
    urls = folder / "reader" / "urls.py"
    text = urls.read_text(encoding="utf-8")
    urls.write_text(
        text.replace(
            "urlpatterns = [",
            'urlpatterns = [\n    path("loop/", shop.loop),\n    path("hold/<kind>/", shop.hold),',
        ),
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    with Server(site, "") as server:
        for path in ("/api/orders/", "/loop/", "/recent/"):
            assert shop.get(server, path)[0] == 200, path
        yield server


def post(server: Server, path: str, **headers: str) -> tuple[int, Any]:
    """Status and JSON of what does something."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    fields = {"X-Canter": "1", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", f"/-/canter/{path}", headers=fields)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if text.startswith("{") else text


def explained(server: Server, path: str, **headers: str) -> tuple[int, Any]:
    """As ``post``, once the database may be asked again."""

    def answered() -> tuple[int, Any] | None:
        status, told = post(server, path, **headers)
        return None if status == 429 else (status, told)

    found: tuple[int, Any] = until(answered, PATIENCE, "the next plan")
    return found


def canter(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """A command with the address of the server."""
    program = [PROGRAM, words[0], shop.socket_of(server), *words[1:]]
    return subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE)


def finding(server: Server, route: str) -> Any:
    told = canter(server, "queries", "--format", "json")
    findings = json.loads(told.stdout)["findings"]
    (found,) = [one for one in findings if one["route"] == route]
    return found


# --- acknowledging


def test_c4_an_acknowledged_finding_is_shown_as_such_and_does_not_fail_the_check(
    server: Server, site: Path
) -> None:
    name = finding(server, "GET /loop/")["id"]
    check = ("check", "--route", "/loop/")
    assert canter(server, *check).returncode == 8
    done = canter(server, "queries", "--acknowledge", name)
    assert done.returncode == 0 and "canter-acknowledged.txt" in done.stdout, done.stderr
    assert finding(server, "GET /loop/")["acknowledged"] is True
    assert shop.data(server)["findings"][-1]["id"] == name
    assert canter(server, *check).returncode == 0
    assert f"[{name}, critical, acknowledged]" in canter(server, "queries").stdout or (
        f"[{name}, acknowledged]" in canter(server, "queries").stdout
    )
    sarif = json.loads(canter(server, "queries", "--format", "sarif").stdout)
    (row,) = [
        one
        for one in sarif["runs"][0]["results"]
        if one["partialFingerprints"]["canter/v1"] == name
    ]
    assert row["suppressions"] == [{"kind": "external", "status": "accepted"}]
    # The file is kept with the project: another server knows it, after an edit above the line too.
    views = site / "reader" / "views" / "shop.py"
    text = views.read_text(encoding="utf-8")
    views.write_text(text.replace("\n\ndef loop", "\n\n# moved\n# down\n\ndef loop"), encoding="utf-8")
    with Server(site, "") as other:
        shop.get(other, "/loop/")
        until(lambda: finding(other, "GET /loop/")["acknowledged"], PATIENCE, "the file to be read")
    assert canter(server, "queries", "--unacknowledge", name).returncode == 0
    assert finding(server, "GET /loop/")["acknowledged"] is False
    assert canter(server, *check).returncode == 8


def test_c4_a_name_that_nothing_has_is_said_with_what_to_do(server: Server) -> None:
    done = canter(server, "queries", "--acknowledge", "ffffffffffff")
    assert done.returncode != 0
    assert "no finding has the name" in done.stderr and "canter queries" in done.stderr
    done = canter(server, "check", "--max-queries", "many")
    assert done.returncode == 2 and "--max-queries 10" in done.stderr


def test_c9_no_client_can_speak_to_a_worker_as_the_front_does(server: Server) -> None:
    for target in ("/%20canter", "/-/%63anter/x", "/%2D/canter/settings.json"):
        assert shop.get(server, target)[0] == 404, target
    with server.client() as client:
        client.send(b"POST  canter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        assert client.response().status == 400


def test_s3_a_transaction_that_is_held_open_without_a_query_is_a_finding(server: Server) -> None:
    for kind in ("open", "closed"):
        assert shop.get(server, f"/hold/{kind}/")[0] == 200
    # One of the two alone: a pause outside of a transaction holds no connection that others want.
    found = finding(server, "GET /hold/<kind>/")
    assert (found["rule"], found["requests"]) == ("holding", 1)
    assert 140 <= found["lost_ms"] < 1000 * PATIENCE
    text = canter(server, "queries").stdout
    assert "a transaction held open without querying" in text
    assert " ms of a request with a transaction open and no query running" in text
    sarif = json.loads(canter(server, "queries", "--format", "sarif").stdout)
    assert "holding" in [one["ruleId"] for one in sarif["runs"][0]["results"]]


# --- plans


def test_c9_sqlite_tells_its_plan_and_the_index_that_is_missing(server: Server) -> None:
    name = finding(server, "GET /loop/")["id"]
    done = canter(server, "queries", "--explain", name)
    assert done.returncode == 0, done.stderr
    assert "EXPLAIN QUERY PLAN" in done.stdout and "SCAN reader_customer" in done.stdout
    assert 'models.Index(fields=["name"])' in done.stdout and "Customer" in done.stdout
    assert "hunter2" not in done.stdout


@pytest.fixture(scope="module")
def pg_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A PostgreSQL that knows plans without values: from 16 on."""
    folder = programs.newest()
    if folder is None:
        pytest.skip("NO PostgreSQL 16: plans without values are NOT tested")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "programs", lambda: folder)
        with programs.Postgres.running() as running, running.database() as database:
            site = tmp_path_factory.mktemp("pg")
            env = environment(running, database, site)
            with running.connect(dbname=database, user="site") as connection:
                connection.execute(NOTES)
                connection.execute("ANALYZE notes")
                connection.execute("CREATE TABLE naps AS SELECT 0::float AS seconds")
                connection.execute("CREATE SEQUENCE numbers")
            with Server(site / "site", "dbsite", env=env) as server:
                yield server


def test_c9_postgresql_tells_a_generic_plan_and_by_click_a_measured_one(pg_server: Server) -> None:
    local = {"Host": "localhost"}
    assert shop.get(pg_server, "/titles/", **local)[0] == 200
    name = finding(pg_server, "GET /titles/")["id"]
    status, told = post(pg_server, f"explain?id={name}", **local)
    assert status == 200 and told["how"] == "EXPLAIN (GENERIC_PLAN)", told
    assert any(line.startswith("Seq Scan on notes") for line in told["plan"]), told
    assert any("CREATE INDEX ON notes (title)" in hint for hint in told["hints"]), told

    def measured() -> Any:
        told = post(pg_server, f"explain?analyze=1&id={name}", **local)[1]
        shop.get(pg_server, "/titles/", **local)
        return told if "plan" in told else None

    told = until(measured, PATIENCE, "a measured plan")
    assert told["how"] == "EXPLAIN (ANALYZE)" and "took" in told["plan"][0]
    assert "hunter2" not in json.dumps(told)


@pytest.mark.parametrize(
    ("paths", "words"),
    [(("/naps/0/", "/naps/30/"), "statement timeout"), (("/numbers/", "/numbers/"), "nextval() in a read")],
)
def test_c9_what_is_run_for_its_plan_is_cut_short_and_changes_nothing(
    pg_server: Server, paths: tuple[str, str], words: str
) -> None:
    local = {"Host": "localhost"}
    first, second = paths
    assert shop.get(pg_server, first, **local)[0] == 200
    route = {"/naps/0/": "GET /naps/<seconds>/"}.get(first, f"GET {first}")
    address = f"explain?analyze=1&id={finding(pg_server, route)['id']}"
    assert "run it once more" in explained(pg_server, address, **local)[1]["error"]
    told = shop.get(pg_server, second, **local)[2]
    status, plan = explained(pg_server, address, **local)
    assert status == 200 and words in plan["error"], plan
    if "number" in told:
        now = json.loads(shop.get(pg_server, second, **local)[2])
        assert now["number"] == json.loads(told)["number"] + 5


def test_c9_a_text_of_several_statements_is_not_explained(pg_server: Server) -> None:
    local = {"Host": "localhost"}
    assert shop.get(pg_server, "/several/", **local)[0] == 200
    name = finding(pg_server, "GET /several/")["id"]
    for how in ("", "analyze=1&"):
        status, told = explained(pg_server, f"explain?{how}id={name}", **local)
        assert status == 200 and "several statements" in told["error"], told


def test_c9_what_the_database_refuses_is_told_in_its_words(pg_server: Server) -> None:
    # Last of those that need the table.
    assert shop.get(pg_server, "/rename/", Host="localhost")[0] == 200
    name = finding(pg_server, "GET /titles/")["id"]

    def answered() -> subprocess.CompletedProcess[str] | None:
        done = canter(pg_server, "queries", "--explain", name)
        return None if "a moment ago" in done.stderr else done

    done = until(answered, PATIENCE, "the next plan")
    assert done.returncode != 0 and "does not exist" in done.stderr


# --- the doctor


def test_doctor_reads_the_settings_and_says_what_to_do_first(server: Server) -> None:
    done = canter(server, "doctor", "--format", "json")
    assert done.returncode == 8, done.stderr
    advice = json.loads(done.stdout)["advice"]
    assert any(one["id"] == "finding" and "select_related" in one["do"] for one in advice)
    for one in advice:
        assert one["title"] and one["evidence"] and one["do"], one
        assert one["gain"] and one["weight"] in ("harm", "cost", "habit"), one
        assert (one["gain_ms_per_hour"] is None) == ("in an hour, all requests together" not in one["gain"]), one
    slow = [one["gain_ms_per_hour"] for one in advice if one["weight"] != "harm"]
    gains = [-1 if gain is None else gain for gain in slow]
    assert gains == sorted(gains, reverse=True)
    text = canter(server, "doctor").stdout
    assert text.startswith("1. ") and text.count("   to do   ") == text.count("   gain    ") == len(advice)


def test_doctor_has_the_database_explain_the_dearest_reads(server: Server) -> None:
    def dear() -> bool:
        shop.get(server, "/loop/")
        rows = shop.data(server)["statements"]
        return any("name" in row["sql"] and row["total_ms"] >= 20 for row in rows[:5])

    until(dear, PATIENCE, "the statement without an index to be one of the dearest")
    advice = json.loads(canter(server, "doctor", "--format", "json").stdout)["advice"]
    (index,) = [one for one in advice if one["id"] == "index"]
    assert 'models.Index(fields=["name"])' in index["do"] and "Customer" in index["do"]
    assert "EXPLAIN QUERY PLAN" in index["evidence"] and "12005 rows" in index["evidence"]
    assert index["gain_ms_per_hour"] > 0 and "hunter2" not in json.dumps(advice)


def test_doctor_tells_what_connections_and_middleware_cost_by_trying_and_by_the_profile(
    serve_site: Any, tmp_path: Path
) -> None:
    """A site with several habits: what was measured comes by its gain, before what was not."""
    habits = {"MIDDLEWARE": ["django.middleware.gzip.GZipMiddleware"]}
    server = serve_site("--db-pool", "off", settings=habits)

    def rows() -> dict[str, Any]:
        done = subprocess.run(
            [PROGRAM, "doctor", shop.socket_of(server), "--format", "json"],
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 8, done.stderr
        return {one["id"]: one for one in json.loads(done.stdout)["advice"]}

    for _ in range(5):
        assert shop.get(server, "/", Host="localhost")[0] == 200
    found = rows()
    connections = found["connections"]
    assert re.fullmatch(
        r"at most .+ in an hour, all requests together: \d+ connections in an hour, each \d+\.\d ms to make when it was tried just now",
        connections["gain"],
    ), connections
    assert connections["gain_ms_per_hour"] > 0 and "5 requests of the last" in connections["evidence"]
    # Acts on the database: not for everybody who may look, over TCP without the token.
    status, told = post(server, "connect", Host="localhost")
    assert status == 403 and "--admin-token" in told["error"], told
    # Nobody has made a profile.
    assert found["gzip"]["gain"] == "no estimate: `canter profile 30s` while the site is used, then ask again"
    assert list(found).index("connections") < list(found).index("gzip")
    with ThreadPoolExecutor(1) as pool:
        profiled = pool.submit(canter, server, "profile", "1s", "-o", str(tmp_path / "p.svg"))
        while not profiled.done():
            shop.get(server, "/", Host="localhost")
        assert profiled.result().returncode == 0, profiled.result().stderr
    gzip = rows()["gzip"]
    assert re.search(r"in an hour, all requests together: \d+\.\d % of the last profile$", gzip["gain"]), gzip
    assert gzip["gain_ms_per_hour"] >= 0


UNWELL = """
from django.conf import settings
settings.configure(
    DEBUG=True, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test",
    INSTALLED_APPS=["django.contrib.sessions", "django.contrib.staticfiles"],
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware", "django.middleware.http.ConditionalGetMiddleware"],
    SESSION_SAVE_EVERY_REQUEST=True,
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "nowhere"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [], "OPTIONS": {
        "loaders": ["django.template.loaders.filesystem.Loader"]}}],
)
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("page/", lambda request: HttpResponse("x"))]
app = get_wsgi_application()
"""


def test_doctor_says_each_habit_of_a_site_that_is_not_well_with_its_setting(tmp_path: Path) -> None:
    with Server(tmp_path, UNWELL, "--db-pool", "off") as server:
        for _ in range(30):
            assert shop.get(server, "/page/")[0] == 200
        advice = json.loads(canter(server, "doctor", "--format", "json").stdout)["advice"]
    found = {one["id"]: one for one in advice}
    assert [one["id"] for one in advice if one["weight"] == "harm"] == ["debug", "cache_backend"]
    assert [one["id"] for one in advice[:2]] == ["debug", "cache_backend"]
    # There is no such server.
    assert "and none could be made: OperationalError" in found["connections"]["gain"], found["connections"]
    assert found["conditional_get"]["gain_ms_per_hour"] == 0
    for name, evidence, setting in (
        ("debug", "settings.DEBUG is True", "DEBUG = False"),
        ("gzip", "gzip.GZipMiddleware", "MIDDLEWARE"),
        ("conditional_get", "ConditionalGetMiddleware", "canter.toml"),
        ("connections", "CONN_MAX_AGE is 0", "CONN_MAX_AGE = 60"),
        ("session_writes", "SESSION_SAVE_EVERY_REQUEST is True", "SESSION_SAVE_EVERY_REQUEST = False"),
        ("cache_backend", "LocMemCache", "RedisCache"),
        ("templates", "loaders", "cached.Loader"),
        ("static_names", "StaticFilesStorage", "ManifestStaticFilesStorage"),
        ("pages", "byte for byte", "canter.toml"),
    ):
        assert evidence in found[name]["evidence"], (name, advice)
        assert setting in found[name]["do"], (name, advice)


def test_doctor_proves_that_a_page_is_the_same_for_all(server: Server) -> None:
    for _ in range(30):
        shop.get(server, "/hello/")
    advice = json.loads(canter(server, "doctor", "--format", "json").stdout)["advice"]
    (page,) = [one for one in advice if one["id"] == "pages" and "/hello/" in one["title"]]
    assert '[[cache.rules]] path = "/hello/"' in page["do"] and "byte for byte" in page["evidence"]


# --- who may


def test_c4_no_other_site_can_do_anything(server: Server) -> None:
    # Last in this file: from here on a proxy was seen on this machine.
    name = finding(server, "GET /loop/")["id"]
    for path in (f"acknowledge?id={name}", f"explain?id={name}"):
        assert post(server, path, X_Forwarded_For="192.0.2.1")[0] == 404
        assert post(server, path, X_Canter="", Host="shop.example")[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        # What a form of another site can send: no field of its own.
        connection.request("POST", f"/-/canter/{path}")
        assert connection.getresponse().status == 404
        connection.close()
    assert finding(server, "GET /loop/")["acknowledged"] is False
