"""PostgreSQL, the poolers in front of it, and pgbench: what `bench/pooler.py` starts and measures.

Reads `/proc` for CPU time and memory. Leaves cases, rounds and the report to `bench/pooler.py`.
"""

from __future__ import annotations

import math
import os
import pwd
import resource
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib.process import Processes, cpu_seconds, free_port, pss_kib, rss_kib, tree

POOL = 12
SCALE = 10
SETTINGS = {
    "max_connections": "40",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "128MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
#: What is said at a terminal is not what is measured.
QUIET = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/nonexistent"}


def as_whom() -> int | None:
    """PostgreSQL and PgBouncer refuse to run as root: the user they run as then."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


@dataclass(frozen=True)
class Way:
    """Where something listens: a folder or an address, and the port."""

    host: str
    port: int

    def arguments(self) -> list[str]:
        """As libpq's programs take it."""
        return ["-h", self.host, "-p", str(self.port), "-U", "bench"]

    def connect(self) -> socket.socket:
        """A connection to it, as libpq would make one."""
        if self.host.startswith("/"):
            unix = socket.socket(socket.AF_UNIX)
            unix.connect(f"{self.host}/.s.PGSQL.{self.port}")
            return unix
        tcp = socket.create_connection((self.host, self.port))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tcp


class Postgres:
    """A server with pgbench's tables, in a temporary folder, for one run."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="canter-bench-"))
        self.folder.chmod(0o755)
        port = free_port()
        self.unix, self.tcp = Way(str(self.folder), port), Way("127.0.0.1", port)
        user = as_whom()
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if user is not None:
            for path in (self.folder, data):
                os.chown(path, user, -1)
        words = ["-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run(
            [str(programs / "initdb"), *words, "--locale=C"],
            env=QUIET,
            cwd="/",
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            check=True,
            capture_output=True,
        )
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
        command += ["-k", str(self.folder)]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        log = self.folder.with_suffix(".log")
        self._processes = Processes(
            [command], environment=QUIET, directory=Path("/"), log=log, user=user
        )
        _until(self._answers, "PostgreSQL")
        self.run("psql", "-X", "-q", "-c", "CREATE DATABASE bench", "postgres")
        self.run("pgbench", "-i", "-q", "-s", str(SCALE), "bench")

    def run(self, program: str, *words: str) -> str:
        """Run one of PostgreSQL's programs against it."""
        command = [str(self.programs / program), *self.unix.arguments(), *words]
        done = subprocess.run(command, env=QUIET, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()

    def _answers(self) -> bool:
        try:
            return self.run("psql", "-X", "-t", "-A", "-c", "SELECT 1", "postgres") == "1"
        except RuntimeError:
            return False

    @property
    def roots(self) -> list[int]:
        """Its first process."""
        return self._processes.roots

    def stop(self) -> None:
        """End it and remove what it wrote."""
        self._processes.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._processes.log.unlink(missing_ok=True)


class Pooler:
    """A pooler that listens on a unix socket and on loopback; `None` for none."""

    def __init__(
        self, name: str, command: Callable[[Path, int, Way], list[str]], server: Way, way: str
    ) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix="canter-bench-"))
        self.folder.chmod(0o755)
        user = as_whom()
        if user is not None:
            os.chown(self.folder, user, -1)
        port = free_port()
        self.way = Way(str(self.folder) if way == "unix" else "127.0.0.1", port)
        self.command = command(self.folder, port, server)
        # Canter lets in, without a password, whoever runs as its own user: ours.
        runs_as = None if name.startswith("Canter") else user
        self._processes = Processes(
            [self.command],
            environment=QUIET,
            directory=Path("/"),
            log=self.folder / "log",
            user=runs_as,
        )
        _until(self._answers, name)

    def _answers(self) -> bool:
        if ended := self._processes.ended():
            raise RuntimeError(f"{self.name} {ended}")
        try:
            query_once(self.way)
        except OSError:
            return False
        return True

    @property
    def roots(self) -> list[int]:
        """Its process."""
        return self._processes.roots

    def memory_kib(self) -> tuple[int, int]:
        """Proportional and resident set size."""
        return pss_kib(self.roots), sum(map(rss_kib, self.roots))

    def stop(self) -> None:
        """End it and remove what it wrote."""
        self._processes.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def pgbouncer(program: str) -> Callable[[Path, int, Way], list[str]]:
    """PgBouncer as its documentation advises for transaction pooling, all else at its default."""

    def command(folder: Path, port: int, server: Way) -> list[str]:
        lines = [
            "[databases]",
            f"bench = host={server.host} port={server.port} dbname=bench user=bench",
            "[pgbouncer]",
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir = {folder}",
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {POOL}",
            "max_client_conn = 3000",
        ]
        if has_prepared(program):
            lines.append("max_prepared_statements = 200")
        file = folder / "pgbouncer.ini"
        file.write_text("\n".join(lines) + "\n")
        return [program, "-q", str(file)]

    return command


