"""Rows of ``protections.toml``: each id has one, what they take out is in the source, and their tests exist.

Leaves the proof that a test fails without its protection to ``tools/protections.py``.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IDS = [f"{part}{number}" for part, most in (("S", 14), ("H", 10), ("L", 9)) for number in range(1, most + 1)]

spec = importlib.util.spec_from_file_location("protections", ROOT / "tools" / "protections.py")
assert spec and spec.loader
protections = importlib.util.module_from_spec(spec)
sys.modules["protections"] = protections
spec.loader.exec_module(protections)


def test_each_id_has_a_row() -> None:
    assert {row.id for row in protections.rows()} == set(IDS)


@pytest.mark.parametrize("row", protections.rows(), ids=lambda row: row.name)
def test_what_is_taken_out_is_there_once_and_its_tests_are_there(row: protections.Row) -> None:  # type: ignore[name-defined]
    names = {other.name for other in protections.rows()}
    assert row.tests and (row.edits or row.together) and set(row.together) <= names
    for edit in row.edits:
        assert (ROOT / edit.file).read_text().count(edit.take) == 1, edit.file
        assert "WITHOUT" in edit.put
    for test in row.tests:
        place, _, name = test.partition("::")
        if protections.is_unit(test):
            crate, name = test.split(" ")
            sources = (ROOT / "crates" / crate.removeprefix("canter-") / "src").rglob("*.rs")
            assert any(f"fn {name}()" in path.read_text() for path in sources), test
        else:
            function = re.split(r"\[", name)[0]
            assert not name or f"def {function}(" in (ROOT / place).read_text(), test


@pytest.mark.parametrize(
    ("test", "said", "is_failure"),
    [
        ("tests/test_a.py::test_b[c d]", "FAILED tests/test_a.py::test_b[c d] - assert 1 == 2\n1 failed in 0.1s", True),
        ("tests/test_a.py", "FAILED tests/test_a.py::test_b\n1 failed in 0.1s", True),
        ("tests/test_a.py::test_b", "ERROR tests/test_a.py::test_b - OSError: no\n1 error in 0.1s", False),
        ("tests/test_a.py::test_b", "FAILED tests/test_a.py::test_b\nERROR tests/test_a.py::test_b - OSError: no", False),
        ("canter-a b_c", "failures:\n    tests::b_c\n\ntest result: FAILED. 0 passed; 1 failed", True),
        ("canter-a b_c", "memory allocation of 9 bytes failed", False),
    ],
)  # fmt: skip
def test_only_the_failure_of_the_test_itself_is_one(test: str, said: str, is_failure: bool) -> None:
    assert protections.is_failure(test, said) == is_failure
