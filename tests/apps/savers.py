"""Owns views that write: row by row in a loop, and as programs do that know what they do. Leaves what is to be said of
them to ``test_insight_writes.py``.
"""

from __future__ import annotations

from typing import Any

import relations
from django.contrib import admin
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import IntegrityError, connection, models, transaction
from django.db.models.signals import m2m_changed, post_save
from django.dispatch import Signal
from django.forms import modelformset_factory
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path
from library.models import Author, Book, Club, Person, Profile, Publisher, Shown, Tag
from rest_framework import serializers

ROWS = 25


class Stamped(models.Model):
    name = models.CharField(max_length=50)
    price = models.IntegerField(default=0)
    changed = models.DateTimeField(auto_now=True)
    up = models.ForeignKey(Publisher, models.CASCADE, null=True)

    class Meta:
        app_label = "library"


class Own(models.Model):
    """With a ``save()`` that does more."""

    name = models.CharField(max_length=50)

    class Meta:
        app_label = "library"

    def save(self, *words: Any, **named: Any) -> None:
        self.name = self.name.strip()
        super().save(*words, **named)
        Tag.objects.create(name=self.name)


class Child(Stamped):
    """Its rows are in two tables."""

    more = models.IntegerField(default=0)

    class Meta:
        app_label = "library"


class Node(models.Model):
    """Its rows refer to each other."""

    up = models.ForeignKey("self", models.CASCADE, null=True)

    class Meta:
        app_label = "library"


class Heard(models.Model):
    """Somebody hears of its rows."""

    name = models.CharField(max_length=50)

    class Meta:
        app_label = "library"


class Soft(models.Model):
    """Its default manager leaves rows out."""

    name = models.CharField(max_length=50)
    price = models.IntegerField(default=0)
    hidden = models.BooleanField(default=False)
    objects = Shown()
    every = models.Manager()

    class Meta:
        app_label = "library"


class Kept(models.QuerySet):
    """Takes nothing away."""

    def delete(self) -> Any:
        return self.update(gone=True)


class Bin(models.Model):
    gone = models.BooleanField(default=False)
    objects = Kept.as_manager()

    class Meta:
        app_label = "library"
        base_manager_name = "objects"


class Nowhere(Storage):
    def _save(self, name: str, content: Any) -> str:
        return name

    def exists(self, name: str) -> bool:
        return False


class Doc(models.Model):
    """With a field that does more when its row is saved."""

    file = models.FileField(upload_to="x", storage=Nowhere())

    class Meta:
        app_label = "library"


class Single(models.Model):
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        app_label = "library"


class Locked(models.Model):
    """Is saved by more than ``save()``."""

    name = models.CharField(max_length=50)

    class Meta:
        app_label = "library"

    def _do_update(self, *words: Any) -> Any:
        return super()._do_update(*words)


ADDED = (Stamped, Own, Child, Node, Heard, Soft, Bin, Doc, Single, Locked)
post_save.connect(lambda **_words: Tag.objects.create(name="heard"), sender=Heard, weak=False)
m2m_changed.connect(lambda **_words: None, sender=Club.leaders.through, weak=False)
asked = Signal()


def hear(name: str, **_words: Any) -> None:
    Tag.objects.create(name=name)


asked.connect(hear)


def prepare() -> None:
    relations.fill()
    with relations.connection.schema_editor() as editor:
        for model in ADDED:
            editor.create_model(model)
    for model in (Stamped, Own, Node, Heard, Bin, Doc, Locked):
        model.objects.bulk_create(model() for _ in range(ROWS))
    Tag.objects.bulk_create(Tag(name=str(n)) for n in range(ROWS))
    book = Book.objects.get(pk=1)
    Book.objects.bulk_create(Book(title="x", author_id=book.author_id, publisher_id=book.publisher_id) for _ in range(ROWS))
    Person.objects.bulk_create(Person(name="x") for _ in range(ROWS))
    Soft.every.bulk_create(Soft(name=str(n), hidden=n % 2 == 0) for n in range(2 * ROWS))


def note(name: str) -> None:
    """Called from many lines."""
    Tag.objects.create(name=name)


class SingleAdmin(admin.ModelAdmin):
    """A list that can be changed in it."""

    list_display = ["pk", "name"]
    list_editable = ["name"]

    def save_model(self, request: Any, obj: Any, form: Any, change: Any) -> None:
        obj.save()

    def log_change(self, *_words: Any) -> None:
        pass

    def message_user(self, *_words: Any) -> None:
        pass


class Everybody:
    pk = id = 1
    is_active = is_staff = is_authenticated = True

    def has_perm(self, *_words: Any) -> bool:
        return True


