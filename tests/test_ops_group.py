"""The limit of a control group (cgroups(7)), as containers have one: defaults follow it, and what is given up
when it is nearly reached. The group's files are those of the test, in the place of the system's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.memory import private_kilobytes
from harness.operated import Canter

APP = """
def application(environ, start_response):
    body = b"%d" % len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"

LIMIT = 100 << 20
#: A folder of ours in the place of the system's, for what is started in it alone.
UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
IN_GROUP = [*UNSHARE, "sh", "-c", 'mount --bind "$0" /sys/fs/cgroup && exec "$@"']

Say = Callable[[int], None]


@pytest.fixture
def group(tmp_path: Path) -> tuple[list[str], Say]:
    """What to start a program in the group with, and what says how much memory it uses."""
    folder = tmp_path / "cgroup"
    folder.mkdir()
    wrapper = [*IN_GROUP, str(folder)]
    if not shutil.which("unshare") or subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode:
        pytest.skip("NO right to mount: the limit of a control group is NOT tested")

    def say(used: int) -> None:
        # At once: half a number is another one.
        (folder / "new").write_text(f"{used}\n")
        (folder / "new").rename(folder / "memory.current")

    (folder / "memory.max").write_text(f"{LIMIT}\n")
    (folder / "memory.stat").write_text("anon 0\ninactive_file 1000000\n")
    say(LIMIT // 4)
    return wrapper, say


def test_l9_the_defaults_are_those_of_the_groups_limit(tmp_path: Path, group: tuple[list[str], Say]) -> None:
    wrapper, _ = group
    with Canter(tmp_path, APP, wrapper=wrapper) as canter:
        canter.wait_ready()
        assert "they fit in a quarter of 100 MB" in canter.log
        # A machine of two CPUs and more memory has two.
        assert len(canter.named("worker")) == 1


def test_s5_uploads_of_all_clients_share_the_memory_that_is_for_them(
    tmp_path: Path, group: tuple[list[str], Say]
) -> None:
    wrapper, _ = group
    size, count = 120 << 10, 300
    with Canter(tmp_path, APP, "--workers", "1", wrapper=wrapper) as canter, ExitStack() as stack:
        canter.wait_ready()
        front = canter.one("front")
        before = private_kilobytes(front)
        clients = [stack.enter_context(canter.connect()) for _ in range(count)]
        for client in clients:
            client.sendall(UPLOAD % size + bytes(size - 1))
        # All that came before has been read by the time that this is answered.
        assert canter.get("/").status == 200
        assert canter.get("/").status == 200
        # An eighth of the limit, where all of them are 35 MB. The rest is in files.
        assert private_kilobytes(front) - before < 20_000
        for client in clients:
            client.sendall(b"\0")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no memory to write to")
def test_s6_files_that_are_memory_count_as_memory(tmp_path: Path, group: tuple[list[str], Say]) -> None:
    """Together they may take a quarter of it, and who would take more is told before the body comes."""
    wrapper, _ = group
    flags = ("--workers", "1", "--temp-dir", "/dev/shm")
    with Canter(tmp_path, APP, *flags, wrapper=wrapper) as canter, ExitStack() as stack:
        canter.wait_ready()
        first, second = (stack.enter_context(canter.connect()) for _ in range(2))
        size = LIMIT // 5
        first.sendall(UPLOAD % size)
        # It has been read when this is answered.
        assert canter.get("/").status == 200
        assert canter.get("/").status == 200
        second.sendall(UPLOAD % size)
        assert second.recv(4096).startswith(b"HTTP/1.1 503 ")
        first.sendall(bytes(size))
        assert first.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_l9_near_the_limit_large_uploads_and_idle_connections_go(
    tmp_path: Path, group: tuple[list[str], Say]
) -> None:
    wrapper, say = group
    with Canter(tmp_path, APP, "--workers", "1", wrapper=wrapper) as canter:
        canter.wait_ready()
        with canter.connect() as idle:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
            say(LIMIT * 88 // 100)
            canter.wait_log("memory is short")
            assert idle.recv(4096) == b""
        for length, status in ((1 << 20, b"503"), (1000, b"200")):
            with canter.connect() as client:
                client.sendall(UPLOAD % length)
                if status == b"200":
                    client.sendall(bytes(length))
                assert client.recv(4096).split(b" ")[1] == status
        say(LIMIT // 4)
        canter.wait_log("there is enough memory again")
        with canter.connect() as client:
            client.sendall(UPLOAD % (1 << 20) + bytes(1 << 20))
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
