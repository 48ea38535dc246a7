"""Whatever an app has in its frames and gives its statements: reading them runs nothing of it, makes nothing that is
lazy, and costs at most the advice. In a process of its own, for Django has one configuration. Ids are those of the
acceptance list (C SQL).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APPS = Path(__file__).resolve().parent.parent / "apps"

VIEWS = """
from canter import insight
from django.db import connection
from django.http import HttpResponse
from django.utils.functional import SimpleLazyObject
from library.models import Author, Book, Tag

RAN = []

class Repository:
    # As many apps have it: nothing of Django's.
    def __init__(self):
        self.query = Book.objects.all()

    def latest(self, author):
        return list(self.query.filter(author=author)[:1])

    def aggregate(self, **kwargs):
        return Book.objects.filter(author=kwargs["author"]).count()

class Property:
    @property
    def query(self):
        RAN.append("query")

    @property
    def _known_related_objects(self):
        RAN.append("known")

    def __getattr__(self, name):
        RAN.append(name)
        raise AttributeError(name)

    def get(self):
        return [book.author.name for book in Book.objects.all()]

    def to_representation(self, book):
        return book.publisher.name

class Raises:
    def __hash__(self):
        raise ValueError("hunter2")

def repository(request):
    for author in Author.objects.all():
        Repository().latest(author)
        Repository().aggregate(author=author)

def properties(request):
    Property().get()
    for book in Book.objects.all():
        Property().to_representation(book)

def setup(number):
    def make():
        RAN.append(number)
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM library_tag WHERE id = %s", [number])
            return cursor.fetchone()
    return SimpleLazyObject(make)

def lazy(request):
    for one in [setup(number) for number in range(1, 9)]:
        str(one)

def hashes(request):
    for sql in ("UPDATE library_tag SET name = 'a' WHERE name = %s", "SELECT * FROM library_tag WHERE name = %s"):
        for value in (memoryview(bytearray(b"x")), Raises(), [Raises()]):
            insight.hook.observe(lambda *words: None, sql, (value,), False, {"connection": connection})

def plain(request):
    return [book.author.name for book in Book.objects.all()]

def answer(view):
    def run(request):
        view(request)
        return HttpResponse("x")
    return run
"""

PROBE = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import relations
from canter import captured, insight
from django.test import Client
from django.urls import path
import frames_views
names = ("repository", "properties", "lazy", "hashes", "plain")
relations.urlpatterns[:0] = [
    path(f"{name}/", frames_views.answer(getattr(frames_views, name)), name=name) for name in names
]
relations.fill()
client = Client()
insight.install()

def told(name, method="get"):
    frames_views.RAN.clear()
    assert getattr(client, method)(f"/{name}/").status_code == 200
    return [insight.report(), list(frames_views.RAN)]

out = {name: told(name) for name in names[:4]}
for method in ("post", "get", "head", "get"):
    out.setdefault("methods", []).append([text for *_, text in told("plain", method)[0][8]])

def fails(*words):
    raise ValueError("hunter2")

captured.capture = fails
insight._forget_captures()
out["unread"] = [told("plain")[0] for _ in range(2)]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("views")
    (folder / "frames_views.py").write_text(VIEWS, encoding="utf-8")
    program = [sys.executable, "-c", PROBE, str(APPS), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("canter:")]
    return {**json.loads(done.stdout), "said": said}


def test_c11_objects_of_the_app_that_are_named_as_djangos_are_not_taken_for_them(told: Any) -> None:
    row, _ran = told["repository"]
    assert row is not None and row[1] == 17, row


def test_c11_reading_frames_runs_no_property_of_the_app(told: Any) -> None:
    row, ran = told["properties"]
    assert row is not None and len(row[8]) == 2 and ran == [], (row, ran)


def test_c11_what_is_lazy_is_made_once_and_by_the_app(told: Any) -> None:
    row, ran = told["lazy"]
    assert row is not None and row[1] == 8 and ran == [*range(1, 9)], (row, ran)


def test_c11_values_whose_hash_raises_are_counted_and_not_told_apart(told: Any) -> None:
    row, _ran = told["hashes"]
    assert row is not None and row[1] == 6, row
    assert [more[:3] for _statement, _place, *more in row[5]] == [[3, 0, 0]] * 2


def test_c5_a_view_of_two_methods_has_advice_for_each_and_none_twice(told: Any) -> None:
    posted, got, *again = told["methods"]
    assert len(posted) == 1 and got == posted and again == [[], []], told["methods"]
    assert posted[0].startswith('Book.objects.select_related("author")')


def test_c11_frames_that_are_not_understood_cost_what_is_said_of_them_alone(told: Any) -> None:
    for row in told["unread"]:
        assert row[1] == 9 and row[8] == []
        # Whether it is a fault is not known either.
        assert all(more[1:3] == [0, 0] for _statement, _place, *more in row[5] if more[0] > 1), row
    (line,) = told["said"]
    assert "insight cannot tell what some statement is for" in line and "ValueError at <string>:" in line
    assert "hunter2" not in line
