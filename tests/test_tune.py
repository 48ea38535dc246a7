"""``canter tune`` on a real app: it starts it, drives it, and says what to run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli
from harness.browser import CHROMIUM, read_by_day_and_by_night
from harness.operated import PROGRAM, until
from harness.pooler import url_of
from harness.postgres import Postgres
from harness.server import APPS, Server

QUICK = ("--time", "20s", "--window", "500ms", "--seed", "7", "--most-workers", "2")


def words(tmp_path: Path, paths: str, *flags: str, app: str = "fourpages") -> list[str]:
    urls = tmp_path / "urls.txt"
    urls.write_text(paths)
    serve = ["--", "--pythonpath", str(APPS), "--python", sys.executable]
    listed = ["--url-list", str(urls)] if "--access-log" not in flags else []
    return [str(PROGRAM), "tune", app, *listed, *QUICK, *flags, *serve]


def tune(tmp_path: Path, paths: str, *flags: str, app: str = "fourpages") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(tmp_path, paths, *flags, app=app),
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
        env=os.environ | {
            "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path), "PAGES_IMPORTS": str(tmp_path / "imports"),
        },
    )


def told(tmp_path: Path, paths: str, *flags: str, app: str = "fourpages") -> dict[str, Any]:
    done = tune(tmp_path, paths, "--json", "-", "--quiet", *flags, app=app)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def rate(report: dict[str, Any], workers: int, threads: int) -> float | None:
    for trial in report["trials"]:
        is_it = (trial["workers"], trial["threads"], trial["preload"]) == (workers, threads, "auto")
        if is_it and trial["measured"]:
            return float(trial["measured"]["rate"])
    return None


def left_behind(tmp_path: Path) -> list[str]:
    """Processes and folders of a search that is over."""
    folders = [path.name for path in tmp_path.glob("canter-tune-*")]
    found = subprocess.run(["pgrep", "-af", str(tmp_path)], capture_output=True, text=True, check=False)
    return folders + found.stdout.splitlines()


def test_b6_a_page_that_waits_gets_threads_and_a_file_that_serve_reads(tmp_path: Path) -> None:
    file, page = tmp_path / "found.toml", tmp_path / "tune.html"
    report = told(tmp_path, "/api\n", "--users", "8", "--write", str(file), "--html", str(page))
    choice = report["choice"]
    assert choice["threads"] >= 3, report["prose"]
    # The server goes on from one configuration to the next where it can.
    assert len((tmp_path / "imports").read_text()) < report["measurements"]
    lone, chosen = rate(report, 1, 1), rate(report, choice["workers"], choice["threads"])
    assert chosen is not None
    assert lone is None or chosen > 2 * lone
    written = tomli.loads(file.read_text())
    assert (written["workers"], written["threads"]) == (choice["workers"], choice["threads"])
    checked = subprocess.run(
        [str(PROGRAM), "options", "--config", str(file), "fourpages"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "found.toml" in checked.stdout
    text = page.read_text()
    assert "<svg" in text and "http" not in text.replace("http://www.w3.org", "")
    until(lambda: not left_behind(tmp_path), 20)
    if CHROMIUM:
        read_by_day_and_by_night(page, tmp_path)


SHORT = ("--time", "12s")


def test_b3_arrivals_and_a_limit_on_latency(tmp_path: Path) -> None:
    """40 arrivals a second of a page that waits 50 ms: one thread answers 20, and all others wait ever longer."""
    for _ in range(3):
        # A machine that is loaded may keep the limit with none of them.
        report = told(tmp_path, "/api\n", "--rate", "40/s", "--p95", "300ms", *SHORT)
        if report["choice"]:
            break
    choice = report["choice"]
    assert choice is not None and choice["workers"] * choice["threads"] >= 2, report["prose"]
    assert rate(report, choice["workers"], choice["threads"]) is not None
    lone = [it for it in report["trials"] if (it["workers"], it["threads"]) == (1, 1) and it["measured"]]
    assert all(trial["fails"] and trial["fails"]["wall"] == "latency" for trial in lone), lone
    chosen = [it for it in report["trials"] if (it["workers"], it["threads"]) == (choice["workers"], choice["threads"])]
    assert min(it["measured"]["p95_ms"] for it in chosen if it["measured"]) <= 300


def test_b3_connections_to_the_database_are_a_wall(
    postgres: Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query of 50 ms and two connections: no configuration has more of them."""
    monkeypatch.setenv("DATABASE_URL", url_of(postgres, database))
    report = told(
        tmp_path, "/sleep/0.05/\n", "--users", "6", "--db-connections", "2", *SHORT, app="dbsite"
    )
    assert report["choice"] is not None, report["prose"]
    used = [trial["measured"]["connections"] for trial in report["trials"] if trial["measured"]]
    assert used and 1 <= max(used) <= 2, used
    # Two at a time, 50 ms each: 40 a second; with a third connection 60.
    best = max(trial["measured"]["rate"] for trial in report["trials"] if trial["measured"])
    assert best <= 55, best
    assert "db-connections = 2" in report["file"], report["file"]


