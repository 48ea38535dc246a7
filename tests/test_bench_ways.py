"""What ``canter bench`` asks for and over what: logins, lists, logs, slow users; TLS, HTTP/2, a unix socket.

Leaves counting and reports to ``test_bench``.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from harness import shop
from harness.benched import OK, Handler, always, report, requests, serving
from harness.certificates import Authority
from harness.server import Server


def test_a8_login_understands_the_form_of_django() -> None:
    seen: list[str] = []

    def handle(connection: socket.socket) -> None:
        for line, fields, body in requests(connection):
            cookies = fields.get("cookie", "")
            if line.startswith("GET /login/"):
                form = b'<form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="tok&amp;1"></form>'
                head = f"HTTP/1.1 200 OK\r\nSet-Cookie: csrftoken=abc; Path=/\r\nContent-Length: {len(form)}\r\n\r\n"
                connection.sendall(head.encode() + form)
            elif line.startswith("POST /login/"):
                form_data = parse_qs(body.decode())
                good = (
                    form_data["csrfmiddlewaretoken"] == ["tok&1"]
                    and form_data["password"] == ["p w"]
                    and cookies == "csrftoken=abc"
                    and fields["referer"].endswith("/login/")
                )
                seen.append(form_data["username"][0])
                status = b"302 Found" if good else b"200 OK"
                connection.sendall(
                    b"HTTP/1.1 " + status + b"\r\nLocation: /\r\nSet-Cookie: sessionid=s; HttpOnly\r\nContent-Length: 0\r\n\r\n"
                )
            else:
                good = "sessionid=s" in cookies
                connection.sendall(OK if good else OK.replace(b"200 OK", b"403 No"))

    words = ["--users", "3", "-n", "30", "--login", "/login/"]
    with serving(handle) as url:
        told = report(url, *words, "--login-data", "username=u{n}&password=p w")
        assert (told["hits"], told["errors"], told["steps"]) == (30, 0, 6)
        assert sorted(seen) == ["u0", "u1", "u2"]
        wrong = report(url, *words, "--login-data", "username=u&password=x")
    assert wrong["failures"].keys() == {"login failed"}
    assert wrong["hits"] == 0


PASSWORD = "p w=1&2+3%4 \u00fc#\""
TYPED = "p w=1%262+3%254 \u00fc#\""

ACCOUNTS = f"""
from django.contrib.auth import get_user_model
for number in range(2):
    get_user_model().objects.create_superuser(f"u{{number}}", password={PASSWORD!a})
