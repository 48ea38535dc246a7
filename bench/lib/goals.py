"""What Canter has to reach against its peers, and whether it did. Declared once, here."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

Metric = Literal["rps", "p50_us", "pss_mib", "front_rss_mib", "failed", "postgres_connections"]
#: Samples of one case: server name -> one per round.
Samples = dict[str, list[dict[str, Any]]]

WORDS: dict[Metric, str] = {
    "rps": "requests/s",
    "p50_us": "median latency",
    "pss_mib": "memory (PSS)",
    "front_rss_mib": "front process (RSS)",
    "failed": "failed requests",
    "postgres_connections": "most connections to PostgreSQL, of 20",
}


@dataclass(frozen=True)
class Goal:
    """A bound on Canter's value, or on its ratio to the best of some peers."""

    case: str
    metric: Metric
    must: float | None
    aim: float | None
    #: Empty: the value itself is bounded, in the metric's unit.
    peers: tuple[str, ...] = ()

    @property
    def wants_more(self) -> bool:
        """Whether higher is better."""
        return self.metric == "rps"

    def words(self, bound: float | None) -> str:
        """A bound as the table shows it."""
        if bound is None:
            return ""
        if not self.peers:
            return f"<= {bound:g}" + (" MB" if self.metric.endswith("_mib") else "")
        return f"{'>=' if self.wants_more else '<='} {bound:g} x"

    def is_met(self, value: float, bound: float) -> bool:
        """Whether a value keeps a bound."""
        return value >= bound if self.wants_more else value <= bound


_GRANIAN = ("granian", "granian-1")
_DJANGO_HELLO = tuple(
    Goal(f"django-hello-{workers}w-c{connections}", "rps", 1.1, aim, ("fastpysgi",))
    for workers, aim in ((1, 1.4), (2, 1.2))
    for connections in (32, 64)
)

GOALS = (
    Goal("raw-hello", "rps", 1.3, None, _GRANIAN),
    Goal("raw-hello", "rps", 1.0, 1.15, ("fastpysgi",)),
    *_DJANGO_HELLO,
    Goal("django-page", "rps", 1.0, 1.1, ("fastpysgi",)),
    Goal("mixed", "failed", 0, None),
    # A margin of three is left to others.
    Goal("mixed", "postgres_connections", 17, None),
    Goal("mixed", "rps", 1.05, 1.1, ("gunicorn-geventpool",)),
    Goal("mixed", "pss_mib", 1.0, 0.7, ("gunicorn-geventpool",)),
    Goal("raw-latency", "p50_us", 1.1, 0.8, ("fastpysgi",)),
    Goal("idle", "pss_mib", 60, 50),
    Goal("idle", "front_rss_mib", 8, 5),
)


@dataclass(frozen=True)
class Verdict:
    """A goal held against what was measured."""

    goal: Goal
    peer: str
    value: float
    lowest: float
    highest: float

    @property
    def reached(self) -> str:
        """Which bound the median keeps, and whether the worst round keeps it too."""
        worst = self.lowest if self.goal.wants_more else self.highest
        for word, bound in (("aim", self.goal.aim), ("must", self.goal.must)):
            if bound is not None and self.goal.is_met(self.value, bound):
                return word if self.goal.is_met(worst, bound) else f"{word}, not in every round"
        return "**no**"


def values(samples: list[dict[str, Any]], metric: str) -> list[float]:
    """A metric of the rounds that have it."""
    return [
        sample[metric] for sample in samples if not sample["error"] and sample[metric] is not None
    ]


def judge(goal: Goal, samples: Samples) -> Verdict | None:
    """`None` where something needed was not measured."""
    mine = values(samples.get("canter", []), goal.metric)
    if not mine:
        return None
    if goal.metric in ("failed", "postgres_connections"):
        return Verdict(goal, "", max(mine), min(mine), max(mine))
    if not goal.peers:
        return Verdict(goal, "", median(mine), min(mine), max(mine))
    theirs = {name: values(samples.get(name, []), goal.metric) for name in goal.peers}
    theirs = {name: found for name, found in theirs.items() if found}
    if not theirs:
        return None
    choose = max if goal.wants_more else min
    best = choose(theirs, key=lambda name: median(theirs[name]))
    # Round by round: what disturbs the machine for a minute disturbs both.
    pairs = zip(samples["canter"], samples[best], strict=False)
    both = [values([a], goal.metric) + values([b], goal.metric) for a, b in pairs]
    ratios = [pair[0] / pair[1] for pair in both if len(pair) == 2 and pair[1]] or [0.0]
    return Verdict(goal, best, median(mine) / median(theirs[best]), min(ratios), max(ratios))
