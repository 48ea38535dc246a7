"""The old question, "4 workers with many threads, 9, or 9 with one thread each?", answered in blocks beside what tune found.

Leaves measuring to `grid`. Canter has one kind of worker: a cap of one thread is what other servers call a sync worker, a
high one stands for their evented ones.
"""

from __future__ import annotations

import random
import statistics

from lib import grid
from lib.grid import Ratio, Row, Setting, words_of
from lib.progress import say
from lib.stage import Stage, Told, block

SEED = "points"
#: Threads of a worker that has many.
MANY = 64
ASKED: tuple[Setting, ...] = ((4, MANY), (9, MANY), (9, 1))


def compare(stage: Stage, told: Told) -> str:
    """Measure the three and the one found in blocks; the result as Markdown."""
    found = told.found
    assert found is not None
    choice = (found.workers, found.threads)
    rows = {setting: Row() for setting in dict.fromkeys((*ASKED, choice))}
    grid.in_blocks(stage, found.users, rows, random.Random(SEED), grid.PAIRS, see=True)
    best = grid.best_of({it: rows[it] for it in ASKED})
    text = _answer(found.users, best, rows)
    if choice not in ASKED:
        more = grid.ratio(rows[choice].rates, rows[best].rates)
        text += (
            f" What tune found, {words_of(choice)}, gave {more.words()} against the best of the three, with "
            f"{_memory(rows[choice])}."
        )
    say(f"  {text}")
    lines = [f"{'workers':>7} {'threads':>7} {'answers/s':>10} {'p95':>8} {'memory':>8} {'runs':>5}"]
    for setting, row in rows.items():
        rate, p95 = row.rate(), statistics.median(row.p95)
        line = f"{setting[0]:>7} {setting[1]:>7} {rate:>10,.1f} {p95:>5.0f} ms {_memory(row):>8} {len(row.rates):>5}"
        line += "  found by tune" if setting == choice else ""
        lines.append(line + ("  best of the three" if setting == best else ""))
    causes = [f"- {words_of(setting)}: {row.cause}" for setting, row in rows.items() if row.cause]
    why = ["What held each back, by the last of its measurements:", "\n".join(causes)] if causes else []
    parts = [f"## {words_of(ASKED[0])}, {words_of(ASKED[1])}, or {words_of(ASKED[2])}?", text, block("\n".join(lines)), *why]
    return "\n\n".join(parts)


def _answer(users: int, best: Setting, rows: dict[Setting, Row]) -> str:
    """Which of the three is best, by how much, and for how much memory."""
    others = [setting for setting in ASKED if setting != best]
    against = {it: grid.ratio(rows[it].rates, rows[best].rates) for it in others}
    said = [f"{words_of(it)} gave {less.words()}, with {_memory(rows[it])}: {_verdict(less)}" for it, less in against.items()]
    return (
        f"At {users} users, {words_of(best)} gave the most of the three, {rows[best].rate():,.0f} answers a second "
        f"with {_memory(rows[best])}; {'; '.join(said)} ({grid.PAIRS} blocks)."
    )


def _verdict(less: Ratio) -> str:
    if less.high < 0:
        return "less"
    return "no difference that can be told"


def _memory(row: Row) -> str:
    return f"{statistics.median(row.memory):.0f} MB"
