"""HTTP/1.1 on the wire, from outside: connections, framing, limits, and responses that an app
must not be able to break. Bodies that are large or slow are in ``test_http_bodies``.
"""

from __future__ import annotations

import email.utils
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.control import Reins
from harness.operated import PATIENCE, has_ipv6, until
from harness.raw import Ended, chunked, head
from harness.server import Server

FLAGS = ("--threads", "1", "--max-body", "1MiB", "--health")


@pytest.fixture(scope="module")
def server(folder: Path, all_reins: Reins) -> Iterator[Server]:
    bind = ["127.0.0.1:0", f"unix:{folder}/web.sock", "127.0.0.2:0"]
    if has_ipv6():
        bind.append("[::1]:0")
    with Server(folder, "web", *FLAGS, bind=bind) as server:
        yield server


# --- connections


def test_a_connection_serves_one_request_after_the_other(server: Server) -> None:
    with server.client() as client:
        for _ in range(5):
            response = client.get()
            assert (response.status, response.body) == (200, b"hello")
            assert not response.closes
        assert client.is_quiet()


def test_p11_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with server.client() as client:
        client.send("".join(head("GET", f"/environ?{number}") for number in range(50)))
        for number in range(50):
            assert f'"QUERY_STRING": "{number}"' in client.response().text


def test_a_slow_first_request_holds_back_the_answers_behind_it(
    server: Server, reins: Reins
) -> None:
    with server.client() as client:
        client.send(head("GET", "/held?first") + head("GET", "/") + head("GET", "/nowhere"))
        view = reins.held()
        assert client.is_quiet()
        view.go()
        assert [client.response().body for _ in range(3)] == [b"first", b"hello", b"hello"]


def test_p10_pipelined_posts_keep_their_bodies_apart(server: Server) -> None:
    first = head("POST", "/echo", "Content-Length: 5") + "first"
    second = head("POST", "/echo", "Transfer-Encoding: chunked").encode()
    with server.client() as client:
        client.send(first.encode() + second + chunked(b"sec", b"ond") + head("GET", "/").encode())
        bodies = [client.response().body for _ in range(3)]
    assert bodies == [b"first", b"second", b"hello"]


def test_a_client_that_sends_on_without_reading_gets_every_answer(server: Server) -> None:
    # More requests and more answers than any buffer holds: nobody may wait for the other.
    count = 5000
    requests = "".join(head("GET", "/big?2000") for _ in range(count))
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.send, requests)
        for _ in range(count):
            assert len(client.response().body) == 2000
        sending.result()
        assert client.is_quiet()


@pytest.mark.parametrize(
    ("version", "line", "keeps"),
    [
        ("1.1", "Connection: close", False),
        ("1.1", "Connection: Foo, CLOSE", False),
        ("1.1", "Connection: keep-alive", True),
        ("1.1", "X: y", True),
        ("1.0", "X: y", False),
        ("1.0", "Connection: keep-alive", True),
        ("1.0", "Connection: close", False),
    ],
)
def test_version_and_connection_decide_whether_it_stays_open(
    server: Server, version: str, line: str, keeps: bool
) -> None:
    # RFC 9112 section 9.3
    with server.client() as client:
        response = client.send(head("GET", "/", line, version=version)).response()
        assert response.body == b"hello" and response.framing == "length"
        if keeps:
            if version == "1.0":
                assert response["Connection"].lower() == "keep-alive"
            assert client.get().status == 200
        else:
            assert response.closes or version == "1.0"
            assert client.is_closed()


def test_p11_bytes_after_connection_close_are_ignored(server: Server) -> None:
    with server.client() as client:
        client.send(head("GET", "/", "Connection: close") + head("GET", "/"))
        assert client.response().closes
        assert client.rest() == b""


def test_s10_a_client_that_closes_its_sending_side_still_gets_its_answers(
    server: Server, reins: Reins
) -> None:
    with server.client() as client:
        client.send(head("GET", "/held?half") + head("GET", "/")).half_close()
        reins.held().go()
        assert client.response().body == b"half"
        assert client.response().body == b"hello"
        assert client.is_closed()