# --- one write for each row


def created() -> None:
    for n in range(ROWS):
        Tag.objects.create(name=f"n{n}")


def constructed() -> None:
    for n in range(ROWS):
        Tag(name=f"n{n}").save()


def related() -> None:
    publisher = Publisher.objects.get(pk=1)
    for n in range(ROWS):
        publisher.stamped_set.create(name=f"n{n}")


def saved() -> None:
    # Before Django 6 an empty column is other words.
    for row in Stamped.objects.filter(up=None):
        row.price += 1
        row.save()


def saved_only() -> None:
    with transaction.atomic():
        for row in Stamped.objects.all():
            row.price += 1
            row.save(update_fields=["price", "name"])


def deleted() -> None:
    for row in list(Tag.objects.order_by("-pk")[:ROWS]):
        row.delete()


def updated() -> None:
    for n in range(ROWS):
        Stamped.objects.filter(pk=n).update(price=n)


def filtered_delete() -> None:
    for n in range(ROWS):
        Tag.objects.filter(name=f"n{n}").delete()


def soft_saved() -> None:
    for row in Soft.every.all():
        row.price += 1
        row.save(update_fields=["price"])


def soft_deleted() -> None:
    for row in Soft.every.order_by("-pk")[:ROWS]:
        row.delete()


def soft_updated() -> None:
    for n in range(1, 1 + ROWS):
        Soft.every.filter(pk=n).update(price=300)


def helped() -> None:
    """By a function, and among others."""
    [note(f"n{n}") for n in range(ROWS)]


def added() -> None:
    book = Book.objects.get(pk=1)
    for tag in Tag.objects.order_by("-pk")[:ROWS]:
        book.tags.add(tag)


def added_together() -> None:
    tag = Tag.objects.last()
    books = tag.books
    with transaction.atomic():
        for book in Book.objects.all()[:ROWS]:
            if book.title:
                books.add(book.pk)


def executed() -> None:
    with connection.cursor() as cursor:
        for n in range(ROWS):
            cursor.execute("INSERT INTO library_tag (name) VALUES (%s)", [f"x{n}"])


def executed_update() -> None:
    sql = "UPDATE library_stamped SET price = price + 2 WHERE id = %s"
    cursor = connection.cursor()
    for n in range(ROWS):
        row = (n,)
        cursor.execute(sql, row)


# --- and what is no loop that could be one write


def few() -> None:
    for n in range(19):
        Tag.objects.create(name=f"n{n}")


def same_row() -> None:
    """How far a long run has come."""
    row = Stamped.objects.first()
    for n in range(ROWS):
        row.price = n
        row.save()


def overridden() -> None:
    for n in range(ROWS):
        Own(name=f"n{n}").save()


def heard() -> None:
    for n in range(ROWS):
        Heard.objects.create(name=f"n{n}")


def children() -> None:
    for n in range(ROWS):
        Child.objects.create(name=f"n{n}")


def chain() -> None:
    above = None
    for _ in range(ROWS):
        above = Node.objects.create(up=above)


def signalled() -> None:
    for n in range(ROWS):
        asked.send(None, name=f"n{n}")


def got_or_created() -> None:
    for n in range(ROWS):
        Tag.objects.get_or_create(name=f"g{n}")
        Tag.objects.update_or_create(name=f"u{n}", defaults={"name": f"u{n}"})


def conditional() -> None:
    """Whether it was as it should be is the answer."""
    for n in range(ROWS):
        Stamped.objects.filter(pk=n, price=1).update(price=2)


def pieces() -> None:
    keys = list(Tag.objects.values_list("pk", flat=True))
    for start in range(0, len(keys), 2):
        Tag.objects.filter(pk__in=keys[start : start + 2]).update(name="x")
    for start in range(0, len(keys), 2):
        Tag.objects.filter(pk__in=keys[start : start + 2]).delete()


def bulk() -> None:
    for n in range(ROWS):
        Tag.objects.bulk_create([Tag(name=f"b{n}"), Tag(name=f"c{n}")])
        rows = list(Tag.objects.order_by("pk")[:2])
        Tag.objects.bulk_update(rows, ["name"])


def forms() -> None:
    many = modelformset_factory(Tag, fields=["name"], extra=ROWS)
    data = {"form-TOTAL_FORMS": str(ROWS), "form-INITIAL_FORMS": "0"}
    data |= {f"form-{n}-name": f"f{n}" for n in range(ROWS)}
    found = many(data, queryset=Tag.objects.none())
    assert found.is_valid() and len(found.save()) == ROWS


