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
    assert "--no-insight" in lines[0] and "hunter2" not in done.stderr


WRAPPERS = """
import sys
sys.path.insert(0, sys.argv[1])
import relations
from canter import insight
from django.db import connection, connections
from django.http import HttpResponse
from django.urls import path
from django.test import RequestFactory
from django.core.handlers.wsgi import WSGIHandler

def add(execute, sql, params, many, context):
    return execute(sql + " /* %s */" % id(object()), params, many, context)

def view(request):
    if request.path == "/wrapped/":
        with connection.execute_wrapper(add), connection.cursor() as cursor:
            cursor.execute("SELECT 42")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 41")
    if request.path == "/cleared/":
        connection.execute_wrappers.clear()
    if request.path == "/replaced/":
        connection.execute_wrappers = [add]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 43")
    return HttpResponse("x")

relations.urlpatterns[:0] = [path(name, view) for name in ("wrapped/", "cleared/", "replaced/", "plain/")]
insight.install()
# As a thread has it that has not asked yet; and unlike one in memory, it can be closed.
connections.settings["default"]["NAME"] = sys.argv[2]
del connections["default"]
handler = WSGIHandler()
for name in ("wrapped", "wrapped", "cleared", "replaced", "plain"):
    connection.close()
    response = handler.get_response(RequestFactory().get(f"/{name}/"))
    assert response.status_code == 200, response.content
    told = insight.report()
    of_app = sum(one is add for one in connection.execute_wrappers)
    print(name, told if isinstance(told, str) else told[1], of_app)
"""


def test_c11_the_apps_own_wrappers_of_statements_come_and_go_as_ever(tmp_path: Path) -> None:
    """The connection is opened within the app's wrapper, and Django then takes off the last one. One that an
    app has taken off is back on the next connection."""
    program = [sys.executable, "-c", WRAPPERS, str(APPS), str(tmp_path / "db")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "wrapped 3 0",
        "wrapped 3 0",
        "cleared 1 0",
        "replaced 1 1",
        "plain 2 1",
    ], done.stderr


