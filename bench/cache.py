"""What the page cache saves and what it takes: `python3 bench/cache.py story` and `… memory`.

`story` replays visitors of a site with few busy pages and a long tail, with and without a rule of a
minute for all pages, and counts what reached the app. `memory` asks for distinct addresses without end,
and for a few again and again, and reads the memory of the process that holds the cache. Both need
nothing but a `canter` program; the report goes to standard output.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).resolve().parent / "apps"

DAY = 86_400.0
MB = 1_000_000


@dataclass
class Site:
    """A running server."""

    port: int
    supervisor: int

    def processes(self, role: str) -> list[int]:
        """Its own children and theirs, by role: ``front`` or ``worker``."""
        program = os.readlink(f"/proc/{self.supervisor}/exe")
        found = []
        for pid in (int(place.name) for place in Path("/proc").iterdir() if place.name.isdigit()):
            if _is_below(pid, self.supervisor):
                is_front = os.readlink(f"/proc/{pid}/exe") == program
                if is_front == (role == "front"):
                    found.append(pid)
        return found

    def cpu(self, role: str) -> float:
        """CPU seconds of all processes of a role."""
        return sum(_cpu_seconds(pid) for pid in self.processes(role))

    def calls(self) -> int:
        """How often the app has made a page."""
        with Connection(self.port) as connection:
            return int(connection.get("/calls")[1])


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        pid = int(stat[1])
        if pid == ancestor:
            return True
    return False


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    """Memory that is the process's own: pages of its program come and go with what runs."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


class Connection:
    """A connection that is kept, and speaks as much HTTP/1.1 as the server needs to hear."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, paths: list[str]) -> None:
        """Several requests at once."""
        lines = (f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths)
        self.socket.sendall("".join(lines).encode())

    def answer(self) -> tuple[str, bytes]:
        """The value of ``Cache-Status`` and the body of the next answer."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        length = re.search(r"(?im)^content-length: (\d+)", text)
        status = re.search(r"(?im)^cache-status: (.*?)\r?$", text)
        if not text.startswith("HTTP/1.1 200") or length is None:
            raise RuntimeError(f"not the page that was asked for: {text}")
        while len(self.rest) < int(length[1]):
            self._more()
        body, self.rest = self.rest[: int(length[1])], self.rest[int(length[1]) :]
        return (status[1] if status else ""), body

    def get(self, path: str) -> tuple[str, bytes]:
        """One request and its answer."""
        self.send([path])
        return self.answer()

    def _more(self) -> None:
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise RuntimeError("the server has closed the connection")
        self.rest += piece