"""

# Who is logged in, by the sessions that the site has.
SESSIONS = """
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
people = {str(it.pk): it.username for it in get_user_model().objects.all()}
found = sorted(people[it.get_decoded()["_auth_user_id"]] for it in Session.objects.all())
assert found == ["u0", "u1"], found
"""


def test_a8_users_log_in_to_django_itself_and_each_keeps_its_own_session(tmp_path: Path) -> None:
    site = shop.copy(tmp_path, (1, 1, 1))
    shop.manage(site, "shell", "-v", "0", "-c", ACCOUNTS)
    words = ["--users", "2", "-n", "20", "--login", "/login/"]
    with Server(site, "") as server:
        # Who is not logged in is sent away from there.
        page = f"{server.url}/admin/"
        stranger = report(page, "--users", "1", "-n", "1")
        assert stranger["statuses"].get("2xx", 0) == 0
        told = report(page, *words, "--login-data", f"username=u{{n}}&password={TYPED}")
        assert (told["statuses"]["2xx"], told["errors"], told["steps"]) == (20, 0, 4), told
        shop.manage(site, "shell", "-v", "0", "-c", SESSIONS)
        wrong = report(page, *words, "--login-data", "username=u{n}&password=wrong")
    assert wrong["failures"] == {"login failed": 20} and wrong["hits"] == 0


def test_some_users_are_on_a_bad_line_and_counted_apart() -> None:
    pieces: list[int] = []

    def handle(connection: socket.socket) -> None:
        seen, count = b"", 0
        while some := connection.recv(65_536):
            seen, count = seen + some, count + 1
            if seen.endswith(b"\r\n\r\n"):
                pieces.append(count)
                connection.sendall(OK)
                seen, count = b"", 0

    with serving(handle) as url:
        # The first of two users is one of the five of a hundred.
        told = report(url, "--users", "2", "-n", "2", "--slow", "5%", "--think", "60s")
    assert told["slow"] == {"answered": 1, "failed": 0}
    assert told["errors"] == 0
    # Twenty pieces were sent, a tenth of a second apart; some may have come together.
    assert min(pieces) == 1 and max(pieces) >= 5, pieces


def test_a11_what_is_sent_to_warm_up_is_not_counted() -> None:
    asked: list[str] = []

    def handle(connection: socket.socket) -> None:
        for line, _, _ in requests(connection):
            asked.append(line)
            connection.sendall(OK)

    with serving(handle) as url:
        told = report(url, "--users", "1", "-d", "1s", "--warmup", "1s")
    assert told["warmup_hits"] > 0 and told["hits"] > 0
    assert told["hits"] + told["warmup_hits"] == len(asked)
    assert sum(row["hits"] for row in told["rows"]) == told["hits"]


def test_redirects_are_followed_on_the_same_site_only() -> None:
    def handle(connection: socket.socket) -> None:
        for line, _, _ in requests(connection):
            places = {"/": "/one", "/one": "/two", "/away": "http://example.org/"}
            path = line.split()[1]
            if path in places:
                connection.sendall(
                    f"HTTP/1.1 302 F\r\nLocation: {places[path]}\r\nContent-Length: 0\r\n\r\n".encode()
                )
            else:
                connection.sendall(OK)

    with serving(handle) as url:
        followed = report(url, "-n", "5", "--users", "1", "--follow", "5")
        counted = report(url, "-n", "5", "--users", "1")
        away = report(f"{url}away", "-n", "5", "--users", "1", "--follow", "5")
    assert (followed["statuses"]["2xx"], followed["steps"]) == (5, 10)
    assert counted["statuses"]["3xx"] == 5
    assert away["statuses"]["3xx"] == 5


def test_a8_redirects_keep_what_their_status_keeps() -> None:
    """RFC 9110, section 15.4: 307 and 308 repeat method and body; 302 makes a GET of a POST; HEAD stays HEAD."""
    asked: list[tuple[str, str, bytes, str]] = []

    def handle(connection: socket.socket) -> None:
        for line, fields, body in requests(connection):
            method, path, _ = line.split()
            asked.append((f"{method} {path}", fields["host"], body, fields.get("content-type", "")))
            if path.startswith("/to/"):
                head = f"HTTP/1.1 {path[4:7]} X\r\nLocation: ../there/{path[4:7]}?a=b#c\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(head.encode())
            else:
                connection.sendall(OK if method != "HEAD" else OK.split(b"\r\n\r\n")[0] + b"\r\n\r\n")

    words = ["-n", "1", "--users", "1", "--follow", "3", "-H", "Host: shop.example"]
    form = "application/x-www-form-urlencoded"
    with serving(handle) as url:
        for status, sent, expected in [
            ("307", ["--data", "x=1"], ("POST", b"x=1", form)),
            ("308", ["--data", "x=1", "--method", "PUT"], ("PUT", b"x=1", form)),
            ("302", ["--data", "x=1"], ("GET", b"", "")),
            ("303", ["--method", "HEAD"], ("HEAD", b"", "")),
        ]:
            asked.clear()
            told = report(f"{url}to/{status}", *words, *sent)
            assert (told["statuses"]["2xx"], told["steps"], told["errors"]) == (1, 1, 0), told
            method, body, kind = expected
            assert asked[1] == (f"{method} /there/{status}?a=b", "shop.example", body, kind)


def test_a8_a_login_is_asked_for_with_every_header() -> None:
    """A site behind a proxy that ends TLS wants its name and its scheme in the login as well."""
    seen: list[dict[str, str]] = []

    def handle(connection: socket.socket) -> None:
        for line, fields, _ in requests(connection):
            seen.append(fields)
            place = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(place if line.startswith("POST") else OK)

    words = ["-n", "1", "--users", "1", "--login", "/login/", "--login-data", "username=u&password=p"]
    headers = ["-H", "Host: shop.example", "-H", "X-Forwarded-Proto: https"]
    with serving(handle) as url:
        told = report(url, *words, *headers)
    assert (told["hits"], told["errors"], told["steps"]) == (1, 0, 2)
    assert len(seen) == 3
    for fields in seen:
        assert (fields["host"], fields["x-forwarded-proto"]) == ("shop.example", "https")
    # Django compares `Origin` with the host it was asked as.
    assert seen[1]["origin"] == "https://shop.example"
    assert seen[1]["referer"] == "https://shop.example/login/"


def test_a8_an_access_log_is_replayed_in_order_and_faster(tmp_path: Path) -> None:
    asked: list[str] = []

    def handle(connection: socket.socket) -> None:
        for line, _, _ in requests(connection):
            asked.append(line.split()[1])
            connection.sendall(OK)

    log = tmp_path / "access.log"
    line = '127.0.0.1 - - [21/Nov/2026:10:00:{:02} +0000] "{} HTTP/1.1" 200 5 "-" "-"\n'
    log.write_text(
        "".join(line.format(at, f"GET /{at}") for at in range(5)) + line.format(5, "POST /buy")
    )
    with serving(handle) as url:
        told = report(url, "--access-log", str(log), "--speed", "10")
    assert asked == ["/0", "/1", "/2", "/3", "/4"]
    assert told["hits"] == 5
    # Half a second, and five without `--speed`.
    assert told["time_s"] < 5
    assert "may change something" in told["left_out"][0]


def test_a8_lists_and_recordings(tmp_path: Path) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def handle(connection: socket.socket) -> None:
        for line, fields, body in requests(connection):
            asked.append((line, fields.get("x-test", ""), body))
            connection.sendall(OK)

    listed = tmp_path / "urls.txt"
    listed.write_text("/a weight=1\nPOST /b weight=3 body=x y\n")
    har = tmp_path / "site.har"
    with serving(handle) as url:
        entry = {"request": {"method": "GET", "url": f"{url}h?1", "headers": [{"name": "X-Test", "value": "1"}]}}
        other = {"request": {"method": "GET", "url": "http://example.org/", "headers": []}}
        har.write_text(json.dumps({"log": {"entries": [entry, other]}}))
        told = report(url, "--url-list", str(listed), "-n", "200", "--users", "2")
        assert {line for line, _, _ in asked} == {"GET /a HTTP/1.1", "POST /b HTTP/1.1"}
        assert any(body == b"x y" for _, _, body in asked)
        hits = {each["request"]: each["hits"] for each in told["requests"]}
        assert hits["POST /b"] > 2 * hits["GET /a"]
        asked.clear()
        recorded = report(url, "--har", str(har), "-n", "3", "--users", "1")
    assert [(line, test) for line, test, _ in asked] == [("GET /h?1 HTTP/1.1", "1")] * 3
    assert recorded["left_out"] == ["1 requests to other hosts"]


def secure(folder: Path, protocol: str) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS that agrees on a protocol, and the authority that signed it."""
    authority = Authority("Canter test authority")
    pair = authority.issue(folder / "server", "localhost", is_server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain, pair.key)
    context.set_alpn_protocols([protocol])
    return context, authority.write(folder / "authority.pem")