def recorded(tmp_path: Path, form: str) -> Path:
    """What a server wrote of a second and a half with 20 requests a second that wait 50 ms, and of some that fail."""
    log = tmp_path / "access.log"
    logged = ("--access-logfile", str(log), "--access-log-format", form)
    with Server(tmp_path / "site", "fourpages", *logged) as server:
        words = [str(PROGRAM), "bench", server.url + "/api", "--rate", "20/s", "-d", "1500ms", "--quiet"]
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        for _ in range(3):
            assert server.client().get("/broken").status == 500
    return log


@pytest.mark.parametrize(
    ("form", "load"),
    [("json", ("--speed", "4")), ("combined", ("--speed", "4")), ("combined", ("--users", "4"))],
    ids=["our JSON at its times", "combined at its times", "combined in its order"],
)
def test_b3_a_recorded_log_is_replayed_and_what_failed_when_it_was_recorded_breaks_nothing(
    tmp_path: Path, form: str, load: tuple[str, str]
) -> None:
    log = recorded(tmp_path, form)
    report = told(tmp_path, "", "--access-log", str(log), *load)
    choice = report["choice"]
    assert choice is not None, report["prose"]
    # 80 a second of 50 ms each are four at once.
    assert choice["workers"] * choice["threads"] >= 4, report["prose"]
    lone = [it for it in report["trials"] if (it["workers"], it["threads"]) == (1, 1) and it["measured"]]
    if load[0] == "--speed":
        assert report["level"] == 4
        assert all(trial["fails"] and trial["fails"]["wall"] == "arrivals" for trial in lone), lone
    prose = " ".join(report["prose"])
    assert "Of the requests, 1 failed when asked alone: GET /broken. " in prose
    assert re.search(r"so 9\.\d % of the log was left out", prose), prose


