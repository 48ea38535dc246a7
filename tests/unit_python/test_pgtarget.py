"""Owns checking that the parameters of a PostgreSQL connection are worked out as libpq does it:
each row is also given to libpq itself, by a connection that is begun and leads nowhere.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest
from canter.pgtarget import ENVIRONMENT, TargetError, parse_service, resolve

SERVICES = """\
# Ours.
[shop]
host=/nowhere/shop
port=5433
dbname=shop
  user=keeper  
options=-c search_path=shop,public
application_name=from the service

[reports]
host=/nowhere/reports
dbname=reports
sslmode=disable
"""

ROWS: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"host": "/nowhere", "dbname": "a", "user": "b"}, {}),
    ({"host": "/nowhere", "user": "b"}, {}),
    ({"host": "/nowhere"}, {"PGUSER": "e", "PGDATABASE": "d", "PGPORT": "5555"}),
    ({}, {"PGHOST": "/nowhere", "PGUSER": "e", "PGPASSWORD": "p w"}),
    ({"user": "given"}, {"PGHOST": "/nowhere", "PGUSER": "e"}),
    ({"host": "/nowhere", "port": ""}, {"PGPORT": "5555"}),
    ({"host": "/nowhere", "dbname": ""}, {"PGDATABASE": "d", "PGUSER": "u"}),
    ({"host": "/nowhere"}, {"PGSSLMODE": "allow", "PGREQUIRESSL": "1"}),
    ({"host": "/nowhere"}, {"PGREQUIRESSL": "1"}),
    ({"host": "/nowhere"}, {"PGREQUIRESSL": "0"}),
    ({"host": "/nowhere", "sslmode": "disable"}, {"PGSSLMODE": "require"}),
    ({"host": "/nowhere"}, {"PGOPTIONS": "-c geqo=off", "PGAPPNAME": "cron"}),
    ({"host": "/nowhere"}, {"PGCONNECT_TIMEOUT": "7", "PGTARGETSESSIONATTRS": "read-write"}),
    ({"service": "shop"}, {}),
    ({"service": "shop", "port": "1"}, {"PGPORT": "2", "PGAPPNAME": "cron"}),
    ({"service": "reports"}, {"PGUSER": "e"}),
    ({}, {"PGSERVICE": "shop"}),
    ({"service": "reports", "user": "u"}, {"PGSERVICE": "shop"}),
]

COMPARED = [
    "host", "port", "dbname", "user", "password", "sslmode", "options", "application_name",
    "connect_timeout", "target_session_attrs",
]  # fmt: skip


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment of libpq's without anything in it; the home folder."""
    for variable in [*ENVIRONMENT.values(), "PGREQUIRESSL", "PGSERVICE", "PGSERVICEFILE"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".pg_service.conf").write_text(SERVICES)
    return tmp_path


def libpq(given: dict[str, str]) -> dict[str, str]:
    """What libpq itself makes of it."""
    text = psycopg.conninfo.make_conninfo(**given)
    connection = psycopg.pq.PGconn.connect_start(text.encode())
    found = {
        option.keyword.decode(): option.val.decode()
        for option in connection.info
        if option.val is not None
    }
    connection.finish()
    return found


@pytest.mark.parametrize("given, environ", ROWS)
def test_a_connection_leads_where_libpq_would_go(
    clean: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], environ: dict[str, str]
) -> None:
    without = libpq({"host": "/nowhere"})
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    theirs, ours = libpq(given), resolve(given)
    # Files are looked for by libpq when it connects.
    defaults = {key: without.get(key, "") for key in ("port", "sslmode", "target_session_attrs")}
    for key in COMPARED:
        expected = theirs.get(key) or defaults.get(key, "")
        if key == "connect_timeout" and key not in theirs:
            expected = ""
        assert ours.get(key, defaults.get(key, "")) == expected, key


@pytest.mark.parametrize(
    "text",
    [
        "[shop]\nhost\n",
        "[shop]\nservice=other\n",
        "[shop]\nhost = h\n",
        "[shop]\nhots=h\n",
    ],
)
def test_a_line_of_a_service_that_libpq_refuses_is_refused(clean: Path, text: str) -> None:
    (clean / ".pg_service.conf").write_text(text)
    with pytest.raises(TargetError, match="line 2"):
        resolve({"service": "shop"})
    connection = psycopg.pq.PGconn.connect_start(b"service=shop")
    assert connection.status == psycopg.pq.ConnStatus.BAD
    connection.finish()


def test_a_service_that_nobody_wrote_is_named_with_the_places() -> None:
    with pytest.raises(TargetError, match="no service 'nothing' in /a/pg_service"):
        resolve({"service": "nothing"}, {"PGSERVICEFILE": "/a/pg_service.conf"})


def test_only_the_first_section_of_a_name_counts() -> None:
    text = "[a]\nhost=1\n[b]\nhost=2\n[a]\nport=3\n"
    assert parse_service(text, "a") == {"host": "1"}
    assert parse_service(text, "c") is None


def test_files_that_libpq_looks_for_by_itself_are_named(clean: Path) -> None:
    folder = clean / ".postgresql"
    folder.mkdir()
    for name in ("root.crt", "postgresql.crt", "postgresql.key"):
        (folder / name).touch()
    (clean / ".pgpass").touch()
    found = resolve({"host": "h", "user": "u"})
    assert found["sslrootcert"] == str(folder / "root.crt")
    assert found["sslcert"] == str(folder / "postgresql.crt")
    assert found["sslkey"] == str(folder / "postgresql.key")
    assert found["passfile"] == str(clean / ".pgpass")
    plain = resolve({"host": "h", "user": "u", "sslmode": "disable", "password": "p"})
    assert not {"sslrootcert", "sslcert", "sslkey", "passfile"} & set(plain)


def test_paths_are_absolute_and_what_is_not_there_is_left_out(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clean)
    Path("ca.crt").touch()
    assert resolve({"user": "u", "sslrootcert": "ca.crt"})["sslrootcert"] == str(clean / "ca.crt")
    assert resolve({"user": "u", "sslrootcert": "system"})["sslrootcert"] == "system"
    assert "sslcert" not in resolve({"user": "u", "sslcert": "/nowhere/c", "sslkey": "/nowhere/k"})
    # A certificate to check against is never left out where one is asked for.
    strict = resolve({"user": "u", "sslmode": "verify-full", "sslrootcert": "/nowhere/ca"})
    assert strict["sslrootcert"] == "/nowhere/ca"


def test_numbers_and_absent_values_are_taken_as_a_driver_takes_them() -> None:
    found = resolve({"host": "h", "port": 5433, "user": "u", "password": None}, os.environ)
    assert found["port"] == "5433" and "password" not in found


def test_a_user_id_without_a_name_matters_only_where_no_user_is_given(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that was started with any number for its user."""
    monkeypatch.setattr("os.geteuid", lambda: 987_654)
    assert resolve({"host": "h", "user": "site"})["dbname"] == "site"
    assert resolve({"host": "h"}, {"PGUSER": "site"})["user"] == "site"
    with pytest.raises(TargetError, match="user 987654 has no name"):
        resolve({"host": "h", "dbname": "shop"})
