"""Reads numbers from the query string.

Owns the bounds check: a visitor may ask for a lot, but not for everything. What is no number is a
bad request rather than a silent default.
"""

from __future__ import annotations

import math

from django.core.exceptions import BadRequest
from django.http import HttpRequest


def number(request: HttpRequest, name: str, default: float, most: float) -> float:
    """The parameter `name` between 0 and `most`, or `default` when it is not there."""
    text = request.GET.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadRequest(f"{name} must be a number")
    return min(max(value, 0), most)


def whole_number(request: HttpRequest, name: str, default: int, most: int) -> int:
    """Like `number`, rounded down."""
    return int(number(request, name, default, most))
