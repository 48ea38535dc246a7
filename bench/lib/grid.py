"""The exhaustive grid: every configuration at the load of a search, to see how near the one found is to the best.

A first round measures each once, in random order. What is within 15 % of the best goes into blocks, in which each
is measured once, in a new random order. The best of them and the one found are then measured once more in pairs,
and only these are compared: whoever is the best of several has also had luck, and that is not measured twice.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from dataclasses import dataclass, field

from lib import process
from lib.cases import DJANGO
from lib.machine import cores
from lib.postgres import CONNECTIONS
from lib.progress import say
from lib.stage import URLS, Found, NothingTold, Stage, Told, block

#: How the sentence on what held the server back begins.
SEEN = "The server says"
SEED = "grid"
BLOCKS = 5
NEAR = 0.85
#: More than these are not taken into the blocks: the best of the first round, and the one found.
MOST = 7
PAIRS = 8
#: Student's t for 95 %, seven degrees of freedom: eight pairs.
STUDENT = 2.365

Setting = tuple[int, int]


@dataclass
class Row:
    """What was measured of a configuration: answers a second, MiB, milliseconds."""

    rates: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    #: What the server said held it back, last.
    cause: str = ""

    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)


@dataclass
class Ratio:
    """How much more one gave than another, in percent, with its 95 % interval."""

    mean: float
    low: float
    high: float

    def words(self) -> str:
        """As it stands in a report."""
        return f"{self.mean:+.1f} % (95 % interval {self.low:+.1f} % to {self.high:+.1f} %)"


def ratio(mine: list[float], its: list[float]) -> Ratio:
    """Compare rates that were measured in the same `PAIRS` blocks, by the ratio within each."""
    logs = [math.log(max(one, 1e-9) / max(other, 1e-9)) for one, other in zip(mine, its, strict=True)]
    mean = statistics.fmean(logs)
    half = STUDENT * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(*((math.exp(mean + shift) - 1) * 100 for shift in (0, -half, half)))


def best_of(rows: dict[Setting, Row]) -> Setting:
    """The one with the most answers a second over all blocks."""
    return max(rows, key=lambda it: statistics.fmean(math.log(max(rate, 1e-9)) for rate in rows[it].rates))


def settings(found: Found) -> list[Setting]:
    """Every configuration: workers to twice the cores and one, threads in doublings to the users."""
    threads = [1 << power for power in range(11) if 1 << power <= min(found.users, 256)]
    grid = {(workers, each) for workers in range(1, cores() * 2 + 2) for each in threads}
    # What the search itself tried may lie between.
    return sorted(grid | {(found.workers, found.threads)})


def compare(stage: Stage, told: Told) -> str:
    """Measure all of them; the result as Markdown."""
    found = told.found
    assert found is not None
    order = random.Random(SEED)
    rows = {setting: Row() for setting in settings(found)}
    all_of_them = list(rows)
    say(f"  grid: {len(all_of_them)} configurations at {found.users} users")
    order.shuffle(all_of_them)
    for setting in all_of_them:
        measure(stage, found.users, setting, rows[setting])
    choice = (found.workers, found.threads)
    ranked = sorted(rows, key=lambda it: rows[it].rate(), reverse=True)
    most = rows[ranked[0]].rate()
    alive = [it for it in ranked if rows[it].rate() >= NEAR * most][:MOST]
    alive += [choice] if choice not in alive else []
    for it in alive:
        rows[it] = Row()
    in_blocks(stage, found.users, {it: rows[it] for it in alive}, order)
    best = best_of({it: rows[it] for it in alive})
    pair = {choice: Row(), best: Row()}
    for number in range(PAIRS if choice != best else 0):
        say(f"  grid: pair {number + 1} of {PAIRS}")
        for setting in order.sample(list(pair), 2):
            measure(stage, found.users, setting, pair[setting])
    return _told(found, choice, best, rows, pair)


def in_blocks(
    stage: Stage, users: int, rows: dict[Setting, Row], order: random.Random, blocks: int = BLOCKS, *, see: bool = False
) -> None:
    """Measure each of them once in every block, in an order of its own."""
    alive = list(rows)
    for number in range(blocks):
        say(f"  block {number + 1} of {blocks}, {len(alive)} configurations")
        order.shuffle(alive)
        for setting in alive:
            measure(stage, users, setting, rows[setting], see=see)


def measure(stage: Stage, users: int, setting: Setting, row: Row, *, see: bool = False) -> None:
    """Load one configuration with the requests of the search; `see` asks the server what held it back."""
    workers, threads = setting
    flags = ["--workers", str(workers), "--threads", str(threads), "--db-connections", str(CONNECTIONS)]
    with stage.server(DJANGO, *flags, workers=workers) as server:
        words = ["bench", f"{server.url}/", "--url-list", URLS, "--users", str(users), "-d", "2s"]
        words += ["--warmup", "500ms", "--quiet", "--json", "grid.json", *([] if see else ["--inside", "off"])]
        done = stage.canter(words, 120)
        if not (stage.scratch / "grid.json").is_file():
            raise NothingTold(f"canter bench ended with {done.returncode}: {done.stderr[-600:]}")
        report = json.loads((stage.scratch / "grid.json").read_text())
        row.memory.append(process.pss_kib(server.processes.roots) / 1024)
    row.p95.append(report["latency"]["p95_ms"])
    row.cause = next((said for said in report["prose"] if said.startswith(SEEN)), "")
    # Answers behind the end of the window are of work begun in it: they would flatter slow servers.
    times = [each["at_s"] for each in report["rows"]]
    length = times[1] - times[0] if len(times) > 1 else report["time_s"]
    whole = [each for each in report["rows"] if each["at_s"] + length <= report["time_s"] + 1e-6]
    good = sum(max(0, each["hits"] - each["bad"]) for each in whole)
    row.rates.append(good / (length * len(whole)) if whole else 0.0)


def _told(found: Found, choice: Setting, best: Setting, rows: dict[Setting, Row], pair: dict[Setting, Row]) -> str:
    sentence = f"Of {len(rows)} configurations at {found.users} users, the best is {words_of(best)}; "
    if choice == best:
        sentence += "it is the one that tune found."
    else:
        less = ratio(pair[choice].rates, pair[best].rates)
        mine, its = (statistics.median(pair[it].memory) for it in (choice, best))
        sentence += (
            f"tune found {words_of(choice)}: {less.words()} of its answers a second, {PAIRS} pairs, with {mine:.0f} MB "
            f"against {its:.0f} MB."
        )
    say(f"  {sentence}")
    lines = [f"{'workers':>7} {'threads':>7} {'answers/s':>10} {'memory':>8} {'runs':>5}"]
    for setting in sorted(rows):
        row = rows[setting]
        line = f"{setting[0]:>7} {setting[1]:>7} {row.rate():>10,.1f} {statistics.median(row.memory):>5.0f} MB"
        note = "  found" if setting == choice else ""
        note += "  best" if setting == best else ""
        lines.append(f"{line} {len(row.rates):>5}{note}")
    return f"## Against the whole grid\n\n{sentence}\n\n" + block("\n".join(lines))


def words_of(setting: Setting) -> str:
    """A configuration in words."""
    workers, threads = setting
    return f"{workers} worker{'s' * (workers > 1)} with {threads} thread{'s' * (threads > 1)}"
