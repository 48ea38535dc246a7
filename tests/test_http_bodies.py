"""Large and slow bodies in both directions with one thread for the app: whole before a worker
sees them, intact, in nobody's way, and passed on at once where the app streams.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.control import Reins
from harness.raw import Client, chunked, head
from harness.server import Server

BIG = 20 << 20


@pytest.fixture(scope="module")
def server(folder: Path, all_reins: Reins) -> Iterator[Server]:
    with Server(folder, "web", "--threads", "1", "--temp-dir", str(folder)) as server:
        yield server


def pattern(size: int) -> bytes:
    """The same as in the app."""
    return hashlib.shake_128(b"pattern").digest(size)


def is_pattern(body: bytes, size: int) -> bool:
    """Apart, for pytest would show 20 MB beside 20 MB."""
    return body == pattern(size)


def test_a_large_upload_arrives_intact_and_leaves_no_file(server: Server) -> None:
    body = pattern(BIG)
    before = sorted(server.folder.rglob("*"))
    with server.client() as client:
        response = client.post("/digest", body)
        assert response.text == hashlib.sha256(body).hexdigest()
        assert response["X-Length"] == str(BIG)
    assert sorted(server.folder.rglob("*")) == before


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_000])
def test_a_body_around_the_size_that_goes_to_disk_arrives_intact(server: Server, size: int) -> None:
    body = pattern(size)
    with server.client() as client:
        assert client.post("/echo", body).body == body
        client.send(head("POST", "/echo", "Transfer-Encoding: chunked")).send(chunked(body))
        assert client.response().body == body


@pytest.mark.parametrize("size", [1, 2047, 4095, 4096, 8192, 100_000, 131_072, 131_073])
def test_p11_what_follows_a_body_is_the_next_request(server: Server, size: int) -> None:
    body = pattern(size)
    sent = head("POST", "/echo", f"Content-Length: {size}").encode() + body
    sent += head("GET", "/").encode()
    with server.client() as client:
        client.send(sent)
        assert [client.response().body for _ in range(2)] == [body, b"hello"]
        client.send_cut(sent, seed=size)
        assert [client.response().body for _ in range(2)] == [body, b"hello"]


def test_p17_a_chunked_upload_has_its_real_size_as_content_length(server: Server) -> None:
    # P17: Django trusts the server with size limits.
    body = pattern(5 << 20)
    parts = [body[at : at + 70_001] for at in range(0, len(body), 70_001)]
    with server.client() as client:
        client.send(head("POST", "/digest", "Transfer-Encoding: chunked")).send(chunked(*parts))
        response = client.response()
        assert response.text == hashlib.sha256(body).hexdigest()
        assert response["X-Length"] == str(5 << 20)


@pytest.mark.parametrize("path", ["/big", "/big-in-pieces"])
def test_a_large_download_arrives_intact(server: Server, reins: Reins, path: str) -> None:
    with server.client() as client:
        assert is_pattern(client.get(f"{path}?{BIG}").body, BIG)
        assert client.get().body == b"hello"


def test_s3_a_chunk_for_each_byte_costs_no_write_for_each(folder: Path) -> None:
    chunks = 50_000
    with Server(folder, "web", "--body-memory", "1kB", "--temp-dir", str(folder)) as server:
        front = server.children()["front"][0]
        with server.client() as client:
            before = written(front)
            client.send(head("POST", "/digest", "Transfer-Encoding: chunked"))
            client.send(b"1\r\na\r\n" * chunks + b"0\r\n\r\n")
            assert client.response()["X-Length"] == str(chunks)
            assert written(front) - before < chunks / 10


def written(process: int) -> int:
    """How often a process has called the system to write (proc(5), ``syscw``)."""
    counts = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
    return int(counts["syscw"])


def test_s3_a_slow_body_never_reaches_the_app_before_it_is_whole(server: Server, reins: Reins) -> None:
    body = b"slowly"
    with server.client() as slow, server.client() as other:
        slow.send(head("POST", "/told?slow", f"Content-Length: {len(body)}"))
        for at in range(len(body) - 1):
            slow.send(body[at : at + 1])
            assert other.get(f"/told?other{at}").status == 200
        assert slow.is_quiet()
        assert reins.told == [f"other{at}" for at in range(len(body) - 1)]
        assert slow.send(body[-1:]).response().body == b"slow"


def small_window(address: tuple[str, int]) -> Client:
    """A client that takes little at a time and asks for nothing by itself."""
    client = Client(address)
    client.socket.close()
    client.socket = socket.socket()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.socket.settimeout(15)
    client.socket.connect(address)
    return client


@pytest.mark.parametrize("path", ["/big", "/big-in-pieces"])
def test_s4_a_reader_who_takes_nothing_holds_up_nobody(
    server: Server, reins: Reins, path: str
) -> None:
    with small_window(server.address) as slow, server.client() as other:
        slow.send(head("GET", f"{path}?{BIG}"))
        if path == "/big-in-pieces":
            # The app is done with all of it though nothing was read.
            assert reins.heard() == "produced"
        else:
            assert slow.socket.recv(1, socket.MSG_PEEK) == b"H"
        for _ in range(10):
            assert other.get().body == b"hello"
        assert is_pattern(slow.response().body, BIG)


@pytest.mark.parametrize(("path", "first"), [("/stream", b"one"), ("/events", b"data: 1\n\n")])
def test_s11_a_chunk_arrives_before_the_next_is_made(
    server: Server, reins: Reins, path: str, first: bytes
) -> None:
    with server.client() as client:
        client.send(head("GET", path))
        response = client.head()
        arriving = client.body(response)
        assert next(arriving) == first
        # The app now waits for us before it makes the next one: nothing can have forced this out.
        for _ in range(2):
            reins.held().go()
            next(arriving, b"")
        if path == "/stream":
            reins.held().go()
        assert list(arriving) == []
        assert reins.heard() == "closed"
        assert client.get().status == 200


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
def test_s11_a_stream_is_closed_when_its_client_has_left(
    server: Server, reins: Reins, leave: Callable[[Client], None]
) -> None:
    client = server.client()
    client.send(head("GET", "/stream?1000"))
    assert client.head().status == 200
    view = reins.held()
    leave(client)
    view.go()
    # A chunk that was sent before the app could hear of it may be followed by some more.
    made = 0
    while not reins.told:
        with contextlib.suppress(TimeoutError):
            reins.held_within(0.05).go()
            made += 1
    assert reins.told == ["closed"] and made < 200
    with server.client() as other:
        assert other.get().body == b"hello"


@pytest.mark.parametrize("fields", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_an_upload_that_is_cut_never_reaches_the_app(
    server: Server, reins: Reins, fields: str
) -> None:
    for leave in (Client.close, Client.reset):
        client = server.client()
        client.send(head("POST", "/told?cut", fields))
        client.send(b"80000\r\n" + b"x" * 100_000)
        leave(client)
    with server.client() as other:
        assert other.get("/told?after").status == 200
    assert reins.told == ["after"]


def test_a_request_behind_a_stream_waits_for_its_end(server: Server, reins: Reins) -> None:
    with server.client() as client:
        client.send(head("GET", "/stream") + head("GET", "/"))
        for _ in range(3):
            reins.held().go()
        assert client.response().body == b"onetwothree"
        assert client.response().body == b"hello"
        assert reins.heard() == "closed"


def test_a_large_answer_that_ends_the_connection_is_whole(server: Server) -> None:
    with small_window(server.address) as client:
        client.send(head("GET", f"/big?{BIG}", "Connection: close"))
        assert is_pattern(client.response().body, BIG)
        assert client.is_closed()


def test_s5_many_uploads_at_once_are_all_intact(server: Server) -> None:
    clients = [server.client() for _ in range(20)]
    bodies = [bytes([number]) * 300_000 for number in range(len(clients))]
    for client, body in zip(clients, bodies, strict=True):
        client.send(head("POST", "/digest", f"Content-Length: {len(body)}"))
    for part in range(3):
        for client, body in zip(clients, bodies, strict=True):
            client.send(body[part * 100_000 : (part + 1) * 100_000])
    for client, body in zip(clients, bodies, strict=True):
        assert client.response().text == hashlib.sha256(body).hexdigest()
        client.close()
