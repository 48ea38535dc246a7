"""Owns views that call ``add()`` or ``execute()`` in a loop, and could not do so at once. Leaves those that could, and the
models, to ``savers``.
"""

from __future__ import annotations

import savers
from django.db import connection, transaction
from library.models import Book, Club, Person, Tag
from savers import ROWS, Stamped


@transaction.atomic
def added_to_each() -> None:
    tag = Tag.objects.first()
    for book in Book.objects.all():
        book.tags.add(tag)


@transaction.atomic
def added_while_few() -> None:
    book = Book.objects.get(pk=1)
    book.tags.clear()
    for tag in Tag.objects.all():
        if book.tags.count() < ROWS:
            book.tags.add(tag)


@transaction.atomic
def added_with_more() -> None:
    club = Club.objects.create()
    for person in Person.objects.all():
        club.members.add(person, through_defaults={})


@transaction.atomic
def added_and_heard() -> None:
    club = Club.objects.create()
    for person in Person.objects.all():
        club.leaders.add(person)


@transaction.atomic
def added_by_two() -> None:
    book = Book.objects.get(pk=1)
    book.tags.clear()
    tags = book.tags
    for tag in Tag.objects.all()[:ROWS]:
        tags = tags if tag else book.tags
        tags.add(tag)


def executed_and_asked() -> None:
    with connection.cursor() as cursor:
        for n in range(ROWS):
            cursor.execute("INSERT INTO library_tag (name) VALUES (%s)", [f"y{n}"])
            assert cursor.lastrowid


def executed_each() -> None:
    for n in range(ROWS):
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO library_tag (name) VALUES (%s)", [f"z{n}"])


def executed_others() -> None:
    with connection.cursor() as cursor:
        for n in range(ROWS):
            sql = "INSERT INTO library_tag (name) VALUES (%s)"
            cursor.execute(sql, [f"v{n}"])


def executed_by_the_way() -> None:
    def one(n: int) -> None:
        cursor.execute("INSERT INTO library_tag (name) VALUES (%s)", [f"w{n}"])

    with connection.cursor() as cursor:
        for n in range(ROWS):
            one(n)


def executed_to_the_end() -> None:
    with connection.cursor() as cursor:
        for n in range(2 * ROWS):
            if n == ROWS:
                return
            cursor.execute("INSERT INTO library_tag (name) VALUES (%s)", [f"u{n}"])


@transaction.atomic
def added_until_enough() -> None:
    book = Book.objects.get(pk=1)
    book.tags.clear()
    tags = iter(Tag.objects.all())
    while book.tags.count() < ROWS:
        book.tags.add(next(tags))


@transaction.atomic
def added_to_matched() -> None:
    pairs = zip(Book.objects.all(), Tag.objects.all())
    for pair in pairs:
        match pair:
            case (book, one):
                book.tags.add(one)


@transaction.atomic
def added_one_to_each() -> None:
    tag = Tag.objects.first()
    for book in Book.objects.all():
        for one in [tag]:
            book.tags.add(one)


@transaction.atomic
def added_until_found() -> None:
    book = Book.objects.get(pk=1)
    book.tags.clear()
    tags = list(Tag.objects.all())
    for tag in tags:
        book.tags.add(tag)
        if tag is tags[ROWS]:
            break


def executed_while() -> None:
    with connection.cursor() as cursor:
        n = 0
        while n < ROWS and cursor.rowcount != 99:
            cursor.execute("DELETE FROM library_tag WHERE id > %s AND id <= %s", [10**6 + n, 10**6 + n + 1])
            n += 1


def executed_and_read() -> None:
    with connection.cursor() as cursor:
        for n in range(ROWS):
            cursor.execute("UPDATE library_stamped SET price = price WHERE id = %s", [n])
            Stamped.objects.filter(pk=n).distinct().count()


def executed_and_read_by_another() -> None:
    with connection.cursor() as cursor, connection.cursor() as other:
        for n in range(ROWS):
            cursor.execute("INSERT INTO library_tag (name) VALUES (%s)", [f"t{n}"])
            other.execute("SELECT max(id) FROM library_tag")


def executed_and_counted() -> None:
    with connection.cursor() as cursor:
        for n in range(ROWS):
            cursor.execute("INSERT INTO library_tag (name) VALUES (%s)", [f"s{n}"])
        assert cursor.lastrowid


MEANT = (
    added_to_each, added_while_few, added_with_more, added_and_heard, added_by_two, executed_and_asked, executed_each,
    executed_others, executed_by_the_way, executed_to_the_end, added_until_enough, added_to_matched, added_one_to_each,
    added_until_found, executed_while, executed_and_read, executed_and_read_by_another, executed_and_counted,
)  # fmt: skip
savers.VIEWS.update({one.__name__: one for one in MEANT})
