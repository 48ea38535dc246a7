"""A Django site over the models of ``library``, and a view for each way to ask once for each row: the
examples that the documentation of tools for this shows. Owns views; leaves what is to be
said of them to ``test_advice.py``.
"""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings

DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
if maria := os.environ.get("MARIADB"):
    # Its socket; as ``mariasite`` has it.
    DATABASE = {"ENGINE": "django.db.backends.mysql", "NAME": "site", "USER": "root", "HOST": maria}
    # What Django says on each new connection is a statement as well.
    DATABASE["CONN_MAX_AGE"] = None

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": DATABASE},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.admin",
        "library",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.contrib import admin
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path
from library.models import Author, Book, Club, Country, Note, Person, Profile, Publisher, Review, Room, Shelf, Tag, Team
from rest_framework import serializers


class AuthorSerializer(serializers.Serializer):
    name = serializers.CharField()


class BookSerializer(serializers.Serializer):
    title = serializers.CharField()
    author = AuthorSerializer()


class BookAdmin(admin.ModelAdmin):
    list_display = ["title", "land"]

    def land(self, book: Book) -> str:
        return book.publisher.country.name


admin.site.register(Book, BookAdmin)

ALL = (Country, Publisher, Author, Profile, Tag, Note, Room, Book, Shelf, Review, Person, Team, Club)
TEXT = "{% for book in books %}{{ book.publisher.country.name }}{% endfor %}"


