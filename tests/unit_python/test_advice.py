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
CALLED = (
    "count", "count_filtered", "count_taken", "count_shown", "exists", "exists_filtered", "exists_many", "exists_back", "biggest", "newest",
    "newest_filtered", "oldest", "latest", "latest_review", "count_joined",
)
PLAIN = (
    "filtered", "deferred", "deferred_key", "keys", "first", "apart", "back", "exists_generic", "key_count", "key_exists",
    "shown_key", "every_key", "columns", "ordered", "ends",
    *CALLED,
)
sys.path.insert(0, sys.argv[1])
import relations
from canter import insight
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
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
def read(row, attribute):
    value = getattr(row, attribute)
    return next(iter(value), None) if isinstance(value, list) else value

for name in CALLED:
    run, rows = relations.LOOPS[name]
    call = out[name]["advice"][0].partition(", and next")[0]
    call = call.replace("Q(…)", "Q(marks__hidden=False)").replace("=…", "='b4'" if name == "exists_filtered" else "='b1'")
    attribute = re.search(r'annotate\\((\\w+)=|to_attr="(\\w+)"', call)
    attribute = attribute[1] or attribute[2]
    with CaptureQueriesContext(connection) as asked:
        found = [read(row, attribute) for row in eval(call, relations.NAMES)]
    wanted = run(eval(rows, relations.NAMES))
    out[name] |= {"call": call, "again": len(asked), "same": found == wanted, "values": str((found, wanted))}
# Whoever follows two of them has both joins in one statement.
first, second = out["ends"]["advice"]
call = (first + "." + second.partition(".objects.")[2]).replace("Q(…)", "Q(marks__hidden=False)")
found = [(row.books_last, row.marks_count) for row in eval(call, relations.NAMES)]
out["ends"]["values"] = [[*map(list, found)], [*map(list, relations.ends(relations.Author.objects.all()))]]
out["shared"] = {name: ask(f"/shared/{name}/")["advice"] for name in ("books", "shelves")}
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
    # Python takes a slice of what was fetched.
    "rows_sliced": 'Author.objects.prefetch_related("books")',
    # The books were fetched before, so that they are not in the loop.
    "fetched": 'Author.objects.prefetch_related("books__publisher")',
    # Managers of other names; and one that a join would pass by.
    "renamed": 'Shelf.stock.select_related("author")',
    "shown": 'Author.objects.prefetch_related("marks")',
    "apart_base": 'Shelf.stock.prefetch_related("room")',
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


OF_AUTHORS = 'Author.objects.prefetch_related(Prefetch("books", queryset=Book.objects'
ANSWERS = {
    "count_joined": 'Author.objects.annotate(books_count=Count("books", distinct=True))',
    "count": 'Author.objects.annotate(books_count=Count("books", distinct=True))',
    "count_filtered": 'Author.objects.annotate(books_count=Count("books", filter=Q(books__title=…), distinct=True))',
    # By its manager, of which a join knows nothing.
    "count_shown": 'Author.objects.annotate(marks_count=Count("marks", filter=Q(…), distinct=True))',
    # The rows have a column of that name.
    "count_taken": 'Shelf.stock.annotate(books_count_=Count("books", distinct=True))',
    "exists": 'Author.objects.annotate(has_books=Exists(Book.objects.filter(author=OuterRef("pk"))))',
    "exists_filtered": (
        'Author.objects.annotate(has_books=Exists(Book.objects.filter(author=OuterRef("pk"), title__gt=…)))'
    ),
    "exists_many": 'Book.objects.annotate(has_tags=Exists(Tag.objects.filter(books=OuterRef("pk"))))',
    "exists_back": 'Tag.objects.annotate(has_books=Exists(Book.objects.filter(tags=OuterRef("pk"))))',
    "biggest": 'Author.objects.annotate(books_last=Max("books__title"))',
    "newest": f'{OF_AUTHORS}.order_by("-title")[:1], to_attr="first_books"))',
    "newest_filtered": f'{OF_AUTHORS}.filter(title=…).order_by("-title")[:1], to_attr="first_books"))',
    "oldest": (
        'Book.objects.prefetch_related(Prefetch("tags", queryset=Tag.objects.order_by("-pk")[:1], to_attr="last_tags"))'
    ),
    "latest": f'{OF_AUTHORS}.order_by("-title")[:1], to_attr="latest_books"))',
    # Of a relation to things of any kind Django cannot fetch one for each.
    "latest_review": 'Author.objects.prefetch_related(Prefetch("reviews", queryset=Review.objects.order_by("-pk"), '
    'to_attr="first_reviews"))',
}


