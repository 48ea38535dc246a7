"""Programs that are not the site and use its pool, or one that runs alone: ``--bind-postgres`` and ``canter pool``.

Leaves the site's own ways to ``test_db_serve.py``, and the pooler itself to ``tests/pooler``.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.dbsite import facts
from harness.operated import PATIENCE, PROGRAM, clean_env, refuses, run_canter, until
from harness.pooler import url_of
from harness.postgres import PASSWORD, Postgres
from harness.server import Server

Serve = Callable[..., Server]


def test_other_programs_use_the_pool_of_the_site(
    serve_site: Serve, postgres: Postgres, database: str, tmp_path: Path
) -> None:
    import psycopg

    door = tmp_path / ".s.PGSQL.6432"
    server = serve_site("--bind-postgres", f"unix:{door}")
    server.wait_log("for other programs")
    way = {"host": str(tmp_path), "port": 6432, "user": "site", "dbname": database}
    with psycopg.connect(**way) as connection:
        backend = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert backend == (facts(server)["backend"],)


def test_who_comes_while_the_pool_finishes_transactions_is_refused(
    serve_site: Serve, database: str, tmp_path: Path
) -> None:
    """No process keeps a door open that nobody stands at, neither that of other programs nor the app's own."""
    import psycopg

    door = tmp_path / ".s.PGSQL.6432"
    flags = ("--bind-postgres", f"unix:{door}", "--bind-postgres", "127.0.0.1:0")
    server = serve_site(*flags, "--graceful-timeout", "60s")
    line = server.wait_log(r"127\.0\.0\.1:\d+ for other programs")
    port = int(line.partition("127.0.0.1:")[2].split()[0])
    own = f"{facts(server)['host']}/.s.PGSQL.5432"
    way = {"host": str(tmp_path), "port": 6432, "user": "site", "dbname": database}
    doors: list[tuple[int, Any]] = [
        (socket.AF_UNIX, str(door)),
        (socket.AF_UNIX, own),
        (socket.AF_INET, ("127.0.0.1", port)),
    ]
    assert not any(refuses(*address) for address in doors)
    with psycopg.connect(**way) as connection:
        connection.execute("SELECT 1")
        server.signal(signal.SIGTERM)
        for address in doors:
            until(lambda: refuses(*address), what=f"{address} to be refused")
        assert connection.execute("SELECT 2").fetchone() == (2,)
        connection.commit()
    assert server.wait() == 0


def start_pool(tmp_path: Path, *flags: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "pool", *flags],
        cwd=tmp_path,
        env=clean_env(**env),
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str], part: str) -> list[str]:
    """Lines up to one with these words."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if part in line:
            return lines
    raise AssertionError(f"no {part!r} in {lines}")


def test_canter_pool_says_what_it_does_and_stops_when_told(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    url = url_of(postgres, database, "by_scram", PASSWORD)
    url = url.replace("@" + url.rpartition("@")[2], f"@127.0.0.1:{postgres.port}/{database}")
    flags = ("--bind-postgres", "127.0.0.1:0", "--db-connections", "5")
    process = start_pool(tmp_path, *flags, env={"DATABASE_URL": url})
    try:
        text = "".join(said(process, "stop "))
        assert f"127.0.0.1:{postgres.port}/{database} as by_scram" in text
        assert "5 connections, as set" in text and "psql postgresql://by_scram@127.0.0.1:" in text
        assert "battery" not in text
        process.send_signal(signal.SIGHUP)
        said(process, "reloaded")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()


def test_canter_pool_waits_for_a_database_that_is_not_there_yet(tmp_path: Path) -> None:
    env = {"DATABASE_URL": f"postgresql://u:p@{str(tmp_path).replace('/', '%2F')}/d"}
    process = start_pool(tmp_path, "--bind-postgres", "127.0.0.1:0", env=env)
    try:
        said(process, "cannot be reached now")
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "flags, url, code, words",
    [
        ((), None, 2, "no database is named"),
        ((), "mysql://u@h/d", 2, "no database is named"),
        ((), "postgresql://u:p@h:x/d", 2, "cannot use the database's URL"),
        (("--workers", "2"), "postgresql://u:p@h/d", 2, "`--workers` means nothing"),
        (("--bind", ":1"), "postgresql://u:p@h/d", 2, "where to listen is `--bind-postgres`"),
        (("mysite.wsgi",), "postgresql://u:p@h/d", 2, "serves no app"),
        (("--bind-postgres", "unix:/nowhere/s"), "postgresql://u:p@h/d", 4, "does not exist"),
    ],
)
def test_what_canter_pool_cannot_start_with_is_said(
    tmp_path: Path, flags: tuple[str, ...], url: str | None, code: int, words: str
) -> None:
    env = {"DATABASE_URL": url or ""}
    done = run_canter("pool", *flags, cwd=tmp_path, env=env)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
