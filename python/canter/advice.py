"""Owns what helps against one query for each row: from the frames of Django's ORM it is read which
relation of which model is fetched, and from all relations of a request which call fetches them.

Runs once for each statement at each place, at most. Leaves finding the repeats to
``canter.insight``. Nothing is told that ``_meta.get_field`` does not know.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

MANY = 5
"""From how many on a repeat is looked into."""

CALLS = ("count", "exists", "first", "last", "get", "aggregate")
"""Calls that ask the database although what they are about may have been fetched already."""

MOST_FRAMES = 80
MOST_DEPTH = 6


@dataclass
class Capture:
    """What one statement was asked for."""

    model: Any = None
    """The model whose row was at hand."""
    name: str = ""
    """The relation that was followed from it."""
    target: Any = None
    """The model at its other end, or the only one that is known."""
    many: bool = False
    """There may be several at the other end."""
    filtered: bool = False
    """More was asked of them than that they belong to the row."""
    deferred: bool = False
    """A column that had been left out."""
    key: str = ""
    """Without a relation: the column that was compared."""
    seen: str = ""
    """The serializer or template that asked."""
    call: str = ""
    """One of ``CALLS``, where it was not the rows themselves that were asked for."""
    admin: str = ""
    """The class of the admin whose list asked."""


def capture(frame: FrameType | None) -> Capture | None:
    """Read the frames below a statement, the innermost first."""
    found: Capture | None = None
    for _ in range(MOST_FRAMES):
        if frame is None:
            break
        if "self" in frame.f_code.co_varnames[:1]:
            this = frame.f_locals.get("self")
            name = frame.f_code.co_name
            if found is None or (not found.model and name == "__get__"):
                found = _relation(this, name, frame) or found
            if found is not None:
                if not found.call and name in CALLS and hasattr(this, "query"):
                    found.call = name
                if not found.seen:
                    found.seen = _reader(this, name)
        elif found is not None and frame.f_code.co_name == "items_for_result":
            # A column of the admin's list.
            changes = frame.f_locals.get("cl")
            found.admin = type(getattr(changes, "model_admin", None)).__qualname__
        frame = frame.f_back
    return found


def _relation(this: Any, name: str, frame: FrameType) -> Capture | None:
    module = type(this).__module__
    if name == "__get__" and module.startswith("django."):
        return _descriptor(this, frame.f_locals.get("instance"))
    if hasattr(this, "_known_related_objects") and hasattr(this, "query"):
        return _queryset(this)
    return None


def _descriptor(this: Any, instance: Any) -> Capture | None:
    if instance is None:
        return None
    model = _concrete(type(instance))
    kind = type(this).__name__
    if kind == "DeferredAttribute":
        return Capture(model, this.field.name, deferred=True)
    field = getattr(this, "field", None)
    # Newer versions of Django have a descriptor of its own; in older ones the field is it.
    generic = this if field is None else field
    if hasattr(generic, "ct_field"):
        return Capture(model, generic.name, many=True)
    related = getattr(this, "related", None)
    if field is not None:
        return Capture(model, field.name, _concrete(field.related_model))
    if related is not None:
        return Capture(model, related.get_accessor_name(), _concrete(related.related_model))
    return None


def _queryset(this: Any) -> Capture | None:
    model = _concrete(this.model)
    instance = this._hints.get("instance")
    conditions = this.query.where.children
    if instance is not None:
        owner = _concrete(type(instance))
        for field in this._known_related_objects:
            name = field.remote_field.get_accessor_name()
            if name and hasattr(owner, name):
                return Capture(owner, name, model, many=True, filtered=len(conditions) > 1)
        names = [
            field.name if hasattr(field, "attname") else field.get_accessor_name()
            for field in owner._meta.get_fields()
            if field.many_to_many and _concrete(field.related_model) is model
        ]
        if len(names) == 1:
            return Capture(owner, names[0], model, many=True, filtered=len(conditions) > 1)
    found = Capture(target=model)
    if len(conditions) == 1:
        target = getattr(getattr(conditions[0], "lhs", None), "target", None)
        if target is not None and conditions[0].lookup_name == "exact":
            found.key = "pk" if target.primary_key else target.name
    return found


def _reader(this: Any, name: str) -> str:
    """The serializer or template that asked, where it is one."""
    kind = type(this)
    if name == "to_representation" and hasattr(this, "fields"):
        return f"serializer {kind.__qualname__}"
    if name == "render_annotated":
        origin = getattr(this, "origin", None)
        token = getattr(this, "token", None)
        if origin is not None and token is not None:
            return f"template {getattr(origin, 'template_name', origin)}, line {token.lineno}"
    return ""


def _concrete(model: Any) -> Any:
    meta = getattr(model, "_meta", None)
    return model if meta is None else meta.concrete_model or model


def compose(found: list[Capture], statements: list[str]) -> list[str]:
    """A text for each capture of one request; empty where nothing is known that helps."""
    usable = [one for one in found if _is_usable(one)]
    paths = {id(one): _path(one, usable, ()) for one in usable}
    roots = {id(one): path for one in usable if (path := paths[id(one)]) is not None}
    texts = []
    for one in found:
        path = roots.get(id(one))
        if one.call and one.many and one.name:
            texts.append(_of_call(one))
            continue
        if path is None or not _was_read(path[0], statements):
            texts.append(_without_relation(one))
            continue
        mine = [other for other in usable if (at := roots.get(id(other))) and at[0] is path[0]]
        texts.append(_call(path[0], [(other, roots[id(other)][1]) for other in mine], one))
    return texts


def _is_usable(one: Capture) -> bool:
    if one.model is None or one.deferred or one.filtered or not one.name:
        return False
    if one.call and one.many:
        # The rows are not what is wanted.
        return False
    fields = {field.name for field in one.model._meta.get_fields()}
    accessors = {
        accessor
        for field in one.model._meta.get_fields()
        if hasattr(field, "get_accessor_name") and (accessor := field.get_accessor_name())
    }
    return one.name in fields | accessors


def _path(
    one: Capture, all_of: list[Capture], passed: tuple[int, ...]
) -> tuple[Any, list[Capture]] | None:
    """The model from which everything started, and the relations from there to this one."""
    if len(passed) >= MOST_DEPTH or id(one) in passed:
        return None
    for other in all_of:
        if other is not one and other.target is one.model and other.model is not one.model:
            before = _path(other, all_of, (*passed, id(one)))
            if before is not None:
                return before[0], [*before[1], one]
    return one.model, [one]


def _was_read(model: Any, statements: list[str]) -> bool:
    # `shop_order` is not read where `shop_order_item` is.
    name = re.compile(rf"(?<!\w){re.escape(model._meta.db_table)}(?!\w)")
    return any(name.search(sql) for sql in statements)


def _call(root: Any, paths: list[tuple[Capture, list[Capture]]], one: Capture) -> str:
    joined: list[str] = []
    fetched: list[str] = []
    for _capture, path in paths:
        name = "__".join(step.name for step in path)
        into = fetched if any(step.many for step in path) else joined
        if name not in into:
            into.append(name)
    text = f"{root.__name__}.objects"
    for call, names in (("select_related", _longest(joined)), ("prefetch_related", _longest(fetched))):
        if names:
            text += f".{call}({', '.join(repr(name) for name in names)})".replace("'", '"')
    if not one.many and _knows_fetch_modes():
        text += f"; or .fetch_mode(models.FETCH_PEERS) there, which is enough for {one.name!r}"
    if one.admin and joined:
        listed = ", ".join(f'"{name}"' for name in _longest(joined))
        text += f"; in {one.admin}: list_select_related = [{listed}]"
    return text + _read_by(one)


def _of_call(one: Capture) -> str:
    """What answers ``count()`` and the like for all rows at once."""
    owner, target = one.model.__name__, one.target.__name__ if one.target else ""
    field = _query_field(one)
    if one.filtered or field is None:
        return _without_relation(one)
    asked = field.name
    if one.call == "count":
        return f'{owner}.objects.annotate({asked}_count=Count("{asked}", distinct=True))' + _read_by(one)
    back = getattr(field, "field", None)
    if one.call == "exists" and back is not None and not field.many_to_many:
        rows = f'{target}.objects.filter({back.name}=OuterRef("pk"))'
        return f"{owner}.objects.annotate(has_{asked}=Exists({rows}))" + _read_by(one)
    how = "if row." if one.call == "exists" else "next(iter(row."
    shown = f"{how}{one.name}.all()" + (":" if one.call == "exists" else "), None)")
    return (
        f'{owner}.objects.prefetch_related("{one.name}"), and {shown} in place of .{one.call}(), '
        "which asks again for each row" + _read_by(one)
    )


def _query_field(one: Capture) -> Any:
    """The relation under the name by which queries know it."""
    for field in one.model._meta.get_fields():
        accessor = getattr(field, "get_accessor_name", None)
        if (accessor() if accessor is not None else field.name) == one.name:
            return field
    return None


def _longest(names: list[str]) -> list[str]:
    """Without those that are the beginning of another."""
    return [
        name for name in names if not any(other.startswith(name + "__") for other in names)
    ]


def _without_relation(one: Capture) -> str:
    if one.deferred:
        return (
            f"{one.model.__name__}.{one.name} was left out by only() or defer() and is read for each "
            "row: leave it in" + _read_by(one)
        )
    if one.filtered and one.model is not None:
        return (
            f'fetch them with Prefetch("{one.name}", queryset=…, to_attr=…) on {one.model.__name__}: '
            "a filter on the relation asks for each row" + _read_by(one)
        )
    if one.target is None:
        return ""
    name = one.target.__name__
    if one.key == "pk":
        return f"gather the keys and ask once: {name}.objects.in_bulk(keys)" + _read_by(one)
    if one.key:
        return f"gather the values and ask once: {name}.objects.filter({one.key}__in=values)" + _read_by(one)
    return ""


def _read_by(one: Capture) -> str:
    return f" (read by {one.seen})" if one.seen else ""


def _knows_fetch_modes() -> bool:
    django = sys.modules.get("django")
    return django is not None and django.VERSION >= (6, 1)