class TagSerializer(serializers.ModelSerializer):
    class Meta:
        model = Tag
        fields = ["name"]

    def create(self, values: Any) -> Tag:
        return Tag.objects.create(**values)


def serialized() -> None:
    found = TagSerializer(data=[{"name": f"s{n}"} for n in range(ROWS)], many=True)
    assert found.is_valid() and len(found.save()) == ROWS


def several_models() -> None:
    for n in range(6):
        author = Author.objects.create(name=f"n{n}")
        Profile.objects.create(author=author)
        Person.objects.create(name=f"n{n}")


def files() -> None:
    for row in Doc.objects.all():
        row.file = ContentFile(b"x", name="x.txt")
        row.save()


def file_columns() -> None:
    for row in Doc.objects.all():
        row.file = ContentFile(b"x", name="x.txt")
        row.save(update_fields=["file"])


def locked() -> None:
    for row in Locked.objects.all():
        row.name += "x"
        row.save()


def binned() -> None:
    for n in range(1, 1 + ROWS):
        Bin.objects.filter(pk=n).delete()


def by_relation() -> None:
    """The table between has one more for each."""
    book = Book.objects.get(pk=1)
    for n in range(ROWS):
        book.tags.create(name=f"m{n}")


def counted() -> None:
    for n in range(ROWS):
        Stamped.objects.filter(pk=n).update(price=models.F("price") + 1)


def asked_whether() -> None:
    for n in range(ROWS):
        if not Stamped.objects.filter(pk=n).update(price=1):
            continue


def tried() -> None:
    for n in range(ROWS):
        try:
            with transaction.atomic():
                Single.objects.create(name=f"n{n}")
        except IntegrityError:
            continue


def one_by_one() -> None:
    for n in range(ROWS):
        with transaction.atomic(): Tag.objects.create(name="".join([str(it) for it in (n, n)]))  # fmt: skip


@transaction.atomic
def lines() -> None:
    note("a"), note("b"), note("c"), note("d"), note("e"), note("f"), note("g"), note("h"), note("i"), note("j")
    note("k"), note("l"), note("m"), note("n"), note("o"), note("p"), note("q"), note("r"), note("s"), note("t")
    note("u"), note("v"), note("w"), note("x"), note("y"), note("z")


def edited() -> None:
    rows = list(Single.objects.order_by("-pk"))
    data = {"form-TOTAL_FORMS": str(ROWS), "form-INITIAL_FORMS": str(ROWS), "_save": "Save"}
    for n, row in enumerate(rows):
        data |= {f"form-{n}-id": str(row.pk), f"form-{n}-name": f"changed{row.pk}"}
    request = RequestFactory().post("/", data)
    request.user, request._dont_enforce_csrf_checks = Everybody(), True
    assert SingleAdmin(Single, admin.site).changelist_view(request).status_code == 302


def two_lines() -> None:
    for n in range(17):
        Tag.objects.create(name=f"n{n}")
    Tag.objects.create(name="a")
    Tag.objects.create(name="b")
    Tag.objects.create(name="c")
    Tag.objects.create(name="d")


def alternating() -> None:
    for n in range(18):
        Tag.objects.create(name=f"n{n}")
        Tag.objects.create(name=f"m{n}")


def tried_within() -> None:
    with transaction.atomic():
        tried()


def decorated() -> None:
    @transaction.atomic
    def one(n: int) -> None:
        Tag.objects.create(name=f"n{n}")

    for n in range(ROWS):
        one(n)


def locked_rows() -> None:
    for n in range(1, ROWS + 1):
        with transaction.atomic():
            row = Stamped.objects.select_for_update().get(pk=n)
            row.price += 1
            row.save()


LOOPS = (
    added, added_together, executed, executed_update,
    created, filtered_delete, constructed, related, saved, saved_only, deleted, updated, soft_saved, soft_deleted, soft_updated,
    helped,
)  # fmt: skip
MEANT = (
    few, same_row, overridden, heard, children, chain, signalled, got_or_created, conditional, pieces, bulk, forms,
    serialized, several_models, files, file_columns, locked, binned, by_relation, counted, asked_whether, tried, one_by_one,
    lines, edited, two_lines, alternating, tried_within, decorated, locked_rows,
)  # fmt: skip


VIEWS = {one.__name__: one for one in (*LOOPS, *MEANT)}


def write(request: HttpRequest, name: str) -> HttpResponse:
    """Runs one of them."""
    VIEWS[name]()
    return HttpResponse(name)


relations.urlpatterns.insert(0, path("write/<name>/", write))
