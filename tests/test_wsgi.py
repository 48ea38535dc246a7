"""PEP 3333 from outside, with a plain app and with the same app inside ``wsgiref.validate``, which
turns every breach by the server into an error. Apps that break the PEP are in
``test_wsgi_broken``.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from harness.control import Reins
from harness.raw import Broken, chunked, head
from harness.server import Server

FILE = bytes(range(250)) * 400


@pytest.fixture(scope="module", params=["rows", "validated"])
def app(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(app: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for each app."""
    return tmp_path_factory.mktemp(app)


@pytest.fixture(scope="module")
def server(app: str, all_reins: Reins) -> Iterator[Server]:
    secret = {"SECRET_OF_THE_SITE": "hush"}
    with Server(all_reins.folder, app, "--threads", "1", env=secret) as server:
        yield server


def environ(server: Server, path: str = "/", *lines: str, **more: str) -> dict[str, Any]:
    with server.client() as client:
        client.send(head(more.get("method", "GET"), path, *lines))
        seen: dict[str, Any] = json.loads(client.response().text)
        return seen


# --- environ


def test_the_environ_has_what_the_pep_asks_for(server: Server) -> None:
    seen = environ(server, "/caf%C3%A9%2Fx?a=%20b", "Host: example.com:81")
    wanted = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/caf\xc3\xa9/x",
        "QUERY_STRING": "a=%20b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_PORT": str(server.port),
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "example.com:81",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.run_once": False,
    }
    assert {key: seen.get(key) for key in wanted} == wanted
    assert seen["SERVER_NAME"] and int(seen["REMOTE_PORT"]) > 0
    assert isinstance(seen["wsgi.multithread"], bool)
    assert isinstance(seen["wsgi.multiprocess"], bool)


def test_nothing_of_the_process_environment_is_in_the_environ(server: Server) -> None:
    seen = environ(server)
    assert "hush" not in json.dumps(seen)
    assert not {"PATH", "HOME", "TEST_MARK", "PYTHONDONTWRITEBYTECODE"} & set(seen)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_protocol_is_the_clients(server: Server, version: str) -> None:
    with server.client() as client:
        client.send(head("GET", "/", version=version))
        assert json.loads(client.response().text)["SERVER_PROTOCOL"] == f"HTTP/{version}"


def test_header_fields_become_variables(server: Server) -> None:
    seen = environ(
        server, "/", "X-Plain: a", "x-lower: b", "X-Twice: 1", "X-Empty:", "X-Latin: \xe9",
        "X-TWICE: 2", "Cookie: a=1", "Cookie: b=2", "Content-Type: text/x", "Accept: *",
    )  # fmt: skip
    assert seen["HTTP_X_PLAIN"] == "a" and seen["HTTP_X_LOWER"] == "b"
    assert re.fullmatch("1, ?2", seen["HTTP_X_TWICE"])
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert seen["HTTP_X_EMPTY"] == "" and seen["HTTP_X_LATIN"] == "\xe9"
    assert seen["CONTENT_TYPE"] == "text/x" and "HTTP_CONTENT_TYPE" not in seen


@pytest.mark.parametrize(
    "line",
    [
        "X_Plain: 1", "Content_Length: 1", "X-Forwarded_For: 1.1.1.1", "Proxy: http://evil",
        "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil",
        "X-Forwarded-Anything: 1", "Forwarded: for=1.1.1.1", "X-Real-IP: 1.1.1.1",
        "Script-Name: /evil", "SCRIPT_NAME: /evil", "Remote_Addr: 1.1.1.1", "_: 1",
    ],
)  # fmt: skip
def test_p14_p15_a_field_that_could_pose_as_another_never_reaches_the_app(
    server: Server, line: str
) -> None:
    bare = environ(server)
    with_line = environ(server, "/", line)
    assert set(with_line) == set(bare)
    for key in ("REMOTE_ADDR", "wsgi.url_scheme", "SCRIPT_NAME", "HTTP_HOST"):
        assert with_line[key] == bare[key]