def test_b3_arrivals_that_are_too_few_to_tell_anything_are_refused(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    line = '127.0.0.1 - - [22/Nov/2026:10:{:02}:00 +0000] "GET /api HTTP/1.1" 200 2 "-" "-"\n'
    log.write_text("".join(line.format(minute) for minute in range(10)))
    done = tune(tmp_path, "", "--access-log", str(log), "--speed", "2")
    assert done.returncode == 2
    assert "`--speed` is `2`: 0.03 arrivals a second are too few" in done.stderr, done.stderr
    assert left_behind(tmp_path) == []


def test_b2_a_computing_page_is_measured_in_pairs_and_one_thread_is_enough(tmp_path: Path) -> None:
    report = told(tmp_path, "/cpu\n", "--users", "4", "--time", "30s")
    choice = report["choice"]
    best = max(trial["measured"]["rate"] for trial in report["trials"] if trial["runs"] >= 2)
    chosen = rate(report, choice["workers"], choice["threads"])
    # The machine of the test is busy with others: what must hold is that the choice is near, and small.
    assert chosen is not None and chosen > 0.7 * best
    assert choice["threads"] <= 4, report["prose"]
    assert report["measurements"] >= 8 and report["seed"] == 7


def test_b3_memory_is_counted_for_the_whole_tree_and_is_a_wall(tmp_path: Path) -> None:
    free = told(tmp_path, "/memory\n", "--users", "2")
    memory = {
        trial["workers"]: trial["measured"]["memory"]
        for trial in free["trials"] if trial["measured"] and trial["preload"] == "auto"
    }
    assert memory[1] > 10_000_000
    done = tune(tmp_path, "/memory\n", "--users", "2", "--memory", "5MB")
    assert done.returncode == 8
    assert "one worker with one thread needs" in done.stderr and "5.0 MB" in done.stderr
    until(lambda: not left_behind(tmp_path), 20)


@pytest.mark.parametrize(
    ("paths", "app", "flags", "code", "said"),
    [
        ("", "fourpages", (), 2, "no request in it"),
        ("/memory\n", "no_such_app", (), 3, "no_such_app"),
        ("/broken\n", "fourpages", (), 3, "every request fails (status 500)"),
        ("/memory\n", "fourpages", ("--write", "urls.txt"), 5, "a file that is there is left alone"),
    ],
    ids=["empty list", "no app", "all fail", "file there"],
)
def test_what_cannot_be_tuned_is_said(
    tmp_path: Path, paths: str, app: str, flags: tuple[str, ...], code: int, said: str
) -> None:
    done = tune(tmp_path, paths, *flags, app=app)
    assert said in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    until(lambda: not left_behind(tmp_path), 20)


MEMBERS = '''
import os
FORM = b"""<form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="t0"><input name="username">
<input type="password" name="password"></form>"""

def application(environ, start_response):
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    status, body, fields = "200 OK", b"ok", []
    knows = "session=known" in environ.get("HTTP_COOKIE", "")
    if path == "/login/" and method == "GET":
        body = FORM
    elif path == "/login/":
        sent = environ["wsgi.input"].read()
        if b"csrfmiddlewaretoken=t0" in sent and b"password=s3cret" in sent:
            status, fields = "302 Found", [("Set-Cookie", "session=known"), ("Location", "/members/")]
    elif method == "POST":
        with open(os.environ["PAGES_IMPORTS"], "a") as written:
            written.write("w")
    elif not knows:
        status = "403 Forbidden"
    start_response(status, [("Content-Type", "text/html"), ("Content-Length", str(len(body))), *fields])
    return [body]
'''


def test_b3_users_log_in_first_and_pages_that_need_it_are_tuned(tmp_path: Path) -> None:
    (tmp_path / "members.py").write_text(MEMBERS)
    quick = ("--users", "2", "--time", "5s", "--most-workers", "1")
    login = ("--login", "/login/", "--login-data")
    report = told(tmp_path, "/members/\n", *quick, *login, "username=u{n}&password=s3cret", app="members")
    measured = [it["measured"] for it in report["trials"] if it["measured"]]
    assert report["choice"] and measured and all(it["error_share"] == 0 for it in measured), report["prose"]
    wrong = tune(tmp_path, "/members/\n", *quick, *login, "username=u{n}&password=wrong", app="members")
    assert wrong.returncode != 0 and "login failed" in wrong.stdout + wrong.stderr, wrong


def test_b3_what_changes_something_is_left_out_of_a_log_unless_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "members.py").write_text(MEMBERS)
    log = tmp_path / "access.log"
    line = '127.0.0.1 - - [22/Nov/2026:10:00:{:02} +0000] "{} HTTP/1.1" 200 2 "-" "-"\n'
    asked = ("GET /login/", "POST /order/")
    log.write_text("".join(line.format(second, asked[second % 2]) for second in range(20)))
    quick = ("--access-log", str(log), "--users", "2", "--time", "5s", "--most-workers", "1")
    written = tmp_path / "imports"
    report = told(tmp_path, "", *quick, app="members")
    assert report["choice"] and not written.exists(), report["prose"]
    report = told(tmp_path, "", *quick, "--allow-writes", app="members")
    assert report["choice"] and written.read_text(), report["prose"]


def test_the_error_of_the_app_itself_is_shown(tmp_path: Path) -> None:
    done = tune(tmp_path, "/broken\n/broken?again\n")
    assert "LookupError: /broken" in done.stderr


def test_a_request_that_fails_beside_others_is_named(tmp_path: Path) -> None:
    report = told(tmp_path, "/memory weight=999\n/broken weight=0.001\n", "--users", "1")
    assert "Of the requests, 1 failed when asked alone: GET /broken." in report["prose"]


def test_ctrl_c_gives_the_report_so_far_and_leaves_nothing(tmp_path: Path) -> None:
    running = subprocess.Popen(
        words(tmp_path, "/api\n", "--users", "4", "--time", "10m"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert running.stderr is not None
    seen = ""
    while "answers a second" not in seen:
        line = running.stderr.readline()
        assert line, seen
        seen += line
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert "did not go to its end: ended by hand" in out
    assert "workers = " in out and running.returncode == 0
    until(lambda: not left_behind(tmp_path), 20)