def canter(program: str) -> Callable[[Path, int, Way], list[str]]:
    """Canter as it comes, with as many server connections; like PgBouncer it asks no password."""

    def command(folder: Path, port: int, server: Way) -> list[str]:
        # A host that is a folder goes percent-encoded into a URL.
        host = server.host.replace("/", "%2F")
        url = f"postgresql://bench@{host}:{server.port}/bench"
        doors = [f"unix:{folder}/.s.PGSQL.{port}", f"127.0.0.1:{port}"]
        bind = [word for door in doors for word in ("--bind-postgres", door)]
        words = ["--db-connections", str(POOL), "--db-auth", "trust", "--database-url", url]
        return [program, "pool", *bind, *words]

    return command


def forwarder(program: str) -> Callable[[Path, int, Way], list[str]]:
    """`bench-forward`: no pooler, but bytes carried from one socket to the other and looked at by nobody."""

    def command(folder: Path, port: int, server: Way) -> list[str]:
        return [program, *(f"{way}/.s.PGSQL.{at}" for way, at in ((folder, port), (server.host, server.port)))]

    return command


def has_prepared(program: str) -> bool:
    """Whether this PgBouncer keeps prepared statements (from 1.21 on)."""
    numbers = version(program).split()[-1].split(".")
    return (int(numbers[0]), int(numbers[1])) >= (1, 21)


def version(program: str) -> str:
    """The first line of what it says of itself."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


# --- pgbench


@dataclass(frozen=True)
class Load:
    """What one run of pgbench found."""

    tps: float
    p50_ms: float
    p99_ms: float
    pooler_us: float
    all_us: float
    command: str


def pgbench(
    postgres: Postgres, way: Way, pooler: Pooler | None, words: list[str], seconds: float
) -> Load:
    """Run it for a second of warming up and `seconds` that count."""
    folder = Path(tempfile.mkdtemp(prefix="canter-bench-"))
    roots = pooler.roots if pooler else []
    command = [str(postgres.programs / "pgbench"), "-n", "-S", "-j", "2", *words]
    command += ["-T", str(math.ceil(seconds + 1)), *way.arguments()]
    try:
        before = (_cpu(roots), cpu_seconds(postgres.roots), _children())
        done = subprocess.run(
            [*command, "-l", "--log-prefix", str(folder / "log"), "bench"],
            env=QUIET,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
        after = (_cpu(roots), cpu_seconds(postgres.roots), _children())
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1][-300:])
        stamps, waits = _log(folder)
        if not stamps or max(stamps) < min(stamps) + 1.5:
            raise RuntimeError("pgbench had no time left after connecting")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    begin = min(stamps) + 1.0
    waits_in = sorted(wait for stamp, wait in zip(stamps, waits, strict=True) if stamp >= begin)
    took = max(stamps) - begin
    spent = [(new - old) * 1e6 / len(stamps) for old, new in zip(before, after, strict=True)]
    at = len(waits_in) - 1
    return Load(
        tps=len(waits_in) / took,
        p50_ms=waits_in[at // 2] / 1000,
        p99_ms=waits_in[at * 99 // 100] / 1000,
        pooler_us=spent[0],
        all_us=sum(spent),
        command=" ".join([*command, "-l", "bench"]),
    )


def _log(folder: Path) -> tuple[list[float], list[int]]:
    """End and length (seconds, microseconds) of every transaction."""
    stamps, waits = [], []
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            fields = line.split()
            waits.append(int(fields[2]))
            stamps.append(int(fields[4]) + int(fields[5]) / 1e6)
    return stamps, waits


def _cpu(roots: list[int]) -> float:
    """CPU seconds of these trees so far, to the nanosecond (`schedstat`, each thread's first)."""
    total = 0
    for pid in tree(roots) if roots else []:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except OSError:
            continue  # Gone since it was listed.
    return total / 1e9


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# --- a client of our own


def _packet(**parameters: str) -> bytes:
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return struct.pack("!ii", len(body) + 9, 3 << 16) + body + b"\0"


STARTUP = _packet(user="bench", database="bench")
QUERY = b"Q" + struct.pack("!i", 13) + b"SELECT 1\0"
TERMINATE = b"X\0\0\0\x04"
#: `ReadyForQuery` outside of a transaction.
READY = b"Z\0\0\0\x05I"


def _answer(connection: socket.socket) -> None:
    seen = b""
    while not seen.endswith(READY):
        part = connection.recv(8192)
        if not part:
            raise ConnectionError("closed")
        seen += part


def log_in(way: Way) -> socket.socket:
    """A connection that is logged in, without a password."""
    connection = way.connect()
    connection.sendall(STARTUP)
    _answer(connection)
    return connection


def query(connection: socket.socket) -> None:
    """One query and its answer."""
    connection.sendall(QUERY)
    _answer(connection)


def query_once(way: Way) -> None:
    """Connects, asks once, says goodbye."""
    with log_in(way) as connection:
        query(connection)
        connection.sendall(TERMINATE)


def connect_us(way: Way, count: int) -> list[float]:
    """How long that takes, each time."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        query_once(way)
        took.append((time.perf_counter() - began) * 1e6)
    return took


def _until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not start")
        time.sleep(0.05)