@pytest.mark.parametrize(
    ("trusted", "lines", "address", "scheme"),
    [
        ("127.0.0.1", ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"],
         "192.0.2.7", "https"),
        ("127.0.0.0/8", ["X-Forwarded-For: 6.6.6.6, 192.0.2.7"], "192.0.2.7", "http"),
        ("*", ["X-Forwarded-For: 2001:db8::7"], "2001:db8::7", "http"),
        ("127.0.0.1", ["X-Forwarded-For: nonsense"], "127.0.0.1", "http"),
        ("192.0.2.1", ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"],
         "127.0.0.1", "http"),
    ],
)  # fmt: skip
def test_only_a_trusted_proxy_says_who_the_client_is(
    tmp_path_factory: pytest.TempPathFactory,
    trusted: str,
    lines: list[str],
    address: str,
    scheme: str,
) -> None:
    folder = tmp_path_factory.mktemp("trust")
    with Server(folder, "validated", "--forwarded-allow-ips", trusted) as server:
        seen = environ(server, "/", *lines)
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == (address, scheme)


# --- wsgi.input

TEXT = b"one\ntwo\n\nfour, which is longer\nlast"
ROWS = [
    "input.read(1)",
    "input.read(0);input.read(3);input.read(100000000)",
    "input.read(-1);input.read(5);input.readline(-1)",
    "input.readline(-1);input.readline(2);input.readline(100);input.read(4);input.readline(0)",
    "input.readlines();input.readlines()",
    "list(input);list(input)",
    "input.readline(6);input.read(2);list(input)",
]
PLAIN_ROWS = [
    "input.read();input.read()",
    "input.read(None)",
    "input.readline();input.readline(3);input.readline(None)",
    "input.readlines(5);input.readlines(-1);input.read()",
    "input.read();input.seek(0);input.read(4);input.seek(-4, 2);input.read();input.tell()",
    "input.seek(2);input.readline();input.seek(1, 1);input.read(3)",
]


@pytest.mark.parametrize("way", ["whole", "chunked", "large", "none"])
@pytest.mark.parametrize("calls", [*ROWS, *PLAIN_ROWS])
def test_the_input_reads_like_a_file(server: Server, app: str, calls: str, way: str) -> None:
    if app == "validated" and calls in PLAIN_ROWS:
        # The validator's wrapper has only what PEP 3333 lists, with an argument each.
        return
    body = {"large": TEXT * 4000, "none": b""}.get(way, TEXT)
    like = {"input": io.BytesIO(body)}
    wanted = "\n".join(repr(eval(call, like)) for call in calls.split(";"))
    with server.client() as client:
        if way == "none":
            client.send(head("GET", "/calls", f"X-Calls: {calls}"))
        elif way == "chunked":
            lines = (f"X-Calls: {calls}", "Transfer-Encoding: chunked")
            client.send(head("POST", "/calls", *lines)).send(chunked(body))
        else:
            lines = (f"X-Calls: {calls}", f"Content-Length: {len(body)}")
            client.send(head("POST", "/calls", *lines)).send(body)
        assert client.response().text == wanted


def test_a_body_that_is_not_read_does_not_become_the_next_request(server: Server) -> None:
    hidden = head("GET", "/hidden").encode()
    with server.client() as client:
        client.send(head("POST", "/first", f"Content-Length: {len(hidden)}")).send(hidden)
        client.send(head("GET", "/second"))
        seen = [json.loads(client.response().text)["PATH_INFO"] for _ in range(2)]
    assert seen == ["/first", "/second"]


# --- start_response, write, close


def test_start_response_may_be_called_with_the_first_chunk(server: Server) -> None:
    with server.client() as client:
        response = client.get("/late")
        assert (response.status, response.reason) == (202, "Late")
        assert response.body == b"late body"


def test_write_comes_before_what_is_returned(server: Server) -> None:
    with server.client() as client:
        assert client.get("/written").body == b"written and returned"


def test_exc_info_replaces_what_was_not_sent(server: Server) -> None:
    with server.client() as client:
        response = client.get("/changes-its-mind")
        assert (response.status, response.reason, response.body) == (503, "Sorry", b"sorry")
        assert "X-Second" in response and "X-First" not in response


