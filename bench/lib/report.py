"""The report of a run: the goals, one Markdown table per case, and the raw numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from lib.cases import CASES, Case
from lib.goals import GOALS, WORDS, Samples, judge, values
from lib.peers import PEERS

HEAD = """\
# Canter and its peers

Written by `make bench`; what is fair about it and what is not stands in `bench/README.md`.
Every body of every response is checked. Medians of the rounds, and the lowest and highest round.
Load generator and servers share the machine. CPU and memory are those of the server's whole process
tree; PostgreSQL and the slow API are not in them.
"""


def write(path: Path, results: dict[str, Any]) -> None:
    """`path` gets the Markdown, the same name with `.json` everything that was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    path.write_text(markdown(results))


def markdown(results: dict[str, Any]) -> str:
    """The whole report."""
    parts = [HEAD, _facts(results), _goals(results)]
    for case in CASES:
        if case.name in results["cases"]:
            parts.append(_case(case, results["cases"][case.name]))
    parts.append(_commands(results))
    return "\n".join(part for part in parts if part)


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    # The first column is words, the others are numbers.
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _facts(results: dict[str, Any]) -> str:
    used = {
        package
        for case in results["cases"].values()
        for name in case["samples"]
        for package in PEERS[name].packages
    } | {"django", "psycopg", "psycopg-pool"}
    versions = results["versions"]
    listed = ", ".join(f"{name} {versions[name]}" for name in sorted(used) if name in versions)
    lines = [f"- {name}: {value}" for name, value in results["machine"].items()]
    return "\n".join([*lines, f"- Versions: {listed}", f"- Command: `{results['command']}`\n"])


def _goals(results: dict[str, Any]) -> str:
    titles = {case.name: case.title for case in CASES}
    rows = []
    for goal in GOALS:
        samples: Samples = results["cases"].get(goal.case, {}).get("samples", {})
        verdict = judge(goal, samples)
        if verdict is None:
            continue
        versus = f" against {PEERS[verdict.peer].title}" if verdict.peer else ""
        unit = " x" if verdict.peer else ""
        digits = 0 if goal.metric == "failed" else 2
        rows.append(
            [
                f"{titles[goal.case]}: {WORDS[goal.metric]}{versus}",
                f"{verdict.value:.{digits}f}{unit}",
                f"{verdict.lowest:.{digits}f} to {verdict.highest:.{digits}f}",
                goal.words(goal.must),
                goal.words(goal.aim),
                verdict.reached,
            ]
        )
    if not rows:
        return ""
    header = ["goal", "Canter", "rounds", "must", "aim", "reached"]
    return "## What Canter has to reach\n\n" + _table(header, rows)


def _case(case: Case, found: dict[str, Any]) -> str:
    samples: Samples = found["samples"]
    key = "pss_mib" if case.idle else "rps"
    ranked = sorted(
        samples,
        key=lambda name: median(values(samples[name], key) or [0]),
        reverse=not case.idle,
    )
    header = ["server", "memory MB (PSS)", "rounds"] if case.idle else _SPEED_HEADER
    row = _idle_row if case.idle else _speed_row
    rounds = max((len(rows) for rows in samples.values()), default=0)
    timed = "" if case.idle else f", {found['seconds']:g} s after {found['warm_up']:g} s warm-up"
    plural = "" if rounds == 1 else "s"
    lines = [f"## {case.title}\n", f"{rounds} round{plural}{timed}, {found['date']}.\n"]
    lines.append(_table(header, (row(PEERS[name].title, samples[name]) for name in ranked)))
    if len(case.requests) > 1:
        lines.append(_by_request(case, ranked, samples))
    lines += _remarks(ranked, samples)
    return "\n".join(lines)


_SPEED_HEADER = [
    "server",
    "requests/s",
    "rounds",
    "p50 ms",
    "p99 ms",
    "failed",
    "CPU µs/request",
    "memory MB (PSS)",
]


