"""Owns I3, a new ``canter pool`` that takes over from an old one, and E7, a database server whose name
gets another address while clients are served.

Leaves shutdown by the console to ``test_i_console``, several hosts in one URL to ``test_e_leaving``.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from harness.operated import PATIENCE

pytestmark = pytest.mark.pooled


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A listening socket that outlives every pooler, as systemd would hold it."""
    family = socket.AF_INET if request.param == "tcp" else socket.AF_UNIX
    with socket.socket(family) as listener:
        is_tcp = family == socket.AF_INET
        listener.bind(("127.0.0.1", 0) if is_tcp else str(tmp_path / ".s.PGSQL.6432"))
        listener.listen(64)
        yield listener


def words(way: Any, listener: socket.socket) -> dict[str, Any]:
    """What a driver is told to come in there."""
    name = listener.getsockname()
    at = {"host": name[0], "port": name[1]}
    if isinstance(name, str):
        at = {"host": str(Path(name).parent), "port": 6432}
    return way.words(**at, sslmode="disable")


def test_i3_a_new_process_takes_over_and_no_client_is_refused(
    start: Any, listener: socket.socket
) -> None:
    def pool() -> Any:
        door = f"fd://{listener.fileno()}"
        doors = (door, "127.0.0.1:0")
        return start(connections=2, bind=doors, keep=(listener.fileno(),))

    old = pool()
    at = words(old, listener)
    refused: list[str] = []
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            try:
                client = psycopg.connect(**at, autocommit=True)
            except psycopg.errors.AdminShutdown:
                continue
            except psycopg.OperationalError as error:
                # It was in when the old one said goodbye.
                if "57P01" not in str(error.sqlstate) and "shuts down" not in str(error):
                    refused.append(str(error))
                continue
            # Whose statement crosses the goodbye may be told by the end of its connection alone.
            with suppress(psycopg.OperationalError), client:
                client.execute("SELECT 1")

    with psycopg.connect(**at) as busy, psycopg.connect(**at, autocommit=True) as idle:
        busy.execute("CREATE TABLE i3 (n int)")
        visitors = [threading.Thread(target=come_and_go) for _ in range(3)]
        for visitor in visitors:
            visitor.start()
        new = pool()
        old.process.send_signal(signal.SIGTERM)
        old.wait_log("stopping: transactions may finish")
        # A transaction that is open goes on in the old one.
        busy.execute("INSERT INTO i3 VALUES (1)")
        with psycopg.connect(**at, autocommit=True) as late:
            late.execute("SELECT 1")
        busy.commit()
        assert old.process.wait(PATIENCE) == 0
        with pytest.raises(psycopg.OperationalError):
            idle.execute("SELECT 1")
        stop.set()
        for visitor in visitors:
            visitor.join()
    with psycopg.connect(**at, autocommit=True) as client:
        assert client.execute("SELECT n FROM i3").fetchone() == (1,)
    assert new.process.poll() is None
    assert refused == []


class Relay:
    """A way to the real server at an address of its own."""

    def __init__(self, address: str, port: int, target: str) -> None:
        self.listener = socket.create_server((address, port))
        self.port: int = self.listener.getsockname()[1]
        self.target = target
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.accepted += 1
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.target)
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                to.sendall(part)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)


@contextmanager
def relays(target: str) -> Iterator[tuple[Relay, Relay]]:
    """Two, at one port of two addresses of this machine."""
    first = Relay("127.0.0.2", 0, target)
    second = Relay("127.0.0.3", first.port, target)
    try:
        yield first, second
    finally:
        first.listener.close()
        second.listener.close()


OWN_HOSTS = ("unshare", "-rm", "sh", "-c", 'mount --bind "$1" /etc/hosts && shift && exec "$@"')


def hosts_of_our_own(hosts: Path) -> tuple[str, ...]:
    """In front of a command: it sees this file as ``/etc/hosts``."""
    before = (*OWN_HOSTS, "sh", str(hosts))
    with suppress(OSError):
        if subprocess.run([*before, "true"], capture_output=True, check=False).returncode == 0:
            return before
    pytest.skip("this machine lets nobody have an /etc/hosts of his own")


def test_e7_a_name_that_gets_another_address_leads_new_connections_there(
    start: Any, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.0.2 moving.test\n")
    before = hosts_of_our_own(hosts)
    postgres = start.postgres
    with relays(str(postgres.folder / f".s.PGSQL.{postgres.port}")) as (first, second):
        url = f"postgresql://site@moving.test:{first.port}/{start.database}?sslmode=disable"
        way = start(connections=2, url=url, before=before)
        with way.connect(autocommit=False) as old, way.connect() as new:
            old.execute("CREATE TABLE e7 (n int)")
            assert first.accepted > 0 and second.accepted == 0
            before_it_moved = first.accepted
            # In place: another file of that name would not be seen there.
            hosts.write_text("127.0.0.1 localhost\n127.0.0.3 moving.test\n")
            new.execute("SELECT 1")
            assert (first.accepted, second.accepted) == (before_it_moved, 1)
            # What runs at the old address ends there.
            old.execute("INSERT INTO e7 VALUES (1)")
            old.commit()
            assert new.execute("SELECT n FROM e7").fetchone() == (1,)
            assert (first.accepted, second.accepted) == (before_it_moved, 1)
