"""The site's views; each answers the same bytes every time, so that every body can be checked."""

# Django ships no types.
# mypy: disable-error-code="untyped-decorator, misc, import-untyped, import-not-found"

from __future__ import annotations

import json
import urllib.request

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from dj.models import Product

HIGHEST = 3000


def hello(request: HttpRequest) -> HttpResponse:
    """The least Django can do."""
    return HttpResponse("Hello, World!", content_type="text/plain")


def page(request: HttpRequest) -> HttpResponse:
    """Fifty rows from the database in a template."""
    return render(request, "page.html", {"products": Product.objects.order_by("pk")[:50]})


@csrf_exempt
def echo(request: HttpRequest) -> HttpResponse:
    """The request body, given back."""
    return HttpResponse(request.body, content_type="application/octet-stream")


def api(request: HttpRequest) -> HttpResponse:
    """Waits for somebody else's slow HTTP API."""
    with urllib.request.urlopen(settings.UPSTREAM, timeout=30) as answer:
        return JsonResponse(json.load(answer))


def db(request: HttpRequest) -> HttpResponse:
    """One query."""
    product = Product.objects.get(pk=7)
    return JsonResponse({"name": product.name, "price": str(product.price)})


def cpu(request: HttpRequest) -> HttpResponse:
    """Pure computing in Python: the sum of the primes below `HIGHEST`, the slow way."""
    primes = (n for n in range(2, HIGHEST) if all(n % d for d in range(2, int(n**0.5) + 1)))
    return HttpResponse(str(sum(primes)), content_type="text/plain")
