"""Owns a running ``canter serve`` as a set of processes: starting it in a folder of its own,
reading its log, finding and counting its processes, and leaving none behind.

Leaves what it says to ``heard``, how much memory it takes to ``memory``, HTTP on the wire to ``raw``
and what is expected to the tests.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import signal
import socket
import subprocess
import sysconfig
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.heard import Heard
from harness.waiting import PATIENCE, until

PROGRAM = os.environ.get("CANTER_PROGRAM") or os.path.join(
    sysconfig.get_path("scripts"), "canter"
)

T = TypeVar("T")


def refuses(family: int, address: Any) -> bool:
    """Whether the system refuses a connection there: nobody listens."""
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        return client.connect_ex(address) == errno.ECONNREFUSED


def together(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Run all calls at once, each in a thread; their results in order."""
    calls = list(calls)
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


@dataclass(frozen=True)
class Reply:
    """An answer, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode()


def clean_env(**more: str | None) -> dict[str, str]:
    """The environment without what would change the options."""
    dropped = {
        *("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID"),
        *("DYNO", "FLY_APP_NAME", "RENDER", "RAILWAY_ENVIRONMENT", "RAILWAY_ENVIRONMENT_NAME"),
        "KUBERNETES_SERVICE_HOST",
    }
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in dropped and not key.startswith(("CANTER_", "LISTEN_", "WATCHDOG_"))
    }
    # A test edits a module twice within one second and leaves its length as it was: Python would
    # take the compiled file of the first edit for that of the second.
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env.update({key: value for key, value in more.items() if value is not None})
    return env


def run_canter(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``canter`` to its end, which must come soon."""
    return subprocess.run(
        [*wrapper, PROGRAM, *args],
        cwd=cwd,
        env=clean_env(**(env or {})),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


class Canter:
    """``canter serve`` with an app from ``source``, in ``folder``."""

    hears: type[Heard] = Heard
    """Who takes what it says."""

    def __init__(
        self,
        folder: Path,
        source: str,
        *flags: str,
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        bind: Sequence[str] = ("127.0.0.1:0",),
        app: Sequence[str] = ("app",),
        **popen: Any,
    ) -> None:
        self.folder = folder
        self.mark = f"canter-test-{uuid.uuid4().hex}"
        self.write(source)
        arguments = [part for address in bind for part in ("--bind", address)]
        access = () if any("access-log" in flag for flag in flags) else ("--no-access-log",)
        self.process = subprocess.Popen(
            [*wrapper, PROGRAM, "serve", *app, *arguments, *access, *flags],
            cwd=folder,
            env=clean_env(CANTER_TEST=None, TEST_MARK=self.mark, **(env or {})),
            stdout=open(folder / "stdout", "wb"),
            stderr=subprocess.PIPE,
            **popen,
        )
        self._heard = self.hears(self.process)

    # --- the app

    def write(self, source: str, name: str = "app.py") -> None:
        """Write the app, so that a reader sees the old or the new one and never half of one."""
        path = self.folder / name
        beside = path.with_suffix(".new")
        beside.write_text(textwrap.dedent(source))
        beside.rename(path)

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    # --- the log

    @property
    def log(self) -> str:
        return self._heard.text

    def mark_log(self) -> int:
        """Here; to be passed to ``logged`` as ``since``."""
        return len(self._heard.lines)

    def logged(self, pattern: str, since: int = 0) -> list[str]:
        """The lines that match."""
        return self._heard.matching(pattern, since)

    def wait_log(
        self, pattern: str, *, since: int = 0, times: int = 1, seconds: float = PATIENCE
    ) -> str:
        """Wait until as many lines match; the last of them."""
        return self._heard.wait(pattern, since=since, times=times, seconds=seconds)

    def wait_ready(self, workers: int = 1) -> Canter:
        """Wait until as many workers have become ready."""
        self.wait_log("worker is ready", times=workers)
        return self

    # --- HTTP

    @property
    def ports(self) -> list[int]:
        """The TCP ports, in the order of the banner."""
        pattern = r"https?://(?:localhost|127\.0\.0\.1|\[::1\]):(\d+)"
        self.wait_log(pattern)
        return [int(port) for port in re.findall(pattern, self.log)]

    @property
    def port(self) -> int:
        return self.ports[0]

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def request(
        self, method: str, path: str, body: bytes | None = None, timeout: float = 30.0
    ) -> Reply:
        """One request on a connection of its own."""
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        seconds = time.monotonic() - started
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, content, seconds)

    def get(self, path: str = "/", timeout: float = 30.0) -> Reply:
        return self.request("GET", path, timeout=timeout)

    # --- processes

    @property
    def pid(self) -> int:
        return self.process.pid

    def family(self) -> list[int]:
        """Every living process that was started from here, whoever its parent is now."""
        mark = f"TEST_MARK={self.mark}".encode()
        return [pid for pid in all_pids() if mark in environ_of(pid).split(b"\0")]

    def named(self, role: str) -> list[int]:
        """The processes that ``ps`` shows as this role: ``front``, ``zygote``, ``worker``."""
        return [pid for pid in self.family() if comm_of(pid) == f"canter-{role}"]

    def one(self, role: str) -> int:
        """The one process of a role, once there is exactly one."""
        return until(lambda: self.named(role), what=f"a {role}")[0]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code of the supervisor."""
        code = self.process.wait(seconds)
        self._heard.end()
        return code

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Canter:
        return self

    def __exit__(self, *_error: object) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(PATIENCE)
        until(lambda: not self.family(), what="the end of every process")


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def environ_of(pid: int) -> bytes:
    """Empty for what is gone or only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def comm_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def stat_of(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: state, ppid, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    """CPU time used by a process so far."""
    fields = stat_of(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def used_in_a_second(*pids: int) -> float:
    """CPU time that the processes use together in one second from now."""
    before, started = sum(map(cpu_seconds, pids)), time.monotonic()
    until(lambda: time.monotonic() > started + 1)
    return sum(map(cpu_seconds, pids)) - before


def is_alive(pid: int) -> bool:
    fields = stat_of(pid)
    return bool(fields) and fields[0] not in "ZX"


def has_ipv6() -> bool:
    """Whether this machine has a loopback of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def scale(admin: Path, query: str) -> int:
    """Ask over a unix socket for other workers; the status."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(admin))
    connection.request("POST", f"/-/canter/scale?{query}", headers={"X-Canter": "1"})
    status = connection.getresponse().status
    connection.close()
    return status


@contextlib.contextmanager
def waiting(canter: Canter, head: str = "GET /wait?60 HTTP/1.1") -> Iterator[socket.socket]:
    """A request runs, in an app that makes the file ``waits`` and then waits; its connection."""
    with canter.connect() as client:
        client.sendall(f"{head}\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
        until((canter.folder / "waits").exists)
        yield client


class Load:
    """Clients that ask for ``/`` again and again on connections that they keep, until stopped."""

    def __init__(self, canter: Canter, clients: int = 4, path: str = "/") -> None:
        self.replies: list[tuple[int, bytes]] = []
        self.failures: list[str] = []
        self._end = threading.Event()
        self._canter, self._path = canter, path
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._canter.port, timeout=PATIENCE)
        while not self._end.is_set():
            try:
                connection.request("GET", self._path)
                response = connection.getresponse()
                self.replies.append((response.status, response.read()))
                if response.status != 200:
                    self.failures.append(f"status {response.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
