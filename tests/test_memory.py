"""Memory of workers: what is their own and what is shared is shown, and a worker that keeps too much
is replaced without anybody noticing. Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

from harness import shop
from harness.memory import private_kilobytes, proportional_kilobytes
from harness.operated import until
from harness.server import Server

APP = """
import os
BALLAST = bytearray(b"x" * 20_000_000)
kept = []
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/leak":
        kept.append(bytearray(b"x" * 30_000_000))
    elif environ["PATH_INFO"] == "/large":
        list(bytearray(b"x" * 1_000_000) for _ in range(60))
    return [str(os.getpid()).encode()]
"""

SLOW = 60.0
"""Seconds for what is looked at every few seconds, on a loaded machine."""


def measured(server: Server) -> dict[str, Any] | None:
    """The memory of the first worker, once it was measured."""
    rows: list[dict[str, Any]] = shop.data(server)["processes"]
    found = [row for row in rows if row["name"] == "worker 1" and row["rss_kb"]]
    return found[0] if found else None


def test_d6_a_worker_that_keeps_too_much_is_replaced_and_no_request_is_lost(tmp_path: Path) -> None:
    with Server(tmp_path, APP, "--max-memory-per-worker", "50MB") as server:
        old = shop.get(server, "/")[2]
        # What it needed at its start is known from here on.
        until(lambda: measured(server), SLOW, "the memory of the worker")
        assert shop.get(server, "/large")[2] == old
        assert shop.get(server, "/leak")[2] == old
        # It may be looked at, and replaced, before it has kept all of this.
        for _ in range(2):
            shop.get(server, "/leak")

        def another() -> bool:
            status, _fields, pid = shop.get(server, "/")
            assert status == 200
            return pid != old

        until(another, SLOW, "another worker")
        assert len(re.findall(r"--max-memory-per-worker", server.log)) == 1
        server.wait_log("worker is ready worker=2")


def test_d6_it_is_replaced_also_where_nothing_else_is_gathered(tmp_path: Path) -> None:
    with Server(tmp_path, APP, "--max-memory-per-worker", "50MB", "--insight=false") as server:
        old = shop.get(server, "/")[2]
        (front,) = server.children()["front"]

        def has_measured() -> bool:
            """The thread that measures has slept twice since the worker came."""
            for task in Path(f"/proc/{front}/task").iterdir():
                if (task / "comm").read_text() == "memory\n":
                    text = (task / "status").read_text()
                    return int(re.findall(r"\nvoluntary_ctxt_switches:\s*(\d+)", text)[0]) >= 2
            return False

        until(has_measured, SLOW, "a measurement")
        for _ in range(3):
            shop.get(server, "/leak")
        until(lambda: shop.get(server, "/")[2] != old, SLOW, "another worker")
        server.wait_log("worker is ready worker=2")


def test_d6_what_was_loaded_before_the_fork_stays_shared_when_the_collector_runs(
    tmp_path: Path,
) -> None:
    objects = APP.replace("kept = []", "import gc\nOBJECTS = [[n] for n in range(300_000)]\nkept = []")
    objects = objects.replace("elif", "elif environ['PATH_INFO'] == '/collect':\n        gc.collect()\n    elif")
    with Server(tmp_path, objects, "--preload=on") as server:
        shop.get(server, "/")
        row = until(lambda: measured(server), SLOW, "the memory of the worker")
        assert row["rss_kb"] - row["uss_kb"] > 20_000, row
        shared = row["rss_kb"] - row["uss_kb"]
        assert re.search(r"worker \d .* shared +\d+ MB", shop.get(server, "/-/canter/top.txt")[2])
        own = private_kilobytes(row["pid"])
        shop.get(server, "/collect")
        # Each of the lists would be looked at, and with it most of its pages copied.
        assert private_kilobytes(row["pid"]) < own + shared // 4


def test_d6_the_sum_over_all_processes_is_what_they_take_together(tmp_path: Path) -> None:
    # The ballast is the zygote's, and its worker has it from there.
    with Server(tmp_path, APP, "--preload=on", "--workers", "1") as server:
        shop.get(server, "/")

        def told() -> dict[str, tuple[int, int]] | None:
            rows = {row["name"]: (row["pid"], row["pss_kb"]) for row in shop.data(server)["processes"]}
            return rows if len(rows) == 4 and all(kb for _pid, kb in rows.values()) else None

        rows = until(told, SLOW, "the memory of all processes")
        assert set(rows) == {"supervisor", "front", "zygote", "worker 1"}
        assert {pid for pid, _kb in rows.values()} == set(server.family())
        assert rows["zygote"][1] > 9_000, rows

        def is_sum() -> bool:
            # Files that another server maps at the moment weigh less; what is told is as old as its measurement.
            rows, whole = told() or {}, proportional_kilobytes(server.family())
            return abs(sum(kb for _pid, kb in rows.values()) - whole) < whole // 5

        until(is_sum, 4 * SLOW, "a sum that is what they take together")
        server.signal(signal.SIGHUP)
        server.wait_log("the code was read again")

        def is_new() -> bool:
            rows = [(row["name"], row["pid"]) for row in shop.data(server)["processes"]]
            names = [name for name, _pid in rows]
            assert len(names) == len(set(names)), rows
            return [pid for name, pid in rows if name == "zygote"] == server.children()["zygote"]

        # While the next one imports, and when it has taken the place of the other.
        until(is_new, SLOW, "the new zygote")


SITE = """
import django
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test")
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
kept = []
def leak(request):
    kept.append(b"x" * 300_000)
    return HttpResponse("leaks")
def busy(request):
    return HttpResponse(str(len(b"x" * 3_000_000)))
urlpatterns = [path("leak/", leak), path("busy/", busy)]
application = get_wsgi_application()
"""


def test_d6_the_route_that_makes_memory_grow_is_named(tmp_path: Path) -> None:
    with Server(tmp_path, SITE) as server:
        for _ in range(60):
            for path in ("/busy/", "/leak/"):
                assert shop.get(server, path)[0] == 200
        rows = {row["label"]: row["grown_kb"] for row in shop.data(server)["routes"]}
        # The first twenty are not counted: at least 40 leaks are.
        assert rows["GET /leak/"] > 40 * 200, rows
        assert rows["GET /busy/"] < rows["GET /leak/"] // 4, rows
        assert shop.data(server)["growth_sentence"].startswith("GET /leak/ +")
        top = shop.get(server, "/-/canter/top.txt")[2]
        assert re.search(r"memory grows in GET /leak/ \+\d+ MB, \d+ kB a request", top), top
        metrics = shop.get(server, "/-/canter/metrics")[2]
        assert re.search(r'memory_grown_bytes{http_request_method="GET",http_route="/leak/"} \d{7}', metrics)