def test_head_is_answered_like_get_without_the_body(server: Server) -> None:
    with server.client() as client:
        whole, bare = client.get(), client.get(method="HEAD")
        assert whole["Content-Length"] == bare["Content-Length"] == "5"
        assert bare.body == b"" and client.is_quiet()
        assert client.get().body == b"hello"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("\r\nHEAD / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("HEAD /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (head("HEAD", "/" + "a" * 9000), 414),
        (head("HEAD", "/", "X: " + "a" * 9000), 431),
        (head("HEAD", "/", "Content-Length: 99999999999"), 413),
        (head("HEAD", "/", "Transfer-Encoding: chunked") + "zz\r\n", 400),
    ],
)
def test_p16_a_head_that_is_refused_is_answered_without_a_body(
    server: Server, request_head: str, status: int
) -> None:
    with server.client() as client:
        response = client.send(request_head).response("HEAD")
        assert (response.status, response.closes) == (status, True)
        assert int(response["Content-Length"]) > 0 and client.is_closed()


def test_the_app_of_a_head_hears_that_nobody_wants_the_stream(server: Server, reins: Reins) -> None:
    with server.client() as client:
        response = client.get("/stream", method="HEAD")
        assert response.status == 200
        # The front answers this by itself, and so has let go of the other by then.
        assert client.get("*", method="OPTIONS").status in (200, 204)
        # The chunk it is at when the head has gone out is its last.
        reins.held().go()
        assert reins.heard() == "closed"
        assert client.get().body == b"hello"


def test_options_for_the_whole_server_is_answered(server: Server) -> None:
    with server.client() as client:
        response = client.get("*", method="OPTIONS")
        assert response.status in (200, 204)
        assert "GET" in response["Allow"]
        assert client.get().body == b"hello"


def test_s12_an_idle_connection_is_closed_after_keep_alive(tmp_path: Path) -> None:
    with Server(tmp_path, "web", "--keep-alive", "1s") as server, server.client() as client:
        assert client.get().status == 200
        begin = time.monotonic()
        assert client.is_closed()
        assert 0.5 < time.monotonic() - begin


def test_without_keep_alive_every_answer_closes(tmp_path: Path) -> None:
    with Server(tmp_path, "web", "--keep-alive", "0") as server, server.client() as client:
        assert client.get().closes
        assert client.is_closed()


# --- addresses


def test_a_unix_socket_is_served(server: Server) -> None:
    with server.client(str(server.folder / "web.sock")) as client:
        assert client.get().body == b"hello"
        seen = json.loads(client.get("/environ").text)
        assert (seen["REMOTE_ADDR"], seen["SERVER_PORT"]) == ("", "80")


def test_behind_a_unix_socket_the_port_is_that_of_the_scheme_a_proxy_names(tmp_path: Path) -> None:
    flags = ("--forwarded-allow-ips", "*")
    with (
        Server(tmp_path, "web", *flags, bind=("127.0.0.1:0", "unix:p.sock")) as server,
        server.client(str(tmp_path / "p.sock")) as client,
    ):
        client.send(head("GET", "/environ", "X-Forwarded-Proto: https"))
        seen = json.loads(client.response().text)
        assert (seen["wsgi.url_scheme"], seen["SERVER_PORT"]) == ("https", "443")
        client.send(head("GET", "/environ", "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"))
        assert json.loads(client.response().text)["SERVER_PORT"] == "8443"


@pytest.mark.usefixtures("ipv6")
def test_ipv6_and_a_second_address_are_served(server: Server) -> None:
    banner = " ".join(server.logged(r"http://"))
    six = re.search(r"http://\[::1\]:(\d+)", banner)
    two = re.search(r"http://127\.0\.0\.2:(\d+)", banner)
    assert six and two, banner
    for host, port in (("::1", int(six[1])), ("127.0.0.2", int(two[1]))):
        with server.client((host, port)) as client:
            seen = client.get("/environ").text
            assert f'"SERVER_PORT": "{port}"' in seen
            remote = "::1" if ":" in host else "127."
            assert f'"REMOTE_ADDR": "{remote}' in seen


