"""Whom Canter believes, from outside: the PROXY protocol, ``X-Forwarded-*``, ``Forwarded`` and
``X-Request-Start``, the platform's defaults, and what follows from them: the way to HTTPS, HSTS,
early hints, the router's patience. Names begin with the ids of the list in
``docs/explain/what-a-client-cannot-do.md``.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.certificates import Authority
from harness.http2 import hinted
from harness.operated import run_canter, until
from harness.raw import Client
from harness.server import Server

APP = """
import json

CALLS = []


def application(environ, start_response):
    CALLS.append(environ["PATH_INFO"])
    if environ["PATH_INFO"] == "/calls":
        body = json.dumps(CALLS).encode()
    else:
        environ["wsgi.input"].read()
        seen = {name: value for name, value in environ.items() if isinstance(value, str)}
        body = json.dumps(seen).encode()
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if environ["PATH_INFO"] == "/own":
        fields.append(("strict-transport-security", "max-age=1"))
    start_response("200 OK", fields)
    return [body]
"""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source: str, command: int = 0x21, tlvs: bytes = b"") -> bytes:
    """A header of version 2 that names ``source`` as the client, at port 4711."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    address = socket.inet_pton(family, source)
    body = address + address + struct.pack("!HH", 4711, 443) + tlvs
    return (
        SIGNATURE
        + bytes([command, 0x21 if ":" in source else 0x11])
        + struct.pack("!H", len(body))
        + body
    )


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


OVER_TLS = tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3"))


def seen(client: Client, *lines: str, path: str = "/") -> dict[str, str]:
    """The environ that a request makes."""
    response = client.get(path, *lines)
    assert response.status == 200, response
    value: dict[str, str] = json.loads(response.body)
    return value


def peer(server: Server, address: str = "127.0.0.1") -> Client:
    """A connection from one of the loopback addresses."""
    client = server.client()
    if address != "127.0.0.1":
        client.socket.close()
        client.socket = socket.create_connection(server.address, 10, (address, 0))
    return client


# --- the PROXY protocol


@pytest.fixture(scope="module")
def behind(folder: Path) -> Iterator[Server]:
    flags = ("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1", "--header-timeout", "1s")
    with Server(folder / "behind", APP, *flags) as server:
        yield server


