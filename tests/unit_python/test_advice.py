"""What is advised for each way to ask once for each row, and that doing exactly this leaves a few
questions. The shapes are those in the documentation of tools that look for such loops. In a process
of its own, for Django has one configuration. Ids are those of the acceptance list (C SQL).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APPS = Path(__file__).resolve().parent.parent / "apps"

PROGRAM = """
import json, re, sys
PLAIN = ("filtered", "deferred", "deferred_key", "keys", "first", "count", "exists", "apart", "back")
sys.path.insert(0, sys.argv[1])
import relations
from canter import insight
from django.test import Client
from django.contrib.auth.models import User
relations.fill()
client = Client()
User.objects.create_superuser("root", password="x")
client.force_login(User.objects.get())
insight.install()

def ask(path, **query):
    assert client.get(path, query).status_code == 200, path
    told = insight.report()
    if isinstance(told, str):
        return {"queries": 0, "advice": []}
    return {"queries": told[1], "advice": [row[2] for row in told[8]]}

out = {}
for name in relations.LOOPS:
    asked = ask(f"/{name}/")
    rows = [re.match(r"[\\w.]+(\\.\\w+\\(.*?\\)+)+(?=;|,| \\(|$)", text) for text in asked["advice"]]
    if rows and rows[0] and name not in PLAIN:
        asked["mended"] = ask(f"/{name}/", rows=rows[0][0])["queries"]
    out[name] = asked
out["later"]["deep"] = ask("/later/", rows="Book.objects.order_by('pk')")["advice"]
out["admin"] = ask("/admin/library/book/")
for name, text in (("count", out["count"]["advice"]), ("exists", out["exists"]["advice"])):
    names = {model.__name__: model for model in relations.ALL}
    functions = {word: getattr(relations.models, word) for word in ("Count", "Exists", "OuterRef")}
    found = list(eval(text[0], {**names, **functions}))
    out[name]["values"] = [vars(row).get("books_count", vars(row).get("has_books")) for row in found]
# The database is asked about several kinds of things, once for each kind.
out["control"] = ask("/generic/", rows="Review.objects.prefetch_related('about')")
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    program = [sys.executable, "-c", PROGRAM, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CALLS = {
    "forward": 'Book.objects.select_related("author")',
    "chain": 'Book.objects.select_related("publisher__country")',
    "reverse": 'Author.objects.prefetch_related("books")',
    "many_to_many": 'Book.objects.prefetch_related("tags")',
    "one_to_one": 'Author.objects.select_related("profile")',
    "generic": 'Review.objects.prefetch_related("about")',
    "template": 'Book.objects.select_related("publisher__country")',
    "serializer": 'Book.objects.select_related("author")',
    # Two captains for all teams, and the relation to several of the same model is another.
    "captain": 'Team.objects.select_related("captain")',
    "players": 'Team.objects.prefetch_related("players")',
    "leaders": 'Club.objects.prefetch_related("leaders")',
    "led": 'Person.objects.prefetch_related("led")',
    "follows": 'Person.objects.prefetch_related("follows")',
    "followers": 'Person.objects.prefetch_related("followers")',
    "reviews": 'Author.objects.prefetch_related("reviews")',
    # The books were fetched before, so that they are not in the loop.
    "fetched": 'Author.objects.prefetch_related("books__publisher")',
}


@pytest.mark.parametrize("name", CALLS)
def test_c5_each_relation_gets_the_call_that_fetches_it_and_the_call_helps(
    told: Any, name: str
) -> None:
    assert told[name]["queries"] >= 9, told[name]
    assert all(text.startswith(CALLS[name]) for text in told[name]["advice"]), told[name]
    assert told[name]["advice"], told[name]
    # The signed-in visitor costs two, a kind of thing one, and the rest is what was asked for.
    assert told[name]["mended"] <= 6, told[name]


def test_c5_on_django_6_1_a_fetch_mode_is_offered_for_what_it_can_do(told: Any) -> None:
    import django

    offered = "fetch_mode(models.FETCH_PEERS)" in told["forward"]["advice"][0]
    assert offered == (django.VERSION >= (6, 1))
    assert "fetch_mode" not in told["reverse"]["advice"][0]


def test_c5_counting_and_looking_are_asked_for_all_rows_at_once(told: Any) -> None:
    count, exists = told["count"], told["exists"]
    assert count["advice"] == ['Author.objects.annotate(books_count=Count("books", distinct=True))']
    expected = 'Exists(Book.objects.filter(author=OuterRef("pk")))'
    assert exists["advice"] == [f"Author.objects.annotate(has_books={expected})"]
    assert count["values"] == [1] * 8 and exists["values"] == [True] * 8


def test_c5_first_of_what_is_fetched_already_is_taken_in_python(told: Any) -> None:
    (text,) = told["first"]["advice"]
    assert text.startswith('Author.objects.prefetch_related("books"), and next(iter(row.books.all()')
    assert "in place of .first()" in text


def test_c5_filters_columns_left_out_and_plain_keys_get_their_own_words(told: Any) -> None:
    assert 'Prefetch("books", queryset=…, to_attr=…) on Author' in told["filtered"]["advice"][0]
    assert "Author.notes was left out by only() or defer()" in told["deferred"]["advice"][0]
    assert "Book.author was left out by only() or defer()" in told["deferred_key"]["advice"][0]
    assert "Author.objects.in_bulk(keys)" in told["keys"]["advice"][0]


@pytest.mark.parametrize("name", ["joined", "joined_key"])
def test_c5_a_column_of_another_table_is_no_key_of_the_rows(told: Any, name: str) -> None:
    assert told[name]["queries"] >= 9 and told[name]["advice"] == []


def test_c5_two_loops_over_models_that_refer_to_each_other_are_two(told: Any) -> None:
    found = sorted(text.split(";")[0] for text in told["apart"]["advice"])
    assert found == ['Author.objects.select_related("profile")', 'Book.objects.select_related("author")']


def test_c5_a_row_that_stands_around_and_belongs_to_another_is_not_where_it_came_from(told: Any) -> None:
    call = 'Author.objects.select_related("profile").prefetch_related("books")'
    assert len(told["back"]["advice"]) == 2, told["back"]
    assert all(text.startswith(call) for text in told["back"]["advice"]), told["back"]


def test_c5_what_is_followed_further_in_a_later_request_starts_where_it_always_did(told: Any) -> None:
    assert told["later"]["advice"][0].startswith('Book.objects.select_related("publisher")')
    assert len(told["later"]["deep"]) == 2, told["later"]
    call = 'Book.objects.select_related("publisher__country")'
    assert all(text.startswith(call) for text in told["later"]["deep"]), told["later"]


def test_c5_whoever_asked_is_named(told: Any) -> None:
    assert "(read by serializer BookSerializer)" in told["serializer"]["advice"][0]
    assert re.search(r"\(read by template .*line 1\)", told["template"]["advice"][0])


def test_c5_a_list_of_the_admin_is_told_its_own_setting(told: Any) -> None:
    advice = " ".join(told["admin"]["advice"])
    assert 'in BookAdmin: list_select_related = ["publisher__country"]' in advice, told["admin"]


def test_c2_a_relation_to_several_kinds_of_things_is_no_loop_once_it_is_prefetched(
    told: Any,
) -> None:
    assert told["control"]["advice"] == [] and told["control"]["queries"] <= 7