# --- the longest heads


def test_each_limit_at_its_most_lets_through_what_it_says(tmp_path: Path) -> None:
    sizes = {"line": "64KiB", "field-size": "128KiB", "header": "128KiB", "fields": "10000"}
    flags = [part for name, most in sizes.items() for part in (f"--limit-request-{name}", most)]
    body = b"b" * (128 << 10)
    with Server(tmp_path, "web", *flags) as server, server.client() as client:
        line = "/environ?" + "q" * ((64 << 10) - len("GET /environ? HTTP/1.1"))
        client.send(head("GET", line))
        seen = json.loads(client.response().text)
        assert (seen["RAW_URI"], seen["QUERY_STRING"]) == (line, line.partition("?")[2])
        # Host: a, an empty line that does not count, and the ends of the lines.
        name = "N" * 70_000
        rest = (128 << 10) - len("Host: a\r\n") - len(f"{name}: \r\n")
        client.send(head("GET", "/environ", "Host: a", f"{name}: {'v' * rest}"))
        assert json.loads(client.response().text)[f"HTTP_{name}"] == "v" * rest
        many = ["X: y"] * 9_999
        client.send(head("GET", "/environ", *many))
        assert json.loads(client.response().text)["HTTP_X"] == ",".join("y" * len(many))
        # The body that would be part of the message has no room beside such a head.
        long = f"Y: {'v' * (120 << 10)}"
        client.send(head("POST", "/echo", long, f"Content-Length: {len(body)}")).send(body)
        assert client.response().body == body
        # All of it together is more than one message holds: an answer, and the server goes on.
        long = f"Y: {'v' * (64 << 10)}"
        client.send(head("GET", line, *many[:-100], long))
        assert client.response().status == 431
        # Nor is a body waited for that nobody will be given.
        client.send(head("POST", line[:-1], *many[:-100], long, "Content-Length: 5"))
        refused = client.response()
        assert (refused.status, refused.closes) == (431, True)
    with Server(tmp_path / "again", "web") as server, server.client() as client:
        for length in (255, 256, 8000):
            client.send(head("GET", "/environ", f"{'a' * length}: here"))
            assert json.loads(client.response().text)["HTTP_" + "A" * length] == "here"


# --- 100-continue


def test_s7_100_is_sent_when_the_body_is_awaited(server: Server) -> None:
    with server.client() as client:
        client.send(head("POST", "/echo", "Content-Length: 4", "Expect: 100-continue"))
        assert client.head().status == 100
        assert client.is_quiet()
        assert client.send(b"body").response().body == b"body"
        assert client.get().status == 200


def test_s7_no_100_is_sent_when_the_body_has_come(server: Server) -> None:
    with server.client() as client:
        client.send(head("POST", "/echo", "Content-Length: 4", "Expect: 100-continue") + "body")
        assert client.response().body == b"body"


def test_s7_no_100_is_sent_without_a_body_or_to_http_1_0(server: Server) -> None:
    with server.client() as client:
        assert client.get("/", "Expect: 100-continue").status == 200
        lines = ("Content-Length: 4", "Expect: 100-continue")
        client.send(head("POST", "/echo", *lines, version="1.0") + "body")
        assert client.response().body == b"body"


def test_s7_an_unknown_expectation_is_answered_417(server: Server) -> None:
    with server.client() as client:
        client.send(head("POST", "/echo", "Content-Length: 4", "Expect: tea"))
        assert client.response().status == 417
        assert client.is_closed()


def test_s7_a_body_over_the_limit_gets_413_instead_of_100(server: Server) -> None:
    with server.client() as client:
        client.send(head("POST", "/echo", "Content-Length: 2000000", "Expect: 100-continue"))
        assert client.response().status == 413
        assert client.is_closed()


# --- chunked


def test_chunks_in_any_sizes_arrive_as_one_body(server: Server) -> None:
    with server.client() as client:
        client.send(head("POST", "/echo", "Transfer-Encoding: chunked"))
        client.send(chunked(b"a", b"b" * 70000, b"c")[:-5])
        # Extensions are read over, and sizes may be written in capitals (RFC 9112 section 7.1).
        client.send(b'A;name="a \\" b";x=1\r\n0123456789\r\n0\r\n\r\n')
        response = client.response()
        assert response.body == b"a" + b"b" * 70000 + b"c0123456789"
        assert response["X-Length"] == str(70012)


