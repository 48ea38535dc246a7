"""Stories of `canter bench`: users that become more, millions of requests, what the load itself costs.

Leaves the stage to `stage`, and which story is told with which numbers to `story`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib import process
from lib.cases import DJANGO, RAW
from lib.environment import ROOT
from lib.progress import say
from lib.stage import NothingTold, Server, Stage, Told, block, shown

READER = ROOT / "examples" / "reader"
#: What visitors of the demo site ask for; one page waits for somebody else, one asks too many queries.
VISITS = """\
/topics/ weight=4
/topics/try/ weight=4
/search/?q=context+manager weight=2
/recent/ weight=4
/api/orders/?fixed=1 weight=2
/api/orders/ weight=1
/slow/?delay=1 weight=1
"""
#: Longest runs, in seconds; each ends by its own flags.
RAMP_PATIENCE = 180
LONG_PATIENCE = 900
#: The slowest machine on which the long run is to come to its end, in requests a second.
SLOWEST = 10_000


def ramped(name: str) -> Callable[[Stage], Told]:
    """Users that become more at the page that waits: a few threads, and then as Canter runs by itself."""

    def tell(stage: Stage) -> Told:
        told = Told()
        few = ("--workers", "1", "--threads", "4")
        for flags, suffix in ((few, ""), ((), "-by-itself")):
            with stage.server(DJANGO, *flags) as server:
                # Who reads a page for a moment does not ask again at once, also when it was an error.
                words = ["--ramp", "1-250:25s", "--think", "500ms", "--timeout", "3s"]
                told.parts += _ramp(stage, server, f"{name}{suffix}", "/api", words, (DJANGO, *flags))
        return told

    return tell


def demo_site(name: str) -> Callable[[Stage], Told]:
    """Users that become more on the demo site, as `make demo` serves it."""

    def tell(stage: Stage) -> Told:
        folder, port = stage.scratch / "reader", process.free_port()
        shutil.copytree(READER, folder, ignore=shutil.ignore_patterns("var", "__pycache__"))
        python = str(stage.environment.python)
        own = {key: value for key, value in stage.variables().items() if key not in _SITE_OF_BENCH}
        filled = subprocess.run(
            [python, "manage.py", "setup_demo"], cwd=folder, env=own, capture_output=True, text=True, timeout=120
        )
        if filled.returncode:
            raise NothingTold(f"the demo site cannot be filled: {filled.stderr[-600:]}")
        upstream = process.Processes(
            [[python, "upstream.py", "--port", str(port)]],
            environment=own,
            directory=folder,
            log=stage.scratch / "slow.log",
        )
        (stage.scratch / "visits.txt").write_text(VISITS)
        # The site's own settings: the server is not told of those of the other stories.
        variables = {"DJANGO_SETTINGS_MODULE": "reader_site.settings", "PYTHONPATH": ""}
        variables["READER_UPSTREAM_URL"] = f"http://127.0.0.1:{port}/"
        try:
            with stage.server(folder=folder, variables=variables) as server:
                words = ["--url-list", "visits.txt", "--ramp", "1-250:40s", "--timeout", "5s"]
                parts = _ramp(stage, server, name, "/", words, ())
        finally:
            upstream.stop()
        return Told([f"`visits.txt`:\n\n{block(VISITS)}", *parts])

    return tell


#: Variables of the other stories' site.
_SITE_OF_BENCH = ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")


def _ramp(
    stage: Stage, server: Server, name: str, path: str, words: Sequence[str], serve: Sequence[str]
) -> list[str]:
    """Load it, and say with which commands."""
    bench = ["bench", f"{server.url}{path}", *words, "--quiet", "--html", f"{name}.html"]
    done = stage.canter([*bench, "--json", f"{name}.json"], RAMP_PATIENCE)
    _answered(stage.scratch / f"{name}.json", done.stderr)
    said = shlex.join(["canter", "serve", *serve])
    commands = f"    {said}\n    {server.usual(shown(bench))}"
    return [commands, block(server.usual(done.stdout)), stage.keep(f"{name}.html", server)]


def _answered(file: Path, otherwise: str) -> dict[str, Any]:
    """The report of a run in which something was answered."""
    text = file.read_text() if file.is_file() else ""
    report: dict[str, Any] = json.loads(text or "{}")
    if not report.get("hits"):
        raise NothingTold(f"canter bench got no answer: {otherwise[-600:]}")
    say(f"  {report['hits']:,} answers, {report['errors']} errors, {report['rate']:,.0f} a second")
    return report


def long_run(usual: int) -> Callable[[Stage], Told]:
    """`canter bench` watched over millions of requests: memory."""

    def tell(stage: Stage) -> Told:
        requests = stage.requests or usual
        rows: list[tuple[float, int]] = []
        with files(stage) as server:
            words = ["bench", f"{server.url}/static/small.txt", "--users", "64", "-n", str(requests)]
            words += ["-d", f"{max(LONG_PATIENCE, requests // SLOWEST)}s", "--quiet"]
            began = time.monotonic()
            with subprocess.Popen(
                [str(stage.environment.canter), *words, "--json", "long.json"],
                env=stage.variables(),
                cwd=stage.scratch,
                stdout=subprocess.DEVNULL,
            ) as running:
                while running.poll() is None:
                    if kib := process.rss_kib(running.pid):
                        rows.append((time.monotonic() - began, kib))
                    time.sleep(0.5)
            report = _answered(stage.scratch / "long.json", "")
            command = server.usual(shown(words))
        if report["hits"] < requests:
            raise NothingTold(f"only {report['hits']:,} requests of {requests:,} were answered")
        # A whole second in, everything of fixed size is there.
        settled = next((kib for at, kib in rows if at >= 1.0), rows[0][1])
        half = max(kib for at, kib in rows if at <= rows[-1][0] / 2)
        most = max(kib for _, kib in rows)
        told = (
            f"{report['hits']:,} requests in {report['time_s']:.0f} s ({report['rate']:,.0f} a second, "
            f"{report['errors']} errors). Resident memory of `canter bench`: {settled / 1024:.1f} MB after a second, "
            f"at most {half / 1024:.1f} MB in the first half, at most {most / 1024:.1f} MB in all."
        )
        say(f"  {told}")
        lines = [f"{at:6.0f} s  {kib / 1024:5.1f} MB" for at, kib in rows[:: max(1, len(rows) // 12)]]
        return Told([f"    {SERVE_FILES}\n    {command}", told, block("\n".join(lines)), WHY_FLAT])

    return tell


WHY_FLAT = """\
Nothing is kept of a single request: each is counted into histograms of fixed size (30 KB), those of the whole run and one for each
URL, and into a small one (4 KB) for its row of the report. There are at most 300 rows: when a run is longer than they last, two become
one. So 50 million requests are counted into the same places as 5 million."""

SERVE_FILES = f"canter serve {RAW} --workers 1 --static-map=/static/=files"


def files(stage: Stage) -> Server:
    """A server of one small file, which the front sends by itself: as fast an answer as there is."""
    folder = stage.scratch / "files"
    folder.mkdir(exist_ok=True)
    (folder / "small.txt").write_text("as small as it gets\n")
    return stage.server(RAW, "--workers", "1", f"--static-map=/static/={folder}")


class _Tool:
    """A generator of load: its command, and how its requests are found in what it writes."""

    def __init__(self, words: Sequence[str], pattern: str) -> None:
        self.words, self._pattern = list(words), pattern

    def count(self, said: str) -> int:
        """Requests that were answered."""
        found = re.search(self._pattern, said)
        if not found or not int(found[1].replace(",", "")):
            raise NothingTold(f"{shlex.join(self.words)} got no answer: {said[-600:]}")
        return int(found[1].replace(",", ""))


def _tools(url: str, seconds: int) -> dict[str, _Tool]:
    bench = ["canter", "bench", url, "--users", "64", "-d", f"{seconds}s", "--inside", "off", "--quiet"]
    return {
        "canter bench": _Tool(bench, r"([\d,]+) requests were answered"),
        "wrk": _Tool(["wrk", "-t1", "-c64", f"-d{seconds}s", url], r"(\d+) requests in"),
        "oha": _Tool(["oha", "--no-tui", "-c64", f"-z{seconds}s", url], r"\[200\] (\d+) responses"),
    }


def cost_of_load(rounds: int, seconds: int) -> Callable[[Stage], Told]:
    """`canter bench` beside `wrk`, and `oha` where there is one: requests a second, and for each second of CPU."""

    def tell(stage: Stage) -> Told:
        costs: dict[str, list[tuple[float, float]]] = {}
        with files(stage) as server:
            tools = _tools(f"{server.url}/static/small.txt", seconds)
            here = {name: tool for name, tool in tools.items() if stage.environment.find(tool.words[0])}
            for number in range(rounds):
                # Another one comes first in each round.
                names = sorted(here)
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    began = time.monotonic()
                    said, cpu = _timed(here[name].words, stage)
                    count, took = here[name].count(said), time.monotonic() - began
                    costs.setdefault(name, []).append((count / took, count / max(cpu, 0.01)))
            commands = server.usual("\n".join(f"    {shlex.join(tool.words)}" for tool in here.values()))
        missing = [name for name in tools if name not in costs]
        said = f"Medians of {rounds} runs of {seconds} s each, in turn, against the same server on the same machine."
        if missing:
            said += f" Not on this machine: {', '.join(missing)}."
        return Told([f"    {SERVE_FILES}\n{commands}", said, block(_costs(costs))])

    return tell


def _costs(costs: dict[str, list[tuple[float, float]]]) -> str:
    """The table; ratios are of the same round, so that a slow minute is in both numbers."""
    lines = [f"{'':14}{'requests/s':>12}{'for a CPU second':>20}{'canter bench to it':>22}"]
    for name, rounds in costs.items():
        each = [statistics.median(column) for column in zip(*rounds, strict=True)]
        pairs = zip(costs["canter bench"], rounds, strict=True)
        ratios = sorted(mine[1] / its[1] for mine, its in pairs)
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        lines.append(f"{name:14}{each[0]:>12,.0f}{each[1]:>20,.0f}{ratio if name != 'canter bench' else '':>22}")
    say("  " + "\n  ".join(lines))
    return "\n".join(line.rstrip() for line in lines)


def _timed(command: Sequence[str], stage: Stage) -> tuple[str, float]:
    """What a program wrote, and the CPU seconds it took."""
    with (stage.scratch / "said").open("w+") as said:
        program = str(stage.environment.find(command[0]))
        running = subprocess.Popen(
            [program, *command[1:]], env=stage.variables(), cwd=stage.scratch, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return said.read(), usage.ru_utime + usage.ru_stime