@pytest.mark.parametrize(
    ("header", "address", "port", "scheme"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", "192.0.2.7", "4711", "http"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7", "4711", "http"),
        (v2("192.0.2.7"), "192.0.2.7", "4711", "http"),
        (v2("2001:db8::7"), "2001:db8::7", "4711", "http"),
        (v2("192.0.2.7", tlvs=OVER_TLS), "192.0.2.7", "4711", "https"),
        (v2("192.0.2.7", tlvs=tlv(4, b"\0" * 30)), "192.0.2.7", "4711", "http"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1", None, "http"),
        (v2("192.0.2.7", command=0x20), "127.0.0.1", None, "http"),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_p15_a_trusted_proxy_names_the_client(
    behind: Server, header: bytes, address: str, port: str | None, scheme: str, bytewise: bool
) -> None:
    with behind.client() as client:
        if bytewise:
            client.send_bytewise(header)
        else:
            client.send(header)
        environ = seen(client)
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (address, scheme)
        if port:
            assert (environ["REMOTE_PORT"], environ["SERVER_PORT"]) == (port, "443")
        # For all requests of the connection.
        assert seen(client)["REMOTE_ADDR"] == address


def test_p15_the_named_client_is_in_the_access_log(behind: Server) -> None:
    with behind.client() as client:
        client.send(v2("192.0.2.99"))
        seen(client, path="/logged-by-name")
    assert behind.access_line("/logged-by-name").startswith("192.0.2.99 ")


def test_p15_the_header_and_the_request_may_come_as_one(behind: Server) -> None:
    with behind.client() as client:
        client.send(v2("192.0.2.7") + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert json.loads(client.response().body)["REMOTE_ADDR"] == "192.0.2.7"


@pytest.mark.parametrize(
    "wrong",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
        b"PROXY UNKNOWN " + b"x" * 200,
        b"proxy TCP4 192.0.2.7 10.0.0.1 4711 443\r\n",
        SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12,
        SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 6000,
    ],
)
def test_p15_a_trusted_peer_that_does_not_speak_it_is_cut_off(behind: Server, wrong: bytes) -> None:
    with behind.client() as client:
        client.send(wrong)
        assert client.is_closed()


def test_p15_a_header_that_does_not_come_in_time_ends_the_connection(behind: Server) -> None:
    began = time.monotonic()
    with behind.client() as client:
        client.send(b"PROXY TCP4 192.")
        assert client.is_closed() and 0.5 < time.monotonic() - began < 9


def test_p15_the_header_is_read_once_for_each_connection(behind: Server) -> None:
    with behind.client() as client:
        client.send(v2("192.0.2.7"))
        assert seen(client)["REMOTE_ADDR"] == "192.0.2.7"
        client.send(b"PROXY TCP4 6.6.6.6 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 400


def test_p15_anybody_else_is_served_as_itself_and_cannot_speak_it(behind: Server) -> None:
    with peer(behind, "127.0.0.5") as client:
        assert seen(client)["REMOTE_ADDR"] == "127.0.0.5"
    with peer(behind, "127.0.0.5") as client:
        client.send(b"PROXY TCP4 6.6.6.6 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 400


def test_p15_a_named_client_is_not_trusted_itself(behind: Server, folder: Path) -> None:
    lie = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Request-Start: 1")
    with behind.client() as client:
        client.send(v2("192.0.2.7"))
        environ = seen(client, *lie)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.7", "http")
    assert not any(
        name.startswith(("HTTP_X_F", "HTTP_X_R")) for name in environ if "ID" not in name
    )
    # Neither where every peer is trusted: that is said of peers, not of their clients.
    with Server(folder / "star", APP, "--proxy-protocol", "--forwarded-allow-ips", "*") as server:
        with server.client() as client:
            client.send(v2("192.0.2.7"))
            assert seen(client, *lie)["REMOTE_ADDR"] == "192.0.2.7"
    # Until it is named as a proxy.
    allowed = ("--forwarded-allow-ips", "127.0.0.1,2001:db8::/32")
    with Server(folder / "two", APP, "--proxy-protocol", *allowed) as server:
        with server.client() as client:
            client.send(v2("2001:db8:1::7"))
            assert seen(client, "X-Forwarded-For: 6.6.6.6")["REMOTE_ADDR"] == "6.6.6.6"


def test_s14_the_named_client_is_who_is_limited(folder: Path) -> None:
    flags = ("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1", "--ban", "all")
    limits = ("--max-connections-per-ip", "2", "--rate-limit", "1/h path=/once")
    with Server(folder / "limited", APP, *flags, *limits) as server:

        def arrive(address: str) -> Client:
            client = server.client()
            client.send(v2(address))
            return client

        held = [arrive("192.0.2.1"), arrive("192.0.2.1")]
        for client in held:
            seen(client)
        with arrive("192.0.2.1") as third, arrive("192.0.2.2") as other:
            assert third.is_closed()
            assert seen(other)
            assert other.get("/once").status == 200
            assert other.get("/once").status == 429
        assert held[0].get("/once").status == 200
        for client in held:
            client.close()
        # Misdeeds are the client's, and the proxy goes on for the others.
        for _ in range(100):
            with arrive("192.0.2.3") as client:
                client.send(b"nonsense\r\n\r\n")
                if client.is_closed() and "shut out" in server.log:
                    break
        assert "client=192.0.2.3" in server.log
        with arrive("192.0.2.3") as banned, arrive("192.0.2.2") as other:
            assert banned.is_closed()
            assert seen(other)


def test_p15_the_header_comes_before_tls(folder: Path) -> None:
    authority = Authority("Canter test authority")
    pair = authority.issue(folder / "proxied", "localhost", is_server=True)
    context = ssl.create_default_context(cafile=str(authority.write(folder / "proxied-root.pem")))
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    flags = ("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1")
    tls = (f"--certfile={pair.chain}", f"--keyfile={pair.key}")
    with Server(folder / "tls", APP, *flags, *tls) as server:
        for bytewise in (False, True):
            client = server.client()
            client.send_bytewise(v2("192.0.2.7")) if bytewise else client.send(v2("192.0.2.7"))
            client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
            environ = seen(client)
            assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.7", "https")
            client.close()
        # The header and the client's first words in one piece.
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        wrapped = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            wrapped.do_handshake()
        with server.client() as client:
            client.send(v2("192.0.2.7") + outgoing.read())
            assert client.socket.recv(3) == b"\x16\x03\x03"


# --- X-Forwarded-* and Forwarded

LIES = [
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Port: 6",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Ssl: on",
    "X-Forwarded-Client-Cert: evil",
    "X-Forwarded-Anything: evil",
    "x-FORWARDED-for: 6.6.6.6",
    "X-Ssl-Client-Cert: evil",
    "X-Ssl-Client-Verify: SUCCESS",
    "X-SSL-Cert: evil",
    "X-Client-Cert: evil",
    "X-Client-Verify: SUCCESS",
    "SSL-Client-S-DN: CN=evil",
    "Client-Cert: :ZXZpbA==:",
    "Client-Cert-Chain: :ZXZpbA==:",
    "X-Scheme: https",
    "X-Url-Scheme: https",
    "Front-End-Https: on",
    "Forwarded: for=6.6.6.6;proto=https",
    "X-Real-IP: 6.6.6.6",
    "X-Request-Start: 1",
    "Script-Name: /evil",
    "X_Forwarded_For: 6.6.6.6",
    "Proxy: http://evil",
]
# What other services say it with.
LIES += [
    f"{name}: 6.6.6.6"
    for name in (
        "CF-Connecting-IP", "CF-Connecting-IPv6", "True-Client-IP", "Fastly-Client-IP",
        "Fly-Client-IP", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Forwarded",
        "Forwarded-For", "X-Original-Forwarded-For", "X-Envoy-External-Address",
        "X-Original-URL", "X-Rewrite-URL", "Remote-User", "X-Remote-User",
    )  # fmt: skip
]


@pytest.mark.parametrize("lie", LIES)
def test_p15_a_strangers_word_never_reaches_the_app(trusting: Server, lie: str) -> None:
    with peer(trusting, "127.0.0.5") as client:
        bare, lied = seen(client), seen(client, lie)
    assert set(bare) == set(lied)
    for name in ("REMOTE_ADDR", "SERVER_PORT", "SCRIPT_NAME", "wsgi.url_scheme"):
        assert bare[name] == lied[name]


@pytest.fixture(scope="module")
def trusting(folder: Path) -> Iterator[Server]:
    with Server(folder / "trusting", APP, "--forwarded-allow-ips", "127.0.0.1") as server:
        yield server


@pytest.mark.parametrize(
    ("flags", "lines", "expected"),
    [
        (
            (),
            ["X-Forwarded-For: 6.6.6.6, 192.0.2.7", "X-Forwarded-Host: evil, a.org"],
            {"HTTP_X_FORWARDED_FOR": "192.0.2.7", "HTTP_X_FORWARDED_HOST": "a.org"},
        ),
        (
            (),
            ["X-Forwarded-Proto: https, http", "X-Forwarded-Port: 443"],
            {"HTTP_X_FORWARDED_PROTO": "http", "wsgi.url_scheme": "http", "SERVER_PORT": "443"},
        ),
        (
            ("--forwarded-hops", "2"),
            ["X-Forwarded-For: 6.6.6.6, 192.0.2.7", "X-Forwarded-For: 10.0.0.9"],
            {"REMOTE_ADDR": "192.0.2.7", "HTTP_X_FORWARDED_FOR": "192.0.2.7, 10.0.0.9"},
        ),
        (
            (),
            ["X-Forwarded-For: 192.0.2.7", "X-Real-IP: 6.6.6.6"],
            {"HTTP_X_REAL_IP": "192.0.2.7"},
        ),
        (
            (),
            ["X-Forwarded-For: 192.0.2.7", "Forwarded: for=6.6.6.6;proto=https"],
            {"REMOTE_ADDR": "192.0.2.7", "wsgi.url_scheme": "http", "HTTP_FORWARDED": None},
        ),
        (
            ("--forwarded-header", "forwarded"),
            [
                'Forwarded: for=6.6.6.6, for="[2001:db8::7]:80";proto=https',
                "X-Forwarded-For: 6.6.6.6",
            ],
            {
                "REMOTE_ADDR": "2001:db8::7",
                "wsgi.url_scheme": "https",
                "HTTP_FORWARDED": 'for="[2001:db8::7]:80";proto=https',
                "HTTP_X_FORWARDED_FOR": None,
            },
        ),
        (
            ("--forwarded-header", "forwarded"),
            ["Forwarded: for=6.6.6.6, for=192.0.2.7;proto=https;,"],
            {"REMOTE_ADDR": "192.0.2.7", "wsgi.url_scheme": "https"},
        ),
        (
            (),
            ["X-Forwarded-For: 6.6.6.6,, 192.0.2.7 ,", "X-Forwarded-Proto: https,"],
            {"HTTP_X_FORWARDED_FOR": "192.0.2.7", "REMOTE_ADDR": "192.0.2.7"},
        ),
        (
            ("--forwarded-header", "forwarded"),
            ['Forwarded: for="6.6.6.6, for=192.0.2.7'],
            {"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=unknown"},
        ),
        (
            ("--forwarded-header", "forwarded"),
            ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"],
            {"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http", "HTTP_X_FORWARDED_SSL": None},
        ),
    ],
)
def test_p15_only_what_our_proxies_wrote_counts(
    folder: Path, flags: tuple[str, ...], lines: list[str], expected: dict[str, str | None]
) -> None:
    with Server(folder / "words", APP, "--forwarded-allow-ips", "127.0.0.0/8", *flags) as server:
        with server.client() as client:
            environ = seen(client, *lines)
    assert {name: environ.get(name) for name in expected} == expected


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize(("trusted", "address"), [("::/127", "192.0.2.7"), ("::2/128", "::1")])
def test_p15_networks_of_ipv6_are_trusted_by_their_prefix(
    folder: Path, trusted: str, address: str
) -> None:
    flags = ("--forwarded-allow-ips", trusted)
    with Server(folder / "six", APP, *flags, bind=("[::1]:0",)) as server:
        with server.client(("::1", server.port)) as client:
            assert seen(client, "X-Forwarded-For: 192.0.2.7")["REMOTE_ADDR"] == address


# --- the router's patience


def test_l3_a_request_its_router_has_given_up_never_reaches_the_app(folder: Path) -> None:
    flags = ("--router-timeout", "30s", "--forwarded-allow-ips", "127.0.0.1")
    with Server(folder / "late", APP, *flags) as server:

        def start(ago: float) -> str:
            return f"X-Request-Start: {int((time.time() - ago) * 1000)}"

        with server.client() as client:
            late = client.get("/late", start(31))
            assert (late.status, late["Retry-After"]) == (503, "1")
            assert (
                client.get("/micro", f"X-Request-Start: t={int((time.time() - 31) * 1e6)}").status
                == 503
            )
            nanoseconds = f"X-Request-Start: {time.time_ns() - 31 * 10**9}"
            assert client.get("/render", nanoseconds).status == 503
            assert client.get("/nginx", f"X-Request-Start: t={time.time() - 31:.3f}").status == 503
            assert client.get("/fresh", start(1)).status == 200
            # A clock that is wrong says nothing: an hour ago, or in the future.
            assert client.get("/old", start(3600)).status == 200
            assert client.get("/new", start(-60)).status == 200
            assert client.get("/word", "X-Request-Start: soon").status == 200
            # A request with a body has its time from the last byte on.
            client.send(
                f"POST /body HTTP/1.1\r\nHost: a\r\n{start(31)}\r\nContent-Length: 2\r\n\r\nab"
            )
            assert client.response().status == 200
        with peer(server, "127.0.0.5") as stranger:
            assert stranger.get("/stranger", start(31)).status == 200
        with server.client() as client:
            calls = client.get("/calls").body
    for path in (b"/late", b"/micro", b"/nginx", b"/render"):
        assert path not in calls
    for path in (b"/fresh", b"/old", b"/new", b"/word", b"/body", b"/stranger"):
        assert path in calls


SLOW = """
import time


def application(environ, start_response):
    print("began", environ["PATH_INFO"], file=environ["wsgi.errors"], flush=True)
    time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def test_l3_a_request_that_runs_when_its_router_gives_up_is_left_alone(folder: Path) -> None:
    flags = ("--router-timeout", "3s", "--timeout", "60s", "--forwarded-allow-ips", "127.0.0.1")
    flags += ("--threads", "1")
    with Server(folder / "router", SLOW, *flags) as server:
        with server.client() as running, server.client() as waiting:
            running.send("GET /running?8 HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_log("began /running")
            waiting.send("GET /waiting?0 HTTP/1.1\r\nHost: a\r\n\r\n")
            # The one that waits is dropped and told so; the one that runs has its connection closed, as
            # if its client had left: what was written now, the router might take for another answer.
            assert waiting.response().status == 503
            assert running.is_closed()
        server.access_line(r"GET /running.* 499 ")

        def is_free() -> bool:
            with server.client() as client:
                return client.get("/after?0").status == 200

        # The call runs to its own end, and its thread takes the next.
        until(is_free, 60.0)
        assert "took too long" not in server.log


# --- platforms


@pytest.mark.parametrize(
    ("variables", "flags", "name", "value", "origin"),
    [
        ({"DYNO": "web.1"}, (), "keep-alive", ["95s"], "platform heroku"),
        ({"DYNO": "web.1"}, (), "router-timeout", ["30s"], "platform heroku"),
        ({"DYNO": "web.1"}, (), "forwarded-allow-ips", ["*"], "platform heroku"),
        ({"DYNO": "web.1"}, ("--keep-alive", "5"), "keep-alive", ["5s"], "flag `--keep-alive`"),
        ({"DYNO": "web.1"}, ("--platform", "none"), "keep-alive", ["75s"], "default"),
        ({"FLY_APP_NAME": "a"}, (), "graceful-timeout", ["4s"], "platform fly"),
        ({"RENDER": "true"}, (), "health", ["true"], "platform render"),
        ({"RAILWAY_ENVIRONMENT": "p"}, (), "health", ["true"], "platform railway"),
        ({"KUBERNETES_SERVICE_HOST": "h"}, (), "forwarded-allow-ips", [], "default"),
        ({"KUBERNETES_SERVICE_HOST": "h"}, (), "graceful-timeout", ["25s"], "platform kubernetes"),
        ({"CANTER_PLATFORM": "docker"}, (), "graceful-timeout", ["8s"], "platform docker"),
        ({"SYSTEMD_EXEC_PID": "1"}, ("--platform", "systemd"), "keep-alive", ["75s"], "default"),
    ],
)
def test_p15_a_platform_has_defaults_that_anything_said_beats(
    tmp_path: Path,
    variables: dict[str, str],
    flags: tuple[str, ...],
    name: str,
    value: list[str],
    origin: str,
) -> None:
    ran = run_canter("options", "--json", *flags, cwd=tmp_path, env=variables)
    assert ran.returncode == 0, ran.stderr
    rows = {row["name"]: row for row in json.loads(ran.stdout)["options"]}
    assert (rows[name]["values"], rows[name]["origin"]) == (value, origin)


def test_s12_behind_a_router_the_platform_is_told_at_the_start(folder: Path) -> None:
    with Server(folder / "dyno", APP, env={"DYNO": "web.1"}) as server:
        assert "heroku (DYNO): " in server.log and "keep-alive 95s" in server.log
        with server.client() as client:
            assert seen(client, "X-Forwarded-For: 6.6.6.6, 192.0.2.7")["REMOTE_ADDR"] == "192.0.2.7"


# --- the way to HTTPS


def test_h9_a_request_that_a_proxy_took_over_http_is_sent_to_https(folder: Path) -> None:
    flags = ("--redirect-https", "--health", "--forwarded-allow-ips", "127.0.0.1")
    with Server(folder / "redirected", APP, *flags) as server:
        with server.client() as client:
            sent = client.get("/a?b=1", "X-Forwarded-Proto: http", "Host: example.org:80")
            assert (sent.status, sent["Location"]) == (308, "https://example.org/a?b=1")
            named = client.get("/", "X-Forwarded-Proto: http", "X-Forwarded-Host: evil, a.org")
            assert named["Location"] == "https://a.org/"
            odd = client.get("/", "X-Forwarded-Proto: http", "X-Forwarded-Host: a/@b", "Host: c")
            assert odd["Location"] == "https://c/"
            assert client.get("/", "X-Forwarded-Proto: https").status == 200
            assert client.get("/").status == 200
            assert client.get("/-/live", "X-Forwarded-Proto: http").status == 200
        with peer(server, "127.0.0.5") as stranger:
            assert stranger.get("/", "X-Forwarded-Proto: http").status == 200


def test_h9_hsts_is_told_over_https_unless_the_app_has_said_so(folder: Path) -> None:
    name = "Strict-Transport-Security"
    flags = ("--hsts", "365d includeSubDomains", "--forwarded-allow-ips", "127.0.0.1", "--health")
    with Server(folder / "hsts", APP, *flags) as server, server.client() as client:
        secure = "X-Forwarded-Proto: https"
        assert client.get("/", secure)[name] == "max-age=31536000; includeSubDomains"
        assert client.get("/-/live", secure)[name].startswith("max-age=31536000")
        assert client.get("/own", secure)[name] == "max-age=1"
        assert name not in client.get("/")
        assert name not in client.get("/", "X-Forwarded-Proto: http")
        # Of refusals, too.
        refused = client.get("/", secure, f"Content-Length: {10**15}", method="POST")
        assert refused.status == 413 and refused[name].startswith("max-age=31536000")


# --- early hints

HINTS = (
    "--early-hint", "/=</site.css>; rel=preload; as=style",
    "--early-hint", "/=<https://cdn.example>; rel=preconnect",
    "--early-hint", "/shop/*=</shop.js>; rel=preload; as=script",
)  # fmt: skip


def head(client: Client) -> bytes:
    """The next head, as it came."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = client.socket.recv(1)
        assert piece, data
        data += piece
    return data


def test_p16_early_hints_go_ahead_of_the_answer(folder: Path) -> None:
    with Server(folder / "hints", APP, *HINTS) as server:
        expected = (
            b"HTTP/1.1 103 Early Hints\r\nLink: </site.css>; rel=preload; as=style\r\n"
            b"Link: <https://cdn.example>; rel=preconnect\r\n\r\n"
        )
        with server.client() as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert head(client) == expected
            assert client.response().status == 200
            client.send("GET /shop/1?x HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\n\r\n")
            assert b"shop.js" in head(client)
            assert client.response().status == 200
        for request in (
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "GET /other HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: cors\r\n\r\n",
        ):
            with server.client() as client:
                client.send(request)
                assert head(client).startswith(b"HTTP/1.1 200 ")


def test_p16_early_hints_reach_clients_of_http2(folder: Path) -> None:
    with Server(folder / "hints2", APP, *HINTS, "--http2", "plain") as server:
        assert (b"link", b"</site.css>; rel=preload; as=style") in hinted(server, "/")
