"""Owns F1 to F4: a client's cancel reaches its own query and no other.

Leaves the cancel of a client that is gone to ``test_e_leaving``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from harness import pgwire
from harness.operated import together, until
from harness.pgwire import code_of, kinds


def cancel(way: Any, key: tuple[int, bytes]) -> None:
    """As libpq does: a connection of its own, closed by the other side without a word."""
    with way.stranger() as client:
        client.send(pgwire.cancel_request(*key))
        assert client.rest() == []


@contextlib.contextmanager
def blocked(way: Any, client: pgwire.Client) -> Iterator[None]:
    """The client runs a query that ends when the block does, however long that takes."""
    with way.postgres.connect(dbname=way.dbname) as locker:
        locker.execute("SELECT pg_advisory_lock(77)")
        client.send(pgwire.query("SELECT pg_advisory_xact_lock(77)"))
        way.running("pg_advisory_xact_lock")
        yield


def heard(way: Any) -> None:
    """The pooler has read what was sent before: it answers somebody who came later."""
    with way.stranger() as probe:
        probe.send(pgwire.ssl_request())
        probe.read(1)


def test_f1_a_cancel_reaches_the_query_of_its_client(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    for one in (client, other):
        one.send(pgwire.query("SELECT pg_sleep(600)"))
    until(lambda: pooler.states().count("active") == 2, what="both queries")
    cancel(pooler, client.key)
    assert code_of(client.until("Z")) == "57014"
    assert "active" in pooler.states()
    cancel(pooler, other.key)
    assert code_of(other.until("Z")) == "57014"
    assert client.value("SELECT 1") == other.value("SELECT 1") == "1"


def test_f1_a_cancel_without_a_query_is_dropped(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.ask("SELECT 1")
    with blocked(single, other):
        cancel(single, client.key)
    assert kinds(other.until("Z")) == "TDCZ"
    assert client.value("SELECT 1") == "1"


def test_f1_a_wrong_secret_is_closed_in_silence(single: Any) -> None:
    client = single.raw()
    pid, secret = client.key
    flipped = bytes(byte ^ 1 for byte in secret)
    with blocked(single, client):
        for key in ((pid, flipped), (pid ^ 1, secret), (0, b"\0" * 4), (-1, secret)):
            cancel(single, key)
        if hasattr(single, "pid"):
            for key in ((pid, secret + b"x"), (pid, secret * 2)):
                cancel(single, key)
    assert kinds(client.until("Z")) == "TDCZ"


def test_f2_a_cancel_never_hits_the_next_client(single: Any) -> None:
    """Cancels that race with the end of the query; the server is handed on at that moment."""
    client, other = single.raw(), single.raw()
    for n in range(100):
        client.send(pgwire.query(f"SELECT pg_sleep({n % 5 / 1000})"))
        with single.stranger() as canceller:
            canceller.send(pgwire.cancel_request(*client.key))
            if hasattr(single, "pid"):
                other.send(pgwire.query("SELECT 'mine'"))
                assert kinds(other.until("Z")) == "TDCZ"
            assert code_of(client.until("Z")) in ("", "57014")
            assert canceller.rest() == []


@pytest.mark.pooled
def test_f2_a_server_is_not_given_on_before_its_cancel_has_arrived(start: Any) -> None:
    """The server of the test holds the cancel back: the next client must wait for it."""
    cancels: list[pgwire.Fake] = []

    def script(fake: pgwire.Fake) -> None:
        code, body = fake.receive_first()
        if code == pgwire.CANCEL_REQUEST:
            cancels.append(fake)
            fake.rest()
            return
        fake.send(pgwire.GREETING)
        fake.serve(lambda asked: b"" if b"slow" in asked.body else pgwire.one_row())

    with pgwire.FakeServer(script) as fake:
        way = start(connections=1, url=fake.url(), dbname="fake")
        client, other = way.raw(), way.raw()
        client.send(pgwire.query("slow"))
        serving = [one for one in fake.connections if one not in cancels]
        canceller = way.stranger()
        canceller.send(pgwire.cancel_request(*client.key))
        until(lambda: cancels, what="the cancel at the server")
        # The query ends by itself; the cancel is still on its way.
        serving[-1].send(pgwire.one_row(b"done"))
        assert client.until("Z")[1].values == [b"done"]
        other.send(pgwire.query("SELECT 1"))
        assert other.is_silent(0.2)
        cancels[0].socket.shutdown(2)
        assert kinds(other.until("Z")) == "TDCZ"


@pytest.mark.pooled
def test_f3_a_client_that_waits_for_a_server_is_cancelled_at_once(single: Any) -> None:
    holder, waiting, third = single.raw(), single.raw(), single.raw()
    holder.ask("BEGIN; SELECT 1")
    waiting.send(pgwire.query("SELECT 2"))
    third.send(pgwire.query("SELECT 3"))
    heard(single)
    assert waiting.is_silent()
    cancel(single, waiting.key)
    answer = waiting.until("Z")
    assert code_of(answer) == "57014"
    holder.ask("COMMIT")
    assert kinds(third.until("Z")) == "TDCZ"
    assert waiting.value("SELECT 4") == "4"


@pytest.mark.pooled
def test_f3_a_waiting_extended_query_is_cancelled_up_to_its_sync(single: Any) -> None:
    holder, waiting = single.raw(), single.raw()
    holder.ask("BEGIN; SELECT 1")
    waiting.send(pgwire.extended("SELECT 2"), pgwire.extended("SELECT 3"), pgwire.sync())
    heard(single)
    assert waiting.is_silent()
    cancel(single, waiting.key)
    assert kinds(waiting.until("Z")) == "EZ"
    holder.ask("COMMIT")
    waiting.send(pgwire.extended("SELECT 4"), pgwire.sync())
    assert kinds(waiting.until("Z")) == "12TDCZ"


@pytest.mark.pooled
def test_f4_a_flood_of_cancels_is_survived(pooler: Any) -> None:
    client = pooler.raw()
    client.send(pgwire.query("SELECT pg_sleep(600)"))
    pooler.running("pg_sleep")
    before = pooler.open_files()
    together([lambda: cancel(pooler, client.key)] * 60)
    assert code_of(client.until("Z")) == "57014"
    for _ in range(5):
        assert kinds(client.ask("SELECT 1")) == "TDCZ"
    # The stranger's half cancels, left open, hold nobody up.
    halves = [pooler.stranger() for _ in range(30)]
    for half in halves:
        half.send(pgwire.cancel_request(*client.key)[:-2])
    assert client.value("SELECT 2") == "2"
    for half in halves:
        half.close()
    until(lambda: pooler.open_files() <= before + 1, what="its descriptors to be closed")
