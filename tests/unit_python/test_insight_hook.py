"""What watches an app from inside: it disarms itself where it fails, and says so once. In a process of
its own, for Django has one configuration. Ids are those of the acceptance list (C SQL).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from canter import explain

APPS = Path(__file__).resolve().parent.parent / "apps"

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import relations
from canter import insight
from django.test import Client
relations.fill()
client = Client()
insight.install()

def fails(*words):
    raise ValueError("hunter2")

insight._note_values = fails
for _ in range(3):
    assert client.get("/forward/").status_code == 200
    print(insight.report())
"""


def test_c11_what_fails_disarms_itself_says_so_once_and_the_app_goes_on() -> None:
    program = [sys.executable, "-c", PROGRAM, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["None"] * 3
    lines = [line for line in done.stderr.splitlines() if line.startswith("canter: ")]
    assert len(lines) == 1, done.stderr
    assert "insight is off in this process" in lines[0] and "ValueError at <string>:" in lines[0]
    assert "--insight=false" in lines[0] and "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("sql", "one"),
    [
        ("SELECT 1", True),
        ("SELECT 1 ; ", True),
        ("SELECT ';', \"a;b\", `c;d` FROM t", True),
        ("SELECT 1; DELETE FROM t", False),
        ("SELECT 'it''s'; COMMIT; DELETE FROM t", False),
        ("SELECT ' ; \" ' ; DROP TABLE t --'", False),
    ],
)
def test_c9_only_a_single_statement_is_explained(sql: str, one: bool) -> None:
    assert explain.is_one(sql) is one


def test_c9_placeholders_of_django_become_those_of_postgresql() -> None:
    assert explain.numbered("a = %s AND b LIKE '%%x' AND c = ?") == "a = $1 AND b LIKE '%x' AND c = $2"
    assert explain.numbered('"odd%s" = %s') == '"odd%s" = $1'


def test_c8_a_line_of_a_plan_has_no_literal_of_the_database() -> None:
    node = {
        "Node Type": "Seq Scan",
        "Relation Name": "notes",
        "Filter": "((title = 'hunter2'::text) AND (n > 4711))",
        "Plan Rows": 3,
    }
    line = explain.line(1, node)
    assert line.startswith("  Seq Scan on notes (rows 3") and "filter" in line
    assert "hunter2" not in line and "4711" not in line