def within(context: ssl.SSLContext, handler: Handler) -> Handler:
    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            handler(inner)

    return handle


def http2(connection: socket.socket) -> None:
    """Answers each stream, a body of 100,000 bytes for `/large`."""
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    state.initiate_connection()
    connection.sendall(state.data_to_send())
    while data := connection.recv(65_536):
        for event in state.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                stream, fields = event.stream_id, dict(event.headers or [])
                body = b"x" * 100_000 if fields[b":path"] == b"/large" else b"ok"
                status = "200" if fields[b"x-test"] == b"1" else "400"
                state.send_headers(stream, [(":status", status)])
                for at in range(0, len(body), 16_384):
                    state.send_data(stream, body[at : at + 16_384])
                state.end_stream(stream)
        connection.sendall(state.data_to_send())


def test_tls_is_spoken_and_certificates_are_checked_when_asked(tmp_path: Path) -> None:
    context, authority = secure(tmp_path, "http/1.1")
    stranger = Authority("Canter test stranger").write(tmp_path / "stranger.pem")
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    with serving(within(context, always(large))) as url:
        url = url.replace("http:", "https:")
        words = ["-n", "20", "--users", "2"]
        believed = report(url, *words)
        signed = report(url, *words, "--cacert", str(authority))
        unknown = report(url, *words, "--cacert", str(stranger))
    assert (believed["hits"], believed["errors"], believed["connections"]) == (20, 0, 2)
    assert signed["hits"] == 20
    assert unknown["failures"] == {"TLS failed": 20}
    assert "`--cacert FILE`" in " ".join(unknown["prose"])
    assert "UnknownIssuer" in unknown["first_error"]["what"]


