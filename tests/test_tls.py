"""TLS from outside, with Python's own client (OpenSSL): versions, names, resumption, new
certificates without a restart, large bodies both ways, the way from HTTP to HTTPS, and what is
said of files that cannot be used.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.certificates import Authority, Pair
from harness.operated import Canter, until
from harness.server import Server

APP = """
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
    elif path == "/big":
        body = b"canter" * 1_000_000
    else:
        names = ("wsgi.url_scheme", "REMOTE_ADDR", "SERVER_PORT", "HTTP_HOST")
        body = "|".join(environ[name] for name in names).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Site:
    """A server with two certificates, and the authority that signed them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("Canter test authority")
        self.root = self.authority.write(folder / "root.pem")
        self.first = self.issue("localhost")
        self.second = self.issue("other.localhost")
        self.wild = self.issue("*.wild.localhost")

    def issue(self, name: str) -> Pair:
        path = self.folder / name.replace("*", "any")
        return self.authority.issue(path, name, is_server=True)

    def flags(self) -> list[str]:
        pairs = (self.first, self.second, self.wild)
        flags = [f"--certfile={pair.chain}" for pair in pairs]
        return [*flags, *(f"--keyfile={pair.key}" for pair in pairs)]

    def context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.root))
        # The test's certificates name no key of their authority, on which newer Pythons insist.
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
        if version:
            context.minimum_version = context.maximum_version = version
        return context


@pytest.fixture(scope="module")
def site(folder: Path) -> Site:
    return Site(folder)


@pytest.fixture(scope="module")
def server(site: Site, folder: Path) -> Iterator[Server]:
    flags = (*site.flags(), "--http-bind", "127.0.0.1:0")
    with Server(folder / "server", APP, *flags) as server:
        yield server


def handshake(
    server: Server, context: ssl.SSLContext, name: str = "localhost", **more: ssl.SSLSession
) -> ssl.SSLSocket:
    raw = socket.create_connection(server.address, timeout=10)
    return context.wrap_socket(raw, server_hostname=name, **more)  # type: ignore[arg-type]


def ask(tls: ssl.SSLSocket, *requests: str) -> list[http.client.HTTPResponse]:
    """Send all requests at once; the responses, read."""
    tls.sendall("".join(f"{line} HTTP/1.1\r\nHost: localhost\r\n\r\n" for line in requests).encode())
    file = tls.makefile("rb")
    responses = []
    for _ in requests:
        response = http.client.HTTPResponse(Reread(file))  # type: ignore[arg-type]
        response.begin()
        response.body = response.read()  # type: ignore[attr-defined]
        responses.append(response)
    return responses


class Reread:
    """A socket whose file goes on where the last response ended."""

    def __init__(self, file: object) -> None:
        self.file = file

    def makefile(self, _mode: str) -> object:
        return Kept(self.file)


class Kept:
    def __init__(self, file: object) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return (lambda: None) if name in ("close", "flush") else getattr(self._file, name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_h9_the_app_sees_https_over_both_versions(
    server: Server, site: Site, version: ssl.TLSVersion
) -> None:
    with handshake(server, site.context(version)) as tls:
        responses = ask(tls, "GET /", "GET /again", "GET /third")
        expected = f"https|127.0.0.1|{server.port}|localhost"
        assert [response.body.decode() for response in responses] == [expected] * 3  # type: ignore[attr-defined]
        assert tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


def test_h9_older_versions_are_refused(server: Server, site: Site) -> None:
    context = site.context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, context).close()


def test_h9_a_client_begins_so_many_handshakes_and_keeps_what_it_has(
    site: Site, folder: Path
) -> None:
    flags = ("--tls-handshakes-per-ip", "1")
    with Server(folder / "handshakes", APP, *site.flags(), *flags) as server:
        begun = []
        for _ in range(20):
            try:
                begun.append(handshake(server, site.context()))
            except (ssl.SSLError, ConnectionError):
                break
        # Five at once; on a slow machine one more for each second that it took.
        assert 5 <= len(begun) < 20
        for tls in begun:
            assert ask(tls, "GET /")[0].status == 200
            tls.close()
        until(lambda: "TLS handshakes are refused" in server.log)
        # A second later the client may begin another.
        until(lambda: is_let_in(server, site))


def is_let_in(server: Server, site: Site) -> bool:
    try:
        handshake(server, site.context()).close()
    except (ssl.SSLError, ConnectionError):
        return False
    return True


def test_h9_hsts_is_told_with_refusals_too(site: Site, folder: Path) -> None:
    with Server(folder / "hsts", APP, *site.flags(), "--hsts", "1d") as server:
        for line in ("TRACE /", "GET /\x01"):
            with handshake(server, site.context()) as tls:
                [refused] = ask(tls, line)
                assert refused.status in (400, 405)
                assert refused.getheader("Strict-Transport-Security") == "max-age=86400"


def test_large_bodies_pass_both_ways(server: Server, site: Site) -> None:
    body = os.urandom(3_000_000)
    connection = http.client.HTTPSConnection(
        "localhost", server.port, context=site.context(), timeout=30
    )
    connection.request("POST", "/echo", body)
    assert connection.getresponse().read() == body
    connection.request("GET", "/big")
    assert connection.getresponse().read() == b"canter" * 1_000_000
    connection.close()


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("localhost", "localhost"),
        ("other.localhost", "other.localhost"),
        ("OTHER.localhost", "other.localhost"),
        ("a.wild.localhost", "*.wild.localhost"),
        ("a.b.wild.localhost", "localhost"),
        ("unknown.example", "localhost"),
    ],
)
def test_each_name_gets_its_certificate(
    server: Server, site: Site, asked: str, served: str
) -> None:
    context = site.context()
    context.check_hostname = False
    with handshake(server, context, asked) as tls:
        names = dict(tls.getpeercert() or {})["subjectAltName"]
    assert ("DNS", served) in names  # type: ignore[operator]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_h9_a_client_that_comes_back_resumes(
    server: Server, site: Site, version: ssl.TLSVersion
) -> None:
    context = site.context(version)
    with handshake(server, context) as tls:
        ask(tls, "GET /")
        session = tls.session
    assert session is not None
    with handshake(server, context, session=session) as tls:
        ask(tls, "GET /")
        assert tls.session_reused


def test_h9_tickets_are_good_after_a_reload(server: Server, site: Site) -> None:
    context = site.context(ssl.TLSVersion.TLSv1_2)
    with handshake(server, context) as tls:
        session = tls.session
    before = server.children()["worker"]
    server.signal(signal.SIGHUP)
    until(lambda: len(server.children()["worker"]) == 1 and server.children()["worker"] != before)
    with handshake(server, context, session=session) as tls:
        assert ask(tls, "GET /")[0].status == 200
        assert tls.session_reused


def test_h9_a_ticket_of_a_front_that_has_died_leads_to_a_whole_handshake(folder: Path, site: Site) -> None:
    with Server(folder / "front-dies", APP, *site.flags()) as server:
        context = site.context(ssl.TLSVersion.TLSv1_2)
        with handshake(server, context) as tls:
            session = tls.session
        [front] = server.children()["front"]
        os.kill(front, signal.SIGKILL)
        # Its keys have died with it: whoever has its memory then can open no ticket of before.
        until(lambda: server.children().get("front", [front]) != [front])
        with handshake(server, context, session=session) as tls:
            assert ask(tls, "GET /")[0].status == 200
            assert not tls.session_reused
            session = tls.session
        with handshake(server, context, session=session) as tls:
            assert tls.session_reused


def test_what_is_not_tls_is_closed_and_others_are_served(server: Server, site: Site) -> None:
    for junk in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 500):
        with socket.create_connection(server.address, timeout=10) as raw:
            raw.sendall(junk)
            while raw.recv(4096):
                pass
    with handshake(server, site.context()) as tls:
        assert ask(tls, "GET /")[0].status == 200


def test_s2_half_a_handshake_is_not_waited_for(site: Site, folder: Path) -> None:
    """The time runs from the connection's beginning, whatever has come."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = site.context().wrap_bio(coming, going, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    half = going.read()[:-20]
    with Server(folder / "half", APP, *site.flags(), "--header-timeout", "1s") as server:
        with contextlib.ExitStack() as stack:
            # At once: all of them end by the same clock.
            clients = [stack.enter_context(socket.create_connection(server.address, timeout=15)) for _ in range(3)]
            for client, sent in zip(clients, (b"", half[:3], half), strict=True):
                client.sendall(sent)
            assert [client.recv(4096) for client in clients] == [b""] * 3
        with handshake(server, site.context()) as tls:
            assert ask(tls, "GET /")[0].status == 200