def fill() -> None:
    """Tables, and eight of everything."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in ALL:
            editor.create_model(model)
    tags = [Tag.objects.create(name=f"t{n}") for n in range(8)]
    for n in range(8):
        country = Country.objects.create(name=f"c{n}")
        publisher = Publisher.objects.create(name=f"p{n}", country=country)
        author = Author.objects.create(name=f"a{n}")
        Profile.objects.create(author=author)
        book = Book.objects.create(title=f"b{n}", author=author, publisher=publisher)
        book.tags.set(tags)
        Note.objects.create(author=author, text=f"n{n}")
        Note.objects.create(author=author, text="no", hidden=True)
        Review.objects.create(about=book if n % 2 else author)
        Review.objects.create(about=book)
        shelf = Shelf.stock.create(author=author, room=Room.shown.create(name=f"r{n}"))
        shelf.books.set([book])
    people = [Person.objects.create(name=f"p{n}") for n in range(8)]
    for n in range(8):
        people[n].follows.set(people[:2])
        # Two lead all teams.
        Team.objects.create(captain=people[n % 2]).players.set(people)
        club = Club.objects.create()
        club.members.set(people)
        club.leaders.set(people)


# --- one question for each row


def forward(books: Any) -> Any:
    return [book.author.name for book in books]


def chain(books: Any) -> Any:
    return [book.publisher.country.name for book in books]


def reverse(authors: Any) -> Any:
    return [[book.title for book in author.books.all()] for author in authors]


def many_to_many(books: Any) -> Any:
    return [[tag.name for tag in book.tags.all()] for book in books]


def one_to_one(authors: Any) -> Any:
    return [author.profile.text for author in authors]


def generic(reviews: Any) -> Any:
    return [review.about.pk for review in reviews]


def count(authors: Any) -> Any:
    return [author.books.count() for author in authors]


def exists(authors: Any) -> Any:
    return [author.books.exists() for author in authors]


def first(authors: Any) -> Any:
    return [author.books.first() for author in authors]


def filtered(authors: Any) -> Any:
    return [list(author.books.filter(title="b1")) for author in authors]


def count_filtered(authors: Any) -> Any:
    return [author.books.filter(title="b1").count() for author in authors]


def count_taken(shelves: Any) -> Any:
    return [shelf.books.count() for shelf in shelves]


def exists_filtered(authors: Any) -> Any:
    return [author.books.filter(title__gt="b4").exists() for author in authors]


def exists_many(books: Any) -> Any:
    return [book.tags.exists() for book in books]


def exists_back(tags: Any) -> Any:
    return [tag.books.exists() for tag in tags]


def exists_generic(authors: Any) -> Any:
    return [author.reviews.exists() for author in authors]


def biggest(authors: Any) -> Any:
    return [author.books.aggregate(last=models.Max("title"))["last"] for author in authors]


def ends(authors: Any) -> Any:
    """Of two relations, so that two joins come together."""
    return [(one.books.aggregate(last=models.Max("title"))["last"], one.marks.count()) for one in authors]


def sums(authors: Any) -> Any:
    return [one.books.aggregate(of=models.Sum("pk"))["of"] + one.marks.aggregate(of=models.Sum("pk"))["of"] for one in authors]


def newest(authors: Any) -> Any:
    return [author.books.order_by("-title").first() for author in authors]


def newest_filtered(authors: Any) -> Any:
    return [author.books.filter(title="b1").order_by("-title").first() for author in authors]


def oldest(books: Any) -> Any:
    return [book.tags.last() for book in books]


def latest(authors: Any) -> Any:
    return [author.books.latest("title") for author in authors]


def latest_review(authors: Any) -> Any:
    return [author.reviews.order_by("-pk").first() for author in authors]


def key_count(authors: Any) -> Any:
    return [Book.objects.filter(author=author).count() for author in authors]


def key_exists(authors: Any) -> Any:
    return [Book.objects.filter(author=author).exists() for author in authors]


def renamed(shelves: Any) -> Any:
    return [shelf.author.name for shelf in shelves]


def apart_base(shelves: Any) -> Any:
    return [shelf.room.name for shelf in shelves]


def shown(authors: Any) -> Any:
    return [[note.text for note in author.marks.all()] for author in authors]


def count_shown(authors: Any) -> Any:
    return [author.marks.count() for author in authors]


def columns(authors: Any) -> Any:
    return [list(author.books.values_list("title", flat=True)) for author in authors]


def ordered(authors: Any) -> Any:
    return [list(author.books.order_by("-title")) for author in authors]


def count_sliced(authors: Any) -> Any:
    return [author.books.all()[:5].count() for author in authors]


def count_distinct(authors: Any) -> Any:
    return [author.books.values("title").distinct().count() for author in authors]


def count_annotated(authors: Any) -> Any:
    return [author.books.annotate(n=models.Count("tags")).count() for author in authors]


def count_united(authors: Any) -> Any:
    return [author.books.union(Book.objects.filter(title="b1")).count() for author in authors]


def key_count_distinct(authors: Any) -> Any:
    return [Book.objects.filter(author=author).values("title").distinct().count() for author in authors]


def key_sliced(authors: Any) -> Any:
    return [list(Book.objects.filter(author=author)[:1]) for author in authors]


def exists_sliced(authors: Any) -> Any:
    return [author.books.all()[2:].exists() for author in authors]


def first_sliced(authors: Any) -> Any:
    return [author.books.distinct().order_by("title").first() for author in authors]


def sum_distinct(authors: Any) -> Any:
    return [author.books.distinct().aggregate(last=models.Max("title")) for author in authors]


def rows_sliced(authors: Any) -> Any:
    return [list(author.books.all()[:3]) for author in authors]


def rows_ordered_sliced(authors: Any) -> Any:
    return [list(author.books.order_by("-title")[:1]) for author in authors]


def rows_joined_sliced(authors: Any) -> Any:
    return [list(author.books.select_related("publisher")[:1]) for author in authors]


def rows_locked(authors: Any) -> Any:
    return [list(author.books.select_for_update()) for author in authors]


def rows_joined(authors: Any) -> Any:
    return [[book.publisher.name for book in author.books.select_related("publisher")] for author in authors]


def rows_only(authors: Any) -> Any:
    return [list(author.books.only("title")) for author in authors]


def rows_distinct(authors: Any) -> Any:
    return [list(author.books.filter(title="b1").distinct()) for author in authors]


def rows_annotated(authors: Any) -> Any:
    return [list(author.books.annotate(n=models.Count("tags"))) for author in authors]


def rows_iterated(authors: Any) -> Any:
    return [list(author.books.all().iterator()) for author in authors]


def count_joined(authors: Any) -> Any:
    return [author.books.select_related("publisher").count() for author in authors]


def shown_key(books: Any) -> Any:
    return [Note.objects.get(pk=book.pk * 2 - 1).text for book in books]


def every_key(books: Any) -> Any:
    """By another manager than the one that leaves rows out."""
    return [Note.every.get(pk=book.pk * 2).text for book in books]


def deferred_key(books: Any) -> Any:
    return [book.author_id for book in books]


def deferred(authors: Any) -> Any:
    return [author.notes for author in authors]


def template(books: Any) -> Any:
    return engines["django"].from_string(TEXT).render({"books": books})


def serializer(books: Any) -> Any:
    return BookSerializer(books, many=True).data


def keys(books: Any) -> Any:
    return [Author.objects.get(pk=book.author_id) for book in books]


def captain(teams: Any) -> Any:
    return [team.captain.name for team in teams]


def players(teams: Any) -> Any:
    return [[person.name for person in team.players.all()] for team in teams]


def leaders(clubs: Any) -> Any:
    return [[person.name for person in club.leaders.all()] for club in clubs]


def led(people: Any) -> Any:
    return [[club.pk for club in person.led.all()] for person in people]


def follows(people: Any) -> Any:
    return [[other.name for other in person.follows.all()] for person in people]


def followers(people: Any) -> Any:
    return [[other.name for other in person.followers.all()] for person in people]


def reviews(authors: Any) -> Any:
    return [[review.pk for review in author.reviews.all()] for author in authors]


def joined(books: Any) -> Any:
    return [list(Author.objects.filter(books__title=book.title)) for book in books]


def joined_key(books: Any) -> Any:
    return [list(Author.objects.filter(books__pk=book.pk)) for book in books]


def apart(books: Any) -> Any:
    names = [book.author.name for book in books]
    return names, [author.profile.text for author in Author.objects.all()]


def back(authors: Any) -> Any:
    for author in authors:
        for book in author.books.all():
            assert book.title
        # The last book is still at hand, and knows its author.
        assert author.profile


def fetched(authors: Any) -> Any:
    return [[book.publisher.name for book in author.books.all()] for author in authors]


def later(books: Any) -> Any:
    deep = books.ordered
    return [book.publisher.country.name if deep else book.publisher.name for book in books]


# Each with what it is given: the expression that the advice is to replace.
LOOPS: dict[str, tuple[Any, str]] = {
    "forward": (forward, "Book.objects.all()"),
    "chain": (chain, "Book.objects.all()"),
    "reverse": (reverse, "Author.objects.all()"),
    "many_to_many": (many_to_many, "Book.objects.all()"),
    "one_to_one": (one_to_one, "Author.objects.all()"),
    "generic": (generic, "Review.objects.all()"),
    "count": (count, "Author.objects.all()"),
    "exists": (exists, "Author.objects.all()"),
    "first": (first, "Author.objects.prefetch_related('books')"),
    "filtered": (filtered, "Author.objects.all()"),
    "deferred_key": (deferred_key, "Book.objects.only('title')"),
    "deferred": (deferred, "Author.objects.defer('notes')"),
    "template": (template, "Book.objects.all()"),
    "serializer": (serializer, "Book.objects.all()"),
    "keys": (keys, "Book.objects.all()"),
    "captain": (captain, "Team.objects.all()"),
    "players": (players, "Team.objects.all()"),
    "leaders": (leaders, "Club.objects.all()"),
    "led": (led, "Person.objects.all()"),
    "follows": (follows, "Person.objects.all()"),
    "followers": (followers, "Person.objects.all()"),
    "reviews": (reviews, "Author.objects.all()"),
    "fetched": (fetched, "Author.objects.prefetch_related('books')"),
    "later": (later, "Book.objects.all()"),
    "count_filtered": (count_filtered, "Author.objects.all()"),
    "count_taken": (count_taken, "Shelf.stock.all()"),
    "exists_filtered": (exists_filtered, "Author.objects.all()"),
    "exists_many": (exists_many, "Book.objects.all()"),
    "exists_back": (exists_back, "Tag.objects.all()"),
    "exists_generic": (exists_generic, "Author.objects.all()"),
    "biggest": (biggest, "Author.objects.all()"),
    "ends": (ends, "Author.objects.all()"),
    "sums": (sums, "Author.objects.all()"),
    "newest": (newest, "Author.objects.all()"),
    "newest_filtered": (newest_filtered, "Author.objects.all()"),
    "oldest": (oldest, "Book.objects.all()"),
    "latest": (latest, "Author.objects.all()"),
    "latest_review": (latest_review, "Author.objects.all()"),
    "key_count": (key_count, "Author.objects.all()"),
    "key_exists": (key_exists, "Author.objects.all()"),
    "renamed": (renamed, "Shelf.stock.all()"),
    "apart_base": (apart_base, "Shelf.stock.all()"),
    "count_shown": (count_shown, "Author.objects.all()"),
    "columns": (columns, "Author.objects.all()"),
    "ordered": (ordered, "Author.objects.all()"),
    "shown": (shown, "Author.objects.all()"),
    "shown_key": (shown_key, "Book.objects.all()"),
    "every_key": (every_key, "Book.objects.all()"),
    # For these nothing may be put in the place of the rows.
    **{it.__name__: (it, "Author.objects.all()") for it in (
        count_sliced, count_distinct, count_annotated, count_united, key_count_distinct, exists_sliced, first_sliced,
        key_sliced, sum_distinct, rows_sliced, rows_locked, rows_ordered_sliced, rows_joined_sliced, rows_joined, rows_only,
        rows_distinct, rows_annotated, rows_iterated,
        count_joined,
    )},  # fmt: skip
    "joined": (joined, "Book.objects.all()"),
    "joined_key": (joined_key, "Book.objects.all()"),
    "apart": (apart, "Book.objects.all()"),
    "back": (back, "Author.objects.all()"),
}


def loop(request: HttpRequest, name: str) -> HttpResponse:
    """Runs one, over the rows of its own expression or of that in ``?rows=``."""
    run, rows = LOOPS[name]
    return HttpResponse(str(run(eval(request.GET.get("rows", rows), NAMES))))


NAMES = {model.__name__: model for model in ALL} | {
    name: getattr(models, name) for name in ("Count", "Exists", "Max", "OuterRef", "Prefetch", "Q")
}
"""What advice is made of."""


def shared(request: HttpRequest, rows: Any) -> HttpResponse:
    """One function of several addresses, each with rows of its own."""
    return HttpResponse(str([row.author.name for row in rows.all()]))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("shared/books/", shared, {"rows": Book.objects}),
    path("shared/shelves/", shared, {"rows": Shelf.stock}),
    path("<name>/", loop),
]
