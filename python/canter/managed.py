"""Owns which rows a manager lets through, by its class alone: to ask it would run the app's own code.

Leaves its name to ``canter.captured``.
"""

from __future__ import annotations

import sys
from typing import Any

from canter.captured import manager

CALLS = ("all", "filter", "bulk_create", "bulk_update", "update", "delete")
"""What a call that writes all rows at once is made of."""

INSIDE = ("__init__", "_chain", "_clone", "_filter_or_exclude")
"""What these are made of in a queryset."""


def is_whole(one: Any) -> bool:
    """Whether a manager leaves nothing out."""
    whole = sys.modules["django.db.models.manager"].BaseManager.get_queryset
    return getattr(type(one), "get_queryset", None) is whole


def is_plain(kind: Any) -> bool:
    """Whether querysets of a class write as Django's own do."""
    plain = sys.modules["django.db.models.query"].QuerySet
    return issubclass(kind, plain) and all(getattr(kind, name) is getattr(plain, name) for name in (*CALLS, *INSIDE))


def of_all(model: Any) -> str:
    """A manager that writes every row of a model, for people; empty where there is none."""
    plain = sys.modules["django.db.models.manager"].Manager
    for one, name in ((model._default_manager, manager(model)), (model._base_manager, f"{model.__name__}._base_manager")):
        is_its_own = any(getattr(type(one), it, None) is not getattr(plain, it, None) for it in CALLS)
        if is_whole(one) and is_plain(one._queryset_class) and not is_its_own:
            return name
    return ""