def test_plain_http_leads_to_https(server: Server) -> None:
    port = server.ports[1]
    for method, path in (("GET", "/a%20b/?q=1&r=2"), ("POST", "/")):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, headers={"Host": f"example.org:{port}"})
        response = connection.getresponse()
        assert (response.status, response.getheader("Location")) == (308, f"https://example.org{path}")
        connection.close()


def test_s4_a_slow_reader_that_keeps_the_pace_gets_everything(folder: Path, site: Site) -> None:
    # Far less than what this one takes at its slowest.
    flags = ("--rate-grace", "1s", "--min-rate", "50")
    with Server(folder / "slow", APP, *site.flags(), *flags) as server, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        raw.connect(server.address)
        raw.settimeout(20)
        with site.context().wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            seen, began = 0, time.monotonic()
            while piece := tls.recv(3000):
                seen += len(piece)
                # A record each 0.2 s, for three seconds: not much, and more than fifty bytes a second.
                if time.monotonic() - began < 3:
                    select.select([], [], [], 0.2)
            assert seen > 6_000_000


def test_new_certificates_are_taken_without_a_restart(folder: Path, site: Site) -> None:
    pair = site.issue("changing.localhost")
    flags = (f"--certfile={pair.chain}", f"--keyfile={pair.key}")
    with Server(folder / "changing", APP, *flags) as server:
        context = site.context()

        def serial() -> str:
            with handshake(server, context, "changing.localhost") as tls:
                return str(dict(tls.getpeercert() or {})["serialNumber"])

        first = serial()
        with handshake(server, context, "changing.localhost") as kept:
            pair.chain.write_text("not a certificate")
            server.wait_log("new certificates cannot be used")
            assert serial() == first
            site.issue("changing.localhost")
            until(lambda: serial() != first, 10, "a new certificate")
            assert ask(kept, "GET /")[0].status == 200


