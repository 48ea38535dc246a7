"""Memory of workers: what is their own and what is shared is shown, and a worker that keeps too much
is replaced without anybody noticing. Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import re
from pathlib import Path

from harness import shop
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


def measured(server: Server) -> dict[str, int] | None:
    """The memory of the first worker, once it was measured."""
    rows: list[dict[str, int]] = shop.data(server)["processes"]
    found = [row for row in rows if row["name"] == "worker 1" and row["rss_kb"]]
    return found[0] if found else None


def test_d6_a_worker_that_keeps_too_much_is_replaced_and_no_request_is_lost(tmp_path: Path) -> None:
    with Server(tmp_path, APP, "--max-memory-per-worker", "50MB") as server:
        old = shop.get(server, "/")[2]
        # What it needed at its start is known from here on.
        until(lambda: measured(server), SLOW, "the memory of the worker")
        assert shop.get(server, "/large")[2] == old
        for _ in range(3):
            assert shop.get(server, "/leak")[2] == old

        def another() -> bool:
            status, _fields, pid = shop.get(server, "/")
            assert status == 200
            return pid != old

        until(another, SLOW, "another worker")
        assert len(re.findall(r"--max-memory-per-worker", server.log)) == 1
        server.wait_log("worker is ready worker=2")


def test_d6_what_was_loaded_before_the_fork_is_shared(tmp_path: Path) -> None:
    with Server(tmp_path, APP, "--preload=on") as server:
        shop.get(server, "/")
        row = until(lambda: measured(server), SLOW, "the memory of the worker")
        assert row["rss_kb"] - row["uss_kb"] > 20_000, row
        assert re.search(r"worker 1 .* shared +\d+ MB", shop.get(server, "/-/canter/top.txt")[2])
