"""Views as people write them: each query for each row is told with the call that ends it, and where there is none
nothing is told. In a process of its own, for Django has one configuration. Ids are those of the acceptance list (C SQL).
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
import sites
from canter import insight
from django.test import Client
sites.prepare()
client = Client()
insight.install()

def ask(path):
    response = client.get(path)
    text = b"".join(response.streaming_content) if response.streaming else response.content
    assert response.status_code == 200, (path, text)
    told = insight.report()
    texts = {name: text for name, _bits, text in told[6]}
    return {
        "queries": told[1], "advice": [row[2] for row in told[8]], "text": text.decode(),
        "groups": [(texts.get(row[0], ""), *row[2:5]) for row in told[5]],
    }

VIEWS = {
    "/books/": sites.BookList, "/circles/": sites.Circles, "/through/": sites.Through, "/things/": sites.Things, "/teams/": sites.TeamList,
    "/authors/": sites.AuthorViewSet, "/reviews/": sites.ReviewViewSet,
}
NAMES = {**vars(sites), **sites.relations.NAMES}
out = {}
for name in (*VIEWS, "/author/1/", "/circle/1/", "/authors/1/", "/authors/names/", "/counts/", "/context/", "/waiting/", "/asking/", "/streamed/"):
    asked = ask(name)
    calls = [re.match(r"[\\w.]+(\\.\\w+\\([^()]*\\))+", text) for text in asked["advice"]]
    if name in VIEWS and calls and calls[0]:
        view, before = VIEWS[name], getattr(VIEWS[name], "queryset", None)
        view.queryset = eval(calls[0][0], NAMES).order_by("pk")
        asked["mended"] = ask(name)
        view.queryset = before
    out[name] = asked
for view in sites.GOOD:
    out[view.__name__] = ask(f"/good/{view.__name__}/")
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    program = [sys.executable, "-c", PROGRAM, str(APPS)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "canter:" not in done.stderr, done.stderr
    return json.loads(done.stdout)


CALLS = {
    "/books/": ('Book.objects.select_related("publisher__country").prefetch_related("tags")', 4),
    "/circles/": ('Circle.objects.prefetch_related("memberships__person")', 3),
    "/through/": ('Circle.objects.prefetch_related("people")', 2),
    "/things/": ('Review.objects.prefetch_related("about")', 5),
    "/teams/": ('Team.objects.select_related("captain").prefetch_related("players")', 2),
    "/reviews/": ('Review.objects.prefetch_related("about")', 5),
}


@pytest.mark.parametrize("name", CALLS)
def test_c5_a_view_with_a_query_for_each_row_is_told_the_call_that_ends_it(told: Any, name: str) -> None:
    one, (call, queries) = told[name], CALLS[name]
    assert one["advice"] and all(text.startswith(call) for text in one["advice"]), one["advice"]
    assert one["queries"] > 2 * queries and one["mended"]["queries"] <= queries, one
    assert one["mended"]["text"] == one["text"] and one["mended"]["advice"] == [], one


def test_c5_serializers_within_serializers_are_told_all_they_follow(told: Any) -> None:
    one = told["/authors/"]
    call = 'Author.objects.select_related("profile").prefetch_related("books__publisher__country", "books__tags")'
    fetched = [text for text in one["advice"] if text.startswith(call)]
    others = [text for text in one["advice"] if text not in fetched]
    assert len(fetched) >= 4, one["advice"]
    assert len(others) == 1 and 'Prefetch("books", queryset=Book.objects.order_by("-title")[:1]' in others[0], others
    # One of several is asked for still.
    assert one["mended"]["queries"] <= 14 < one["queries"], one


APART = {
    # Of one row, so that its own rows are asked for once.
    "/author/1/": ['Book.objects.select_related("publisher")'],
    "/circle/1/": ['Membership.objects.select_related("person")'],
    "/authors/names/": ['Author.objects.select_related("profile")'],
    "/context/": ['Profile.objects.select_related("author")'],
    "/waiting/": ['Book.objects.select_related("author")'],
    "/asking/": ["gather the keys and ask once: Author.objects.in_bulk(keys)"],
    "/streamed/": ['Book.objects.select_related("author")'],
    "/counts/": [
        'Author.objects.annotate(books_count=Count("books", distinct=True))',
        'Author.objects.annotate(has_books=Exists(Book.objects.filter(author=OuterRef("pk"))))',
    ],
}


@pytest.mark.parametrize("name", APART)
def test_c5_wherever_rows_are_asked_for_the_call_is_told(told: Any, name: str) -> None:
    starts = sorted(text.split(";")[0].split(" (read by")[0] for text in told[name]["advice"])
    assert starts == APART[name], told[name]


GOOD = (
    "GoodBooks", "GoodCircles", "GoodCounts", "GoodPrefetch", "GoodThings", "GoodKeys", "FewRows", "Sections",
)  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_c2_a_view_that_asks_as_it_should_is_told_nothing(told: Any, name: str) -> None:
    one = told[name]
    assert one["advice"] == [] and one["queries"] > 0, one
    assert all(distinct < 5 and repeats == 0 for _text, _count, distinct, repeats in one["groups"]), one
