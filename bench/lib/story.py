"""The stories, declared, and how a page is given to `canter tune`.

What they are told on is in `stage`, loads in `loaded`, the exhaustive grid in `grid`, the old question in `points`, writing in
`telling`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.cases import DJANGO
from lib.loaded import cost_of_load, demo_site, long_run, ramped
from lib.postgres import CONNECTIONS
from lib.progress import say
from lib.stage import URLS, Found, NothingTold, Stage, Told, block, shown
from lib.stalled import stalled

#: What every search is told of its machine: a small plan.
WALLS = ["--memory", "512MB", "--db-connections", str(CONNECTIONS)]
SEED = "7"
#: Exit codes of `canter tune`: something was chosen, nothing holds.
TUNED = (0, 8)


@dataclass(frozen=True)
class Story:
    """One story: its name is that of its files."""

    name: str
    title: str
    tell: Callable[[Stage], Told]
    #: One page, so that all its configurations can be measured.
    has_grid: bool = False
    #: Whether the configurations that people ask about are measured beside the one found.
    has_points: bool = False


def tuned(name: str, paths: str, *more: str) -> Callable[[Stage], Told]:
    """A page given to `canter tune`."""

    def tell(stage: Stage) -> Told:
        (stage.scratch / URLS).write_text(paths)
        words = ["tune", DJANGO, "--url-list", URLS, *WALLS]
        words += ["--time", f"{stage.seconds}s", "--window", "2s", "--seed", SEED, "--quiet", *more]
        words += ["--html", f"{name}.html"]
        done = stage.canter([*words, "--json", "tune.json"], stage.seconds * 3 + 120)
        stage.clear()
        if done.returncode not in TUNED:
            raise NothingTold(f"canter tune ended with {done.returncode}: {done.stderr[-600:]}")
        report: dict[str, Any] = json.loads((stage.scratch / "tune.json").read_text())
        choice = report["choice"]
        if choice is None:
            raise NothingTold(f"canter tune chose nothing: {' '.join(report['prose'])}")
        chosen = (choice["workers"], choice["threads"])
        say(f"  {chosen[0]} workers, {chosen[1]} threads; binds: {report['binding']['constraint']}")
        parts = [f"`{URLS}`:\n\n{block(paths)}", f"    {shown(words)}", block(done.stdout)]
        parts.append(stage.keep(f"{name}.html"))
        return Told(parts, Found(int(report["level"]), *chosen))

    return tell


STORIES = (
    Story("from-memory", "A page from memory", tuned("from-memory", "/hello\n"), has_grid=True),
    Story("waits-on-an-api", "A page that waits on an API", tuned("waits-on-an-api", "/api\n"), has_grid=True),
    Story("on-the-database", "A page on the database", tuned("on-the-database", "/page\n"), has_grid=True),
    Story("computing", "A page that computes", tuned("computing", "/cpu\n"), has_grid=True),
    Story(
        "mixed",
        "All of them together",
        # Nine workers are what people ask about, whatever the cores; so many users keep each of them busy.
        tuned(
            "mixed",
            "/hello weight=4\n/page weight=4\n/api weight=1\n/cpu weight=1\n",
            *("--most-workers", "9", "--users", "32"),
        ),
        has_points=True,
    ),
    Story("ramp", "Users become more until it breaks", ramped("ramp")),
    Story("demo-site", "Users become more on the demo site", demo_site("demo-site")),
    Story("long-run", "Five million requests", long_run(5_000_000)),
    Story("cost-of-load", "What the load itself costs", cost_of_load(5, 5)),
    Story("stall", "A second in which the server stands still", stalled(3)),
)