@pytest.mark.parametrize("trouble", ["missing", "foreign key", "no key", "no certificate", "locked"])
def test_files_that_cannot_be_used_are_named(folder: Path, site: Site, trouble: str) -> None:
    broken = folder / trouble.replace(" ", "-")
    broken.mkdir()
    chain, key = broken / "chain.pem", broken / "key.pem"
    shutil.copy(site.first.chain, chain)
    shutil.copy(site.first.key, key)
    if trouble == "missing":
        chain.unlink()
    elif trouble == "foreign key":
        shutil.copy(site.second.key, key)
    elif trouble == "no key":
        key.write_text("")
    elif trouble == "no certificate":
        chain.write_text("")
    elif trouble == "locked":
        key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
    canter = Canter(broken, APP, f"--certfile={chain}", f"--keyfile={key}")
    with canter:
        assert canter.wait() == 5
    blamed = key if trouble in ("foreign key", "no key", "locked") else chain
    assert str(blamed) in canter.log


def test_a_key_without_a_certificate_is_refused(folder: Path, site: Site) -> None:
    (folder / "keyonly").mkdir()
    canter = Canter(folder / "keyonly", APP, f"--keyfile={site.first.key}")
    with canter:
        assert canter.wait() == 2
    assert "needs a certificate" in canter.log
