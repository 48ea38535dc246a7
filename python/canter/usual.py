"""Owns what the default manager of a model asks of all its rows, and how it makes them: what relations bring without
being asked, one by one and together.

Leaves what follows from it to ``canter.captured``. A manager may be the app's own and do anything, so it is asked once
for each model in five minutes, and never for what it asks itself meanwhile; of conditions no value is kept.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from canter import made

MOST_MODELS = 512
"""Models of which it is kept."""


@dataclass(frozen=True)
class Usual:
    """What a manager does of itself; nothing, where that cannot be known."""

    order: tuple[Any, ...] = ()
    """By what it orders the rows."""
    conditions: tuple[str, ...] = ()
    """What it asks of them, as arguments of ``filter()``; one that has no such form is ``…``."""
    made: tuple[Any, ...] = ()
    """How it makes them, as ``made.of`` says."""


_known: dict[Any, Usual] = {}
_asking = threading.local()


def of(model: Any) -> Usual:
    """What the default manager of a model does of itself."""
    known = _known.get(model)
    if known is not None:
        return known
    if getattr(_asking, "is_under_way", False):
        # A statement of the manager's own.
        return Usual()
    _asking.is_under_way = True
    try:
        found = _ask(model)
    finally:
        _asking.is_under_way = False
    if len(_known) >= MOST_MODELS:
        _known.clear()
    _known[model] = found
    return found


def forget() -> None:
    """What a manager asks may depend on what has changed meanwhile."""
    _known.clear()


def _ask(model: Any) -> Usual:
    try:
        rows = model._default_manager.get_queryset()
        query = rows.query
        conditions = tuple(argument(rows, one) for one in query.where.children)
        return Usual(tuple(query.order_by), conditions, made.of(rows))
    except Exception:
        # It is the app's, and may want a request that is not there.
        return Usual()


def argument(queryset: Any, condition: Any) -> str:
    """A condition as an argument of ``filter()``, without its value; ``…`` where it has no such form."""
    side, lookup = getattr(condition, "lhs", None), getattr(condition, "lookup_name", "")
    target = getattr(side, "target", None)
    is_plain = getattr(side, "alias", None) == queryset.query.base_table
    if target is None or not lookup or not is_plain or not is_field(concrete(queryset.model), target):
        return "…"
    return f"{target.name}=…" if lookup == "exact" else f"{target.name}__{lookup}=…"


def compared(condition: Any) -> tuple[str, Any, Any] | None:
    """Of a condition that a column equals a value: the table's alias, the column, the value."""
    side = getattr(condition, "lhs", None)
    target, alias = getattr(side, "target", None), getattr(side, "alias", None)
    if target is None or alias is None or getattr(condition, "lookup_name", "") != "exact":
        return None
    return alias, target, getattr(condition, "rhs", None)


def is_field(model: Any, target: Any) -> bool:
    """Whether a column is one of the model's own table."""
    return any(field is target for field in model._meta.concrete_fields)


def concrete(model: Any) -> Any:
    """The model that has the table."""
    meta = getattr(model, "_meta", None)
    return model if meta is None else meta.concrete_model or model
