"""Owns A1, A2 and A8 where they are about the door: TLS, passwords, certificates, strangers.

Leaves what comes after (A3 to A7) to ``test_a_start`` and the login at the server to
``test_a_login``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import ssl
from pathlib import Path
from typing import Any

import psycopg
import pytest
from harness import pgwire
from harness.operated import PATIENCE
from harness.pgwire import code_of
from harness.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.pooled


@pytest.fixture
def secured(start: Any, postgres: Postgres) -> Any:
    """A pooler whose clients need the password of its URL, with TLS for those who want it."""
    own = postgres.certificates
    assert own is not None
    tls = ("--db-tls-cert", str(own.server.chain), "--db-tls-key", str(own.server.key))
    return start(*tls, connections=1, url=url(postgres, start.database))


def url(postgres: Postgres, database: str) -> str:
    from urllib.parse import quote

    word = quote(PASSWORD, safe="")
    return f"postgresql://by_scram:{word}@127.0.0.1:{postgres.port}/{database}?sslmode=disable"


def connect(way: Any, **more: Any) -> psycopg.Connection[Any]:
    """Over TCP with the right password unless told otherwise."""
    words = {"user": "by_scram", "password": PASSWORD, "dbname": way.dbname, **more}
    host, port = way.tcp
    return psycopg.connect(host="localhost", hostaddr=host, port=port, **words)


def refused(way: Any, **more: Any) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(way, **more)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-full"])
def test_a8_scram_with_and_without_tls(secured: Any, postgres: Postgres, mode: str) -> None:
    assert postgres.certificates is not None
    root = str(postgres.certificates.authority)
    with connect(secured, sslmode=mode, sslrootcert=root) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("by_scram",)
        assert connection.pgconn.ssl_in_use == (mode != "disable")


def test_a8_a_wrong_password_and_an_unknown_user_look_the_same(secured: Any) -> None:
    wrong = refused(secured, password="wrong", sslmode="disable")
    unknown = refused(secured, user="nobody", password="wrong", sslmode="disable")
    assert 'password authentication failed for user "by_scram"' in wrong
    assert 'password authentication failed for user "nobody"' in unknown


def first_steps(way: Any, user: str) -> list[str]:
    """What a stranger sees of a SCRAM exchange: mechanisms, then salt and iterations."""
    with way.raw_tcp() as client:
        client.send(pgwire.startup(user=user, database=way.dbname))
        seen = [repr(client.receive().body)]
        first = b"n,,n=,r=abcdefghijklmnopqrstuvwx"
        body = pgwire.cstring("SCRAM-SHA-256") + len(first).to_bytes(4, "big") + first
        client.send(pgwire.message(b"p", body))
        answer = client.receive()
        assert answer.body[:4] == b"\0\0\0\x0b", answer
        salt, iterations = answer.body[4:].split(b",")[1:]
        return [*seen, str(len(salt)), str(iterations), salt.decode()]


def test_a8_an_unknown_user_is_led_through_the_same_exchange(secured: Any) -> None:
    known, unknown = first_steps(secured, "by_scram"), first_steps(secured, "nobody")
    assert known[:3] == unknown[:3]
    # The salt of nobody is made up, but always the same one.
    assert unknown == first_steps(secured, "nobody")
    assert unknown[3] != first_steps(secured, "anybody")[3]


@pytest.mark.parametrize("method", ["scram", "md5", "plain"])
def test_a8_each_method_with_a_file_of_users(
    start: Any, postgres: Postgres, tmp_path: Path, method: str
) -> None:
    hashed = hashlib.md5(b"secretguest").hexdigest()
    stored = {"scram": "secret", "md5": f"md5{hashed}", "plain": "secret"}[method]
    users = tmp_path / "users"
    users.write_text(f'"by_scram" "other"\n"guest" "{stored}"\n')
    flags = ["--db-auth", method, "--db-auth-file", str(users)]
    own = postgres.certificates
    assert own is not None
    flags += ["--db-tls-cert", str(own.server.chain), "--db-tls-key", str(own.server.key)]
    words = {"url": url(postgres, start.database), "bind": ("127.0.0.1:0",)}
    way = start(*flags, connections=1, **words)
    with connect(way, user="guest", password="secret", sslmode="require") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert "password authentication failed" in refused(
        way, user="guest", password="wrong", sslmode="require"
    )


def test_a8_who_is_asked_for_no_password_logs_in_with_the_one_of_the_file(
    start: Any, postgres: Postgres, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text(f'"by_scram" "{PASSWORD}"\n')
    place = f"postgresql://site@127.0.0.1:{postgres.port}/{start.database}?sslmode=disable"
    words = {"url": place, "bind": ("127.0.0.1:0",), "connections": 1}
    without = start("--db-auth", "trust", **words)
    assert "password" in refused(without, password="")
    way = start("--db-auth", "trust", "--db-auth-file", str(users), **words)
    with connect(way, password="") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("by_scram",)


@pytest.mark.parametrize("method", ["trust", "md5"])
def test_a8_the_md5_hash_of_the_file_does_for_a_server_that_asks_for_md5(
    start: Any, postgres: Postgres, tmp_path: Path, method: str
) -> None:
    users = tmp_path / "users"
    roles = ("by_md5", "by_scram")
    hashes = {role: hashlib.md5(f"{PASSWORD}{role}".encode()).hexdigest() for role in roles}
    users.write_text("".join(f'"{role}" "md5{hash}"\n' for role, hash in hashes.items()))
    place = f"postgresql://site@127.0.0.1:{postgres.port}/{start.database}?sslmode=disable"
    words = {"url": place, "bind": ("127.0.0.1:0",), "connections": 1}
    way = start("--db-auth", method, "--db-auth-file", str(users), **words)
    with connect(way, user="by_md5", password=PASSWORD) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("by_md5",)
    # A hash proves nothing to one that asks for SCRAM.
    assert "only the MD5 hash" in refused(way, user="by_scram", password=PASSWORD)


def test_a8_a_client_certificate(start: Any, postgres: Postgres) -> None:
    own = postgres.certificates
    assert own is not None
    flags = ["--db-auth", "cert", "--db-tls-ca", str(own.authority)]
    flags += ["--db-tls-cert", str(own.server.chain), "--db-tls-key", str(own.server.key)]
    words = {"url": url(postgres, start.database), "bind": ("127.0.0.1:0",)}
    way = start(*flags, connections=1, **words)
    right = {"sslcert": str(own.site.chain), "sslkey": str(own.site.key)}
    wrong = {"sslcert": str(own.other_client.chain), "sslkey": str(own.other_client.key)}
    with connect(way, user="site", sslmode="require", **right) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert refused(way, user="by_cert", sslmode="require", **wrong)
    assert refused(way, user="by_scram", sslmode="require", **right)
    assert refused(way, user="site", sslmode="require")
    assert refused(way, user="site", sslmode="disable")


def test_a2_direct_tls_with_its_alpn(secured: Any, postgres: Postgres) -> None:
    assert postgres.certificates is not None
    context = ssl.create_default_context(cafile=str(postgres.certificates.authority))
    for protocols, works in ((["postgresql"], True), (["http/1.1"], False), ([], False)):
        if protocols:
            context.set_alpn_protocols(protocols)
        else:
            context = ssl.create_default_context(cafile=str(postgres.certificates.authority))
        raw = socket.create_connection(secured.tcp, 15)
        try:
            with context.wrap_socket(raw, server_hostname="localhost") as secure:
                secure.sendall(pgwire.startup(user="by_scram", database=secured.dbname))
                assert (secure.recv(1) == b"R") == works
        except (ssl.SSLError, ConnectionError):
            assert not works


def test_a1_bytes_before_the_tls_handshake_are_not_taken_for_later_ones(secured: Any) -> None:
    """CVE-2021-23214: what somebody in between put behind SSLRequest in the clear."""
    stuffed = pgwire.startup(user="by_scram", database=secured.dbname)
    with secured.raw_tcp() as client:
        client.send(pgwire.ssl_request(), stuffed)
        answer = b""
        try:
            while part := client.socket.recv(4096):
                answer += part
        except ConnectionError:
            pass
        assert b"R" not in answer[1:2]
        assert answer[:1] in (b"S", b"E", b"")


LET_IN = "R\0\0\0\x08\0\0\0\0"


def test_a8_the_door_on_loopback_is_for_our_own_user_when_there_is_no_password(
    single: Any,
) -> None:
    host, port = single.tcp
    words = {"host": host, "port": port, "user": "site", "dbname": single.dbname}
    with psycopg.connect(**words, connect_timeout=15) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for more in ({"user": "postgres"}, {"user": "nobody"}):
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(**{**words, **more}, connect_timeout=15)
    assert "nothing of programs of this user" in single.log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a8_the_door_on_loopback_refuses_other_users_of_this_machine(single: Any) -> None:
    heard = single.as_somebody_else()
    assert heard.startswith("E")
    assert 'authentication failed for user "site"' in heard
    assert "--db-auth trust" in heard
    assert single.as_somebody_else(user="nobody").startswith("E")
    assert single.as_somebody_else(dbname="pgbouncer").startswith("E")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a8_trust_opens_the_door_to_all_of_this_machine(start: Any) -> None:
    assert start("--db-auth", "trust", connections=1).as_somebody_else().startswith(LET_IN)


def test_a8_no_password_is_no_password(secured: Any) -> None:
    with secured.raw_tcp() as client:
        client.send(pgwire.startup(user="by_scram", database=secured.dbname))
        client.receive()
        client.send(pgwire.query("SELECT 1"))
        found = client.rest()
        assert code_of(found)
        assert all(one.kind == "E" for one in found)


def test_b9_a_client_that_writes_without_reading_is_not_locked_over_tls(
    start: Any, postgres: Postgres
) -> None:
    """As over plain sockets: its answers fill every buffer while its requests are still coming."""
    own = postgres.certificates
    assert own is not None
    flags = ["--db-auth", "trust"]
    flags += ["--db-tls-cert", str(own.server.chain), "--db-tls-key", str(own.server.key)]
    way = start(*flags, connections=1)
    context = ssl.create_default_context(cafile=str(own.authority))
    context.set_alpn_protocols(["postgresql"])
    raw = socket.create_connection(way.tcp, 15)
    one = pgwire.extended("SELECT repeat($1, 100)", b"y" * 400) + pgwire.sync()
    ready, count = pgwire.ready(), 200
    with context.wrap_socket(raw, server_hostname="localhost") as secure:
        secure.sendall(pgwire.startup(user="site", database=way.dbname))
        heard = b""
        while not heard.endswith(ready):
            heard += secure.recv(4096)
        secure.setblocking(False)
        left, answered, size, heard = memoryview(one * count), 0, 0, b""
        while left or answered < count:
            moved = False
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                while left:
                    # The whole of it, until nothing goes any more.
                    left = left[secure.send(left[:65536]) :]
                    moved = True
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                part = secure.recv(65536)
                assert part, "closed"
                heard = heard[-len(ready) + 1 :] + part
                answered, size, moved = answered + heard.count(ready), size + len(part), True
            if not moved:
                found = select.select([secure], [secure] if left else [], [], PATIENCE)
                assert any(found), "locked"
    assert size > count * 40_000
