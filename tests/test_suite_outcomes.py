"""Owns the comparison of two runs of a foreign test suite: what counts as a difference.

Leaves running the suites to ``make psycopg-suite`` and ``make django-suite``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

POOLER = Path(__file__).resolve().parent / "pooler"
DIFFERENCES = POOLER / "psycopg_differences.txt"


def load() -> ModuleType:
    """The module, which lies beside the suites' runners and in no package."""
    path = POOLER / "suites" / "outcomes.py"
    spec = importlib.util.spec_from_file_location("suite_outcomes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OUTCOMES = load()


@pytest.mark.parametrize(
    ("straight", "pooled", "why", "differences"),
    [
        ("passed", "failed", None, 1),
        ("passed", "failed", "looks into a view", 0),
        ("passed", "not run", "looks into a view", 0),
        ("failed", "failed", None, 0),
        ("passed", "failed", "race: whoever is faster", 0),
        ("failed", "passed", "race: whoever is faster", 0),
        ("passed", "error", "race: whoever is faster", 1),
        ("passed", "skipped", "race: whoever is faster", 1),
        ("passed", None, "race: whoever is faster", 1),
    ],
)
def test_a_race_may_pass_and_fail_either_way_and_nothing_else(
    straight: str, pooled: str | None, why: str | None, differences: int
) -> None:
    """A reviewed difference may be any, an unknown one none."""
    known = {"tests/a.py::test_*": why} if why else {}
    through = {"tests/a.py::test_b": (pooled, "why")} if pooled else {}
    assert OUTCOMES.compare({"tests/a.py::test_b": (straight, "")}, through, known) == differences


def test_the_list_names_the_race_of_psycopg_and_gives_a_reason_for_each() -> None:
    """A race is one of the list's, and no line is without a reason."""
    known = OUTCOMES.reviewed(DIFFERENCES, "psycopg3")
    assert all(known.values()) and all(OUTCOMES.reviewed(DIFFERENCES, "psycopg2").values())
    name = "tests/test_waiting.py::test_wait_remote_closed[wait-1]"
    straight, pooled = {name: ("failed", "")}, {name: ("passed", "")}
    assert OUTCOMES.compare(straight, pooled, known) == 0
    assert OUTCOMES.compare(pooled, straight, known) == 0
