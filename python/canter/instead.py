"""Owns what answers for all rows at once a call that asks for each of them, such as ``author.books.count()``.

Leaves reading the call from Django's frames to ``canter.captured``, and relations that are only followed to
``canter.advice``. Each name was looked up in ``_meta``; what has none there is written as ``…``.
"""

from __future__ import annotations

import sys
from typing import Any

from canter import managed
from canter.captured import ONE_OF_SEVERAL, Capture, manager, relations


def of_call(one: Capture) -> str:
    """What to do in place of ``one.call`` on a relation to several rows; empty where nothing is known."""
    field = relations(one.model).get(one.name)
    if field is None:
        return ""
    if one.call == "count":
        return _counted(one, field)
    if one.call == "exists":
        return _looked_for(one, field)
    if one.call == "aggregate":
        return _summed(one, field)
    if one.call in ONE_OF_SEVERAL:
        return _one_of_several(one)
    return ""


def of_filter(one: Capture) -> str:
    """What fetches the rows of a relation that are filtered for each row."""
    where = "…"
    if one.target is not None and (one.conditions or one.order):
        where = manager(one.target) + (f".filter({_conditions(one)})" if one.conditions else "") + _ordered(one)
    return (
        f'fetch them with Prefetch("{one.name}", queryset={where}, to_attr=…) on {one.model.__name__}: '
        f"{'a filter on' if one.conditions or not one.order else 'another order of'} the relation asks for each row"
    )


def of_key(one: Capture) -> str:
    """What asks once for all values of a column."""
    asked = "ask once: " + manager(one.target)
    if not managed.is_whole(one.target._default_manager):
        # The app may have asked another, which has what this one leaves out.
        asked = "ask the same rows once: "
    if one.key == "pk":
        return f"gather the keys and {asked}.in_bulk(keys)"
    found = f"gather the values and {asked}.filter({one.key}__in=values)"
    if one.call == "count":
        free = _free(one.target, "count")
        return f'{found}.values("{one.key}").annotate({free}=Count("pk"))'
    if one.call == "exists":
        return f'{found}.values_list("{one.key}", flat=True)'
    return found


def _counted(one: Capture, field: Any) -> str:
    """With the field's own name, by which queries know it."""
    free = _free(one.model, f"{field.name}_count")
    return f'{manager(one.model)}.annotate({free}=Count("{field.name}"{_only(one, field)}, distinct=True))'


def _only(one: Capture, field: Any) -> str:
    """The filter of an aggregate. What the manager of the rows asks of all, a join knows nothing of."""
    names = [*one.conditions]
    if one.target is not None and not managed.is_whole(one.target._default_manager):
        names.append("…")
    named = [f"{field.name}__{it}" for it in names if it != "…"]
    if len(named) < len(names):
        named = ["…"]
    return f", filter=Q({', '.join(named)})" if named else ""


def _looked_for(one: Capture, field: Any) -> str:
    back = _back(one, field)
    if not back:
        if one.filtered:
            return of_filter(one)
        fetched = f'{manager(one.model)}.prefetch_related("{one.name}")'
        return f"{fetched}, and if row.{one.name}.all(): in place of .exists(), which asks again for each row"
    more = f", {_conditions(one)}" if one.filtered else ""
    rows = f"{manager(one.target)}.filter({back}{more})"
    return f"{manager(one.model)}.annotate({_free(one.model, f'has_{field.name}')}=Exists({rows}))"


def _back(one: Capture, field: Any) -> str:
    """The condition by which the rows of the relation refer to an outer one; empty where it has no name."""
    back = getattr(field, "field", None)
    if back is not None and not field.many_to_many:
        # A foreign key may refer to another column than the key.
        refers = getattr(back, "target_field", None)
        if refers is None or hasattr(back, "object_id_field_name"):
            return ""
        return f'{back.name}=OuterRef("{"pk" if refers.primary_key else refers.name}")'
    if type(field).__module__.startswith("django.db.") and field.many_to_many:
        if back is not None:
            return f'{back.name}=OuterRef("pk")'
        if not field.remote_field.hidden:
            return f'{field.related_query_name()}=OuterRef("pk")'
    return ""


def _summed(one: Capture, field: Any) -> str:
    if one.filtered or not one.sums:
        return of_filter(one) if one.filtered else ""
    # A second join gives each row to others several times (Django's "Combining multiple aggregations").
    if any(function not in ("Max", "Min") for _alias, function, _column in one.sums):
        return ""
    parts, only = [], _only(one, field)
    for alias, function, column in one.sums:
        parts.append(f'{_free(one.model, f"{field.name}_{alias}")}={function}("{field.name}__{column}"{only})')
    return f"{manager(one.model)}.annotate({', '.join(parts)})"


def _one_of_several(one: Capture) -> str:
    in_place = f"in place of .{one.call}(), which asks again for each row"
    if one.fetched and not one.filtered and one.call == "first":
        fetched = f'{manager(one.model)}.prefetch_related("{one.name}")'
        return f"{fetched}, and next(iter(row.{one.name}.all()), None) {in_place}"
    if one.target is None or not one.order or "…" in one.conditions:
        return of_filter(one) if one.filtered else ""
    rows = manager(one.target) + (f".filter({_conditions(one)})" if one.filtered else "")
    rows += _ordered(one)
    attribute = _free(one.model, f"{one.call}_{one.name}")
    if _is_sliceable(one):
        fetched = f"{rows}[:1]"
        kept = f"next(iter(row.{attribute}), None)"
    else:
        fetched = rows
        kept = f"next(iter(row.{attribute}), None), with all of them fetched,"
    return (
        f'{manager(one.model)}.prefetch_related(Prefetch("{one.name}", queryset={fetched}, to_attr="{attribute}")), '
        f"and {kept} {in_place}"
    )


def _is_sliceable(one: Capture) -> bool:
    """Whether one row may be fetched for each: by Django's own relations, but for those to things of any kind."""
    field = relations(one.model).get(one.name)
    return (
        sys.modules["django"].VERSION >= (4, 2)
        and type(field).__module__.startswith("django.db.")
        and not hasattr(field, "object_id_field_name")
    )


def of_values(one: Capture) -> str:
    """What takes columns from rows that are fetched: asked for by themselves they are never at hand."""
    return (
        f'{manager(one.model)}.prefetch_related("{one.name}"), and the rows of row.{one.name}.all() in place of values() or '
        "values_list(), which ask again for each row"
    )


def _ordered(one: Capture) -> str:
    return f".order_by({', '.join(_quoted(name) for name in one.order)})" if one.order else ""


def _conditions(one: Capture) -> str:
    return ", ".join(one.conditions) or "…"


def _free(model: Any, name: str) -> str:
    """A name that the rows of a model do not have yet."""
    while hasattr(model, name) or name in relations(model):
        name += "_"
    return name


def _quoted(name: str) -> str:
    return f'"{name}"'
