"""Slow, hostile and too many clients, from outside. Names begin with the ids of the list in
``docs/explain/what-a-client-cannot-do.md``. Times are set short, so that waiting is short, too.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.memory import private_kilobytes
from harness.operated import until
from harness.raw import Client
from harness.server import Server

APP = """
import time


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/big":
        body = b"x" * 20_000_000
    elif path == "/client":
        body = (environ["REMOTE_ADDR"] + " " + environ["wsgi.url_scheme"]).encode()
    else:
        body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

QUICK = ("--header-timeout", "1s", "--rate-grace", "1s", "--min-rate", "1000")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """For what is cut."""
    with Server(folder / "server", APP, *QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def paced(folder: Path) -> Iterator[Server]:
    """For what keeps a pace beyond the grace: at its slowest far above this one."""
    with Server(folder / "paced", APP, "--rate-grace", "1s", "--min-rate", "50") as server:
        yield server


@pytest.fixture(scope="module")
def calm(folder: Path) -> Iterator[Server]:
    """For what is to stay while something is measured."""
    with Server(folder / "calm", APP, "--header-timeout", "60s", "--rate-grace", "60s") as server:
        yield server


def trickle(client: Client, data: bytes, seconds: float) -> float:
    """Send a byte each tenth of a second until the server answers or closes; how long it took."""
    began = time.monotonic()
    client.socket.settimeout(0.1)
    for byte in data:
        try:
            client.socket.send(bytes([byte]))
            if client.socket.recv(1, socket.MSG_PEEK) or True:
                break
        except TimeoutError:
            pass
        except OSError:
            break
        assert time.monotonic() - began < seconds, "the server has not had enough"
    client.socket.settimeout(10)
    return time.monotonic() - began


def test_s1_a_header_that_trickles_is_answered_408(server: Server) -> None:
    with server.client() as client:
        took = trickle(client, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"a" * 100, 9)
        assert client.response().status == 408
        assert client.is_closed() and 0.5 < took < 9


def test_s1_the_time_of_later_requests_begins_with_their_first_byte(server: Server) -> None:
    with server.client() as client:
        assert client.get("/").status == 200
        # Idle for longer than a header may take: that is what keep-alive is for.
        with pytest.raises(TimeoutError):
            client.socket.settimeout(1.5)
            client.socket.recv(1)
        client.socket.settimeout(10)
        assert client.get("/").status == 200
        trickle(client, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"a" * 100, 9)
        assert client.response().status == 408


def test_s2_a_connection_that_says_nothing_is_closed(server: Server) -> None:
    with server.client() as client:
        assert client.is_closed()


def test_s3_a_body_that_trickles_is_answered_408_and_no_worker_hears_of_it(server: Server) -> None:
    with server.client() as client:
        client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n")
        trickle(client, b"a" * 100, 9)
        assert client.response().status == 408
        assert client.is_closed()
    line = server.access_line("/slow")
    assert " 408 " in line


@pytest.mark.parametrize(
    ("sent", "most"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: a", 9),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\nab", 12),
    ],
    ids=["s1 header", "s3 body"],
)
def test_a_slow_client_costs_few_kilobytes(calm: Server, sent: bytes, most: int) -> None:
    front = calm.children()["front"][0]
    with contextlib.ExitStack() as held:
        before = private_kilobytes(front)
        for _ in range(300):
            held.enter_context(socket.create_connection(calm.address)).sendall(sent)
        # The front reads in turn: what came before this has been looked at.
        with calm.client() as other:
            assert other.get("/").status == 200
        assert private_kilobytes(front) - before < 300 * most


def test_s3_a_body_that_keeps_the_pace_is_taken(paced: Server) -> None:
    with paced.client() as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n")
        for _ in range(30):
            # Three seconds in all, in which nothing is answered.
            assert not select.select([client.socket], [], [], 0.1)[0]
            client.send(b"a" * 200)
        assert client.response().body == b"a" * 6000


