"""What is advised on a page about one row that asks once for each of the several that belong to it: the call where
these come from, and that doing exactly this leaves a few questions. In a process of its own, for Django has one
configuration. Ids are those of the acceptance list (C SQL).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APPS = Path(__file__).resolve().parent.parent / "apps"

PROGRAM = """
import json, re, sys
sys.path.insert(0, sys.argv[1])
import relations
from canter import insight
from django.db import connection
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.template import engines
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from library.models import Author, Book, Person, Publisher, Tag, Team

PAGE = engines["django"].from_string("{% for book in author.books.all %}{{ book.publisher.name }} {% endfor %}")

def told_of(books):
    return " ".join(book.publisher.name for book in books)

def code(request):
    author = Author.objects.get(pk=1)
    return told_of(author.books.all())

def chosen(request):
    author = Author.objects.get(pk=1)
    return told_of(author.books.filter(title__gt="a"))

def several(request):
    author = Author.objects.get(pk=1)
    return " ".join(book.publisher.country.name + str(list(book.tags.all())) for book in author.books.all())

def template(request, rows=Author.objects):
    return PAGE.render({"author": get_object_or_404(rows, pk=1)})

def prefetched(request, rows=Author.objects.prefetch_related("books")):
    return template(request, rows)

def joined(request):
    return told_of(Book.objects.select_related("author"))

def all_authors(request):
    return "".join(told_of(author.books.all()) for author in Author.objects.all())

def owner_of_each(request, rows=Book.objects):
    found = []
    for book in rows.all():
        author = book.author
        found.append(author.name + book.publisher.name)
    return " ".join(found)

def joined_owner(request):
    return owner_of_each(request, Book.objects.select_related("author"))

WITH = engines["django"].from_string(
    "{% for book in books %}{% with author=book.author %}{{ author.name }}{{ book.publisher.name }}{% endwith %}{% endfor %}"
)

def named_in_a_template(request, rows=Book.objects):
    return WITH.render({"books": rows.all()})

def joined_in_a_template(request):
    return named_in_a_template(request, Book.objects.select_related("author"))

def no_way_back(request):
    captain, found = Person.objects.first(), []
    for team in Team.objects.all():
        team.captain = captain
        found.append(str(list(team.players.all())))
    return " ".join(found)

VIEWS = (
    code, chosen, several, template, prefetched, joined, all_authors, owner_of_each, joined_owner, named_in_a_template,
    joined_in_a_template, no_way_back,
)
relations.urlpatterns[:0] = [
    path(f"{view.__name__}/", lambda request, view=view: HttpResponse(view(request))) for view in VIEWS
]
relations.fill()
author = Author.objects.get(pk=1)
for publisher in Publisher.objects.all():
    Book.objects.create(title="x", author=author, publisher=publisher).tags.set(Tag.objects.all())
client = Client()
insight.install()
out = {}
for view in VIEWS:
    assert client.get(f"/{view.__name__}/").status_code == 200
    told = insight.report()
    out[view.__name__] = {"queries": told[1], "advice": [text for _statement, _place, text in told[8]]}

def asks(run):
    with CaptureQueriesContext(connection) as asked:
        found = run()
    return [found, len(asked)]

def beside(name):
    return re.search(r": (\\w+\\.\\w+(\\.\\w+\\([^()]*\\))+)", out[name]["advice"][0])[1]

author = Author.objects.get(pk=1)
out["code"]["done"] = asks(lambda: told_of(eval(beside("code"))))
out["code"]["same"] = code(None)
rows = eval(beside("template"))
out["template"]["done"] = asks(lambda: template(None, rows))
out["template"]["same"] = template(None)
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    program = [sys.executable, "-c", PROGRAM, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)


OF_ONE = {
    "code": 'where the rows are those of one Author: author.books.select_related("publisher")',
    # The relation has the managers of the rows, whatever else is asked of it.
    "chosen": 'where the rows are those of one Author: author.books.select_related("publisher")',
    "several": 'where the rows are those of one Author: author.books.select_related("publisher__country").prefetch_related("tags")',
    "template": 'where a template asks author.books.all: Author.objects.prefetch_related("books__publisher")',
}


@pytest.mark.parametrize("name", OF_ONE)
def test_c5_a_page_about_one_row_is_told_the_call_on_the_relation_by_which_the_others_come(told: Any, name: str) -> None:
    texts = told[name]["advice"]
    assert told[name]["queries"] >= 11 and texts, told[name]
    for text in texts:
        first, *others = text.partition(" (read by ")[0].split("; ")
        assert first.startswith('Book.objects.select_related("publisher') and OF_ONE[name] in others, text


@pytest.mark.parametrize(("name", "queries"), [("code", 1), ("template", 3)])
def test_c5_what_is_told_beside_answers_the_same_with_as_many_questions(told: Any, name: str, queries: int) -> None:
    assert told[name]["done"] == [told[name]["same"], queries]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("prefetched", 'Author.objects.prefetch_related("books__publisher")'),
        ("joined", 'Book.objects.select_related("publisher")'),
        ("all_authors", 'Author.objects.prefetch_related("books__publisher")'),
        ("owner_of_each", 'Book.objects.select_related("author", "publisher")'),
        ("joined_owner", 'Book.objects.select_related("publisher")'),
        ("named_in_a_template", 'Book.objects.select_related("author", "publisher")'),
        ("joined_in_a_template", 'Book.objects.select_related("publisher")'),
        ("no_way_back", 'Team.objects.prefetch_related("players")'),
    ],
)
def test_c5_rows_that_come_otherwise_are_told_no_relation_of_one(told: Any, name: str, call: str) -> None:
    assert told[name]["queries"] >= 9 and told[name]["advice"], told[name]
    assert all("where " not in text for text in told[name]["advice"]), told[name]
    assert all(text.startswith(call) for text in told[name]["advice"]), told[name]
