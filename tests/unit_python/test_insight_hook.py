"""What watches an app from inside: it disarms itself where it fails, and says so once. In a process of
its own, for Django has one configuration. Ids are those of the acceptance list (C SQL).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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

insight._name_place = fails
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


VIEWS = """
from canter import insight
from django.db import connection
from django.http import HttpResponse
from library.models import Author

class Asks:
    def __hash__(self):
        return Author.objects.count()

def several(request):
    if "here" in request.GET:
        Author.objects.filter(pk=1).first()
    for n in range(int(request.GET.get("there", 0))):
        Author.objects.filter(pk=n).first()
    return HttpResponse("x")

def odd(request):
    values = {"kind": (object(), ()), "nested": ("SELECT 1", [[1], {}]), "asks": ("SELECT 1", (Asks(),))}
    sql, params = values[request.GET["what"]]
    for _ in range(2):
        insight.hook.observe(lambda *words: None, sql, params, False, {"connection": connection})
    return HttpResponse("x")
"""

SEVERAL = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import relations
from canter import insight
from django.test import Client
from django.urls import path
import several_views
relations.urlpatterns[:0] = [
    path("several/", several_views.several, name="s"), path("odd/", several_views.odd)
]
relations.fill()
client = Client()
insight.install()

def told(address):
    assert client.get(address).status_code == 200
    return insight.report()

out = {
    "here": [told("/several/?here=1") for _ in range(40)],
    "there": [told("/several/?there=6") for _ in range(2)],
    "odd": [told(f"/odd/?what={what}") for what in ("kind", "nested", "asks")],
}
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("views")
    (folder / "several_views.py").write_text(VIEWS, encoding="utf-8")
    program = [sys.executable, "-c", SEVERAL, str(APPS), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def test_c11_no_finding_is_told_of_a_place_that_was_not_looked_up(told: Any) -> None:
    places = {name: text.split("\n")[1] for row in [*told["here"], *told["there"]] for name, text in row[7]}
    seen = [(places[place], count, distinct) for row in told["here"] for _, place, count, distinct, *_ in row[5]]
    assert set(seen) == {("13", 1, 1)} and len(seen) == 40
    # Taken for the line where it was asked always, so that nothing is said of its values.
    first, second = ([(places[row[1]], *row[2:5]) for row in one[5]] for one in told["there"])
    assert first == [("13", 6, 0, 0)]
    # Looked up, as from now on.
    assert second == [("15", 6, 6, 0)]
    assert "Author" in told["there"][1][8][0][2]


def test_c11_statements_and_values_of_any_kind_are_counted(told: Any) -> None:
    kind, nested, asks = told["odd"]
    assert (kind[1], kind[5]) == (2, [])
    assert nested[1] == 2 and [row[2:5] for row in nested[5]] == [[2, 1, 1]]
    # Looking at a value has asked the database, which counts as well.
    assert asks[1] == 4


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