@pytest.mark.parametrize("name", ANSWERS)
def test_c5_what_is_asked_of_each_row_is_asked_for_all_at_once_and_answered_the_same(told: Any, name: str) -> None:
    one = told[name]
    (text,) = one["advice"]
    assert text.startswith(ANSWERS[name]), text
    assert one["queries"] >= 9 and one["again"] <= 3, one
    assert one["same"], one


def test_c5_two_calls_that_are_followed_together_answer_as_before_and_what_would_not_is_not_told(told: Any) -> None:
    found, wanted = told["ends"]["values"]
    assert len(told["ends"]["advice"]) == 2 and found == wanted and len(found) == 8
    # Each row of one relation would be counted for each of the other.
    assert told["sums"]["queries"] == 17 and told["sums"]["advice"] == []


def test_c5_what_has_no_such_call_is_prefetched_or_asked_for_by_its_values(told: Any) -> None:
    (text,) = told["exists_generic"]["advice"]
    assert text.startswith('Author.objects.prefetch_related("reviews"), and if row.reviews.all(): in place')
    # By which manager is not known, and one has what the other leaves out.
    for name in ("shown_key", "every_key"):
        assert told[name]["advice"] == ["gather the keys and ask the same rows once: .in_bulk(keys)"]
    # Whatever was prefetched, these ask again.
    assert told["columns"]["advice"][0].startswith(
        'Author.objects.prefetch_related("books"), and the rows of row.books.all() in place of values()'
    )
    (text,) = told["ordered"]["advice"]
    assert 'Prefetch("books", queryset=Book.objects.order_by("-title"), to_attr=…) on Author: another order' in text
    found = "gather the values and ask once: Book.objects.filter(author__in=values)"
    assert told["key_count"]["advice"] == [f'{found}.values("author").annotate(count=Count("pk"))']
    assert told["key_exists"]["advice"] == [f'{found}.values_list("author", flat=True)']


def test_c5_one_function_of_two_addresses_is_told_the_relation_of_each(told: Any) -> None:
    starts = {name: [text.split(";")[0] for text in texts] for name, texts in told["shared"].items()}
    assert starts == {
        "books": ['Book.objects.select_related("author")'],
        "shelves": ['Shelf.stock.select_related("author")'],
    }


def test_c5_first_of_what_is_fetched_already_is_taken_in_python(told: Any) -> None:
    (text,) = told["first"]["advice"]
    assert text.startswith('Author.objects.prefetch_related("books"), and next(iter(row.books.all()')
    assert "in place of .first()" in text


def test_c5_filters_columns_left_out_and_plain_keys_get_their_own_words(told: Any) -> None:
    where = "Book.objects.filter(title=…)"
    assert f'Prefetch("books", queryset={where}, to_attr=…) on Author' in told["filtered"]["advice"][0]
    assert "Author.notes was left out by only() or defer()" in told["deferred"]["advice"][0]
    assert "Book.author was left out by only() or defer()" in told["deferred_key"]["advice"][0]
    assert "Author.objects.in_bulk(keys)" in told["keys"]["advice"][0]


UNLIKE = (
    "count_sliced", "count_distinct", "count_annotated", "count_united", "key_count_distinct", "exists_sliced",
    "first_sliced", "sum_distinct", "rows_locked", "key_sliced",
)  # fmt: skip


UNLIKE_ROWS = (
    "rows_joined", "rows_only", "rows_distinct", "rows_annotated", "rows_iterated", "rows_ordered_sliced",
    "rows_joined_sliced",
)  # fmt: skip


@pytest.mark.parametrize("name", UNLIKE)
def test_c5_of_calls_on_other_rows_than_a_relation_brings_nothing_is_said(told: Any, name: str) -> None:
    assert told[name]["queries"] >= 9 and told[name]["advice"] == []


@pytest.mark.parametrize("name", UNLIKE_ROWS)
def test_c5_rows_that_no_prefetch_brings_as_they_are_asked_for_are_fetched_as_others(told: Any, name: str) -> None:
    assert told[name]["queries"] >= 9
    text, *more = told[name]["advice"]
    # Before Django 6 each row is asked whose it is, where that was left out.
    assert all(it.startswith("Book.author was left out by only() or defer()") for it in more)
    assert not more or name == "rows_only"
    assert text.startswith('fetch them with Prefetch("books", queryset=…, to_attr=…) on Author'), text


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
