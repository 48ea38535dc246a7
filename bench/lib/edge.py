"""Servers and clients of ``shield.py``: starting one, holding connections, offering load, counting memory.

Owns sockets and processes. Leaves which cases there are and how they are reported to ``shield.py``, and
attacks to ``canter selftest``. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
# :method GET, :scheme http, :path /, :authority a, without coding (RFC 7541, section 6).
HEADERS = bytes([0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x01, 1]) + b"a"


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Serving = AbstractContextManager[Served]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serve(folder: Path, name: str, words: list[str]) -> Iterator[Served]:
    """The server, from when it takes connections to its end."""
    port = free_port()
    words = [word.format(port=port) for word in words]
    if name == "canter":
        words += ["--bind", f"127.0.0.1:{port}"]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as probe:
                    probe.settimeout(30)
                    if "--certfile" in words:
                        break
                    probe.sendall(GET)
                    if probe.recv(12):
                        break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} does not start: see {folder / name}.log")
            time.sleep(0.1)
        yield Served(process.pid, port)
    finally:
        # Its own group, which this function has made.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def ask(port: int, path: str, patience: float = 60.0) -> tuple[int, float]:
    """Status and milliseconds of one request on a connection of its own; status 0 for no answer."""
    began = time.perf_counter()
    status = 0
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                status = int((await reader.readexactly(12))[9:])
            finally:
                writer.close()
    return status, (time.perf_counter() - began) * 1000


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def tails(port: int, slow: int, rounds: int, requests: int) -> list[tuple[float, float]]:
    """The 99th percentile of requests on one kept connection, in ms: without and with sockets that send a
    byte of a header each second, in turn."""
    results = []
    for _ in range(rounds):
        calm = await one_tail(port, requests)
        holding = asyncio.create_task(hold(port, slow))
        await asyncio.sleep(1.5)
        held = await one_tail(port, requests)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await asyncio.sleep(1.0)
        results.append((calm, held))
    return results


async def one_tail(port: int, requests: int) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    for _ in range(requests):
        began = time.perf_counter()
        writer.write(GET)
        await reader.readuntil(b"hello")
        times.append((time.perf_counter() - began) * 1000)
    writer.close()
    return quantile(times, 0.99)


async def hold(port: int, count: int) -> None:
    """So many connections with a header that does not end, kept up as the server ends them."""
    sockets: list[socket.socket] = []
    try:
        while True:
            alive = []
            for held in sockets:
                try:
                    held.send(b"a")
                    alive.append(held)
                except OSError:
                    held.close()
            while len(alive) < count:
                held = socket.create_connection(("127.0.0.1", port))
                held.setblocking(False)
                held.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
                alive.append(held)
            sockets = alive
            # Between two rounds this client costs nothing.
            await asyncio.sleep(3.0)
    finally:
        for held in sockets:
            held.close()


@dataclass
class Overload:
    """What became of the requests."""

    seconds: float
    answers: list[tuple[int, float]] = field(default_factory=list)
    checks: int = 0
    healthy: int = 0

    @property
    def offered(self) -> float:
        return len(self.answers) / self.seconds

    @property
    def good(self) -> float:
        return sum(status == 200 for status, _ in self.answers) / self.seconds

    @property
    def lost(self) -> int:
        return sum(status not in (200, 503) for status, _ in self.answers)

    def accepted(self, share: float) -> float:
        return quantile([took for status, took in self.answers if status == 200], share)

    def refused(self, share: float) -> float:
        return quantile([took for status, took in self.answers if status == 503], share)


async def overload(port: int, path: str, times: int, seconds: int) -> tuple[float, Overload]:
    """What the app does in a closed loop, then what it does when so many times as much is offered."""
    done = 0
    end = time.perf_counter() + 5

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < end:
            status, _ = await ask(port, path)
            done += status == 200

    await asyncio.gather(*[client() for _ in range(16)])
    capacity = done / 5
    got = Overload(seconds)
    began = time.perf_counter()

    async def check() -> None:
        while time.perf_counter() < began + seconds:
            status, _ = await ask(port, "/-/live", 5.0)
            got.checks += 1
            got.healthy += status == 200
            await asyncio.sleep(0.1)

    async def one() -> None:
        answer = await ask(port, path)
        if time.perf_counter() <= began + seconds + 0.5 or answer[0] != 200:
            got.answers.append(answer)

    checking = asyncio.create_task(check())
    tasks = []
    for number in range(int(capacity * times * seconds)):
        await asyncio.sleep(max(0.0, began + number / (capacity * times) - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
        if time.perf_counter() > began + seconds:
            break
    await asyncio.gather(checking, *tasks)
    return capacity, got


def early_answers(port: int, status: int, tries: int, size: int) -> int:
    """How often a client that sends all of its body, and reads only then, reads the status."""
    piece, seen = b"x" * 50_000, 0
    for _ in range(tries):
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            try:
                client.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
                for _ in range(size // len(piece)):
                    client.sendall(piece)
            except OSError:
                # It may close before all is sent; what it said before must be there to read.
                pass
            with contextlib.suppress(OSError):
                seen += client.recv(12)[9:] == str(status).encode()
    return seen


def idle_kilobytes(served: Served, kind: str, count: int) -> float:
    """What the server's processes hold for each connection that has had an answer and is kept."""
    before = kilobytes(served.pid)
    held = []
    context = ssl._create_unverified_context()
    for _ in range(count):
        raw: socket.socket = socket.create_connection(("127.0.0.1", served.port), 30)
        if kind == "TLS":
            raw = context.wrap_socket(raw)
        raw.sendall(PREFACE + HEADERS if kind == "HTTP/2" else GET)
        got = b""
        while b"hello" not in got:
            got += raw.recv(65536)
        held.append(raw)
    after = kilobytes(served.pid)
    for raw in held:
        raw.close()
    return (after - before) / count


def kilobytes(pid: int) -> int:
    """Proportional set size of a process and all it started."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        own = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return own + sum(kilobytes(child) for child in children)
    return 0


def certificate(folder: Path) -> Path:
    """A certificate for this machine with its key, in one file."""
    path = folder / "localhost.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words += ["-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key = folder / "key.pem"
    subprocess.run([*words, "-keyout", key, "-out", path], check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path
