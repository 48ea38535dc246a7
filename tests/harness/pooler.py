"""Owns a running ``canter pool`` before a database, and ways into it: psycopg, psycopg2, raw
bytes. With ``CANTER_TEST_POOLER=direct`` the same object leads straight to PostgreSQL, which proves
that a test expects what PostgreSQL does.

Leaves PostgreSQL itself to ``postgres``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from harness import pgwire
from harness.heard import Heard
from harness.memory import resident_kilobytes
from harness.operated import PROGRAM, clean_env
from harness.postgres import Postgres, die_with_parent
from harness.waiting import PATIENCE, until

SOMEBODY_ELSE = """
import os, socket, sys
host, port, packet = sys.argv[1:]
"loaded.before".encode("idna").decode("latin-1")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with socket.create_connection((host, int(port)), 15) as door:
    door.sendall(bytes.fromhex(packet))
    heard = door.recv(1)
    while len(heard) < 9 or heard[:1] == b"E":
        more = door.recv(4096)
        if not more:
            break
        heard += more
print(heard.decode("latin-1"))
"""
"""Run by another user: says hello at a door and prints the answer."""

IS_DIRECT = os.environ.get("CANTER_TEST_POOLER") == "direct"


def url_of(postgres: Postgres, dbname: str, user: str = "site", password: str = "") -> str:
    """The address of a database over the server's Unix socket."""
    who = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"postgresql://{who}@{quote(str(postgres.folder), safe='')}:{postgres.port}/{dbname}"


class Way:
    """A way to a database: a socket folder and port, as libpq names it."""

    def __init__(self, postgres: Postgres, dbname: str, folder: Path, port: int) -> None:
        self.postgres = postgres
        self.dbname = dbname
        self.folder = folder
        self.port = port

    def words(self, **more: Any) -> dict[str, Any]:
        """What a driver is told."""
        own = {"host": str(self.folder), "port": self.port, "user": "site", "dbname": self.dbname}
        return {**own, "connect_timeout": 15, **more}

    def connect(self, **more: Any) -> psycopg.Connection[Any]:
        """A psycopg 3 connection in autocommit."""
        return psycopg.connect(**{"autocommit": True, **self.words(**more)})

    @property
    def path(self) -> str:
        """The socket's file."""
        return str(self.folder / f".s.PGSQL.{self.port}")

    def raw(self, **params: str) -> pgwire.Client:
        """A raw connection, logged in."""
        client = self.stranger()
        named = {"user": "site", "database": self.dbname, **params}
        found = client.start((3, 0), **named)
        assert found and found[-1].kind == "Z", found
        return client

    def stranger(self) -> pgwire.Client:
        """A raw connection that has said nothing yet."""
        return pgwire.Client(self.path)

    # --- what the server sees

    def backends(self) -> list[tuple[int, str, str]]:
        """The connections to this database at the server, whoever they are from."""
        return self.postgres.backends(self.dbname)

    def pids(self) -> set[int]:
        """Their process ids."""
        return {pid for pid, _, _ in self.backends()}

    def states(self) -> list[str]:
        """Their states."""
        return [state for _, state, _ in self.backends()]

    def settled(self) -> None:
        """Wait until no connection at the server is at work or in a transaction."""
        until(lambda: all(s == "idle" for s in self.states()), what=f"{self.backends()} idle")

    def running(self, part: str) -> int:
        """Wait until a statement with these words runs; the process id."""

        def found() -> int | None:
            for pid, state, text in self.backends():
                if state == "active" and part in text:
                    return pid
            return None

        return until(found, what=f"{part!r} to run")

    def no_longer_running(self, part: str) -> None:
        """Wait until no such statement runs."""
        until(
            lambda: not any(s == "active" and part in text for _, s, text in self.backends()),
            what=f"{part!r} to end",
        )


class Pooler(Way):
    """``canter pool`` with a door in its own folder and one on loopback."""

    def __init__(
        self,
        folder: Path,
        postgres: Postgres,
        dbname: str,
        *flags: str,
        connections: int | None = 2,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        bind: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
        keep: tuple[int, ...] = (),
    ) -> None:
        super().__init__(postgres, dbname, folder, 5432)
        self.tcp: tuple[str, int] = ("127.0.0.1", 0)
        cap = () if connections is None else ("--db-connections", str(connections))
        self._doors = bind or (f"unix:{self.path}", "127.0.0.1:0")
        words = [word for door in self._doors for word in ("--bind-postgres", door)]
        self.process = subprocess.Popen(
            [*before, PROGRAM, "pool", *words, *cap, *flags],
            pass_fds=keep,
            cwd=folder,
            env=clean_env(**{"DATABASE_URL": url or url_of(postgres, dbname), **(env or {})}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        self._heard = Heard(self.process)

    @property
    def log(self) -> str:
        return self._heard.text

    def wait_log(self, pattern: str) -> re.Match[str]:
        """The first match in a line of the log, once it is there."""
        match = re.search(pattern, self._heard.wait(pattern))
        assert match is not None
        return match

    def wait_ready(self) -> Pooler:
        """Wait until the doors are open."""
        match = self.wait_log(r"127\.0\.0\.1:(\d+)")
        self.tcp = ("127.0.0.1", int(match[1]))

        has_file = any(door.startswith("unix:") for door in self._doors)

        def is_open() -> bool:
            with contextlib.suppress(OSError):
                (self.stranger() if has_file else self.raw_tcp()).close()
                return True
            return False

        until(is_open, what="the door")
        return self

    def raw_tcp(self) -> pgwire.Client:
        """A raw connection to the door on loopback; nothing said yet."""
        return pgwire.Client(self.tcp)

    def as_somebody_else(self, user: str = "site", dbname: str | None = None) -> str:
        """What another user of this machine hears first at the door on loopback: the kind of the
        message and its text. Tests must run as root for this."""
        packet = pgwire.startup(user=user, database=dbname or self.dbname).hex()
        host, port = self.tcp
        done = subprocess.run(
            [sys.executable, "-c", SOMEBODY_ELSE, host, str(port), packet],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    @property
    def pid(self) -> int:
        return self.process.pid

    def memory(self) -> int:
        """Resident bytes now."""
        return resident_kilobytes(self.pid) << 10

    def open_files(self) -> int:
        """How many descriptors it holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self) -> int:
        """End it politely; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._heard.end()
        return code

    def __enter__(self) -> Pooler:
        try:
            return self.wait_ready()
        except BaseException:
            self._kill()
            raise

    def __exit__(self, kind: object, *_error: object) -> None:
        try:
            if kind is None and self.process.poll() is None:
                assert self.stop() == 0, self.log
            assert "panicked" not in self.log, self.log
        finally:
            self._kill()

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