def narrow(server: Server) -> socket.socket:
    """A connection that takes only a little at a time."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    narrow.connect(server.address)
    narrow.settimeout(20)
    return narrow


def test_s4_a_reader_that_stops_is_cut_with_a_reset(server: Server) -> None:
    with narrow(server) as slow:
        slow.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        assert slow.recv(9) == b"HTTP/1.1 "
        # The entry is written when the connection ends.
        server.access_line("/big")
        with pytest.raises(ConnectionError):
            while slow.recv(65536):
                pass


def test_s4_a_reader_that_keeps_the_pace_gets_everything(paced: Server) -> None:
    with narrow(paced) as slow:
        slow.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        seen = 0
        began = time.monotonic()
        while piece := slow.recv(2000 if time.monotonic() - began < 2.5 else 1 << 20):
            seen += len(piece)
        assert seen > 20_000_000


def test_s4_the_system_holds_little_for_a_reader_that_takes_nothing(calm: Server) -> None:
    with narrow(calm) as slow:
        slow.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        assert slow.recv(9) == b"HTTP/1.1 "
        # Answered by the same thread, after what it could send of that.
        with calm.client() as other:
            assert other.get("/").status == 200
        assert 0 < queued(calm.address[1], slow.getsockname()[1]) < 400_000


def queued(local: int, remote: int) -> int:
    """Bytes that the system holds of a connection over IPv4 that its other end has not taken."""
    ports = f":{local:04X}", f":{remote:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if fields[1].endswith(ports[0]) and fields[2].endswith(ports[1]):
            return int(fields[4].split(":")[0], 16)
    raise AssertionError("there is no such connection")


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no memory to write to")
def test_s6_a_folder_for_bodies_that_is_memory_is_named(folder: Path) -> None:
    with Server(folder / "memory", APP, "--temp-dir", "/dev/shm") as server:
        assert "folder=/dev/shm" in server.wait_log("large bodies go to memory")


def test_s8_the_status_of_a_refused_upload_can_be_read(folder: Path) -> None:
    with Server(folder / "refusing", APP, "--max-body", "1MB") as server:
        for _ in range(100):
            with server.client() as client:
                client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
                with contextlib.suppress(OSError):
                    for _ in range(20):
                        client.socket.sendall(b"a" * 1_000_000)
                assert client.response().status == 413


def test_s8_what_is_sent_behind_a_refusal_does_not_reset_the_connection(folder: Path) -> None:
    """Some systems forget what was not read when a reset comes; this one does not (RFC 9112, section 9.6)."""
    with Server(folder / "lingering", APP, "--max-body", "1MB") as server:

        def is_taken(client: Client) -> bool:
            try:
                for _ in range(100):
                    client.socket.sendall(b"a" * 1000)
            except ConnectionError:
                return False
            return True

        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for _ in range(12)]
            for client in clients:
                client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
                assert client.response().status == 413
            # Whatever is done after an answer has been by the time that a later one is there, but for the last.
            # On a loaded machine the time that is given for it may be over now and then.
            assert sum(is_taken(client) for client in clients) > 6


def test_s12_the_last_response_before_a_close_says_so(folder: Path) -> None:
    with Server(folder / "brief", APP, "--keep-alive", "0") as server:
        with server.client() as client:
            response = client.get("/")
            assert response.status == 200 and response.closes
            assert client.is_closed()


def test_s13_the_connection_idle_longest_makes_room(folder: Path) -> None:
    with Server(folder / "full", APP, "--max-connections", "5") as server:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for _ in range(5)]
            for client in clients:
                assert client.get("/").status == 200
            assert stack.enter_context(server.client()).get("/").status == 200
            assert clients[0].is_closed()
            assert clients[4].get("/").status == 200


def test_s13_a_full_table_of_slow_transfers_makes_room(folder: Path) -> None:
    flags = ("--max-connections", "4", "--rate-grace", "1s", "--min-rate", "10")
    with Server(folder / "drips", APP, *flags) as server, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.client()) for _ in range(4)]
        for client in slow:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\nab")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.1):
                for client in slow:
                    with contextlib.suppress(OSError):
                        client.socket.sendall(b"a" * 5)

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            with server.client() as other:
                assert other.get("/").status == 200
        finally:
            stop.set()
            dripping.join()


def test_s13_a_connection_that_has_just_come_does_not_make_room_for_the_next(folder: Path) -> None:
    with Server(folder / "fuller", APP, "--max-connections", "5") as server:
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(server.client()) for _ in range(5)]
            new = []
            for client in kept:
                assert client.get("/").status == 200
            for _ in range(3):
                new.append(stack.enter_context(server.client()))
                # Whatever becomes of it has become of it when this is answered.
                assert kept[4].get("/").status == 200
            assert [client.get("/").status for client in new] == [200] * 3


def test_s14_one_address_has_so_many_connections_and_another_its_own(folder: Path) -> None:
    with Server(folder / "each", APP, "--max-connections-per-ip", "3") as server:

        def connect(source: str) -> Client:
            connected = socket.create_connection(server.address, 10, (source, 0))
            client = Client(server.address)
            client.socket.close()
            client.socket = connected
            return client

        def is_let_in() -> bool:
            try:
                with connect("127.0.0.2") as client:
                    return client.get("/").status == 200
            except (AssertionError, OSError):
                return False

        with contextlib.ExitStack() as stack:
            for _ in range(3):
                client = stack.enter_context(connect("127.0.0.2"))
                assert client.get("/").status == 200
            # One that says nothing would be closed in the end, whatever its address.
            assert not is_let_in()
            assert stack.enter_context(connect("127.0.0.3")).get("/").status == 200

        until(is_let_in, what="a place for one more")


def test_s14_a_trusted_proxy_has_as_many_as_it_likes(folder: Path) -> None:
    flags = ("--max-connections-per-ip", "1", "--forwarded-allow-ips", "127.0.0.1")
    with Server(folder / "proxy", APP, *flags) as server, contextlib.ExitStack() as stack:
        for _ in range(5):
            assert stack.enter_context(server.client()).get("/").status == 200


def test_l5_requests_beyond_the_rate_are_answered_429(folder: Path) -> None:
    flags = ("--rate-limit", "3/min path=/login/", "--forwarded-allow-ips", "127.0.0.1", "--health")
    with Server(folder / "rate", APP, *flags) as server, server.client() as client:

        def ask(path: str, forwarded: str) -> int:
            return client.get(path, f"X-Forwarded-For: {forwarded}").status

        assert [ask("/login/", "192.0.2.1") for _ in range(4)] == [200, 200, 200, 429]
        assert ask("/login/", "192.0.2.2") == 200 and ask("/", "192.0.2.1") == 200
        refused = client.get("/login/", "X-Forwarded-For: 192.0.2.1")
        assert 0 < int(refused["Retry-After"]) <= 20
        assert refused["RateLimit-Policy"] == '"0";q=3;w=60'
        assert refused["RateLimit"].startswith('"0";r=0;t=')
        # The /64 of an IPv6 subscriber is one client.
        statuses = [ask("/login/", f"2001:db8::{i}") for i in range(1, 5)]
        assert statuses == [200, 200, 200, 429]
        assert ask("/-/live", "192.0.2.1") == 200


def test_l5_a_dry_run_only_says_so(folder: Path) -> None:
    flags = ("--rate-limit", "1/min dry-run")
    with Server(folder / "dry", APP, *flags) as server, server.client() as client:
        assert [client.get("/").status for _ in range(3)] == [200, 200, 200]
        server.wait_log("a rate limit would refuse", times=2)
        assert len(server.logged("a rate limit would refuse")) == 2


def test_l6_who_keeps_misbehaving_is_shut_out_and_named(folder: Path) -> None:
    with Server(folder / "ban", APP, "--ban", "all", "--forwarded-allow-ips", "127.0.0.9") as server:

        def misbehave() -> bool:
            with server.client() as client:
                with contextlib.suppress(OSError):
                    client.send("nonsense\r\n\r\n")
                    client.rest()
            return bool(server.logged("shut out"))

        until(misbehave, 20)
        with server.client() as client:
            with contextlib.suppress(OSError):
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with contextlib.suppress(OSError):
                assert client.rest() == b""
        assert "client=127.0.0.1" in server.logged("shut out")[0]
        # Others are not.
        other = http.client.HTTPConnection(
            *server.address, timeout=10, source_address=("127.0.0.7", 0)
        )
        other.request("GET", "/")
        assert other.getresponse().status == 200
        other.close()


def test_l6_a_client_behind_a_proxy_is_shut_out_and_its_neighbours_are_not(folder: Path) -> None:
    flags = ("--forwarded-allow-ips", "127.0.0.1", "--rate-limit", "1/min path=/limited")
    with Server(folder / "behind", APP, *flags) as server:
        with server.client() as proxy:

            def ask(client: str | None, path: str = "/") -> int:
                fields = [f"X-Forwarded-For: {client}"] if client else []
                return proxy.get(path, *fields).status

            # Misdeeds of a proxy that names nobody are nobody's.
            assert {ask(None, "/limited") for _ in range(320)} == {200, 429}
            assert not server.logged("shut out")
            until(lambda: ask("192.0.2.1", "/limited") == 403, 20)
            refused = proxy.get("/", "X-Forwarded-For: 192.0.2.1")
            assert refused.status == 403 and 50 < int(refused["Retry-After"]) <= 60
            assert ask("192.0.2.2") == 200 and ask(None) == 200
        assert "client=192.0.2.1" in server.wait_log("shut out")


def test_l6_this_machine_is_not_shut_out_unless_asked_for(server: Server) -> None:
    for _ in range(80):
        with server.client() as client:
            client.send("nonsense\r\n\r\n")
            client.rest()
    with server.client() as client:
        assert client.get("/").status == 200
    assert not server.logged("shut out")


def test_s1_two_hundred_slow_clients_do_not_hold_one_visitor_up(calm: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(calm.client())
            client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        took = []
        for _ in range(20):
            with calm.client() as visitor:
                began = time.monotonic()
                assert visitor.get("/").status == 200
                took.append(time.monotonic() - began)
    assert sorted(took)[10] < 0.5


def test_a_client_that_resets_at_any_moment_leaves_nothing_behind(calm: Server) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
    front = calm.children()["front"][0]
    before = len(os.listdir(f"/proc/{front}/fd"))
    for cut in range(0, len(head) + 100, 3):
        with socket.create_connection(calm.address, 10) as client:
            client.sendall((head + b"a" * 100)[:cut])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: len(os.listdir(f"/proc/{front}/fd")) <= before)
    with calm.client() as client:
        assert client.get("/").status == 200
