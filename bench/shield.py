"""The shield's numbers, one command:

    python3 bench/shield.py                      # everything, about half an hour
    python3 bench/shield.py --only slow,overload
    python3 bench/shield.py --only peers --peer canter,gunicorn-sync
    python3 bench/shield.py --canter PROGRAM     # a program that is built already, beside its Python

Owns starting the servers, the attacks of ``canter selftest`` on them, a few measurements of its own,
and the report ``bench/results/shield.md``. Leaves the attacks to ``canter selftest`` and how
connections are held and counted to ``lib/edge.py``.

Canter runs with its defaults; what is added is the port, and HTTP/2 in plain text where that is
what is tried. The peers are installed by pip in a folder of their own (``bench/.work/shield``).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib import edge  # noqa: E402
from lib.edge import Served  # noqa: E402

HERE = Path(__file__).resolve().parent
WORK = HERE / ".work" / "shield"
RESULT = HERE / "results" / "shield.md"

PEERS = {
    "canter": "serve app --http2 plain",
    "gunicorn-sync": "-m gunicorn app -w 2 -b 127.0.0.1:{port}",
    "gunicorn-gthread": "-m gunicorn app -w 2 --threads 8 -k gthread -b 127.0.0.1:{port}",
    "gunicorn-gevent": "-m gunicorn app -w 2 -k gevent -b 127.0.0.1:{port}",
    "waitress": "-m waitress --listen 127.0.0.1:{port} app:application",
    "granian": "-m granian --interface wsgi --workers 2 --host 127.0.0.1 --port {port} app:application",
    "uwsgi": "uwsgi --http-socket 127.0.0.1:{port} --master --processes 2 --threads 4 --wsgi-file app.py --die-on-term",
}
# The gevent worker of Gunicorn 27 imports `packaging` and does not say so.
PACKAGES = ["gunicorn", "gevent", "packaging", "waitress", "granian", "uwsgi"]

APP = '''
import time

BIG = b"x" * 5_000_000


def application(environ, start_response):
    path = environ["PATH_INFO"]
    environ["wsgi.input"].read()
    if path == "/wait":
        time.sleep(0.02)
    body = BIG if path == "/big" else b"hello"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
'''


class Report:
    """What was measured, as Markdown, written after each case so that a broken run leaves the rest."""

    def __init__(self) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        self.lines = [
            "# The shield, measured",
            "",
            f"`python3 bench/shield.py`, {now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs; load average at the"
            f" start: {load}.",
            "Times are of any worth on a machine that does nothing else only.",
        ]

    def add(self, title: str, *lines: str) -> None:
        self.lines += ["", f"## {title}", "", *lines]
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(self.lines) + "\n")
        print("\n".join(["", title, *lines]), flush=True)


def table(head: str, rows: list[tuple[object, ...]]) -> list[str]:
    names = head.split("|")
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines]


def selftest(canter: str, served: Served, *words: str) -> list[dict[str, object]]:
    """The attacks' outcomes."""
    command = [canter, "selftest", served.url, "--process", str(served.pid), "--json", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if not ran.stdout:
        return []
    attacks: list[dict[str, object]] = json.loads(ran.stdout)["attacks"]
    return attacks


def row(attack: dict[str, object]) -> tuple[object, ...]:
    memory = attack["memory_kb"]
    grew = f"{memory / 1024:+.1f} MB" if isinstance(memory, int) else ""
    return (
        *(attack["id"], attack["attack"], attack["verdict"], f"{attack['ended']}/{attack['used']}"),
        *(f"{attack['answered']}/{attack['visitors']}", f"{attack['worst_ms']} ms", grew),
    )


COLUMNS = "id | attack | verdict | ended | visitors | worst | memory"


def slow(report: Report, canter: str) -> None:
    for count in (400, 2000):
        with start_canter(canter) as served:
            words = ("--only", "S1,S3,S4", "--big", "/big", "-c", str(count))
            rows = [row(attack) for attack in selftest(canter, served, *words)]
        report.add(f"{count} slow connections, 20 visitors", *table(COLUMNS, rows))


def h2(report: Report, canter: str) -> None:
    with start_canter(canter, "--http2", "plain") as served:
        rows = [row(attack) for attack in selftest(canter, served, "--only", "H", "--big", "/big")]
    report.add("Hostile HTTP/2: ten connections each", *table(COLUMNS, rows))


def tail(report: Report, canter: str) -> None:
    with start_canter(canter) as served:
        rounds = asyncio.run(edge.tails(served.port, slow=2000, rounds=6, requests=4000))
    rows = [(number, f"{calm:.2f}", f"{held:.2f}") for number, (calm, held) in enumerate(rounds, 1)]
    calm, held = (sorted(times)[len(rounds) // 2] for times in zip(*rounds, strict=True))
    lines = table("round | p99 alone, ms | p99 with 2000 slow sockets, ms", rows)
    report.add("Tail of ordinary requests", *lines, "", f"Median: {held / calm:.2f} times that alone.")


def overload(report: Report, canter: str) -> None:
    flags = ("--workers", "1", "--threads", "4", "--threads-min", "4", "--health")
    with start_canter(canter, *flags) as served:
        capacity, got = asyncio.run(edge.overload(served.port, "/wait", times=10, seconds=60))
    rows = [
        ("capacity, closed loop", f"{capacity:.0f} requests/s"),
        ("offered", f"{got.offered:.0f} requests/s"),
        ("answered by the app", f"{got.good:.0f} requests/s, {got.good / capacity:.0%} of capacity"),
        ("accepted, p50 and p99", f"{got.accepted(0.5):.0f} ms, {got.accepted(0.99):.0f} ms"),
        ("refused (503), p50 and p99", f"{got.refused(0.5):.1f} ms, {got.refused(0.99):.1f} ms"),
        ("neither", got.lost),
        ("health checks answered", f"{got.healthy} of {got.checks}"),
    ]
    report.add("Ten times the load, open loop, 60 s", *table("what | measured", rows))


def early(report: Report, canter: str) -> None:
    rows = []
    cases = {413: ("--max-body", "1MB"), 429: ("--rate-limit", "1/h")}
    for status, flags in cases.items():
        with start_canter(canter, *flags) as served:
            seen = edge.early_answers(served.port, status, tries=100, size=20_000_000)
        rows.append((status, f"{seen} of 100"))
    report.add("Refused while a body of 20 MB arrives", *table("status | read by the client", rows))


def idle(report: Report, canter: str) -> None:
    rows = []
    for kind in ("HTTP/1.1", "HTTP/2", "TLS"):
        pair = edge.certificate(WORK) if kind == "TLS" else None
        flags = ("--http2", "plain") if kind == "HTTP/2" else ()
        if pair:
            flags = ("--certfile", str(pair), "--keyfile", str(pair))
        with start_canter(canter, *flags) as served:
            rows.append((kind, f"{edge.idle_kilobytes(served, kind, 1000):.1f} kB"))
    report.add("1000 idle connections after one request", *table("kind | PSS of each", rows))


def peers(report: Report, canter: str, wanted: list[str], attacks: str) -> None:
    python = venv()
    for name in wanted:
        program = [canter] if name == "canter" else [str(python)]
        words = PEERS[name].split()
        if words[0] == "uwsgi":
            program, words = [str(python.parent / "uwsgi")], words[1:]
        with edge.serve(folder(), name, [*program, *words]) as served:
            words = ["--big", "/big", *(["--only", attacks] if attacks else [])]
            rows = [row(attack) for attack in selftest(canter, served, *words)]
        report.add(name, *table(COLUMNS, rows))


def venv() -> Path:
    """The peers' Python."""
    python = WORK / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", WORK / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


def folder() -> Path:
    """A folder with the app in it."""
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "app.py").write_text(APP)
    return WORK


def start_canter(canter: str, *flags: str) -> edge.Serving:
    return edge.serve(folder(), "canter", [canter, "serve", "app", *flags])


CASES: dict[str, Callable[[Report, str], None]] = {
    "early": early,
    "idle": idle,
    "overload": overload,
    "h2": h2,
    "tail": tail,
    "slow": slow,
}


def main() -> int:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description="the shield's numbers")
    names = [*CASES, "peers"]
    parser.add_argument("--only", default=",".join(names), help=", ".join(names))
    parser.add_argument("--peer", default=",".join(PEERS), help=", ".join(PEERS))
    parser.add_argument("--attacks", default="", help="ids for the peers, such as S1,S3; all if left out")
    parser.add_argument("--canter", default=shutil.which("canter"), help="the program")
    options = parser.parse_args()
    wanted, chosen = options.only.split(","), options.peer.split(",")
    unknown = {*wanted} - {*names} | {*chosen} - {*PEERS}
    if unknown or not options.canter:
        parser.error(f"unknown: {', '.join(sorted(unknown))}" if unknown else "`canter` is not on the PATH")
    report = Report()
    for name, case in CASES.items():
        if name in wanted:
            case(report, options.canter)
    if "peers" in wanted:
        peers(report, options.canter, chosen, options.attacks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
