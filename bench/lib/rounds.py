"""The run: services up, every case against every peer, in turn, several times over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from lib import machine, process, report
from lib.cases import BODIES, CASES, DJANGO, Case
from lib.environment import APPS, BENCH, WORK, Environment
from lib.measure import Sample, Services, measure
from lib.peers import PEERS
from lib.postgres import Postgres
from lib.progress import Progress, say

#: What a measurement takes besides its warm-up and counted time: start, stop, clearing up.
OVERHEAD_SECONDS = 3.0


@dataclass(frozen=True)
class Choice:
    """What the command line asked for."""

    cases: tuple[Case, ...]
    peers: frozenset[str]
    rounds: int
    seconds: float
    warm_up: float
    quick: bool
    keep: bool
    #: Whether every round is measured with the two other generators as well, not the first alone.
    check: bool
    out: Path
    command: str

    def timing(self, case: Case) -> tuple[float, float]:
        """Counted seconds and warm-up of a case."""
        if self.quick:
            return min(self.seconds, case.seconds or self.seconds), self.warm_up
        seconds = self.seconds if case.seconds is None else case.seconds
        return seconds, self.warm_up if case.warm_up is None else case.warm_up

    def order(self) -> Iterator[tuple[int, Case, str]]:
        """Round by round, case by case; who goes first changes, so that nobody always does."""
        for number in range(self.rounds):
            for case in self.cases:
                names = [name for name in case.peers if name in self.peers]
                turn = number % max(1, len(names))
                for name in names[turn:] + names[:turn]:
                    yield number, case, name


def run(choice: Choice, environment: Environment) -> None:
    """Measure everything chosen; what is done when it is interrupted is in the report."""
    process.raise_file_limit()
    signal.signal(signal.SIGTERM, _interrupt)
    plan = list(choice.order())
    if environment.canter is None:
        plan = [step for step in plan if step[2] != "canter"]
        say("NO CANTER HERE: the peers are measured without it")
    expected = [sum(choice.timing(case)) + OVERHEAD_SECONDS for _, case, _ in plan]
    progress = Progress(expected)
    results: dict[str, Any] = {}
    try:
        with _services(
            environment, needs_site=any(case.application == DJANGO for case in choice.cases)
        ) as services:
            results = _results(choice, environment, services)
            for number, case, name in plan:
                progress.begin(f"round {number + 1}/{choice.rounds} {case.name} {name}")
                seconds, warm_up = choice.timing(case)
                check = choice.check or (number == 0 and not choice.quick)
                sample = measure(
                    case, PEERS[name], services, seconds, warm_up, progress.live, check=check
                )
                results["cases"][case.name]["samples"].setdefault(name, []).append(sample.as_json())
                progress.end(_said(sample))
                report.write(choice.out, results)
    except KeyboardInterrupt:
        say("interrupted; what was measured so far is in the report")
        raise
    finally:
        process.stop_all()
        if results:
            say(f"report: {os.path.relpath(choice.out)}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _said(sample: Sample) -> str:
    if sample.error:
        return f"FAILED, {sample.error}"
    if sample.rps is None:
        front = f", front {sample.front_rss_mib:.1f} MB" if sample.front_rss_mib else ""
        return f"{sample.pss_mib or 0:.1f} MB{front}"
    latency = f", p50 {sample.p50_us / 1000:.3g} ms" if sample.p50_us is not None else ""
    memory = f", {sample.pss_mib:.0f} MB" if sample.pss_mib else ""
    return f"{sample.rps:,.0f}/s{latency}, {sample.failed:,} failed{memory}"


def _results(choice: Choice, environment: Environment, services: Services) -> dict[str, Any]:
    postgres = services.postgres.version() if services.postgres else None
    facts = machine.facts(environment, postgres)
    cases: dict[str, Any] = {}
    if choice.keep and choice.out.with_suffix(".json").is_file():
        cases = json.loads(choice.out.with_suffix(".json").read_text())["cases"]
    for case in choice.cases:
        seconds, warm_up = choice.timing(case)
        timing = {"date": facts["Date"], "seconds": seconds, "warm_up": warm_up}
        cases[case.name] = {**timing, "samples": {}}
    ordered = {case.name: cases[case.name] for case in CASES if case.name in cases}
    return {
        "command": choice.command,
        "machine": facts,
        "versions": machine.versions(environment),
        "cases": ordered,
    }


@contextmanager
def _services(environment: Environment, *, needs_site: bool) -> Iterator[Services]:
    """PostgreSQL, the slow API and the expected bodies; the raw cases need only the last."""
    with tempfile.TemporaryDirectory(prefix="canter-bench-bodies-") as folder:
        bodies = Path(folder)
        for name, body in BODIES.items():
            (bodies / name).write_bytes(body)
        if not needs_site:
            yield Services(environment, bodies, None, 0)
            return
        port = process.free_port()
        upstream = process.Processes(
            [[str(environment.python), str(BENCH / "upstream.py"), str(port)]],
            environment=environment.variables(),
            directory=WORK,
            log=bodies / "upstream.log",
        )
        postgres = Postgres(environment.site_packages)
        try:
            services = Services(environment, bodies, postgres, port)
            prepare_site_data(services)
            yield services
        finally:
            postgres.stop()
            upstream.stop()


def prepare_site_data(services: Services) -> None:
    """Fill the database and write down what each page must answer."""
    assert services.postgres is not None
    done = subprocess.run(
        [str(services.environment.python), "-m", "dj.prepare", str(services.bodies)],
        env={
            **services.environment.variables(),
            "BENCH_DATABASE": "fresh",
            "BENCH_DATABASE_PORT": str(services.postgres.port),
            "BENCH_UPSTREAM": f"http://127.0.0.1:{services.upstream_port}/",
        },
        cwd=APPS,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(f"the site cannot be prepared: {done.stderr[-1000:]}")
