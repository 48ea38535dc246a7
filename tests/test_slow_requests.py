"""What is told of a request while it is slow: a line of the log at each age, and the dashboard's
list. Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import shop
from harness.operated import PATIENCE, Canter, until
from harness.server import Server

VIEW = '''

def waiting(request, what):
    """Waits in the database until a file is there."""
    import os, time
    from django.db import connection
    from django.http import HttpResponse
    def wait(path, secret):
        while not os.path.exists(path):
            time.sleep(0.01)
        return 1
    with connection.cursor() as cursor:
        connection.connection.create_function("wait", 2, wait)
        cursor.execute("SELECT wait(%s, %s)", [request.GET["until"], request.GET["key"]])
    return HttpResponse("done")
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = shop.copy(tmp_path_factory.mktemp("slow"), (1, 1, 1))
    views = site / "reader" / "views" / "shop.py"
    views.write_text(views.read_text(encoding="utf-8") + VIEW, encoding="utf-8")
    urls = site / "reader" / "urls.py"
    text = urls.read_text(encoding="utf-8")
    urls.write_text(
        text.replace(
            "urlpatterns = [", 'urlpatterns = [\n    path("wait/<slug:what>/", shop.waiting),'
        ),
        encoding="utf-8",
    )
    return site


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    flags = ("--slow-request", "500ms,1500ms,500ms", "--log-format", "json", "--timeout", "60s")
    with Server(site, "", *flags) as server:
        # Whatever a first request loads is not to be what a slow one is doing.
        shop.get(server, "/hello/")
        yield server


def slow_lines(server: Canter, request_id: str) -> list[Any]:
    found = [json.loads(line) for line in server.log.splitlines() if "a request is slow" in line]
    return [line for line in found if line["request_id"] == request_id]


def test_d4_a_line_at_each_age_says_what_where_and_which_statement(
    server: Server, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    with ThreadPoolExecutor(1) as pool:
        path = f"/wait/for-it/?until={done}&key=hunter2"
        answer = pool.submit(shop.get, server, path, X_Request_Id="slow-1")
        lines = until(
            lambda: (found := slow_lines(server, "slow-1")) if len(slow_lines(server, "slow-1")) > 1 else [],
            PATIENCE,
            "both lines",
        )
        running = until(
            lambda: [one for one in shop.data(server)["running"] if one["sql"]],
            PATIENCE,
            "the request in the dashboard",
        )
        done.touch()
        assert answer.result()[0] == 200
    assert len(lines) == 2 and lines[0]["after_ms"] >= 500 and lines[1]["after_ms"] >= 1500
    for line in lines:
        assert (line["method"], line["path"]) == ("GET", "/wait/for-it/")
        assert line["route"] == "/wait/<slug:what>/" and line["worker"] == 1
        assert line["sql"] == "SELECT wait(?)"
        assert "in waiting" in line["stack"] and "reader/views/shop.py" in line["stack"]
    assert running[0]["request"] == "GET /wait/for-it/" and running[0]["id"] == "slow-1"
    assert running[0]["route"] == "/wait/<slug:what>/" and running[0]["sql"] == "SELECT wait(?)"
    assert "in waiting" in running[0]["stack"]
    assert "hunter2" not in server.log


def test_d4_s6_whoever_gives_a_request_up_says_which_statement_ran(site: Path, tmp_path: Path) -> None:
    flags = ("--log-format", "json", "--timeout", "2s", "--router-timeout", "1s", "--slow-request", "0")
    with Server(site, "", *flags) as server:
        shop.get(server, "/hello/")

        def both() -> tuple[Any, Any]:
            """What is said of one request that both give up."""
            begun = len(server.log.splitlines())
            done = tmp_path / f"done-{begun}"

            def lines() -> tuple[Any, Any] | None:
                told = [json.loads(line) for line in server.log.splitlines()[begun:]]
                routers = [one for one in told if "router has given up" in one["message"]]
                ours = [one for one in told if "took too long and was given up" in one["message"]]
                return (routers[0], ours[0]) if routers and ours else None

            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(hung_up, server, f"/wait/for-it/?until={done}&key=hunter2")
                found: tuple[Any, Any] = until(lines, PATIENCE, "both lines")
                done.touch()
                assert answer.result()
            return found

        # A worker has a quarter of a second to say what it does: too little while the machine is busy.
        for _ in range(5):
            router, ours = both()
            if "sql" in router and "sql" in ours:
                break
        assert "router has given up" in router["message"] and "H12" in router["message"]
        assert router["request_id"] == "given-up" and router["path"] == "/wait/for-it/"
        assert 1000 <= router["after_ms"] < ours["after_ms"]
        assert "took too long" in ours["message"] and "GET /wait/for-it/" in ours["request"]
        for line in (router, ours):
            assert line["route"] == "/wait/<slug:what>/" and line["worker"] == 1
            assert line["sql"] == "SELECT wait(?)"
            # The statement's callback is the innermost line of the app.
            assert line["line"].endswith("in wait") and "reader/views/shop.py" in line["line"]
        assert "hunter2" not in server.log


def hung_up(server: Server, path: str) -> bool:
    """Whether nothing was answered before the connection ended."""
    with server.client() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: given-up\r\n\r\n")
        return client.rest() == b""


def test_d4_lines_are_text_for_people_and_end_at_the_deadline(tmp_path: Path) -> None:
    app = (
        "import time\n"
        "def application(environ, start_response):\n"
        "    time.sleep(60)\n"
    )
    flags = ("--slow-request", "100ms", "--slow-request", "20s", "--timeout", "1s", "-w", "1")
    with Canter(tmp_path, app, *flags, "--graceful-timeout", "1s") as canter:
        canter.wait_ready()
        assert canter.get("/sleep").status == 504
        line = canter.wait_log("a request is slow.*path=/sleep")
        assert "method=GET" in line and "request_id=" in line
        canter.wait_log(r"time\.sleep\(60\)")
        assert canter.log.count("a request is slow") == 1


def test_d4_without_ages_nothing_is_told(tmp_path: Path) -> None:
    app = (
        "import time\n"
        "def application(environ, start_response):\n"
        "    time.sleep(0.4)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'']\n"
    )
    with Canter(tmp_path, app, "--slow-request", "0", "-w", "1") as canter:
        canter.wait_ready()
        assert canter.get("/").status == 200
        assert "is slow" not in canter.log