def test_p9_trailers_are_read_over_and_never_seen_as_headers(server: Server) -> None:
    lines = ("Transfer-Encoding: chunked", "Trailer: X-Late")
    with server.client() as client:
        client.send(head("POST", "/environ", *lines) + "1\r\na\r\n0\r\nX-Late: 1\r\n\r\n")
        response = client.response()
        assert response.status == 200 and "LATE" not in response.text
        assert client.get().status == 200


def test_a_stream_is_chunked_for_1_1_and_ends_with_the_connection_for_1_0(
    server: Server, reins: Reins
) -> None:
    for version, framing in (("1.1", "chunked"), ("1.0", "close")):
        with server.client() as client:
            client.send(head("GET", "/stream", "Connection: keep-alive", version=version))
            for _ in range(3):
                reins.held().go()
            response = client.response()
            assert (response.framing, response.body) == (framing, b"onetwothree")
            assert reins.heard() == "closed"
            if version == "1.1":
                assert response.chunks == [3, 3, 5]
                assert client.get().status == 200


# --- limits


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("GET", "/" + "a" * 9000), 414),
        # A method that no server knows, and not a target that is too long.
        (head("A" * 9000, "/"), 501),
        (head("GET", "/", "X: " + "a" * 9000), 431),
        (head("GET", "/", *(["X: a"] * 100)), 431),
        (head("GET", "/", *([f"X: {'a' * 8000}"] * 5)), 431),
        (head("POST", "/echo", "Content-Length: 1048577"), 413),
        (head("POST", "/echo", "Transfer-Encoding: chunked") + "100001\r\n", 413),
    ],
)
def test_p13_what_is_too_large_is_refused_and_the_connection_closed(
    server: Server, request_head: str, status: int
) -> None:
    with server.client() as client:
        response = client.send(request_head).response()
        assert (response.status, response.closes) == (status, True)
        assert client.is_closed()


def test_what_is_just_not_too_large_is_served(server: Server) -> None:
    with server.client() as client:
        assert client.get("/" + "a" * 8100).status == 200
        assert client.get("/", "X: " + "a" * 8180).status == 200
        assert client.post("/echo", b"a" * 1048576).body == b"a" * 1048576


