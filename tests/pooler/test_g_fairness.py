"""Owns G1 to G6: who gets a server when there are too few, and that there are never too many.

Leaves the numbers (throughput, tails) to the benchmarks.
"""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from harness import pgwire
from harness.operated import together, until
from harness.pgwire import FakeServer, code_of, kinds

pytestmark = pytest.mark.pooled

PID = "SELECT pg_backend_pid()"

SHORT = "1500ms"
"""A wait that is seen to end, and long enough for a busy machine to open a connection."""


def held(way: Any) -> pgwire.Client:
    """A client with a server in an open transaction."""
    client = way.raw()
    client.ask("BEGIN; SELECT 1")
    return client


def test_g1_the_oldest_waiter_is_served_first(single: Any) -> None:
    holder = held(single)
    waiters = [single.raw() for _ in range(20)]
    order: list[int] = []
    for n, waiter in enumerate(waiters):
        waiter.send(pgwire.query(f"INSERT INTO g1 (who) VALUES ({n})"))
        # The pooler has read it once it answers somebody who came later.
        with single.stranger() as probe:
            probe.send(pgwire.ssl_request())
            probe.read(1)
    holder.ask("CREATE TABLE g1 (at serial, who int)")
    holder.ask("COMMIT")
    for waiter in waiters:
        assert kinds(waiter.until("Z")) == "CZ"
    answer = holder.ask("SELECT who FROM g1 ORDER BY at")
    order = [int(one.values[0] or 0) for one in answer if one.kind == "D"]
    assert order == list(range(20))


def test_g1_idle_servers_are_used_last_in_first_out(start: Any) -> None:
    way = start(connections=4)
    holders = [held(way) for _ in range(4)]
    for holder in holders:
        holder.ask("COMMIT")
    client = way.raw()
    assert len({client.value(PID) for _ in range(10)}) == 1


def test_g2_few_connections_are_opened_for_many_clients_with_short_work(start: Any) -> None:
    way = start(connections=50)
    clients = [way.raw() for _ in range(50)]

    def work(client: pgwire.Client) -> None:
        for _ in range(20):
            assert client.value("SELECT 1") == "1"

    together([lambda client=client: work(client) for client in clients])
    assert len(way.backends()) <= 50


def test_g3_no_server_is_lost_when_waiters_go_away(single: Any) -> None:
    for round_ in range(20):
        holder = held(single)
        waiters = [single.raw() for _ in range(10)]
        for waiter in waiters:
            waiter.send(pgwire.query("SELECT 2"))
        for n, waiter in enumerate(waiters):
            if (n + round_) % 2:
                waiter.close()
        holder.ask("COMMIT")
        for n, waiter in enumerate(waiters):
            if not (n + round_) % 2:
                assert kinds(waiter.until("Z")) == "TDCZ"
                waiter.close()
        holder.close()
    assert single.raw().value("SELECT 1") == "1"
    assert len(single.backends()) == 1


def test_g4_waiting_too_long_is_an_error_that_says_why(start: Any) -> None:
    way = start("--db-wait-timeout", SHORT, connections=1)
    holder, waiting = held(way), way.raw()
    answer = waiting.ask("SELECT 2")
    assert kinds(answer) == "EZ"
    assert code_of(answer) == "53300"
    fields = answer[0].fields
    assert fields["S"] == "ERROR"
    assert "1 of 1" in fields.get("D", "") + fields["M"]
    holder.ask("COMMIT")
    # The connection is still good.
    assert waiting.value("SELECT 3") == "3"


def test_g4_who_waits_is_told_so_once(start: Any) -> None:
    way = start("--db-wait-notify", SHORT, connections=1)
    holder, waiting = held(way), way.raw()
    waiting.send(pgwire.query("SELECT 2"))
    notice = waiting.receive()
    assert (notice.kind, notice.fields["S"]) == ("N", "NOTICE")
    assert "no server connection is free" in notice.text
    assert "1 of 1" in notice.fields["D"]
    holder.ask("COMMIT")
    assert kinds(waiting.until("Z")) == "TDCZ"


def test_g4_through_psycopg_it_is_an_operational_error(start: Any) -> None:
    way = start("--db-wait-timeout", SHORT, connections=1)
    holder = held(way)
    with way.connect() as connection:
        with pytest.raises(psycopg.errors.TooManyConnections):
            connection.execute("SELECT %s", [2])
        holder.ask("COMMIT")
        assert connection.execute("SELECT %s", [2]).fetchone() == (2,)


