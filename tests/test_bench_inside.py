"""``canter bench`` and a Canter on this machine: it is found by itself and asked what held it back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.operated import PROGRAM
from harness.server import Server

APP = """
import time

def application(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def told(url: str, *words: str, users: int = 6) -> dict[str, Any]:
    """The report of a run."""
    command = [PROGRAM, "bench", url, "--users", str(users), "-n", "60", "--json", "-", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["hits"] == 60
    return report


def said_inside(report: dict[str, Any]) -> bool:
    return "The server says" in " ".join(report["prose"])


def test_a5_a_canter_on_this_machine_is_found_and_quoted(folder: Path) -> None:
    path = folder / "site.sock"
    with Server(
        folder / "one", APP, "--threads", "1", bind=["127.0.0.1:0", f"unix:{path}"]
    ) as server, Server(folder / "other", APP) as other:
        for words in [(server.url,), ("http://localhost/", "--unix-socket", str(path))]:
            report = told(*words)
            assert said_inside(report), report["prose"]
            # The one that is loaded, not the other one, which was not asked for anything yet.
            assert report["inside"]["total"]["requests"] >= 30
        assert said_inside(told(other.url))
        assert not said_inside(told(server.url, "--inside", "off"))


def test_a5_the_cause_is_that_of_the_run_and_not_of_the_servers_life(folder: Path) -> None:
    """Six users at one thread wait for it; one user at the same server afterwards waits for the app only."""
    with Server(folder, APP, "--threads", "1") as server:
        crowded = " ".join(told(server.url, users=6)["prose"])
        alone = " ".join(told(server.url, users=1)["prose"])
    assert "rate-limiting step: waiting for a free thread" in crowded
    assert "rate-limiting step: Python code of the app" in alone


def test_a7_where_the_database_was_the_cause_the_report_names_the_statement_and_its_line(
    serve_site: Callable[..., Server],
) -> None:
    server = serve_site("--threads", "6", "--threads-min", "6")
    prose = " ".join(told(f"{server.url}/sleep/0.2/")["prose"])
    found = re.search(
        r"of the time in which the app ran, (\d+) % was for the database, most for `SELECT pg_sleep\(.+?\)` at "
        r"\S*dbsite\.py:\d+ in sleep \((\d+) times, (\d+) % of all SQL\)",
        prose,
    )
    assert found is not None, prose
    of_app, times, of_sql = (int(number) for number in found.groups())
    assert of_app >= 50 and 0 < times <= 60 and of_sql >= 90, prose