VIEWS = """
from functools import partial
from types import FunctionType
from canter import insight
from django.db import connection, transaction
from django.forms import modelformset_factory
from django.http import HttpResponse
from library.models import Author, Profile, Tag

class Asks:
    def __hash__(self):
        return Author.objects.count()

def several(request):
    if "here" in request.GET:
        Author.objects.filter(pk=1).first()
    for n in range(int(request.GET.get("there", 0))):
        Author.objects.filter(pk=n).first()
    return HttpResponse("x")

def moved(request):
    for n in range(6):
        if "there" in request.GET:
            Author.objects.filter(pk=n).first()
        else:
            Author.objects.filter(pk=n).first()
    return HttpResponse("x")

# Frames of code that is not the app's own, more than are walked.
LIBRARY = {}
exec(compile("def step(rest):\\n next(rest)(rest)\\ndef last(rest):\\n rest.ask()", "<library>", "exec"), LIBRARY)

class Frames:
    def __init__(self, ask):
        self.ask, self.left = ask, 2050

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if not self.left:
            return LIBRARY["last"]
        return FunctionType(LIBRARY["step"].__code__.replace(), LIBRARY)

def nested(request):
    with transaction.atomic():
        for n in range(40):
            with transaction.atomic():
                pass
        loop()
    return HttpResponse("x")

def writes(request):
    for n in range(70):
        insight.hook.observe(
            lambda *words: None, f"UPDATE t{n} SET a = %s", (n,), False, {"connection": connection}
        )
    loop()
    return HttpResponse("x")

def imported(request):
    for n in range(8):
        Tag.objects.get_or_create(name=f"t{n}")
    return HttpResponse("x")

def several_forms(request):
    one = modelformset_factory(Profile, fields=["author"], extra=6)
    data = {"form-TOTAL_FORMS": "6", "form-INITIAL_FORMS": "0"}
    data |= {f"form-{n}-author": str(n % 5 + 1) for n in range(6)}
    assert not one(data, queryset=Profile.objects.none()).is_valid()
    return HttpResponse("x")

def loop():
    for n in range(6):
        Author.objects.filter(pk=n).exists()

def crowded(request):
    Author.objects.filter(pk=1).first()
    if "crowd" in request.GET:
        ask = partial(
            insight.hook.observe, lambda *words: None, "SELECT 2", (), False, {"connection": connection}
        )
        for _ in range(7):
            LIBRARY["step"](Frames(ask))
    return HttpResponse("x")

def odd(request):
    values = {"kind": (object(), ()), "nested": ("SELECT 1", [[1], {}]), "asks": ("SELECT 1", (Asks(),))}
    sql, params = values[request.GET["what"]]
    for _ in range(2):
        insight.hook.observe(lambda *words: None, sql, params, False, {"connection": connection})
    return HttpResponse("x")

RUNS = {
    # A key beside a list, and beside an order: another key is another row's question.
    "listed": [("SELECT 1 WHERE o = %s AND s IN (%s, %s)", [n, "a", "b"]) for n in range(6)],
    "latest": [("SELECT 1 WHERE o = %s AND at < %s ORDER BY at LIMIT 9", (n, "x")) for n in range(6)],
    # Chunks of what belongs to one key.
    "chunks": [("SELECT 1 WHERE k = %s AND o IN (%s, %s)", (7, n, n + 1)) for n in range(6)],
    "named": [("SELECT 1 WHERE k = %(k)s AND o IN (%(o)s, %(p)s)", {"k": n, "o": 1, "p": 2}) for n in range(6)],
    "negative": [("SELECT 1 WHERE k = %s", [[n]]) for n in (-1, -2, -1.0, -2.0, -3)],
    "nested": [("SELECT 1 WHERE (a, b) IN %s", [((n, 1), (2, 3))]) for n in (-1, -2)],
    "short": [("SELECT 1 WHERE k = %s AND a = %s", (n,)) for n in range(6)],
    "long": [("SELECT 1 WHERE k = %s AND a IN (" + "%s, " * 5000 + "%s)", (n, *range(5001))) for n in range(6)],
}

def runs(request):
    context = {"connection": connection}
    for sql, params in RUNS[request.GET["what"]]:
        # As the ORM does, a text of its own each time.
        sql = "".join(list(sql))
        insight.hook.observe(lambda *words: None, sql, params, False, context)
    return HttpResponse("x")
"""

LINES = [str(at) for at, line in enumerate(VIEWS.splitlines(), 1) if ".first()" in line]
ONE, SEVERAL, MOVED, BEFORE, CROWDED = LINES
"""Where the views ask."""

PROBE = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import relations
from canter import insight
from django.test import Client
from django.urls import path
import several_views
relations.urlpatterns[:0] = [
    path("several/", several_views.several, name="s"), path("odd/", several_views.odd),
    path("moved/", several_views.moved), path("runs/", several_views.runs), path("crowded/", several_views.crowded),
    path("nested/", several_views.nested), path("import/", several_views.imported),
    path("forms/", several_views.several_forms),
]
sys.setrecursionlimit(10_000)
relations.fill()
client = Client()
insight.install()

def told(address):
    assert client.get(address).status_code == 200
    return insight.report()

