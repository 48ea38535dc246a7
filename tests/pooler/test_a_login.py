"""Owns A8 and A9: who may come in at a door, and every way the server asks who we are.

Leaves the rest of a connection's start to ``test_a_start``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from harness import pgwire
from harness.pgwire import Fake, FakeServer, code_of
from harness.postgres import PASSWORD

pytestmark = pytest.mark.pooled


def test_a8_the_unix_door_takes_its_own_user_without_a_password(single: Any) -> None:
    assert single.raw().value("SELECT current_user") == "site"


@pytest.mark.parametrize("role", ["by_scram", "by_md5", "by_password"])
@pytest.mark.parametrize("mode", ["disable", "prefer"])
def test_a9_every_password_method_of_the_server(start: Any, role: str, mode: str) -> None:
    way = start(connections=1, url=tcp_url(start, role, f"sslmode={mode}"))
    assert way.connect(user=role).execute("SELECT current_user").fetchone() == (role,)


@pytest.mark.parametrize("role", ["by_scram", "by_md5", "by_password"])
def test_a9_a_wrong_password_is_said_with_the_servers_words(start: Any, role: str) -> None:
    way = start(connections=1, url=tcp_url(start, role, "sslmode=disable", word="wrong"))
    client = way.stranger()
    found = client.start(user=role, database=way.dbname)
    if found[-1].kind == "Z":
        found = client.ask("SELECT 1")
    assert code_of(found) == "28P01"


@pytest.mark.tls_server
@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full", "allow"])
def test_a9_tls_modes_that_reach_a_server_which_wants_tls(start: Any, mode: str) -> None:
    words = f"sslmode={mode}&sslrootcert={quote(authority(start))}"
    way = start(connections=1, url=tcp_url(start, "by_tls", words, host="localhost"))
    sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert way.connect(user="by_tls").execute(sql).fetchone() == (True,)


@pytest.mark.tls_server
def test_a9_require_verifies_nothing_without_a_root(start: Any) -> None:
    way = start(connections=1, url=tcp_url(start, "by_tls", "sslmode=require"))
    assert way.connect(user="by_tls").execute("SELECT 1").fetchone() == (1,)


@pytest.mark.tls_server
@pytest.mark.parametrize("mode", ["verify-ca", "verify-full", "require"])
def test_a9_a_server_of_another_authority_is_refused(start: Any, mode: str) -> None:
    stranger = quote(str(postgres_of(start).certificates.stranger))
    words = f"sslmode={mode}&sslrootcert={stranger}"
    way = start(connections=1, url=tcp_url(start, "by_tls", words, host="localhost"))
    assert refused(way, "by_tls").startswith("08")


@pytest.mark.tls_server
def test_a9_disable_does_not_reach_a_server_which_wants_tls(start: Any) -> None:
    way = start(connections=1, url=tcp_url(start, "by_tls", "sslmode=disable"))
    assert refused(way, "by_tls") == "28000"


@pytest.mark.tls_server
@pytest.mark.parametrize("binding", ["prefer", "require", "disable"])
def test_a9_scram_with_channel_binding(start: Any, binding: str) -> None:
    words = f"sslmode=require&channel_binding={binding}"
    way = start(connections=1, url=tcp_url(start, "by_scram", words))
    assert way.connect(user="by_scram").execute("SELECT 1").fetchone() == (1,)


def test_a9_channel_binding_is_not_given_up_when_required(start: Any) -> None:
    words = "sslmode=disable&channel_binding=require"
    with pytest.raises(AssertionError, match="channel_binding=require needs TLS"):
        start(connections=1, url=tcp_url(start, "by_scram", words))
    # A server without TLS, and with it one that offers no -PLUS: nothing to bind to.
    with FakeServer(pgwire.answers()) as fake:
        url = f"postgresql://site:word@127.0.0.1:{fake.port}/fake"
        way = start(connections=1, url=f"{url}?channel_binding=require", dbname="fake")
        assert refused(way, "site")


@pytest.mark.tls_server
def test_a9_a_client_certificate(start: Any) -> None:
    own = postgres_of(start).certificates
    words = (
        f"sslmode=verify-full&sslrootcert={quote(str(own.authority))}"
        f"&sslcert={quote(str(own.client.chain))}&sslkey={quote(str(own.client.key))}"
    )
    way = start(connections=1, url=tcp_url(start, "by_cert", words, host="localhost"))
    assert way.connect(user="by_cert").execute("SELECT current_user").fetchone() == ("by_cert",)


@pytest.mark.tls_server
def test_a9_a_client_certificate_of_a_stranger_is_refused(start: Any) -> None:
    own = postgres_of(start).certificates
    pair = own.other_client
    words = f"sslmode=require&sslcert={quote(str(pair.chain))}&sslkey={quote(str(pair.key))}"
    way = start(connections=1, url=tcp_url(start, "by_cert", words))
    assert refused(way, "by_cert")


def test_a8_a_scram_server_that_asks_for_endless_work_is_left(start: Any) -> None:
    """pgjdbc's CVE-2026-42198: an iteration count from the wire is bounded."""

    def script(fake: Fake) -> None:
        fake.receive_startup()
        fake.send(pgwire.authentication(10, b"SCRAM-SHA-256\0\0"))
        nonce = fake.receive().body.split(b"r=")[-1]
        fake.send(pgwire.authentication(11, b"r=" + nonce + b"x,s=c2FsdA==,i=2147483647"))
        fake.rest()

    with FakeServer(script) as fake:
        url = f"postgresql://site:word@127.0.0.1:{fake.port}/fake?sslmode=disable"
        way = start(connections=1, url=url, dbname="fake")
        assert refused(way, "site")


def test_a8_a_password_is_not_sent_to_a_server_that_was_not_asked_for_one(start: Any) -> None:
    """A server that proves nothing in SCRAM (no server signature) is not believed."""

    def script(fake: Fake) -> None:
        fake.receive_startup()
        fake.send(pgwire.authentication(10, b"SCRAM-SHA-256\0\0"))
        fake.receive()
        fake.send(pgwire.GREETING)
        fake.rest()

    with FakeServer(script) as fake:
        url = f"postgresql://site:word@127.0.0.1:{fake.port}/fake?sslmode=disable"
        way = start(connections=1, url=url, dbname="fake")
        assert refused(way, "site")


def postgres_of(start: Any) -> Any:
    return start.postgres


def authority(start: Any) -> str:
    return str(postgres_of(start).certificates.authority)


def tcp_url(
    start: Any, role: str, words: str, *, word: str = PASSWORD, host: str = "127.0.0.1"
) -> str:
    port, name = postgres_of(start).port, start.database
    return f"postgresql://{role}:{quote(word, safe='')}@{host}:{port}/{name}?{words}"


def refused(way: Any, user: str) -> str:
    """The SQLSTATE with which a client is turned away, at start or at its first query."""
    client = way.stranger()
    found = client.start(user=user, database=way.dbname)
    if found and found[-1].kind == "Z":
        found = client.ask("SELECT 1")
    code = code_of(found)
    assert code, found
    with pytest.raises(psycopg.Error):
        way.connect(user=user).execute("SELECT 1")
    return code