def _speed_row(title: str, samples: list[dict[str, Any]]) -> list[str]:
    rates = values(samples, "rps")
    if not rates:
        return [title, "none", "", "", "", "", "", ""]
    failed, requests = sum(values(samples, "failed")), sum(values(samples, "requests"))
    share = 100 * failed / max(1, failed + requests)
    return [
        title,
        _number(median(rates)),
        f"{_number(min(rates))} to {_number(max(rates))}",
        _milliseconds(samples, "p50_us"),
        _milliseconds(samples, "p99_us"),
        f"{failed:,.0f} ({share:.1f} %)" if failed else "0",
        _median(samples, "cpu_us_per_request", 1),
        _median(samples, "pss_mib", 0),
    ]


def _idle_row(title: str, samples: list[dict[str, Any]]) -> list[str]:
    memory = values(samples, "pss_mib")
    if not memory:
        return [title, "none", ""]
    front = _median(samples, "front_rss_mib", 1)
    alone = f" (front process alone: {front} RSS)" if front else ""
    return [title + alone, f"{median(memory):.1f}", f"{min(memory):.1f} to {max(memory):.1f}"]


def _by_request(case: Case, names: list[str], samples: Samples) -> str:
    header = ["server"]
    for request in case.requests:
        header += [f"{request.path} p50 ms", f"{request.path} p99 ms", f"{request.path} failed"]
    rows = []
    for name in names:
        row = [PEERS[name].title]
        for request in case.requests:
            parts = [
                {**sample["targets"][request.name], "error": None}
                for sample in samples[name]
                if request.name in sample["targets"]
            ]
            row += [_milliseconds(parts, "p50_us"), _milliseconds(parts, "p99_us")]
            row.append(f"{sum(values(parts, 'failed')):,.0f}")
        rows.append(row)
    return _table(header, rows)


def _remarks(names: list[str], samples: Samples) -> list[str]:
    remarks = []
    for name in names:
        kinds: dict[str, int] = {}
        for sample in samples[name]:
            for kind, count in sample["failures"].items():
                kinds[kind] = kinds.get(kind, 0) + count
        if kinds:
            listed = ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))
            remarks.append(f"- {PEERS[name].title} failed by: {listed}")
        for error in sorted({sample["error"] for sample in samples[name] if sample["error"]}):
            count = sum(sample["error"] == error for sample in samples[name])
            remarks.append(
                f"- {PEERS[name].title}, {count} of {len(samples[name])} rounds: {error}"
            )
        if connections := values(samples[name], "postgres_connections"):
            remarks.append(f"- {PEERS[name].title}: at most {max(connections):.0f} connections to PostgreSQL")
        others = {"wrk": "wrk_rps", "canter bench": "canter_bench_rps"}
        found = {who: values(samples[name], key) for who, key in others.items()}
        said = [f"{_number(median(rates))} requests/s under `{who}`" for who, rates in found.items() if rates]
        if said:
            remarks.append(f"- {PEERS[name].title}: {', '.join(said)}")
    return [*remarks, ""] if remarks else []


def _commands(results: dict[str, Any]) -> str:
    lines = [
        "## Commands\n",
        "Started in `bench/apps` with `bench/.work/venv/bin` first on the path, `PYTHONPATH=.` and",
        "`DJANGO_SETTINGS_MODULE=dj.settings`; for `BENCH_DATABASE` see `bench/apps/dj/settings.py`.\n",
    ]
    sources: dict[str, list[str]] = {}
    for case_name, case in results["cases"].items():
        for name, samples in case["samples"].items():
            last = samples[-1]
            text = " & ".join(last["commands"]) or "not started"
            sources.setdefault(name, []).append(
                f"  - {case_name}: `BENCH_DATABASE={last['database']} {text}`"
            )
    for name, commands in sources.items():
        lines += [f"- {PEERS[name].title}. Settings: {PEERS[name].source}.", *commands]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _median(samples: list[dict[str, Any]], metric: str, digits: int) -> str:
    found = values(samples, metric)
    return f"{median(found):,.{digits}f}" if found else ""


def _milliseconds(samples: list[dict[str, Any]], metric: str) -> str:
    found = values(samples, metric)
    if not found:
        return ""
    milliseconds = median(found) / 1000
    return f"{milliseconds:.3f}" if milliseconds < 10 else f"{milliseconds:,.0f}"
