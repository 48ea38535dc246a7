"""A worker dies: its clients hear of it at once, nobody else does, and another takes its place.
What had not begun is run by the next worker, once; what had begun is never run twice.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from harness.operated import Canter, Load, cpu_seconds, is_alive, together, until
from harness.server import Server

APP = """
import ctypes, os, threading, time
def note(word):
    with open("ran", "a") as file:
        file.write(word + "\\n")
def application(environ, start_response):
    path, word = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/note":
        note(environ["REQUEST_METHOD"] + word)
    elif path == "/wait":
        with open("runs-it", "w") as file:
            file.write(str(os.getpid()))
        note(environ["REQUEST_METHOD"] + word)
        time.sleep(60)
    elif path == "/held":
        note("held")
        while not os.path.exists("go"):
            time.sleep(0.005)
        os._exit(3)
    elif path == "/until":
        note("until")
        while not os.path.exists("go"):
            time.sleep(0.005)
    elif path == "/exit":
        os._exit(3)
    elif path == "/segv":
        ctypes.string_at(0)
    elif path == "/abort":
        os.abort()
    elif path == "/half":
        start_response("200 OK", [("Content-Length", "1000")])
        return half()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
def half():
    yield b"x" * 10
    os._exit(3)
"""


LOST = """
import ctypes, os, re, sys, time
def memory():
    \"\"\"What this worker shares with the front: where it begins, and how long it is.\"\"\"
    for line in open("/proc/self/maps"):
        if "canter-channel" in line:
            begin, end = (int(part, 16) for part in re.match("(.*?)-(.*?) ", line).groups())
            return begin, end - begin
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/head":
        begin, _ = memory()
        head = ctypes.c_uint64.from_address(begin + 192)
        head.value += 3
        time.sleep(60)
    elif path == "/all":
        begin, size = memory()
        ctypes.memset(begin + 64, 0x55, size - 64)
        time.sleep(60)
    elif path == "/fork":
        if (child := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        open("child", "w").write(f"{child} {os.getpid()}")
        time.sleep(60)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def notes(canter: Canter) -> list[str]:
    path = canter.folder / "ran"
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize(
    ("path", "says"),
    [("/exit", "exit code 3"), ("/segv", "SIGSEGV"), ("/abort", "SIGABRT")],
)
def test_a_request_that_kills_its_worker_gets_502_and_a_new_worker_comes(
    tmp_path: Path, path: str, says: str
) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        before = canter.get().text
        reply = canter.get(path)
        assert reply.status == 502
        # Heard at once, and not when its time limit is over.
        assert reply.seconds < 10
        assert canter.get().text != before
        assert says in canter.wait_log("worker died")


def test_a_worker_that_is_killed_costs_only_what_it_ran(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2", "--threads", "1") as canter:
        canter.wait_ready(2)

        def kill_once_it_runs() -> None:
            until(lambda: notes(canter))
            os.kill(int((tmp_path / "runs-it").read_text()), signal.SIGKILL)

        lost, _ = together([lambda: canter.get("/wait"), kill_once_it_runs])
        assert lost is not None and lost.status == 502
        assert "SIGKILL" in canter.wait_log("worker died")
        said = canter.wait_log("a request was lost with its worker")
        assert re.search(r"GET /wait \(request [0-9a-f]{32}\)", said), said
        canter.wait_log("worker is ready", times=3)


def test_a_response_that_was_cut_by_a_crash_is_seen_to_be_cut(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        with canter.connect() as client:
            client.sendall(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while piece := client.recv(65536):
                got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        # Either nothing was sent yet, and the answer is whole and honest, or it is cut.
        assert b" 502 " in head or (b"Content-Length: 1000" in head and len(body) < 1000)


def test_crashes_under_load_are_told_to_nobody_else(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)
        with Load(canter, 3) as load:
            statuses = []
            for number in range(10):
                done = len(load.replies)
                statuses.append(canter.get(f"/exit?{number}").status)
                until(lambda done=done: len(load.replies) > done + 20)
        assert set(statuses) == {502}
        # What ran in the same process at that moment is lost with it, and told so.
        assert set(load.failures) <= {"status 502"}
        assert len(load.failures) <= 3 * 10


def test_requests_that_wait_behind_a_crash_are_run_once_by_the_next_worker(
    tmp_path: Path,
) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--threads", "1", "--health") as canter:
        canter.wait_ready()
        first = canter.connect()
        first.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: notes(canter) == ["held"])
        waiting = []
        for number in range(5):
            for method in (b"GET", b"POST"):
                client = canter.connect()
                client.sendall(
                    b"%s /note?%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                    % (method, number)
                )
                waiting.append(client)
        # The front answers this by itself, after it has taken what came before.
        assert canter.get("/-/live").status == 200
        (canter.folder / "go").touch()
        assert first.recv(65536).startswith(b"HTTP/1.1 502 ")
        for client in waiting:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            client.close()
        first.close()
        ran = notes(canter)[1:]
        wanted = [f"{method}{number}" for number in range(5) for method in ("GET", "POST")]
        assert sorted(ran) == sorted(wanted)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_request_that_has_begun_is_never_run_twice(tmp_path: Path, method: str) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)

        def kill_workers_once_it_runs() -> None:
            until(lambda: notes(canter))
            for pid in canter.named("worker"):
                os.kill(pid, signal.SIGKILL)

        reply, _ = together(
            [lambda: canter.request(method, "/wait?x", b"1"), kill_workers_once_it_runs]
        )
        assert reply is not None and reply.status == 502
        canter.wait_ready(4)
        assert canter.get().status == 200
        assert notes(canter) == [f"{method}x"]


def test_a_request_that_kills_two_workers_is_refused_and_named(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        assert [canter.get("/exit").status for _ in range(2)] == [502, 502]
        canter.wait_ready(3)
        reply = canter.get("/exit")
        assert reply.status == 500
        assert reply.seconds < 10
        assert "GET /exit" in canter.wait_log("is refused for a while")
        assert canter.get("/").status == 200
        assert len(canter.logged("worker died")) == 2


def test_one_death_under_load_does_not_refuse_the_page_that_was_running(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:

        def kill_once_all_run() -> None:
            until(lambda: len(notes(canter)) == 3)
            os.kill(canter.named("worker")[0], signal.SIGKILL)

        replies = together([lambda: canter.get("/until").status] * 3 + [kill_once_all_run])
        assert replies[:3] == [502, 502, 502]
        (tmp_path / "go").touch()
        assert canter.get("/until").status == 200
        assert canter.logged("is refused for a while") == []


def test_a_worker_that_keeps_dying_is_started_ever_more_slowly(tmp_path: Path) -> None:
    source = APP + "\nif os.path.exists('bad'): os._exit(4)\n"
    with Canter(tmp_path, source, "-w", "1", "--preload=off") as canter:
        canter.wait_ready()
        (tmp_path / "bad").touch()
        assert canter.get("/exit").status == 502
        canter.wait_log("worker died", times=5)
        stamps = [float(line.split(":")[2].split("Z")[0]) for line in canter.logged("worker died")]
        gaps = [(after - before) % 60 for before, after in zip(stamps, stamps[1:], strict=False)]
        # The pauses double; what a start takes beside them is not known.
        assert gaps[-1] >= 0.4, gaps
        (tmp_path / "bad").unlink()
        assert canter.get().status == 200


def test_an_upload_that_waits_behind_a_crash_reaches_the_next_worker_whole(tmp_path: Path) -> None:
    source = APP.replace(
        '    start_response("200 OK", [("Content-Type", "text/plain")])\n'
        "    return [str(os.getpid()).encode()]",
        "    size = len(environ['wsgi.input'].read())\n"
        '    start_response("200 OK", [("Content-Type", "text/plain")])\n'
        "    return [str(size).encode()]",
    )
    with Canter(tmp_path, source, "-w", "1", "--threads", "1", "--health") as canter:
        canter.wait_ready()
        first = canter.connect()
        first.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: notes(canter) == ["held"])
        sizes = [0, 1000, 60_000, 70_000, 1_000_000]

        def release() -> None:
            assert canter.get("/-/live").status == 200
            (canter.folder / "go").touch()

        uploads = [lambda size=size: canter.request("POST", "/", b"x" * size) for size in sizes]
        *replies, _ = together([*uploads, release])
        assert [reply and reply.text for reply in replies] == [str(size) for size in sizes]
        first.close()


def test_a_complete_response_reaches_a_slow_client_though_its_worker_has_died(
    tmp_path: Path,
) -> None:
    source = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/big":
            return [b"x" * 20_000_000]
        return [b"small"]
    """
    with Canter(tmp_path, source, "-w", "1", "--threads", "1") as canter:
        canter.wait_ready()
        with canter.connect() as client:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            total = len(client.recv(10_000))
            # The only thread is free again: the front has all of the response.
            assert canter.get("/").text == "small"
            os.kill(canter.one("worker"), signal.SIGKILL)
            canter.wait_log("worker died")
            while piece := client.recv(1 << 20):
                total += len(piece)
        assert total > 20_000_000


@pytest.mark.parametrize("path", ["/head", "/all"])
def test_an_app_that_writes_over_the_shared_memory_loses_its_own_worker_only(
    tmp_path: Path, path: str
) -> None:
    with Canter(tmp_path, LOST, "-w", "2") as canter:
        canter.wait_ready(2)
        front = canter.one("front")

        def others() -> list[int]:
            canter.wait_log("it wrote something impossible")
            return [canter.get().status for _ in range(20)]

        lost, statuses = together([lambda: canter.get(path).status, others])
        assert (lost, statuses) == (502, [200] * 20)
        canter.wait_ready(3)
        assert len(canter.logged("it wrote something impossible")) == 1
        # It sleeps again.
        before = cpu_seconds(front)
        assert [canter.get().status for _ in range(20)] == [200] * 20
        assert cpu_seconds(front) - before < 1.0
        assert canter.one("front") == front


def test_a_worker_that_dies_while_a_child_of_it_lives_is_noticed_at_once(tmp_path: Path) -> None:
    with Canter(tmp_path, LOST, "-w", "1") as canter:
        canter.wait_ready()

        def kill_the_parent() -> int:
            text = until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
            child, parent = map(int, str(text).split())
            os.kill(parent, signal.SIGKILL)
            assert canter.get().status == 200
            return child

        lost, child = together([lambda: canter.get("/fork").status, kill_the_parent])
        assert lost == 502
        assert is_alive(child)
        assert "GET /fork" in canter.wait_log("a request was lost with its worker")
        assert "SIGKILL" in canter.wait_log("worker died")


def test_f5_the_system_would_end_a_worker_before_the_front(tmp_path: Path) -> None:
    with Server(tmp_path, "\ndef application(environ, start_response): ...\n") as server:
        children = server.children()
        [front], [worker] = children["front"], children["worker"]
        scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (front, worker)]
        assert scores[1] - scores[0] == 300 or scores[1] == 1000