def test_http2_is_spoken_in_plain_text_and_over_tls(tmp_path: Path) -> None:
    words = ["-n", "20", "--users", "2", "--http2", "-H", "X-Test: 1"]
    with serving(http2) as url:
        plain = report(url, *words)
        large = report(f"{url}large", *words)
    context, _ = secure(tmp_path, "h2")
    with serving(within(context, http2)) as url:
        secured = report(url.replace("http:", "https:"), *words)
    for told in (plain, large, secured):
        assert told["statuses"]["2xx"] == 20, told["failures"]
        assert (told["errors"], told["connections"]) == (0, 2)
    assert large["bytes_in"] > 20 * 100_000


def test_http2_to_a_server_without_it_is_an_error_by_kind() -> None:
    with serving(always(OK, close=True)) as url:
        told = report(url, "-n", "4", "--users", "2", "--http2", "--timeout", "5s")
    assert told["hits"] == 0
    assert told["errors"] == 4


def streams(answer: Callable[[h2.connection.H2Connection, int, int], bool]) -> Handler:
    """HTTP/2 that lets each stream of a connection, counted from 1, be answered; False ends the connection."""

    def handle(connection: socket.socket) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        connection.sendall(state.data_to_send())
        count = 0
        while data := connection.recv(65_536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    count += 1
                    goes_on = answer(state, event.stream_id, count)
                    connection.sendall(state.data_to_send())
                    if not goes_on:
                        return
            connection.sendall(state.data_to_send())

    return handle


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_http2_that_ends_in_the_middle_of_an_answer_is_counted(reset: bool) -> None:
    def answer(state: h2.connection.H2Connection, stream: int, count: int) -> bool:
        state.send_headers(stream, [(":status", "200")])
        state.send_data(stream, b"half", end_stream=count == 1)
        return count == 1

    def handle(connection: socket.socket) -> None:
        streams(answer)(connection)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(handle) as url:
        told = report(url, "-n", "2", "--users", "1", "--http2")
    assert (told["hits"], told["errors"], told["sent_again"]) == (1, 1, 0), told["failures"]
    assert set(told["failures"]) <= {"ended in the middle", "connection reset"}


def test_http2_that_was_closed_between_two_requests_is_asked_once_more() -> None:
    def answer(state: h2.connection.H2Connection, stream: int, count: int) -> bool:
        if count == 1:
            state.send_headers(stream, [(":status", "200")], end_stream=True)
        return count == 1

    with serving(streams(answer)) as url:
        told = report(url, "-n", "2", "--users", "1", "--http2")
    assert (told["hits"], told["errors"], told["sent_again"], told["connections"]) == (2, 0, 1, 2)


def test_http2_stays_open_when_the_server_speaks_between_requests() -> None:
    def answer(state: h2.connection.H2Connection, stream: int, count: int) -> bool:
        state.send_headers(stream, [(":status", "200")], end_stream=True)
        state.ping(b"whoelse?")
        return True

    with serving(streams(answer)) as url:
        told = report(url, "-n", "5", "--users", "1", "--http2", "--think", "20ms")
    assert (told["hits"], told["errors"], told["connections"]) == (5, 0, 1)


def test_http2_sends_a_body_longer_than_the_buffers_of_its_socket(tmp_path: Path) -> None:
    """The server takes all of it before it says a word, so that nothing that comes sets the upload going."""
    size = 16 << 20
    body = tmp_path / "body"
    body.write_bytes(bytes(size))
    taken = [0]

    def handle(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        state.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
        state.increment_flow_control_window(1 << 30)
        connection.sendall(state.data_to_send())
        while data := connection.recv(1 << 20):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    taken[0] += len(event.data)
                if isinstance(event, h2.events.StreamEnded):
                    state.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
                    connection.sendall(state.data_to_send())

    with serving(handle) as url:
        told = report(url, "-n", "1", "--users", "1", "--http2", "--data", f"@{body}", "--timeout", "100s")
    assert (told["hits"], told["errors"], taken[0]) == (1, 0, size), told["failures"]


def test_a_unix_socket_is_asked(tmp_path: Path) -> None:
    with serving(always(OK), tmp_path / "s") as path:
        told = report("http://site.example/", "--unix-socket", path, "-n", "10", "--users", "2")
    assert told["hits"] == 10
