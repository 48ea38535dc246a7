"""Owns the deaths: clients that end at random points of the protocol, thousands of them, also
while server processes end under them, with the server's own word that nothing is left.

The points are drawn from a seed, so that a failure comes back. ``CANTER_DEATHS`` is how many, and
``CANTER_DEATHS_SECONDS`` how long the long run may take.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness import pgwire as p
from harness.operated import together, until
from harness.pgwire import Client, Closed, Fake, FakeServer, Message, code_of, kinds

pytestmark = pytest.mark.pooled

FEW = int(os.environ.get("CANTER_DEATHS", "500"))
MANY = int(os.environ.get("CANTER_DEATHS", "10000"))
LIMIT = float(os.environ.get("CANTER_DEATHS_SECONDS", "60"))
"""Seconds after which the long run ends with the deaths it has."""

SECRET = "canter-secret-of-one-client"


def scripts() -> list[bytes]:
    """What the clients are in the midst of when they die."""
    everything = p.extended("SELECT generate_series(1, 2000), repeat('x', 100)")
    return [
        p.query("SELECT 1"),
        p.query(f"SET app.secret = '{SECRET}'; SELECT 1"),
        p.query("BEGIN; INSERT INTO deaths VALUES (1); SELECT pg_advisory_xact_lock_shared(9)"),
        p.query("SELECT pg_advisory_lock_shared(1)"),
        p.query("CREATE TEMP TABLE death (n int)"),
        p.query(f"LISTEN \"{SECRET}\""),
        p.query("DECLARE death CURSOR WITH HOLD FOR SELECT generate_series(1, 10)"),
        p.query("PREPARE death AS SELECT 1"),
        p.query("COPY deaths FROM STDIN") + p.copy_data(b"1\n") * 50,
        p.query("COPY (SELECT generate_series(1, 5000)) TO STDOUT"),
        p.query("SELECT pg_sleep(1)"),
        p.query("SET ROLE NONE; SET work_mem = '3MB'"),
        everything + p.sync(),
        everything + p.flush(),
        p.parse("SELECT $1::text", "death") + p.bind("death", [b"v" * 3000]) + p.execute(),
        b"".join(p.extended(f"SELECT {n}") + p.sync() for n in range(20)),
        p.extended("SELECT 1/0") + p.extended("SELECT 1") + p.sync(),
        p.parse("COPY deaths FROM STDIN") + p.bind() + p.execute() + p.copy_data(b"2\n"),
        p.query("BEGIN") + p.query("SELECT 1") + p.query("SELECT 1/0"),
        p.function_call(2621, b"1") + p.query("SELECT 1"),
    ]


class Killer:
    """Clients of one thread, one after the other."""

    def __init__(self, way: Any, seed: int) -> None:
        self.way = way
        self.chance = random.Random(seed)
        self.scripts = scripts()

    def die(self) -> None:
        """One life."""
        chance = self.chance
        try:
            client = self.way.stranger()
        except OSError:
            return
        try:
            start = p.startup(user="site", database=self.way.dbname)
            if chance.random() < 0.08:
                client.send(start[: chance.randrange(len(start))])
                return
            client.send(start)
            if chance.random() < 0.08:
                return
            client.greeted()
            for _ in range(chance.choice([1, 1, 1, 2, 3])):
                self._act(client)
        except (Closed, OSError):
            pass
        finally:
            if chance.random() < 0.2:
                self._say_goodbye(client)
            client.close()

    def _act(self, client: Client) -> None:
        chance = self.chance
        script = chance.choice(self.scripts)
        cut = chance.choice([len(script), len(script), chance.randrange(1, len(script) + 1)])
        client.send(script[:cut])
        if cut == len(script) and b"pg_sleep" not in script and chance.random() < 0.5:
            client.socket.settimeout(chance.choice([0.001, 0.02, 0.2]))
            client.read(chance.choice([1, 5, 30, 200]))

    def _say_goodbye(self, client: Client) -> None:
        try:
            client.send(p.terminate())
        except OSError:
            pass


def witness(way: Any, end: threading.Event, servers_die: bool, n: int) -> Callable[[], int]:
    """A client that works all the time and must never see another one's state or reply. An error
    is what it may hear where servers die."""

    def work() -> int:
        rounds = asked = 0
        with way.raw() as client:
            while not end.is_set():
                # Says whose the reply is that somebody else got, and which one.
                asked += 1
                mark = f"witness {n}, {asked}"
                answer = client.ask(f"SELECT '{mark}', current_setting('app.secret', true)")
                if servers_die and code_of(answer)[:2] in ("57", "08"):
                    assert answer[-1].kind == "Z", answer
                    continue
                assert kinds(answer) == "TDCZ", answer
                row = next(one for one in answer if one.kind == "D").values
                assert row[0] == mark.encode(), answer
                assert row[1] in (None, b""), "another client's setting"
                assert all(one.kind not in "AN" for one in answer), answer
                rounds += 1
        return rounds

    return work


def assassin(way: Any, end: threading.Event, deaths: list[int]) -> Callable[[], None]:
    """Ends server processes of the pool, one after the other, whatever they do."""

    def work() -> None:
        chance = random.Random(13)
        sql = "SELECT pg_terminate_backend(%s)"
        while not end.wait(chance.uniform(0.001, 0.05)):
            found = sorted(way.pids())
            if found:
                way.postgres.rows(sql, chance.choice(found))
                deaths.append(1)

    return work


def run_deaths(way: Any, count: int, threads: int = 6, servers_die: bool = False) -> int:
    """As many deaths as time allows; how many it were."""
    admin = way.postgres.connect(dbname=way.dbname, user="site")
    admin.execute("CREATE TABLE deaths (n int)")
    admin.close()
    deadline = time.monotonic() + LIMIT
    end = threading.Event()
    dead = [0] * threads

    def kill(n: int) -> int:
        killer = Killer(way, n)
        try:
            while dead[n] < count // threads and time.monotonic() < deadline:
                killer.die()
                dead[n] += 1
        finally:
            if all(d >= count // threads for d in dead) or time.monotonic() >= deadline:
                end.set()
        return dead[n]

    servers: list[int] = []
    watchers = [witness(way, end, servers_die, n) for n in range(2)]
    killers: list[Callable[[], Any]] = [lambda n=n: kill(n) for n in range(threads)]
    if servers_die:
        killers.append(assassin(way, end, servers))
    found = together([*watchers, *killers])
    assert all(rounds > 0 for rounds in found[:2]), "a witness was never served"
    assert bool(servers) == servers_die
    print(f"{sum(dead)} deaths of clients, {len(servers)} of servers")
    return sum(dead)


def nothing_is_left(way: Any, cap: int, files: int) -> None:
    way.settled()
    assert len(way.backends()) <= cap
    sql = (
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE a.datname = %s AND l.locktype = 'advisory'"
    )
    until(lambda: way.postgres.value(sql, way.dbname) == 0, what="the locks to be gone")
    until(lambda: way.open_files() <= files + cap + 2, what="descriptors to be closed")
    # Every server of the pool, at once: none has anything of anybody.
    clients = [way.raw() for _ in range(cap)]
    for client in clients:
        client.ask("BEGIN")
    for client in clients:
        assert client.value("SELECT count(*) FROM deaths") == "0"
        checks = {
            "SELECT coalesce(current_setting('app.secret', true), '')": "",
            "SHOW work_mem": "4MB",
            "SELECT count(*) FROM pg_listening_channels()": "0",
            "SELECT count(*) FROM pg_cursors": "0",
            "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()": "0",
            "SELECT count(*) FROM pg_prepared_statements WHERE from_sql": "0",
        }
        for sql, expected in checks.items():
            assert client.value(sql) == expected, sql
    for client in clients:
        client.ask("COMMIT")
        client.close()


SERVERS_TOO = pytest.mark.parametrize("servers_die", [False, True], ids=["clients", "both"])


@SERVERS_TOO
def test_deaths_of_500_clients_at_random_points(start: Any, servers_die: bool) -> None:
    way = start(connections=4)
    way.raw().close()
    files = way.open_files()
    assert run_deaths(way, FEW, servers_die=servers_die) > 0
    nothing_is_left(way, 4, files)


@pytest.mark.slow
@SERVERS_TOO
def test_deaths_of_10000_clients_at_random_points(start: Any, servers_die: bool) -> None:
    way = start(connections=8)
    way.raw().close()
    files, memory = way.open_files(), way.memory()
    run_deaths(way, MANY, threads=12, servers_die=servers_die)
    nothing_is_left(way, 8, files)
    assert way.memory() - memory < 24 << 20


def test_deaths_of_servers_at_random_points(start: Any) -> None:
    """The server ends after a random number of bytes of what it says; clients hear an error or a
    closed connection and never the reply of another."""
    chance = random.Random(11)
    lock = threading.Lock()

    def script(fake: Fake) -> None:
        with lock:
            left = chance.choice([chance.randrange(len(p.GREETING)), 400, 600, 1000, 5000])

        def say(data: bytes) -> bool:
            nonlocal left
            fake.send(data[:left])
            left -= len(data)
            return left > 0

        fake.receive_startup()
        if not say(p.GREETING):
            return

        def answer(asked: Message) -> bytes | None:
            mark = asked.body.rstrip(b"\0").rpartition(b" ")[2]
            reply = {"Q": p.one_row(mark), "S": p.ready()}.get(asked.kind, b"")
            return b"" if say(reply) else None

        fake.serve(answer)

    with FakeServer(script) as fake:
        way = start("--db-wait-timeout", "2s", connections=3, url=fake.url(), dbname="fake")

        def live(n: int) -> int:
            served = 0
            for round_ in range(40):
                try:
                    client = way.stranger()
                    found = client.start(user="site", database="fake")
                    if not found or found[-1].kind != "Z":
                        continue
                    mark = f"m{n}x{round_}"
                    answer = client.ask(f"SELECT {mark}")
                    rows = [one.values[0] for one in answer if one.kind == "D"]
                    assert rows in ([mark.encode()], []), rows
                    served += len(rows)
                    client.close()
                except (Closed, OSError):
                    pass
            return served

        assert sum(together([lambda n=n: live(n) for n in range(6)])) > 0
        assert way.process.poll() is None
