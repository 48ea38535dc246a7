"""One table, as a shop has it."""

# Django ships no types.
# mypy: disable-error-code="misc, import-untyped, import-not-found"

from __future__ import annotations

from django.db import models


class Product(models.Model):
    """A product on the page of fifty."""

    slug = models.SlugField()
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.IntegerField()
    added = models.DateTimeField()