out = {
    "nested": told("/nested/"),
    "meant": {name: told(f"/{name}/") for name in ("import", "forms")},
    "here": [told("/several/?here=1") for _ in range(40)],
    "there": [told("/several/?there=6") for _ in range(2)],
    "listed": [told("/moved/") for _ in range(40)],
    "moved": told("/moved/?there=1"),
    "crowded": [told("/crowded/?crowd=1"), told("/crowded/")],
    "runs": {what: told(f"/runs/?what={what}") for what in several_views.RUNS},
    "odd": [told(f"/odd/?what={what}") for what in ("kind", "nested", "asks")],
}
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("views")
    (folder / "several_views.py").write_text(VIEWS, encoding="utf-8")
    program = [sys.executable, "-c", PROBE, str(APPS), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def lines(*told: Any) -> dict[int, str]:
    """The line of each place, by its name."""
    return {name: text.split("\n")[1] for row in told for name, text in row[7]}


def test_c11_a_repeated_statement_that_moves_is_told_at_its_new_line_from_the_first_request_on(told: Any) -> None:
    places = lines(*told["listed"], told["moved"])
    for row in told["listed"]:
        assert [(places[place], *more[:3]) for _, place, *more in row[5]] == [(BEFORE, 6, 6, 0)]
    assert [(places[place], *more[:3]) for _, place, *more in told["moved"][5]] == [(MOVED, 6, 6, 0)]


def test_c11_a_place_is_the_right_one_when_all_code_was_forgotten_meanwhile(told: Any) -> None:
    crowded, later = told["crowded"]
    places = lines(crowded, later)
    (statement, place, *_), (other, *_) = crowded[5]
    assert places[place] == CROWDED and statement != other
    assert [row[:2] for row in later[5]] == [[statement, place]]


def test_c11_no_finding_is_told_of_a_place_that_was_not_looked_up(told: Any) -> None:
    places = lines(*told["here"], *told["there"])
    seen = [(places[place], count, distinct) for row in told["here"] for _, place, count, distinct, *_ in row[5]]
    assert set(seen) == {(ONE, 1, 1)} and len(seen) == 40
    # Taken for the line where it was asked always, so that nothing is said of its values.
    first, second = ([(places[row[1]], *row[2:5]) for row in one[5]] for one in told["there"])
    assert first == [(ONE, 6, 0, 0)]
    # Looked up, as from now on.
    assert second == [(SEVERAL, 6, 6, 0)]
    assert "Author" in told["there"][1][8][0][2]


def test_c4_savepoints_are_one_statement_and_leave_room_for_loops(told: Any) -> None:
    row = told["nested"]
    texts = {text for _name, _bits, text in row[6]}
    assert {"BEGIN", "SAVEPOINT ?", "RELEASE SAVEPOINT ?"} < texts and len(texts) == 4, texts
    counts = sorted(tuple(more[:2]) for _statement, _place, *more in row[5])
    assert counts == [(1, 0), (6, 6), (40, 0), (40, 0)]


@pytest.mark.parametrize("name", ["import", "forms"])
def test_c2_reads_that_belong_to_writing_are_asked_for_each_row(told: Any, name: str) -> None:
    row = told["meant"][name]
    assert max(more[0] for _statement, _place, *more in row[5]) >= 6
    assert [more[1:3] for _statement, _place, *more in row[5] if more[0] > 1 and more[1:3] != [0, 0]] == []
    assert row[8] == []


def test_c11_statements_and_values_of_any_kind_are_counted(told: Any) -> None:
    kind, nested, asks = told["odd"]
    assert (kind[1], kind[5]) == (2, [])
    assert nested[1] == 2 and [row[2:5] for row in nested[5]] == [[2, 1, 1]]
    # Looking at a value has asked the database, which counts as well.
    assert asks[1] == 4


def test_c3_of_what_is_asked_in_pieces_the_keys_are_counted(told: Any) -> None:
    counted = {what: [row[2:5] for row in one[5]] for what, one in told["runs"].items()}
    assert counted == {
        "listed": [[6, 6, 0]],
        "latest": [[6, 6, 0]],
        "chunks": [[6, 1, 0]],
        "named": [[6, 6, 0]],
        "negative": [[5, 5, 0]],
        "nested": [[2, 2, 0]],
        "short": [[6, 6, 0]],
        # Too long to be kept, and known all the same.
        "long": [[6, 6, 0]],
    }


CROWDED_OUT = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import relations
from canter import insight
from django.test import Client
from django.urls import path
import several_views
relations.urlpatterns[:0] = [path("writes/", several_views.writes)]
relations.fill()
insight.install()
for _ in range(2):
    assert Client().get("/writes/").status_code == 200
    told = insight.report()
print(json.dumps(told))
"""


def test_c4_writes_leave_room_for_loops_and_what_is_not_told_apart_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "several_views.py").write_text(VIEWS, encoding="utf-8")
    program = [sys.executable, "-c", CROWDED_OUT, str(APPS), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told[1] == 76 and max(row[3] for row in told[5]) == 6
    said = [line for line in done.stderr.splitlines() if line.startswith("canter: ")]
    assert len(said) == 1 and "/writes/ asks 76 statements, of which 38" in said[0], done.stderr


BOUNDED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import relations
from canter import insight
from django.db import connection
from django.test import RequestFactory

insight.install()
context = {"connection": connection}
request = RequestFactory().get("/")
request.resolver_match = None

def ask(sizes):
    for number, size in enumerate(sizes):
        insight.hook.begin(request)
        sql = f"SELECT c{number} FROM t WHERE a IN (" + "%s, " * (size // 4) + "%s)"
        insight.hook.observe(lambda *words: None, sql, (), False, context)
        insight.hook.report()

def kilobytes():
    words = open("/proc/self/statm").read().split()
    return int(words[1]) * resource.getpagesize() // 1024

ask([100] * 600)
before = kilobytes()
ask([8_000] * 500)
ask([200_000] * 500)
print(kilobytes() - before)
"""


def test_c11_texts_without_end_are_not_kept() -> None:
    program = [sys.executable, "-c", BOUNDED, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    # 104 MB of statements went by.
    assert int(done.stdout) < 12_000


ENGINE = """
from django.db.backends.sqlite3 import base, operations

class DatabaseOperations(operations.DatabaseOperations):
    def quote_name(self, name):
        return name if name.startswith("`") else f"`{name}`"

class DatabaseWrapper(base.DatabaseWrapper):
    vendor = "mysql"
    display_name = "one that speaks as MySQL does"
    ops_class = DatabaseOperations
"""

OTHER = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from django.conf import LazySettings
as_ever = LazySettings.configure
def configure(self, **words):
    words["DATABASES"]["default"]["ENGINE"] = "engine"
    as_ever(self, **words)
LazySettings.configure = configure
import relations
from canter import insight
from django.test import Client
relations.fill()
insight.install()
assert Client().get("/forward/").status_code == 200
print(json.dumps(insight.report()))
"""


def test_c1_an_engine_that_nobody_has_heard_of_is_watched_too(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "engine" / "base.py").write_text(ENGINE, encoding="utf-8")
    program = [sys.executable, "-c", OTHER, str(APPS), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    told = json.loads(done.stdout)
    texts = {name: text for name, _bits, text in told[6]}
    loops = [texts[row[0]] for row in told[5] if row[3] >= 5]
    assert loops and all("SELECT" in text and '"' not in text for text in texts.values()), texts
    assert "select_related" in told[8][0][2]


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
    assert explain.numbered("a = %s AND b LIKE '%%x' AND c = %s") == "a = $1 AND b LIKE '%x' AND c = $2"
    assert explain.numbered('"odd%s" = %s') == '"odd%s" = $1'


def test_c9_the_operator_of_postgresql_that_looks_like_a_placeholder_stays() -> None:
    assert explain.numbered('"data" ? %s AND "data" ?| %s') == '"data" ? $1 AND "data" ?| $2'
    template = explain.as_template('a = ? AND "odd?" = ? AND data ? ? AND b % ? = ? LIMIT ?')
    assert template == 'a = %s AND "odd?" = %s AND data ? %s AND b %% %s = %s LIMIT %s'
    assert explain.as_template("SELECT t.a, t.b, … FROM t WHERE t.a = ?") == "SELECT t.a, t.b FROM t WHERE t.a = %s"
    assert explain.numbered(template) == 'a = $1 AND "odd?" = $2 AND data ? $3 AND b % $4 = $5 LIMIT $6'


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


EARLIER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import relations
from django.db import connections
from django.test import Client

def all_of(self):
    return [self[alias] for alias in self]

relations.fill()
from canter import insight
base = type(connections).__mro__[1]
as_ever = base.all
# As before Django 4.1, which does not call it with a word itself.
base.all = all_of
insight.install()
base.all = as_ever
assert Client().get("/forward/").status_code == 200
print(json.dumps(insight.report()))
"""


def test_c1_an_earlier_django_is_watched_from_connections_that_are_open_on() -> None:
    program = [sys.executable, "-c", EARLIER, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    assert json.loads(done.stdout)[1] > 0
