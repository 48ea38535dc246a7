"""Searches the topics in the database and marks what was found.

Owns the query for each engine and the snippets. On PostgreSQL it is full-text search: stemming,
quoted phrases, ``-word``, rank. Elsewhere every word must occur somewhere (LIKE), and topics with
a word in the title come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.db import connection
from django.db.models import Case, F, IntegerField, Q, QuerySet, Value, When
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from reader.models import Topic

MAX_QUERY_CHARS = 100
SNIPPET_CHARS = 240
# Marks that cannot occur in a topic, so that text can be escaped before they become tags.
_OPEN, _CLOSE = "\x02", "\x03"


def words_of(query: str) -> list[str]:
    """The words to look for, without quotes and without repeats."""
    return list(dict.fromkeys(re.findall(r"[^\s\"']+", query[:MAX_QUERY_CHARS].lower())))


def find(query: str) -> QuerySet[Topic]:
    """The topics that match, best first. `snippet` makes an excerpt of each."""
    words = words_of(query)
    if not words:
        return Topic.objects.none()
    if connection.vendor == "postgresql":
        return _full_text(query[:MAX_QUERY_CHARS])
    return _like(words)


def snippet(topic: Topic, query: str) -> SafeString:
    """An excerpt with the matches marked; PostgreSQL has sent one along, with stems matched."""
    if headline := getattr(topic, "headline", ""):
        return _marked(_flat(headline))
    return _marked(_mark(_excerpt(topic.source, words_of(query)), words_of(query)))


def highlight(text: str, query: str) -> SafeString:
    """`text` with the words of `query` marked."""
    return _marked(_mark(text, words_of(query)))


def _like(words: Iterable[str]) -> QuerySet[Topic]:
    matches, in_title = Q(), Q()
    for word in words:
        matches &= Q(title__icontains=word) | Q(source__icontains=word)
        in_title |= Q(title__icontains=word)
    rank = Case(When(in_title, then=Value(0)), default=Value(1), output_field=IntegerField())
    return Topic.objects.filter(matches).annotate(rank=rank).order_by("rank", "words", "slug")


def _full_text(query: str) -> QuerySet[Topic]:
    # The module needs psycopg, which the SQLite set-up does not have.
    from django.contrib.postgres import search as postgres  # noqa: PLC0415

    wanted = postgres.SearchQuery(query, search_type="websearch", config="english")
    vector = postgres.SearchVector("title", weight="A", config="english")
    vector += postgres.SearchVector("source", weight="B", config="english")
    headline = postgres.SearchHeadline(
        "source",
        wanted,
        config="english",
        start_sel=_OPEN,
        stop_sel=_CLOSE,
        max_words=40,
        min_words=25,
    )
    return (
        Topic.objects.annotate(vector=vector)
        .filter(vector=wanted)
        # Divided by 1 + log(length): else the topics that repeat whole chapters always win.
        .annotate(
            rank=postgres.SearchRank(F("vector"), wanted, normalization=Value(1)),
            headline=headline,
        )
        .order_by("-rank", "slug")
    )


def _excerpt(text: str, words: list[str]) -> str:
    """The part of `text` around the first match, cut at spaces."""
    flat = _flat(text)
    found = _pattern(words).search(flat)
    begin = max(0, (found.start() if found else 0) - SNIPPET_CHARS // 3)
    if begin:
        begin = flat.find(" ", begin) + 1
    end = flat.rfind(" ", begin, begin + SNIPPET_CHARS) if len(flat) > begin + SNIPPET_CHARS else -1
    body = flat[begin:end] if end > begin else flat[begin : begin + SNIPPET_CHARS]
    return ("… " if begin else "") + body + (" …" if begin + len(body) < len(flat) else "")


def _flat(text: str) -> str:
    """One line, without the underlines of headings, the rules of tables and emphasis."""
    line = " ".join(re.sub(r"([*=~^+|-])\1{2,}", " ", text).split())
    return re.sub(rf"(\*{{1,2}})(?=[\w{_OPEN}])([^*]{{1,60}}?)(?<=[\w{_CLOSE}])\1", r"\2", line)


def _pattern(words: list[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(re.escape(word) for word in longest_first) or "(?!)", re.IGNORECASE)


def _mark(text: str, words: list[str]) -> str:
    return _pattern(words).sub(lambda found: f"{_OPEN}{found[0]}{_CLOSE}", text)


def _marked(text: str) -> SafeString:
    html = escape(text).replace(_OPEN, "<mark>").replace(_CLOSE, "</mark>")
    return mark_safe(html)  # noqa: S308 (escaped in the line above)
