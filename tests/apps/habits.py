"""Views of the demo site's models that ask the same words again for good reasons: nothing of it is
a finding. A test puts this file into a copy of the site.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.paginator import Paginator
from django.db import models, transaction
from django.forms import modelformset_factory
from django.http import HttpRequest, HttpResponse
from django.urls import path
from reader.models import Comment, Customer, Order, OrderLine, Product, Topic

KINDS: tuple[Any, ...] = (Comment, Customer, Order, OrderLine, Product, Topic, User)


class Note(models.Model):
    """On a thing of any kind; it has no table, for nobody saves one."""

    kind = models.ForeignKey(ContentType, models.CASCADE)
    key = models.PositiveIntegerField()
    about = GenericForeignKey("kind", "key")

    class Meta:
        app_label = "reader"
        managed = False


def pagination(_request: HttpRequest) -> HttpResponse:
    pages = Paginator(Order.objects.order_by("pk"), 5)
    return HttpResponse(str(sum(len(page.object_list) for page in pages)))


def keyset(_request: HttpRequest) -> HttpResponse:
    last, seen = 0, 0
    while found := list(Order.objects.filter(pk__gt=last).order_by("pk")[:5]):
        last, seen = found[-1].pk, seen + len(found)
    return HttpResponse(str(seen))


def iterator(_request: HttpRequest) -> HttpResponse:
    rows = OrderLine.objects.order_by("pk").iterator(chunk_size=10)
    return HttpResponse(str(sum(line.quantity for line in rows)))


def chunks(_request: HttpRequest) -> HttpResponse:
    orders = Order.objects.prefetch_related("lines").order_by("pk").iterator(chunk_size=5)
    return HttpResponse(str(sum(len(order.lines.all()) for order in orders)))


def locked(_request: HttpRequest) -> HttpResponse:
    keys = list(Order.objects.order_by("pk").values_list("pk", flat=True))
    with transaction.atomic():
        for start in range(0, len(keys), 5):
            list(Order.objects.select_for_update().filter(pk__in=keys[start : start + 5]))
    return HttpResponse("locked")


def saves(_request: HttpRequest) -> HttpResponse:
    products = list(Product.objects.all()[:12])
    for product in products:
        product.price += 1
        product.save()
    return HttpResponse(str(len(products)))


def savepoints(_request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        for number in range(8):
            with transaction.atomic():
                Customer.objects.filter(pk=number).update(name="x")
    return HttpResponse("saved")


def read_back(_request: HttpRequest) -> HttpResponse:
    customer = Customer.objects.all()[0]
    for number in range(4):
        Customer.objects.filter(pk=customer.pk).update(name=f"n{number}")
        customer.refresh_from_db()
    return HttpResponse(customer.name)


def places(_request: HttpRequest) -> HttpResponse:
    """Different questions at different lines are not a loop."""
    one = Customer.objects.filter(pk=1).first()
    two = Customer.objects.filter(pk=2).first()
    three = Customer.objects.filter(pk=3).first()
    four = Customer.objects.filter(pk=4).first()
    five = Customer.objects.filter(pk=5).first()
    return HttpResponse(f"{one} {two} {three} {four} {five}")


def generic(_request: HttpRequest) -> HttpResponse:
    """One statement for each kind of thing; the kinds themselves Django asks for once in its life."""
    ContentType.objects.clear_cache()
    tables = [model._meta.model_name for model in KINDS]
    keys = ContentType.objects.filter(app_label__in=["auth", "reader"], model__in=tables)
    notes = [Note(kind_id=kind, key=row) for kind in keys.values_list("pk", flat=True) for row in (1, 2, 3)]
    models.prefetch_related_objects(notes, "about")
    return HttpResponse(str([note.about for note in notes]))


def filtered_chunks(_request: HttpRequest) -> HttpResponse:
    """A key that stays the same beside a list that does not."""
    single = models.Prefetch("lines", OrderLine.objects.filter(quantity=1))
    orders = Order.objects.prefetch_related(single).order_by("pk").iterator(chunk_size=3)
    return HttpResponse(str(sum(len(order.lines.all()) for order in orders)))


def keyset_of_one(_request: HttpRequest) -> HttpResponse:
    last, seen = 0, 0
    while found := list(OrderLine.objects.filter(quantity=1, pk__gt=last).order_by("pk")[:10]):
        last, seen = found[-1].pk, seen + len(found)
    return HttpResponse(str(seen))


def shuffled(_request: HttpRequest) -> HttpResponse:
    """The same words, and another answer each time."""
    return HttpResponse(str([list(Product.objects.order_by("?")[:3]) for _ in range(3)]))


def imports(_request: HttpRequest) -> HttpResponse:
    """Rows that are there already."""
    rows = [Product.objects.get_or_create(sku=str(n), defaults={"name": "x", "price": 1}) for n in range(8)]
    return HttpResponse(str(len(rows)))


def formset(_request: HttpRequest) -> HttpResponse:
    """Each form is checked for itself."""
    many = modelformset_factory(Customer, fields=["name", "email"], extra=8)
    data = {"form-TOTAL_FORMS": "8", "form-INITIAL_FORMS": "0"}
    data |= {f"form-{n}-{name}": f"{n}@example.org" for n in range(8) for name in ("name", "email")}
    return HttpResponse(str(many(data, queryset=Customer.objects.none()).is_valid()))


class Open(admin.AdminSite):
    """An admin for everybody: its lists ask how many rows there are, and how many there are in all."""

    def has_permission(self, request: HttpRequest) -> bool:
        return True


class OpenAdmin(admin.ModelAdmin):
    list_display = ("name", "email")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


LISTS = Open(name="habits")
LISTS.register(Customer, OpenAdmin)

VIEWS = (
    pagination, keyset, iterator, chunks, locked, saves, savepoints, read_back, places, generic,
    filtered_chunks, keyset_of_one, shuffled, imports, formset,
)  # fmt: skip

urlpatterns: list[Any] = [path(f"habits/{view.__name__}/", view) for view in VIEWS]
urlpatterns += [path("habits/admin/", LISTS.urls)]
