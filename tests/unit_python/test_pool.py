"""Owns checking what a worker says to the pool and which parameters it then gives to a driver,
with a pool played by a thread.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from canter import pool as pool_module
from canter.pool import REGISTRATION, Pool, Refused, Unreachable


class Played:
    """A pool that answers each registration with the next number, or as it is told."""

    def __init__(self, path: Path) -> None:
        self.told: list[dict[str, str]] = []
        self.refusal: str | None = None
        self.silent = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                self.serve(client)

    def serve(self, client: socket.socket) -> None:
        if self.silent:
            self.silent -= 1
            return
        length, code = struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))
        assert code == REGISTRATION
        body = client.recv(length - 8, socket.MSG_WAITALL)
        assert body.endswith(b"\0\0")
        parts = [part.decode() for part in body[:-2].split(b"\0")]
        self.told.append(dict(zip(parts[::2], parts[1::2], strict=True)))
        if self.refusal is not None:
            fields = b"SFATAL\0C0A000\0M" + self.refusal.encode() + b"\0\0"
            client.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
            return
        value = b"canter.target\0t%d\0" % len(self.told)
        client.sendall(b"S" + struct.pack("!i", len(value) + 4) + value + b"Z\0\0\0\x05I")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".s.PGSQL.5432"


@pytest.fixture
def played(path: Path) -> Iterator[Played]:
    played = Played(path)
    yield played
    played.listener.close()


GIVEN = {"host": "db.example", "dbname": "shop", "user": "u", "password": "secret"}


def test_the_pool_is_told_where_the_database_is_and_the_driver_where_the_pool_is(
    path: Path, played: Played
) -> None:
    pool = Pool(str(path))
    given = {
        **GIVEN, "port": 5433, "sslmode": "require", "options": "-c geqo=off",
        "application_name": "web", "cursor_factory": dict, "connect_timeout": 3,
    }  # fmt: skip
    found = pool.through(given, {"TimeZone": "Etc/My Zone"}, {})
    assert played.told == [
        {**GIVEN, "port": "5433", "sslmode": "require", "connect_timeout": "3"}
    ]
    assert found == {
        "host": str(path.parent), "port": "5432", "dbname": "shop", "user": "u",
        "options": r"-c geqo=off -c TimeZone=Etc/My\ Zone -c canter.target=t1",
        "application_name": "web", "cursor_factory": dict, "connect_timeout": "3",
        "hostaddr": "", "sslmode": "disable",
    }  # fmt: skip


def test_the_old_word_of_psycopg2_for_the_database_is_the_database(path: Path, played: Played) -> None:
    # As Django 3.2 has it.
    given = {"host": "db.example", "database": "shop", "user": "u"}
    pool = Pool(str(path))
    found = pool.through(given, {}, {})
    assert pool.refusal(given) is None
    assert [told["dbname"] for told in played.told] == ["shop", "shop"]
    assert found["dbname"] == "shop" and "database" not in found


def test_variables_for_the_server_do_not_reach_the_way_to_the_pool(
    path: Path, played: Played
) -> None:
    environ = {"PGSSLMODE": "verify-full", "PGCHANNELBINDING": "require", "PGREQUIREAUTH": "md5"}
    found = Pool(str(path)).through({"host": "h", "user": "u"}, {}, environ)
    assert played.told[0]["channel_binding"] == "require"
    assert played.told[0]["require_auth"] == "md5"
    assert (found["sslmode"], found["channel_binding"], found["require_auth"]) == (
        "disable", "disable", "",
    )  # fmt: skip
    assert "password" not in found


def test_what_the_pool_knows_it_is_not_told_again(path: Path, played: Played) -> None:
    pool = Pool(str(path))
    names = [pool.register(GIVEN) for _ in range(3)]
    assert names == ["t1"] * 3
    assert pool.register({**GIVEN, "dbname": "other"}) == "t2"
    assert pool.register(GIVEN, afresh=True) == "t3"
    assert pool.register(GIVEN) == "t3"


def test_passwords_that_change_each_time_do_not_each_make_a_pool(
    path: Path, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(str(path))
    names = {pool.register({**GIVEN, "password": f"token-{n}"}) for n in range(5)}
    assert names == {"t1"}
    monkeypatch.setattr(pool_module, "PASSWORD_KEPT", 0.0)
    assert pool.register({**GIVEN, "password": "token-9"}) == "t2"
    assert played.told[-1]["password"] == "token-9"


def test_a_refusal_says_why(path: Path, played: Played) -> None:
    played.refusal = "gssencmode=require is not supported"
    with pytest.raises(Refused, match="gssencmode"):
        Pool(str(path)).register(GIVEN)


def test_a_pool_that_starts_anew_is_asked_again(path: Path, played: Played) -> None:
    played.silent = 2
    assert Pool(str(path)).register(GIVEN) == "t1"


def test_a_pool_that_is_gone_is_an_error_in_words(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "PATIENCE", 0.1)
    with pytest.raises(Unreachable, match="does not answer at .*is canter serve still running"):
        Pool(str(path)).register(GIVEN)
