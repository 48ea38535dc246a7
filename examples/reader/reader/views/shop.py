"""Customers with what they have ordered: the template asks, and that is the second classic trap."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from reader.models import Customer

CUSTOMERS = 50


@require_safe
def customers(request: HttpRequest) -> HttpResponse:
    """The first 50 customers, wrong on purpose: one query for the orders of each, one for the lines
    of each order, one for the product of each line. `?fixed=1` asks four."""
    found = Customer.objects.all()
    if request.GET.get("fixed") == "1":
        found = Customer.objects.prefetch_related("orders__lines__product")
    return render(request, "reader/customers.html", {"customers": found[:CUSTOMERS]})
