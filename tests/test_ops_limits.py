"""What is bounded, when the bound is reached: the queue, descriptors, the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.operated import Canter, until, used_in_a_second

APP = """
import os, time
def application(environ, start_response):
    path, word = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/held":
        open("held", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.005)
    elif path == "/note":
        with open("ran", "a") as file:
            file.write(word + "\\n")
    elif path == "/big":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" * 65536 for _ in range(1024))
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(body)).encode()]
"""


def send(canter: Canter, target: str) -> socket.socket:
    client = canter.connect()
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return client


def test_a_full_queue_answers_503_at_once_and_says_when_to_come_again(tmp_path: Path) -> None:
    # Besides the queue a busy worker has a few requests at hand.
    flags = ("-w", "1", "--threads", "1", "--queue-size", "5", "--health")
    with Canter(tmp_path, APP, *flags) as canter, ExitStack() as stack:
        canter.wait_ready()
        stack.enter_context(send(canter, "/held"))
        until((tmp_path / "held").exists)
        waiting = [stack.enter_context(send(canter, f"/note?{n}")) for n in range(5)]
        assert canter.get("/-/live").status == 200
        reply = canter.get("/note?beyond")
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1
        # At once: others wait for as long as the first of them is held.
        assert reply.seconds < 10
        (tmp_path / "go").touch()
        for client in waiting:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        ran = (tmp_path / "ran").read_text().split()
        assert ran == [str(number) for number in range(5)]
        assert canter.get("/").status == 200


def test_a_request_whose_client_has_gone_is_never_run(tmp_path: Path) -> None:
    flags = ("-w", "1", "--threads", "1", "--health")
    with Canter(tmp_path, APP, *flags) as canter, ExitStack() as stack:
        canter.wait_ready()
        stack.enter_context(send(canter, "/held"))
        until((tmp_path / "held").exists)
        leaving = [send(canter, f"/note?left{number}") for number in range(30)]
        staying = stack.enter_context(send(canter, "/note?stayed"))
        assert canter.get("/-/live").status == 200
        opened = descriptors(canter.one("front"))
        for client in leaving:
            client.close()
        # A closed connection looks half-closed until its system is asked.
        until(lambda: descriptors(canter.one("front")) <= opened - 30)
        (tmp_path / "go").touch()
        assert b"HTTP/1.1 200 " in staying.recv(65536)
        assert (tmp_path / "ran").read_text().split() == ["stayed"]


def test_a_client_that_shuts_its_sending_side_still_gets_its_answer(tmp_path: Path) -> None:
    flags = ("-w", "1", "--threads", "1", "--health")
    with Canter(tmp_path, APP, *flags) as canter, ExitStack() as stack:
        canter.wait_ready()
        stack.enter_context(send(canter, "/held"))
        until((tmp_path / "held").exists)
        client = stack.enter_context(send(canter, "/note?half"))
        client.shutdown(socket.SHUT_WR)
        # Asked for a sign of life.
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        (tmp_path / "go").touch()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_requests_wait_no_longer_than_the_timeout(tmp_path: Path) -> None:
    flags = ("-w", "1", "--threads", "1", "--timeout", "1s", "--graceful-timeout", "1s")
    with Canter(tmp_path, APP, *flags) as canter, ExitStack() as stack:
        canter.wait_ready()
        stack.enter_context(send(canter, "/held"))
        until((tmp_path / "held").exists)
        reply = canter.get("/note?late")
        # Answered by the next worker, or refused: but soon, and one of the two.
        assert reply.status in (200, 503)
        assert reply.seconds < 10


@pytest.mark.skipif(not shutil.which("prlimit"), reason="needs prlimit")
@pytest.mark.parametrize("most", [50, 10_000])
def test_s13_many_connections_with_few_descriptors_neither_spin_nor_end_service(
    tmp_path: Path, most: int
) -> None:
    wrapper = ["prlimit", "--nofile=96:96"]
    # Nor because those that say nothing go by themselves.
    flags = ("-w", "1", "--health", "--max-connections", str(most), "--header-timeout", "300s")
    with Canter(tmp_path, APP, *flags, wrapper=wrapper) as canter:
        canter.wait_ready()
        front = canter.one("front")
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(canter.connect())
            # What it does for those that came may take a while; one that spins does so for ever.
            until(lambda: used_in_a_second(front) < 0.2, what="a second in which it rests")
            # The connection idle longest makes room for one with a request.
            assert canter.get("/-/live").status == 200
        until(lambda: canter.get("/").status == 200)
        assert canter.one("front") == front


def test_max_connections_closes_the_longest_idle_for_a_new_one(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--max-connections", "10") as canter:
        canter.wait_ready()
        with ExitStack() as stack:
            kept = []
            for _ in range(10):
                client = stack.enter_context(canter.connect())
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
                kept.append(client)
            assert canter.get("/").status == 200
            assert kept[0].recv(100) == b""
            kept[9].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert kept[9].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_when_all_connections_are_busy_the_next_waits_until_one_is_idle(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--max-connections", "3") as canter, ExitStack() as stack:
        canter.wait_ready()
        busy = [stack.enter_context(send(canter, "/held")) for _ in range(3)]
        until((tmp_path / "held").exists)
        waiting = stack.enter_context(send(canter, "/note?waited"))
        (tmp_path / "go").touch()
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200 ")
        for client in busy:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_without_room_on_disk_big_uploads_get_503_and_the_rest_goes_on(
    tmp_path: Path, kind: str
) -> None:
    place = tmp_path / "temp"
    place.mkdir()
    with Canter(tmp_path, APP, "-w", "1", "--temp-dir", str(place)) as canter:
        canter.wait_ready()
        big = b"x" * 300_000
        assert canter.request("POST", "/", big).text == "300000"
        place.rmdir()
        if kind == "a file":
            place.touch()
        reply = canter.request("POST", "/", big)
        assert reply.status == 503
        assert "a request body could not be stored" in canter.wait_log("stored")
        assert canter.request("POST", "/", b"x" * 1000).text == "1000"
        assert canter.get("/").status == 200
        if kind == "a file":
            place.unlink()
        place.mkdir()
        assert canter.request("POST", "/", big).text == "300000"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_costs_only_what_needs_it(tmp_path: Path) -> None:
    place = tmp_path / "temp"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {place} 2>/dev/null") != 0:
        pytest.skip("mounting is not allowed here")
    try:
        flags = ("-w", "1", "--temp-dir", str(place), "--response-memory", "64KiB")
        with Canter(tmp_path, APP, *flags) as canter:
            canter.wait_ready()
            assert upload(canter, 4 << 20).startswith(b"HTTP/1.1 503 ")
            assert canter.request("POST", "/", b"x" * 500_000).text == "500000"
            # A response too large for a client that does not read is cut, and the worker goes on.
            with send(canter, "/big"):
                assert canter.get("/").status == 200
            assert canter.get("/big").status == 200
    finally:
        os.system(f"umount {place}")


def test_a_temp_dir_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--temp-dir", "/nosuch/dir") as canter:
        assert canter.wait() == 5
        assert "/nosuch/dir" in canter.log


def test_a_usual_folder_for_temporary_files_that_cannot_be_used_gives_way_to_another(
    tmp_path: Path,
) -> None:
    with Canter(tmp_path, APP, "-w", "1", env={"TMPDIR": "/nosuch/dir"}) as canter:
        said = canter.wait_log("the folder for temporary files cannot be used")
        assert "/nosuch/dir" in said and "--temp-dir" in said
        assert upload(canter, 3_000_000).startswith(b"HTTP/1.1 200")


def upload(canter: Canter, size: int) -> bytes:
    """Send a body as far as the server takes it, and read the answer."""
    with canter.connect() as client:
        client.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(b"x" * size)
        return client.recv(65536)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
