"""Owns the outcomes of a foreign test suite: a pytest plugin that writes each one down at once,
reading them back, showing progress, and comparing two runs against a reviewed list of differences.

Leaves which suite and where to its callers.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Outcomes = dict[str, tuple[str, str]]

FILE = "CANTER_SUITE_OUTCOMES"
"""The variable that names the file."""

RACE = "race:"
"""A reason that begins so is that of a test that may pass or fail either way."""


def write(name: str, outcome: str, why: str = "") -> None:
    """One line for one test."""
    with open(os.environ[FILE], "a", encoding="utf-8") as file:
        file.write(json.dumps([name, outcome, why[-2000:]]) + "\n")


def pytest_runtest_logreport(report: Any) -> None:
    """As a plugin of pytest (``-p outcomes``)."""
    if report.when == "call" or report.outcome != "passed":
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        write(report.nodeid, outcome, str(report.longrepr) if report.failed else "")


def run(
    title: str, words: Sequence[str], cwd: Path, env: Mapping[str, str], folder: Path
) -> Outcomes:
    """Run a suite's command; the outcome of every test, and a line of numbers."""
    print(f"==> {title}", flush=True)
    started = time.monotonic()
    written, log = folder / "outcomes", folder / "log"
    written.write_text("")
    with log.open("w") as output:
        process = subprocess.Popen(
            list(words),
            cwd=cwd,
            env={**os.environ, **env, FILE: str(written)},
            stdout=output,
            stderr=output,
        )
        watch(process, written)
    found = read(written)
    if process.returncode not in (0, 1) or not found:
        print(log.read_text(errors="replace")[-3000:])
    counts = Counter(outcome for outcome, _ in found.values())
    numbers = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    print(f"    {len(found)} tests in {time.monotonic() - started:.0f} s: {numbers}", flush=True)
    return found


def watch(process: subprocess.Popen[Any], written: Path) -> None:
    """Say how far it is until it ends."""
    while True:
        try:
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            print(f"    {len(written.read_text().splitlines())} tests so far", flush=True)


def read(written: Path) -> Outcomes:
    """The last word on each test; a failure is not taken back."""
    found: Outcomes = {}
    for line in written.read_text(encoding="utf-8").splitlines():
        name, outcome, why = json.loads(line)
        if found.get(name, ("", ""))[0] not in ("failed", "error"):
            found[name] = (outcome, why)
    return found


def reviewed(file: Path, suite: str) -> dict[str, str]:
    """Patterns of test names that may differ, each with why: ``suite name  # why``."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        words, _, why = line.partition("#")
        parts = words.split(maxsplit=1)
        if len(parts) == 2 and parts[0] == suite:
            found[parts[1].strip()] = why.strip()
    return found


def compare(direct: Outcomes, pooled: Outcomes, known: Mapping[str, str] | None = None) -> int:
    """Print each test whose outcome differs; how many are in no list. A listed race may only pass on
    one side and fail on the other, and is named."""
    unknown = reviewed_ones = races = 0
    for name in sorted({*direct, *pooled}):
        before = direct.get(name, ("not run", ""))
        after = pooled.get(name, ("not run", ""))
        if before[0] == after[0]:
            continue
        reasons = [why for key, why in (known or {}).items() if fnmatch.fnmatchcase(name, key)]
        difference = f"{name}: {before[0]} straight, {after[0]} through the pooler"
        if any(not why.startswith(RACE) for why in reasons):
            reviewed_ones += 1
        elif reasons and {before[0], after[0]} == {"passed", "failed"}:
            races += 1
            print(f"    a race, {difference}")
        else:
            unknown += 1
            print(f"\n{difference}\n{after[1]}")
    print(
        f"==> {len(direct)} tests: {unknown} differences, {reviewed_ones} that are in the list,"
        f" {races} races"
    )
    return unknown
