"""What is told of a moment: how many requests wait for a thread and how many run, what the page cache does; and the
phases that only another party can make long: the interpreter's lock, a slow sender, a slow reader.
Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import shop
from harness.control import Reins
from harness.operated import until
from harness.server import JSON_LOG, Server

PHASES = ("router", "body_in", "queue", "gil", "app", "pool", "sql", "cache", "write")


@contextlib.contextmanager
def web(folder: Path, *flags: str) -> Iterator[Server]:
    with Server(folder, "web", *JSON_LOG, *flags) as server:
        yield server


def phases_of(server: Server, request_id: str) -> dict[str, Any]:
    """What the log says of a request, whose phases add up."""
    line = server.access_entry(request_id)
    assert abs(sum(line[f"{name}_ms"] for name in PHASES) - line["duration_ms"]) <= 1, line
    return line


def computed(process: int) -> float:
    """Seconds of processor time."""
    return time.clock_gettime(~process << 3 | 2)


def test_d5_requests_that_no_thread_has_begun_are_in_the_queue(reins: Reins) -> None:
    with web(reins.folder, "--threads", "1") as server:
        clients = [server.client() for _ in range(5)]
        for client in clients:
            client.send("GET /held?one HTTP/1.1\r\nHost: a\r\n\r\n")
        held = reins.held()

        def now() -> tuple[int, int] | None:
            told = shop.data(server)["now"]
            seen = told["queued"], told["running"]
            return seen if sum(seen) == 5 else None

        assert until(now, what="five requests") == (4, 1)
        metrics = shop.get(server, "/-/canter/metrics")[2]
        assert "\ncanter_requests_queued 4\n" in metrics and "\ncanter_requests_running 1\n" in metrics
        held.go()
        for _ in range(4):
            reins.held().go()
        for client in clients:
            assert client.response().status == 200
            client.close()
        assert shop.data(server)["now"]["queued"] == 0


def test_d5_the_page_cache_is_told_of_everywhere(tmp_path: Path) -> None:
    source = """
def app(environ, start_response):
    start_response("200 OK", [("Cache-Control", "public, max-age=600"), ("Content-Length", "4")])
    return [b"page"]
"""
    with Server(tmp_path, source) as server:
        for _ in range(4):
            assert shop.get(server, "/page")[0] == 200
        cache = shop.data(server)["cache"]
        assert (cache["hits"], cache["stored"], cache["pages"]) == (3, 1, 1), cache
        assert cache["bytes"] > 0
        metrics = shop.get(server, "/-/canter/metrics")[2]
        assert 'canter_cache_memory_total{what="hit"} 3\n' in metrics
        assert "page cache 3 hits" in shop.get(server, "/-/canter/top.txt")[2]
    with Server(tmp_path, source, "--cache=off") as server:
        assert shop.get(server, "/page")[0] == 200
        assert "cache" not in shop.data(server)
        assert "\ncanter_cache_memory_pages " not in shop.get(server, "/-/canter/metrics")[2]


def test_d1_who_waits_for_the_interpreters_lock_is_told_so(reins: Reins) -> None:
    with web(reins.folder, "--threads", "2", "--threads-min", "2") as server:
        with server.client() as first, server.client() as second:
            first.send("GET /hog?0.8 HTTP/1.1\r\nHost: a\r\n\r\n")
            (worker,) = server.children()["worker"]
            held = reins.held()
            before = computed(worker)
            held.go()
            until(lambda: computed(worker) >= before + 0.1, what="a view that computes")
            answer = second.get("/", "X-Request-Id: waits")
            assert answer.status == 200 and first.response().status == 200
        line = phases_of(server, "waits")
    # The other thread is called when one has computed for 0.1 s, and then waits as long as that goes on.
    assert line["gil_ms"] >= 200, line
    assert line["app_ms"] < line["gil_ms"], line


def test_d1_a_body_that_comes_late_and_an_answer_that_is_read_late_are_the_clients_time(reins: Reins) -> None:
    with web(reins.folder) as server, server.client() as client, server.client() as other:

        def meanwhile() -> float:
            """Milliseconds in which others are answered."""
            began = time.monotonic()
            for _ in range(30):
                assert other.get("/").status == 200
            return (time.monotonic() - began) * 1000

        client.send(
            "POST /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: late-body\r\nContent-Length: 4\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        assert client.head().status == 100
        waited = meanwhile()
        assert client.send("body").response().status == 200
        line = phases_of(server, "late-body")
        assert waited <= line["body_in_ms"] < line["duration_ms"], (waited, line)
        # More than the sockets hold, so that the front keeps the rest.
        client.send(f"GET /big-in-pieces?{8 << 20} HTTP/1.1\r\nHost: a\r\nX-Request-Id: late-reader\r\n\r\n")
        assert reins.heard() == "produced"
        waited = meanwhile()
        assert len(client.response().body) == 8 << 20
        line = phases_of(server, "late-reader")
        assert line["write_ms"] >= 0.8 * waited, (waited, line)
