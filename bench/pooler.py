"""The pooler beside PgBouncer: `python3 bench/pooler.py`, or `make bench-pooler`.

Needs PostgreSQL's programs with pgbench, PgBouncer on the path (or `--pgbouncer`), and cargo unless
`--canter` names a program and `--floor` is left out. Sets nothing up and leaves nothing behind but the report.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib import machine, process
from lib.environment import build_load_program
from lib.poolers import (
    POOL,
    Load,
    Pooler,
    Postgres,
    Way,
    canter,
    connect_us,
    forwarder,
    has_prepared,
    log_in,
    pgbench,
    pgbouncer,
    query,
    version,
)
from lib.progress import say

BENCH = Path(__file__).resolve().parent
DIRECT = "direct"
FORWARDER = "bytes carried"
CLIENTS = 500
CONNECTS = 2000


@dataclass(frozen=True)
class Case:
    """One load of pgbench; `way` is how clients reach the pooler and the pooler the server."""

    name: str
    mode: str
    clients: int
    way: str

    @property
    def title(self) -> str:
        """As the table shows it."""
        return f"{self.mode}, {self.clients} clients, {self.way}"


CASES = tuple(
    Case(f"{mode}-{clients}-{way}", mode, clients, way)
    for way in ("unix", "tcp")
    for mode, clients in (
        ("simple", 12),
        ("simple", 200),
        ("simple", 1000),
        ("extended", 12),
        ("extended", 200),
        ("prepared", 12),
        ("prepared", 200),
    )
)
Make = Callable[[Path, int, Way], list[str]]


class Run:
    """Everything measured, and how."""

    def __init__(self, postgres: Postgres, peers: dict[str, tuple[str, Make]]) -> None:
        self.postgres = postgres
        self.peers = peers
        self.loads: dict[str, dict[str, list[Load]]] = {}
        self.connects: dict[str, list[float]] = defaultdict(list)
        self.memory: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        self.commands: dict[str, str] = {}

    def start(self, name: str, way: str) -> Pooler:
        """A pooler with its defaults."""
        server = self.postgres.unix if way == "unix" else self.postgres.tcp
        pooler = Pooler(name, self.peers[name][1], server, way)
        self.commands[name] = shlex.join(pooler.command)
        return pooler

    def load(self, case: Case, name: str, seconds: float) -> None:
        """One case with one peer."""
        results = self.loads.setdefault(case.name, {}).setdefault(name, [])
        words = ["-M", case.mode, "-c", str(case.clients)]
        if name == DIRECT:
            way = self.postgres.unix if case.way == "unix" else self.postgres.tcp
            results.append(pgbench(self.postgres, way, None, words, seconds))
            return
        pooler = self.start(name, case.way)
        try:
            results.append(pgbench(self.postgres, pooler.way, pooler, words, seconds))
        finally:
            pooler.stop()

    def takes_part(self, case: Case, name: str) -> bool:
        """Whether a peer can run a case."""
        if name == DIRECT:
            return case.clients <= POOL
        if name == FORWARDER:
            return case.clients <= POOL and case.way == "unix"
        program = self.peers[name][0]
        return not (case.mode == "prepared" and "PgBouncer" in name and not has_prepared(program))

    def small(self, name: str) -> None:
        """Memory of an idle pooler, with clients that were active once, and time to connect."""
        if name == DIRECT:
            self.connects[name].append(statistics.median(connect_us(self.postgres.unix, 300)))
            return
        pooler = self.start(name, "unix")
        try:
            idle = pooler.memory_kib()
            connect_us(pooler.way, 100)
            self.connects[name].append(statistics.median(connect_us(pooler.way, CONNECTS)))
        finally:
            pooler.stop()
        pooler = self.start(name, "unix")
        try:
            # All server connections open, before the clients are counted.
            pgbench(self.postgres, pooler.way, pooler, ["-c", str(POOL)], 1)
            before = pooler.memory_kib()
            clients = [log_in(pooler.way) for _ in range(CLIENTS)]
            for client in clients:
                query(client)
            after = pooler.memory_kib()
            for client in clients:
                client.close()
        finally:
            pooler.stop()
        each = (after[0] - before[0]) * 1024 / CLIENTS
        self.memory[name].append((idle[0] / 1024, idle[1] / 1024, after[0] / 1024, each))


def report(run: Run, facts: list[str]) -> str:
    """The tables."""
    lines = [*facts, ""]
    cases = [case for case in CASES if case.name in run.loads]
    if cases:
        lines += [
            "| case | | queries/s | rounds | against the best PgBouncer | p50 ms | p99 ms "
            "| p99/p50 | pooler µs/query | all µs/query |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
    for case in cases:
        title = case.title
        for name, loads in run.loads[case.name].items():
            lines.append(_row(title, name, loads, run.loads[case.name]))
            title = ""
    if run.connects:
        lines += ["", "| connect, one query, close (unix socket) | µs | rounds |", "|---|---:|---:|"]
        for name, values in run.connects.items():
            lines.append(f"| {name} | {statistics.median(values):.0f} | {_spread(values, 0)} |")
    if run.memory:
        lines += [
            "",
            f"| memory | idle PSS MiB | idle RSS MiB | PSS MiB with {CLIENTS} idle clients "
            "| bytes for each of them |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, rows in run.memory.items():
            idle, resident, busy, each = (statistics.median(row) for row in zip(*rows, strict=True))
            lines.append(f"| {name} | {idle:.1f} | {resident:.1f} | {busy:.1f} | {each:.0f} |")
    lines += ["", "Commands:", ""]
    lines += [f"    {command}" for command in run.commands.values()]
    for case in cases:
        loads = next(iter(run.loads[case.name].values()))
        if loads:
            lines.append(f"    {loads[0].command}")
    return "\n".join(lines) + "\n"


def _row(title: str, name: str, loads: list[Load], peers: dict[str, list[Load]]) -> str:
    if not loads:
        return f"| {title} | {name} | failed | | | | | | | |"

    def mid(what: str) -> float:
        return float(statistics.median(getattr(load, what) for load in loads))

    ratio = ""
    rivals = [all_ for peer, all_ in peers.items() if "PgBouncer" in peer and all_]
    if rivals and "PgBouncer" not in name:
        best = max(statistics.median(load.tps for load in all_) for all_ in rivals)
        ratio = f"{mid('tps') / best:.2f} x"
    pooler = f"{mid('pooler_us'):.1f}" if name != DIRECT else ""
    tps = [load.tps for load in loads]
    return (
        f"| {title} | {name} | {mid('tps'):,.0f} | {_spread(tps, 0)} | {ratio} "
        f"| {mid('p50_ms'):.3f} | {mid('p99_ms'):.3f} | {mid('p99_ms') / mid('p50_ms'):.1f} "
        f"| {pooler} | {mid('all_us'):.1f} |"
    )


def _spread(values: list[float], digits: int) -> str:
    return f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"


def main(arguments: list[str]) -> int:
    """Read the command line, set up, measure, write."""
    options = _parser().parse_args(arguments)
    process.raise_file_limit()
    cases = [case for case in CASES if not options.only or case.name in options.only.split(",")]
    program = options.canter or _build()
    postgres = Postgres(options.postgres or _programs())
    peers: dict[str, tuple[str, Make]] = {}
    for path in options.pgbouncer or filter(None, [shutil.which("pgbouncer")]):
        peers[version(path)] = (path, pgbouncer(path))
    peers["Canter"] = (program, canter(program))
    if options.floor:
        floor = str(build_load_program("bench-forward"))
        peers[FORWARDER] = (floor, forwarder(floor))
    run = Run(postgres, peers)
    facts = [
        f"- Date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
        *(f"- {name}: {value}" for name, value in machine.box().items()),
        f"- {version(str(postgres.programs / 'postgres'))}, {', '.join(peers)}; pool of {POOL}",
        f"- Command: `{shlex.join(['python3', 'bench/pooler.py', *arguments])}`; "
        f"{options.rounds} rounds of {options.seconds:g} s after 1 s",
    ]
    try:
        for number in range(options.rounds):
            names = [DIRECT, *peers]
            turn = number % len(names)
            names = names[turn:] + names[:turn]
            for case in cases:
                for name in names:
                    if run.takes_part(case, name):
                        _try(f"{number + 1} {case.name} {name}", run.load, case, name, options.seconds)
            if not options.only:
                for name in (name for name in names if name != FORWARDER):
                    _try(f"{number + 1} memory, connecting {name}", run.small, name)
            _order(run, [DIRECT, *peers])
            text = report(run, facts)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(text)
    except KeyboardInterrupt:
        return 130
    finally:
        process.stop_all()
        postgres.stop()
    print(text)
    return 0


def _try(label: str, what: Callable[..., None], *words: object) -> None:
    say(label)
    try:
        what(*words)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        say(f"{label} FAILED: {error}")


def _order(run: Run, names: list[str]) -> None:
    """Rows in one order, whoever went first."""
    for name, loads in run.loads.items():
        run.loads[name] = {peer: loads[peer] for peer in names if peer in loads}
    run.connects = defaultdict(list, {n: run.connects[n] for n in names if n in run.connects})
    run.memory = defaultdict(list, {n: run.memory[n] for n in names if n in run.memory})


def _build() -> str:
    say("building Canter in release mode")
    subprocess.run(["cargo", "build", "--release", "-p", "canter"], cwd=BENCH.parent, check=True)
    return str(BENCH.parent / "target" / "release" / "canter")


def _programs() -> Path:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    found = debian[-1] if debian else shutil.which("pgbench")
    if found is None:
        raise SystemExit("bench: no pgbench; --postgres names the folder with PostgreSQL's programs")
    return Path(found).resolve().parent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench/pooler.py", description=__doc__)
    add = parser.add_argument
    add("--only", help=f"case,... of {', '.join(case.name for case in CASES)}")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=5.0, help="that count in one run of pgbench")
    add("--canter", help="a canter program to use instead of building this checkout")
    add("--pgbouncer", action="append", help="a PgBouncer program; may be given several times")
    add("--floor", action="store_true", help="beside them, one that carries bytes and looks at none")
    add("--postgres", type=Path, help="the folder with PostgreSQL's programs and pgbench")
    add("--out", type=Path, default=BENCH / "results" / "pooler.md", help="the report")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