@contextmanager
def serving(canter: str, *flags: str, page: int) -> Iterator[Site]:
    """A server with the app of these runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [canter, "serve", "story", "--pythonpath", str(APPS), "--bind", f"127.0.0.1:{port}"]
    words += ["--workers", "1", "--no-access-log", "--log-level", "error", *flags]
    env = {**os.environ, "STORY_BYTES": str(page), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            server = subprocess.Popen(words, cwd=folder, env=env, stdout=out, stderr=out)
        try:
            site = Site(port, server.pid)
            _wait(site, server, log)
            yield site
        finally:
            server.terminate()
            server.wait(60)


def _wait(site: Site, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            site.calls()
        # It may be there before its worker is, and say so.
        except (OSError, RuntimeError):
            if server.poll() is not None:
                sys.exit(f"canter has ended: {log.read_text(errors='replace')}")
            time.sleep(0.1)
        else:
            return
    sys.exit("canter does not answer")


# --- the story


@dataclass
class Told:
    """What one replay showed."""

    requests: int
    hits: int
    #: How late the latest request was sent, in seconds of the replay.
    behind: float
    calls: int
    worker_cpu: float
    front_cpu: float


def visits(hours: float, per_day: float, pages: int, seed: int = 4711) -> list[tuple[float, str]]:
    """When which page is asked for: arrivals at random, page n as often as 1/n says (Zipf)."""
    source = random.Random(seed)
    weights = list(itertools.accumulate(1 / number for number in range(1, pages + 1)))
    at, found = 0.0, []
    while (at := at + source.expovariate(per_day / DAY)) < hours * 3600:
        page = bisect.bisect(weights, source.random() * weights[-1])
        found.append((at, f"/page/{page}"))
    return found


def replay(site: Site, asked: list[tuple[float, str]], speed: float) -> Told:
    """Asks at the times that are due, `speed` times as fast as they were."""
    calls, worker, front = site.calls(), site.cpu("worker"), site.cpu("front")
    begun = time.monotonic()
    lanes = 16

    def lane(number: int) -> tuple[int, float]:
        hits, behind = 0, 0.0
        with Connection(site.port) as connection:
            for at, path in asked[number::lanes]:
                early = begun + at / speed - time.monotonic()
                time.sleep(max(0.0, early))
                behind = max(behind, -early)
                hits += "hit" in connection.get(path)[0]
        return hits, behind

    with ThreadPoolExecutor(lanes) as pool:
        told = list(pool.map(lane, range(lanes)))
    return Told(
        len(asked),
        sum(hits for hits, _ in told),
        max(behind for _, behind in told),
        site.calls() - calls,
        site.cpu("worker") - worker,
        site.cpu("front") - front,
    )


def story(options: argparse.Namespace) -> None:
    """Both replays, as a table."""
    asked = visits(options.hours, options.per_day, options.pages)
    seconds = 60 / options.speed
    rule = f"/page/* ttl={seconds:g}s grace={options.grace / options.speed:g}s"
    print(
        f"{len(asked)} requests to {len({path for _, path in asked})} of {options.pages} pages, "
        f"{options.hours:g} hours of a site with {options.per_day:,.0f} requests a day, "
        f"{options.speed:g} times as fast; the rule: `{rule}`\n"
    )
    print("| | from the cache | calls of the app | CPU of the app | CPU of the front |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, flags in [("without the rule", ()), ("with the rule", ("--cache-rule", rule))]:
        with serving(options.canter, *flags, page=options.page) as site:
            told = replay(site, asked, options.speed)
        print(
            f"| {name} | {100 * told.hits / told.requests:.1f} % | {told.calls} | "
            f"{told.worker_cpu:.1f} s | {told.front_cpu:.1f} s |",
            flush=True,
        )
        if told.behind > 1:
            print(f"{name}: not a true replay, for it fell {told.behind:.0f} s behind", file=sys.stderr)


# --- memory


def memory(options: argparse.Namespace) -> None:
    """Distinct addresses, and a hot set between them."""
    size = options.size * MB
    hot = [f"/hot/{number}" for number in range(options.hot)]
    flags = ("--cache-rule", "/* ttl=1h", "--cache-size", f"{options.size}MB")
    with serving(options.canter, *flags, page=options.page) as site:
        (front,) = site.processes("front")
        before, most = _resident(front), 0
        with Connection(site.port) as connection:
            for path in hot * 3:
                connection.get(path)
        begun, done, hits = time.monotonic(), 0, [0, 0]
        with ThreadPoolExecutor(options.lanes) as pool:
            while done < options.urls:
                count = min(options.urls - done, 10_000)
                each = range(done, done + count)
                lanes = [(site.port, list(each[n :: options.lanes])) for n in range(options.lanes)]
                list(pool.map(_ask_for, lanes))
                done += count
                with Connection(site.port) as connection:
                    for path in hot:
                        hits[0] += "hit" in connection.get(path)[0]
                        hits[1] += 1
                most = max(most, _resident(front))
                if options.progress:
                    print(f"{done} {_resident(front) / MB:.1f} MB", file=sys.stderr)
        grown, over = most - before, (most - before) / size - 1
        print(
            f"{options.urls} distinct addresses of {options.page} bytes each, a cache of "
            f"{options.size} MB: the front's resident memory was {before / MB:.1f} MB before and "
            f"at most {most / MB:.1f} MB; the growth of {grown / MB:.1f} MB is {100 * over:+.1f} % "
            f"of the size; {hits[0]} of {hits[1]} requests to {options.hot} pages in use were hits; "
            f"{time.monotonic() - begun:.0f} s"
        )


def _ask_for(lane: tuple[int, list[int]]) -> None:
    port, numbers = lane
    with Connection(port) as connection:
        for at in range(0, len(numbers), 50):
            paths = [f"/page/{number}" for number in numbers[at : at + 50]]
            connection.send(paths)
            for _ in paths:
                connection.answer()


def main() -> int:
    """Read the command line, run one of the two."""
    parser = argparse.ArgumentParser(prog="bench/cache.py", description=__doc__)
    parser.add_argument("--canter", default=shutil.which("canter") or "canter", help="the program")
    runs = parser.add_subparsers(required=True)
    told = runs.add_parser("story", help="what a rule of a minute keeps from the app")
    told.add_argument("--hours", type=float, default=2.0, help="of the site's day (2)")
    told.add_argument("--speed", type=float, default=60.0, help="how many times as fast (60)")
    told.add_argument("--per-day", type=float, default=250_000, help="requests a day (250000)")
    told.add_argument("--pages", type=int, default=5000, help="pages of the site (5000)")
    told.add_argument("--grace", type=float, default=0.0, help="seconds a page is shown old (0)")
    told.add_argument("--page", type=int, default=20_000, help="bytes of a page (20000)")
    told.set_defaults(run=story)
    asked = runs.add_parser("memory", help="what endless distinct addresses take")
    asked.add_argument("--urls", type=int, default=1_000_000, help="distinct addresses (1000000)")
    asked.add_argument("--size", type=int, default=32, help="MB of the cache (32)")
    asked.add_argument("--hot", type=int, default=200, help="pages that are in use (200)")
    asked.add_argument("--page", type=int, default=2000, help="bytes of a page (2000)")
    asked.add_argument("--lanes", type=int, default=4, help="connections (4)")
    asked.add_argument("--progress", action="store_true", help="memory on the way")
    asked.set_defaults(run=memory)
    options = parser.parse_args()
    run: Callable[[argparse.Namespace], None] = options.run
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
