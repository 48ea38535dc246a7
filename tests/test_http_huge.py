"""A response of 2 GB, made as it is sent or sent from a file: it costs its own request and nobody else,
whether its client leaves in the middle or takes all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.memory import private_kilobytes
from harness.operated import until
from harness.raw import Client, head
from harness.server import Server

SIZE = 2 << 30
#: In each process; a copy of what the client has been sent, or of what was made, is far more.
MOST_KILOBYTES = 64 << 10

APP = f"""
import os

SIZE = {SIZE}
PIECE = bytes(1 << 18)
CLOSED = []


class Made:
    def __init__(self):
        self.left = SIZE

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= len(PIECE)
        return PIECE

    def close(self):
        CLOSED.append(self.left)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/made":
        start_response("200 OK", [("Content-Length", str(SIZE))])
        return Made()
    if path == "/file":
        start_response("200 OK", [("Content-Length", str(SIZE))])
        return environ["wsgi.file_wrapper"](open("huge", "rb"), 65536)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(CLOSED)).encode()]
"""


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    home = folder / "huge"
    home.mkdir()
    with (home / "huge").open("wb") as file:
        # Without a block on disk.
        file.truncate(SIZE)
    flags = ("--threads", "2", "--workers", "1", "--temp-dir", str(home))
    with Server(home, APP, *flags) as server, server.client() as client:
        assert client.get().status == 200
        yield server


def processes(server: Server) -> list[int]:
    children = server.children()
    return [*children["front"], *children["worker"]]


def begin(client: Client, path: str) -> None:
    client.send(head("GET", path))
    response = client.head()
    assert (response.status, response["Content-Length"]) == (200, str(SIZE))


def take(client: Client, count: int) -> int:
    """Reads on until so many bytes are there, or the end; how many there were."""
    room = bytearray(1 << 20)
    taken = 0
    while taken < count:
        got = client.socket.recv_into(room)
        if not got:
            break
        taken += got
    return taken


def spooled(server: Server) -> int:
    """What the front's files without a name take on disk, in bytes."""
    (front,) = server.children()["front"]
    total = 0
    for entry in Path(f"/proc/{front}/fd").iterdir():
        try:
            found = entry.stat()
        except FileNotFoundError:
            continue
        if found.st_nlink == 0 and os.readlink(entry).startswith(str(server.folder)):
            total += found.st_blocks * 512
    return total


@pytest.mark.parametrize("path", ["/made", "/file"])
def test_s4_a_client_that_leaves_a_response_of_2_gb_costs_its_own_request(
    server: Server, path: str
) -> None:
    before = {process: private_kilobytes(process) for process in processes(server)}
    with server.client() as other:
        closed = int(other.get().body)
        with server.client() as client:
            begin(client, path)
            assert take(client, 8 << 20) >= 8 << 20
            for _ in range(10):
                assert other.get().status == 200
            for process, was in before.items():
                assert private_kilobytes(process) - was < MOST_KILOBYTES
        # The app stops making it, and nothing of it stays on disk.
        if path == "/made":
            until(lambda: int(other.get().body) == closed + 1)
        until(lambda: spooled(server) == 0)
        assert processes(server) == list(before)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/made", "/file"])
def test_s4_a_client_that_takes_a_response_of_2_gb_costs_its_own_request(
    server: Server, path: str
) -> None:
    before = {process: private_kilobytes(process) for process in processes(server)}
    with server.client() as client, server.client() as other:
        begin(client, path)
        # The first bytes of the body came with the head.
        taken = len(client._buffer)
        client._buffer.clear()
        while taken < SIZE:
            taken += take(client, min(SIZE - taken, 256 << 20))
            assert other.get().status == 200
            for process, was in before.items():
                assert private_kilobytes(process) - was < MOST_KILOBYTES
        assert taken == SIZE
        assert client.get().status == 200
    assert processes(server) == list(before)
