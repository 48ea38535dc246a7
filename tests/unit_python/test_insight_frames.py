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
from library.models import Author, Book, Note, Shown, Tag

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

def both(request):
    for book in Book.objects.all():
        book.author.name
        list(book.tags.all())

class Busy(Shown):
    # Does more than to say which rows there are.
    def get_queryset(self):
        RAN.append("asked")
        Tag.objects.filter(name="none").exists()
        return super().get_queryset()

def managed(request):
    Note._default_manager.__class__ = Busy
    for author in Author.objects.all():
        list(Note.objects.filter(author=author))
        Note.objects.filter(author_id=author.pk).count()
    for author in Author.objects.all():
        list(Note.objects.filter(text=author.name).order_by("text"))
        Note.objects.filter(text=author.name).exists()

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
from canter import advice, captured, insight
from django.test import Client
from django.urls import path
import frames_views
names = ("repository", "properties", "lazy", "hashes", "plain", "both", "managed")
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

whole, captured.capture = captured.capture, fails
insight._forget_captures()
out["unread"] = [told("plain")[0] for _ in range(2)]
captured.capture = whole
out["managed"] = [told("managed") for _ in range(3)]

composed = advice._text
advice._text = lambda one, *rest: fails() if one.name == "author" else composed(one, *rest)
insight._forget_captures()
# In each request something else is asked as well.
out["untold"] = [told(name)[0] for name in ("plain", "both", "both")]
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
    line = told["said"][0]
    assert "insight cannot tell what some statement is for" in line and "ValueError at <string>:" in line
    assert "hunter2" not in line


def test_c11_a_manager_of_the_app_is_not_run_for_each_statement_that_is_looked_into(told: Any) -> None:
    (first, *others) = told["managed"]
    asked = 4 * 8
    assert len(first[1]) == asked + 1, "once for the model"
    for row, ran in others:
        assert len(ran) == asked and row[1] == 2 + 2 * asked, row
    assert first[0][1] == others[0][0][1] + 1, "its own statement"
    texts = [text for _statement, _place, text in first[0][8]]
    assert any('.filter(author__in=values)' in text for text in texts), texts


def test_c11_advice_that_cannot_be_composed_is_missing_alone_and_is_said_once(told: Any) -> None:
    plain, both, again = told["untold"]
    assert plain[1] == 9 and plain[8] == [], plain
    # The other relation of the same request is told, and insight goes on.
    ((_statement, _place, text),) = both[8]
    assert text.startswith('Book.objects.select_related("author").prefetch_related("tags")'), text
    assert again[1] == both[1] == 17 and again[8] == [], again
    assert len(told["said"]) == 2, told["said"]
    line = told["said"][1]
    assert "insight cannot tell what helps against some repeated statement" in line and "ValueError at <string>:" in line
    assert "hunter2" not in line and "insight is off" not in line