def test_g4_a_pipeline_that_waited_in_vain_is_answered_up_to_its_syncs(start: Any) -> None:
    way = start("--db-wait-timeout", SHORT, connections=1)
    holder, waiting = held(way), way.raw()
    waiting.send(*[pgwire.extended("SELECT 1") + pgwire.sync() for _ in range(3)])
    assert code_of(waiting.until("Z")) == "53300"
    holder.ask("COMMIT")
    for _ in range(2):
        assert waiting.until("Z")[-1].kind == "Z"
    assert waiting.value("SELECT 3") == "3"


def test_g5_a_server_past_its_lifetime_is_replaced_and_nobody_notices(start: Any) -> None:
    way = start("--db-lifetime", "100ms", connections=2)
    client = way.raw()
    pids = set()

    def replaced() -> bool:
        pids.add(client.value(PID))
        return len(pids) >= 4

    until(replaced, what="the server to be replaced three times")
    assert len(way.backends()) <= 2


def test_g6_the_cap_holds_under_churn(start: Any, postgres: Any, database: str) -> None:
    """The role's own limit is the cap: one connection more and the server would refuse it."""
    with postgres.role("LOGIN CONNECTION LIMIT 3") as role:
        url = f"postgresql://{role}@127.0.0.1:{postgres.port}/{database}"
        way = start("--db-lifetime", "20ms", connections=3, url=url)
        most = 0
        end = threading.Event()

        def churn(n: int) -> None:
            for round_ in range(12):
                client = way.raw(user=role)
                if (n + round_) % 3 == 0:
                    client.send(pgwire.query("SELECT pg_sleep(0.01)"))
                elif (n + round_) % 3 == 1:
                    client.ask("BEGIN; SELECT 1")
                else:
                    assert client.value("SELECT 1") == "1"
                client.close()

        def watch() -> None:
            nonlocal most
            with postgres.connect() as watcher:
                while not end.is_set():
                    sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
                    most = max(most, watcher.execute(sql, [role]).fetchone()[0])

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            together([lambda n=n: churn(n) for n in range(24)])
        finally:
            end.set()
            watcher.join()
        assert 1 <= most <= 3
        assert f"too many connections for role \"{role}\"" not in postgres.log
        way.stop()
        until(lambda: not way.backends(), what="the end of its connections")


@pytest.mark.parametrize(("told", "limit"), [(12, 12), (None, 15)])
def test_g6_three_hundred_clients_get_no_more_than_was_said_or_than_a_plan_of_20_has_left(
    start: Any, postgres: Any, database: str, told: int | None, limit: int
) -> None:
    """Without ``--db-connections``: the role's 20 less the two of others and a margin of three."""
    with postgres.role("LOGIN CONNECTION LIMIT 20") as role:
        url = f"postgresql://{role}@127.0.0.1:{postgres.port}/{database}"
        others = [psycopg.connect(url) for _ in range(2)]
        mine = [other.info.backend_pid for other in others]
        way = start(connections=told, url=url)
        clients = [way.raw(user=role) for _ in range(300)]
        most = 0
        with postgres.connect() as watcher:
            for client in clients:
                client.send(pgwire.query("SELECT 1 FROM pg_sleep(0.02)"))
            for client in clients:
                assert kinds(client.until("Z")) == "TDCZ"
                sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND pid <> ALL (%s)"
                most = max(most, watcher.execute(sql, [role, mine]).fetchone()[0])
        assert limit / 2 < most <= limit
        for client in [*clients, *others]:
            client.close()
        way.stop()


def test_g6_a_connection_counts_until_its_socket_is_closed(start: Any) -> None:
    """A server that keeps the socket open after Terminate: it still is one of the two."""
    open_now: set[int] = set()
    most: list[int] = [0]
    lock = threading.Lock()

    def script(fake: pgwire.Fake) -> None:
        fake.receive_startup()
        with lock:
            open_now.add(id(fake))
            most[0] = max(most[0], len(open_now))
        try:
            fake.send(pgwire.GREETING)
            fake.serve(lambda asked: pgwire.one_row() if asked.kind == "Q" else b"")
        finally:
            with lock:
                open_now.discard(id(fake))

    with FakeServer(script) as fake:
        way = start("--db-lifetime", "5ms", connections=2, url=fake.url(), dbname="fake")

        def work() -> None:
            for _ in range(20):
                with way.raw() as client:
                    assert client.value("SELECT 1") == "1"

        together([work] * 8)
    assert 1 <= most[0] <= 3, "two, and one whose end the other side has yet to notice"