def test_s8_413_can_be_read_by_a_client_that_is_still_sending(server: Server) -> None:
    # S8: a close with unread bytes would reset the connection and take the answer with it.
    piece = b"x" * 65536
    for _ in range(100):
        with server.client() as client:
            client.send(head("POST", "/echo", f"Content-Length: {20 << 20}"))
            try:
                for _ in range((20 << 20) // len(piece)):
                    client.send(piece)
            except ConnectionError:
                pass
            assert client.response().status == 413


# --- the front's own answers and fields


def test_every_answer_has_a_date_and_a_server(server: Server) -> None:
    with server.client() as client:
        for response in (client.get(), client.send("nonsense\r\n\r\n").response()):
            date = email.utils.parsedate_to_datetime(response["Date"])
            assert abs(date.timestamp() - time.time()) < 60
            assert response["Date"].endswith(" GMT")
            assert response["Server"].lower().startswith("canter")


def test_l7_the_health_of_the_server_is_answered_while_the_app_is_busy(
    server: Server, reins: Reins
) -> None:
    with server.client() as busy, server.client() as client:
        busy.send(head("GET", "/held?busy"))
        view = reins.held()
        assert client.get("/-/live").status == 200
        assert client.get("/-/ready").status == 200
        assert client.get("/-/live", method="HEAD").body == b""
        view.go()
        assert busy.response().status == 200


def test_d7_a_full_queue_is_not_ready_and_is_again_when_it_has_room(
    tmp_path: Path,
) -> None:
    flags = ("--health", "--threads", "1", "--queue-size", "1")
    with Reins(tmp_path) as all_reins, all_reins.taken() as reins, Server(tmp_path, "web", *flags) as server:
        with server.client() as busy, server.client() as waits, server.client() as client:
            busy.send(head("GET", "/held?busy"))
            view = reins.held()
            assert client.get("/-/ready").status == 200
            waits.send(head("GET", "/"))
            until(lambda: client.get("/-/ready").status == 503, PATIENCE, "the queue to be full")
            assert b"as many requests wait as may" in client.get("/-/ready").body
            assert client.get("/-/live").status == 200
            view.go()
            assert busy.response().status == waits.response().status == 200
            until(lambda: client.get("/-/ready").status == 200, PATIENCE, "room in the queue")


def test_without_the_option_the_health_paths_belong_to_the_app(tmp_path: Path) -> None:
    with Server(tmp_path, "web") as server, server.client() as client:
        assert client.get("/-/live").body == b"hello"


# --- clients that leave


def test_s9_a_request_whose_client_has_left_the_queue_never_runs(server: Server, reins: Reins) -> None:
    with server.client() as busy, server.client() as other:
        busy.send(head("GET", "/held?busy"))
        view = reins.held()
        leaving = [server.client().send(head("GET", f"/told?gone{number}")) for number in range(9)]
        # Each is answered in its turn: once this one is seen to wait, so do the others.
        other.send(head("GET", "/-/live") + head("GET", "/told?stays"))
        assert other.response().status == 200
        for number, client in enumerate(leaving):
            client.reset() if number % 2 else client.close()
        # The front may take all of them up at once, with one opened later; when that has been answered
        # twice it has seen which ones are closed.
        with server.client() as later:
            for _ in range(2):
                assert later.get("/-/live").status == 200
        view.go()
        assert busy.response().status == 200
        assert other.response().body == b"stays"
        with server.client() as last:
            assert last.get("/told?last").body == b"last"
    # A FIN alone says only that the client will not send more (S10): those may run. A reset is
    # the end of the client.
    assert {"stays", "last"} <= set(reins.told)
    assert not [word for word in reins.told if word in {f"gone{n}" for n in range(1, 9, 2)}]


def test_l4_a_client_that_has_closed_while_queued_is_found_out_and_never_runs(
    server: Server, reins: Reins
) -> None:
    """Its FIN looks like that of a half-closed client; an interim answer tells them apart."""
    with server.client() as busy:
        busy.send(head("GET", "/held?busy"))
        view = reins.held()
        server.client().send(head("GET", "/told?closed")).close()
        assert server.access_line(r'"GET /told\?closed HTTP/1\.1" 499')
        view.go()
        assert busy.response().status == 200
        with server.client() as last:
            assert last.get("/told?last").body == b"last"
    assert "closed" not in reins.told


def test_s10_a_half_closed_client_in_the_queue_is_still_served(server: Server, reins: Reins) -> None:
    with server.client() as busy, server.client() as client:
        busy.send(head("GET", "/held?busy"))
        view = reins.held()
        client.send(head("GET", "/told?half")).half_close()
        view.go()
        assert client.response().body == b"half"
        assert client.is_closed()


def test_a_client_that_leaves_in_the_middle_of_its_body_is_never_seen_by_the_app(
    server: Server, reins: Reins
) -> None:
    for fields in ("Content-Length: 10", "Transfer-Encoding: chunked"):
        with server.client() as client:
            client.send(head("POST", "/told?half", fields) + "4\r\n").half_close()
            try:
                assert client.head().status == 400
            except Ended:
                pass
    with server.client() as client:
        assert client.get("/told?after").status == 200
    assert reins.told == ["after"]


def test_a_view_that_raises_is_500_and_the_connection_goes_on(server: Server) -> None:
    with server.client() as client:
        response = client.get("/fails")
        assert response.status == 500 and "RuntimeError" not in response.text
        assert client.get().body == b"hello"


def test_s13_a_flood_of_connections_that_say_nothing_does_not_stop_others(server: Server) -> None:
    silent = [socket.create_connection(server.address) for _ in range(200)]
    with server.client() as client:
        assert client.get().status == 200
    for connection in silent:
        connection.close()
