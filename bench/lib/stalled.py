"""The story of a stall: a server stops for a second while requests arrive evenly, so what each of them waits is known.

`canter bench --rate` and `wrk2`, where there is one, are held to it. Leaves the stage to `stage`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable

from lib import process
from lib.loaded import SERVE_FILES, files
from lib.progress import say
from lib.stage import NothingTold, Stage, Told, block

#: Arrivals a second, and at how many connections.
RATE, CONNECTIONS = 1000, 64
#: wrk2 takes ten seconds to calibrate itself, and forgets what it has measured until then.
UNCOUNTED, COUNTED = 10, 8
#: When the server stops, from the start of the run, in the middle of what is counted; for how long, both in seconds.
STALLED_AT, STALL = 13.0, 1.0
#: What both tools tell of the eighth of all arrivals that wait.
QUANTILES = {"p90": 0.9, "p99": 0.99, "max": 1.0}
#: Units in which wrk2 tells a latency, in milliseconds.
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
PATIENCE = 90


def stalled(rounds: int) -> Callable[[Stage], Told]:
    """Each tool in turn, its latencies beside those that follow from the length of the stall."""

    def tell(stage: Stage) -> Told:
        lines = [f"{'':14}{'':>6}" + "".join(f"{name:>10}" for name in QUANTILES)]
        with files(stage) as server:
            url = f"{server.url}/static/small.txt"
            tools = {"canter bench": _canter, "wrk2": _wrk2}
            here = {name: tool for name, tool in tools.items() if stage.environment.find(name.split()[0])}
            for _ in range(rounds):
                for name, tool in here.items():
                    words, read = tool(url)
                    said, stall = _run(words, stage, server.processes.roots)
                    felt, known = read(stage, said), _known(stall)
                    for label, row in ((name, felt), ("  known", known)):
                        lines.append(f"{label:20}" + "".join(f"{ms:>7.0f} ms" for ms in row))
                    say(f"  {name}: {felt}, known {known}")
            commands = "\n".join(f"    {shlex.join(tool(url)[0])}" for tool in here.values())
        missing = [name for name in tools if name not in here]
        told = SENTENCE + (f" Not on this machine: {', '.join(missing)}." if missing else "")
        return Told([f"    {SERVE_FILES}\n{server.usual(commands)}", told, block("\n".join(lines))])

    return tell


SENTENCE = f"""\
{RATE} requests a second arrive evenly for {COUNTED} s, and in the middle the server is stopped for a second (`SIGSTOP`). One that was due
`t` after the stop has to wait for what is left of the second. "Known" is what follows from that alone, with the length of the stop as
the clock has it, for a server that answers at once; after the stop the server has a second's requests to catch up with, which
is what p90 tells of more than the others. How exact the histogram itself is, to one in 256, is held by a test with a clock of its own
(`corrected_latencies` in `crates/load/src/engine/tests.rs`)."""

Reader = Callable[[Stage, str], list[float]]


def _known(stall: float) -> list[float]:
    """In milliseconds: arrivals wait evenly between the whole stall and nothing, which is `stall` of all `COUNTED`."""
    return [max(0.0, stall - (1 - quantile) * COUNTED) * 1000 for quantile in QUANTILES.values()]


def _canter(url: str) -> tuple[list[str], Reader]:
    words = ["canter", "bench", url, "--rate", f"{RATE}/s", "--connections", str(CONNECTIONS)]
    words += ["--warmup", f"{UNCOUNTED}s", "-d", f"{COUNTED}s", "--inside", "off", "--quiet", "--json", "stall.json"]

    def read(stage: Stage, _: str) -> list[float]:
        report = json.loads((stage.scratch / "stall.json").read_text())
        return [report["latency"][f"{name}_ms"] for name in QUANTILES]

    return words, read


#: A line of its "latency distribution", such as ` 99.000%    1.05s`.
_WRK2 = re.compile(r"^ *(\d+\.\d+)% +([\d.]+)(us|ms|s|m) *$", re.M)


def _wrk2(url: str) -> tuple[list[str], Reader]:
    words = ["wrk2", "-t1", f"-c{CONNECTIONS}", f"-R{RATE}", f"-d{UNCOUNTED + COUNTED}s", "--latency", url]

    def read(_: Stage, said: str) -> list[float]:
        told = {float(share): float(time_) * UNITS[unit] for share, time_, unit in _WRK2.findall(said)}
        if not told:
            raise NothingTold(f"wrk2 told no percentiles: {said[-600:]}")
        return [told[quantile * 100] for quantile in QUANTILES.values()]

    return words, read


def _run(words: list[str], stage: Stage, roots: list[int]) -> tuple[str, float]:
    """What a tool wrote, and for how many seconds the server stood still meanwhile."""
    program = str(stage.environment.find(words[0]))
    began = time.monotonic()
    with subprocess.Popen(
        [program, *words[1:]], env=stage.variables(), cwd=stage.scratch, stdout=subprocess.PIPE, text=True
    ) as running:
        time.sleep(STALLED_AT)
        server = process.tree(roots)
        stopped = time.monotonic()
        for member in server:
            os.kill(member, signal.SIGSTOP)
        time.sleep(STALL)
        for member in server:
            os.kill(member, signal.SIGCONT)
        stall = time.monotonic() - stopped
        said, _ = running.communicate(timeout=PATIENCE)
    if time.monotonic() - began < UNCOUNTED + COUNTED - 1:
        raise NothingTold(f"{shlex.join(words)} ended early: {said[-600:]}")
    return said, stall