def test_exc_info_after_the_first_byte_cuts_the_connection(server: Server) -> None:
    # A response that is not whole must not look whole.
    with server.client() as client:
        client.send(head("GET", "/too-late"))
        with pytest.raises((Broken, ConnectionResetError)):
            client.response()
    server.wait_log("too late")


def test_close_is_called_after_the_last_chunk(server: Server, reins: Reins) -> None:
    with server.client() as client:
        assert client.get("/closing").body == b"ab"
        assert reins.heard() == "closed"
        assert client.get("/closing", method="HEAD").status == 200
        assert reins.heard() == "closed"
    assert reins.told == ["closed", "closed"]


def test_close_is_called_after_an_error(server: Server, reins: Reins) -> None:
    with server.client() as client:
        client.send(head("GET", "/closing-after-an-error"))
        with pytest.raises((Broken, ConnectionResetError)):
            client.response()
    assert reins.heard() == "closed"


def test_close_is_called_when_the_client_has_left(server: Server, reins: Reins) -> None:
    with server.client() as client:
        client.send(head("GET", "/closing-slowly"))
        reins.held().go()
        assert client.head().status == 200
        view = reins.held()
    view.go()
    while not reins.told:
        with contextlib.suppress(TimeoutError):
            reins.held_within(0.05).go()
    assert reins.told == ["closed"]


# --- bodies and statuses


@pytest.mark.parametrize(
    ("query", "framing", "body"),
    [
        ("200+OK&one", "length", b"one"),
        ("200+OK&one&two", "length", b"onetwo"),
        ("200+OK", "length", b""),
        ("404+Nothing+Here&gone", "length", b"gone"),
        ("299+Odd&x", "length", b"x"),
        ("599+&x", "length", b"x"),
        ("204+No+Content", "none", b""),
        ("304+Not+Modified", "none", b""),
    ],
)
def test_status_and_reason_are_kept_and_the_length_is_known(
    server: Server, app: str, query: str, framing: str, body: bytes
) -> None:
    with server.client() as client:
        response = client.get(f"/bodies?{query}")
        status = query.partition("&")[0].replace("+", " ")
        assert f"{response.status} {response.reason}".rstrip() == status.rstrip()
        assert response.body == body
        if app == "rows":
            # The validator hides how many chunks there will be.
            assert response.framing == framing
        assert client.get("/bodies?200+OK&next").body == b"next"


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("0", FILE),
        ("1", FILE[1:]),
        ("99990", FILE[99990:]),
        ("100000", b""),
        ("100&500", FILE[100:600]),
        ("0&100000", FILE),
    ],
)
def test_a_file_is_sent_from_where_it_stands(server: Server, query: str, body: bytes) -> None:
    with server.client() as client:
        if "&500" in query:
            # More in the file than was announced: no byte more may be sent.
            client.send(head("GET", f"/file?{query}"))
            response = client.head()
            assert response["Content-Length"] == "500"
            assert b"".join(client.body(response)) == body
            return
        response = client.get(f"/file?{query}")
        assert response.body == body
        bare = client.get(f"/file?{query}", method="HEAD")
        assert bare.status == 200 and bare.body == b""
        assert client.get("/bodies?200+OK&next").body == b"next"


def test_a_file_wrapper_without_a_file_is_read(server: Server) -> None:
    with server.client() as client:
        assert client.get("/not-a-file").body == b"in memory" * 5000


# --- the log


def test_what_the_app_writes_to_errors_is_in_the_log(server: Server) -> None:
    with server.client() as client:
        assert client.get("/error-log").body == b"logged"
    server.wait_log("said by the app")
    server.wait_log("in two parts")


def test_a_view_that_raises_is_in_the_log_and_costs_only_its_request(server: Server) -> None:
    since = server.mark_log()
    (worker,) = server.children()["worker"]
    with server.client() as client:
        response = client.get("/broken?x=1", "X-Request-Id: id-of-broken")
        assert response.status == 500 and "on purpose" not in response.text
        assert client.get("/bodies?200+OK&next").body == b"next"
    server.wait_log("RuntimeError: broken on purpose", since=since)
    (line,) = server.logged("id-of-broken", since)
    assert "GET" in line and "/broken" in line
    assert server.logged("Traceback", since)
    assert server.children()["worker"] == [worker]
