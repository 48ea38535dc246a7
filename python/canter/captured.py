"""Owns reading from the frames of Django's ORM what a statement was asked for: which relation of which model
was followed, from which row, and how that row came to hand.

Runs once for each statement at each place of a view, at most. Leaves what helps to ``canter.advice``, and finding
the repeats to ``canter.insight``. Nothing is told that ``_meta`` does not know.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

CALLS = ("count", "exists", "first", "last", "get", "aggregate")
"""Calls that ask the database although what they are about may have been fetched already."""

OTHERS, ALL = 1, 2
"""What is meant by who asks again: another value each time, or the same one, too."""

CHECKS = {
    # A row that is there is not written.
    ("django.db.models.query", "get_or_create"): OTHERS,
    ("django.db.models.query", "update_or_create"): OTHERS,
    # Of several forms or rows each is checked for itself, and what it refers to.
    ("django.db.models.base", "_perform_unique_checks"): ALL,
    ("django.db.models.base", "validate_constraints"): ALL,
    ("django.db.models.fields.related", "validate"): ALL,
    ("django.forms.models", "to_python"): ALL,
    ("rest_framework.validators", "qs_exists"): ALL,
    ("rest_framework.relations", "to_internal_value"): ALL,
}
"""Reads that belong to writing, which nobody can ask for all rows at once: module and function."""

MOST_FRAMES = 80
MOST_DEPTH = 6
MOST_AT_HAND = 200


@dataclass(eq=False)
class Capture:
    """What one statement was asked for."""

    model: Any = None
    """The model whose row was at hand."""
    name: str = ""
    """The relation that was followed from it."""
    target: Any = None
    """The model at its other end, or the only one that is known."""
    many: bool = False
    """It is fetched apart from the row: there may be several, or of several kinds."""
    one: bool = False
    """There is one row at the other end, which several rows may have in common."""
    filtered: bool = False
    """More was asked of them than that they belong to the row."""
    deferred: bool = False
    """A column that had been left out."""
    key: str = ""
    """Without a relation: the column that was compared."""
    above: tuple[tuple[Any, str, bool], ...] = ()
    """How the row came to hand, from the first row on: model, relation, whether it is fetched apart."""
    cached: frozenset[str] = frozenset()
    """The relations that the first row of all knows already."""
    around: frozenset[Any] = frozenset()
    """The models of the rows that were at hand."""
    seen: str = ""
    """The serializer or template that asked."""
    call: str = ""
    """One of ``CALLS``, where it was not the rows themselves that were asked for."""
    admin: str = ""
    """The class of the admin whose list asked."""
    meant: int = 0
    """``OTHERS`` or ``ALL``, where to ask again is no fault."""


def capture(frame: FrameType | None, is_own: Callable[[str], bool]) -> Capture | None:
    """Read the frames below a statement, the innermost first."""
    innermost = frame
    found: Capture | None = None
    row: Any = None
    meant, is_inside = 0, True
    for _ in range(MOST_FRAMES):
        if frame is None:
            break
        name = frame.f_code.co_name
        if is_inside:
            # Only what no line of the app's own stands between.
            meant = max(meant, CHECKS.get((frame.f_globals.get("__name__", ""), name), 0))
            is_inside = not is_own(frame.f_code.co_filename)
        if "self" in frame.f_code.co_varnames[:1]:
            this = frame.f_locals.get("self")
            if found is None or (not found.model and name == "__get__"):
                other = _relation(this, name, frame)
                if other is not None:
                    found, row = other
            if found is not None:
                if not found.call and name in CALLS and hasattr(this, "query"):
                    found.call = name
                if not found.seen:
                    found.seen = _reader(this, name)
        elif found is not None and name == "items_for_result":
            # A column of the admin's list.
            changes = frame.f_locals.get("cl")
            found.admin = type(getattr(changes, "model_admin", None)).__qualname__
        frame = frame.f_back
    if found is not None and row is not None:
        _follow(found, row, innermost)
    if meant:
        found = found or Capture()
        found.meant = meant
    return found


def _relation(this: Any, name: str, frame: FrameType) -> tuple[Capture, Any] | None:
    """What is asked for, and the row from which."""
    module = type(this).__module__
    if name == "__get__" and module.startswith("django."):
        row = frame.f_locals.get("instance")
        found = _descriptor(this, row)
        return None if found is None else (found, row)
    if hasattr(this, "_known_related_objects") and hasattr(this, "query"):
        return _queryset(this)
    return None


def _descriptor(this: Any, row: Any) -> Capture | None:
    if row is None:
        return None
    model = concrete(type(row))
    # Those of foreign keys and files have classes of their own below it.
    if any(kind.__name__ == "DeferredAttribute" for kind in type(this).__mro__):
        return Capture(model, this.field.name, deferred=True)
    field = getattr(this, "field", None)
    # Newer versions of Django have a descriptor of its own; in older ones the field is it.
    generic = this if field is None else field
    if hasattr(generic, "ct_field"):
        return Capture(model, generic.name, many=True, one=True)
    related = getattr(this, "related", None)
    if field is not None:
        return Capture(model, field.name, concrete(field.related_model), one=True)
    if related is not None:
        return Capture(model, related.get_accessor_name(), concrete(related.related_model), one=True)
    return None


def _queryset(this: Any) -> tuple[Capture, Any]:
    model = concrete(this.model)
    row = this._hints.get("instance")
    conditions = this.query.where.children
    compared = [equal for one in conditions if (equal := _compared(one)) is not None]
    if row is not None:
        owner = concrete(type(row))
        for field in this._known_related_objects:
            name = field.remote_field.get_accessor_name()
            if name and hasattr(owner, name):
                return Capture(owner, name, model, many=True, filtered=len(conditions) > 1), row
        for name in _many_to_many(owner, model, [target for _alias, target, _value in compared]):
            return Capture(owner, name, model, many=True, filtered=len(conditions) > 1), row
    generic = _generic(model, compared, this._db)
    if generic is not None:
        generic.filtered = len(conditions) > 2
        return generic, None
    found = Capture(target=model)
    if len(conditions) == 1 and compared:
        alias, target, _value = compared[0]
        if alias == this.query.base_table and _is_field(model, target):
            found.key = "pk" if target.primary_key else target.name
    return found, None


def _compared(condition: Any) -> tuple[str, Any, Any] | None:
    """Of a condition that a column equals a value: the table's alias, the column, the value."""
    side = getattr(condition, "lhs", None)
    target, alias = getattr(side, "target", None), getattr(side, "alias", None)
    if target is None or alias is None or getattr(condition, "lookup_name", "") != "exact":
        return None
    return alias, target, getattr(condition, "rhs", None)


def _is_field(model: Any, target: Any) -> bool:
    return any(field is target for field in model._meta.concrete_fields)


def _many_to_many(owner: Any, model: Any, targets: list[Any]) -> Iterator[str]:
    """The relations of ``owner`` to several of ``model`` of which the table between holds what was compared."""
    for field in owner._meta.get_fields():
        if not field.many_to_many or concrete(field.related_model) is not model:
            continue
        if hasattr(field, "m2m_field_name"):
            # It begins here.
            through, column, name = field.remote_field.through, field.m2m_field_name(), field.name
        elif hasattr(getattr(field, "field", None), "m2m_reverse_field_name"):
            through, column = field.through, field.field.m2m_reverse_field_name()
            name = field.get_accessor_name()
        else:
            continue
        if any(it.name == column and concrete(it.model) is concrete(through) for it in targets):
            yield name


def _generic(model: Any, compared: list[tuple[str, Any, Any]], database: str | None) -> Capture | None:
    """The relation back from what is of things of any kind: kind and key are compared."""
    models = sys.modules.get("django.contrib.contenttypes.models")
    if models is None:
        return None
    types: Any = models.ContentType
    # The relation has asked for the kind just now, so that it is known.
    kinds = getattr(types.objects, "_cache", {}).get(database or "default", {})
    values = {target.name: value for _alias, target, value in compared if _is_field(model, target)}
    for _alias, target, value in compared:
        if target.name not in values or getattr(target, "related_model", None) is not types:
            continue
        kind = kinds.get(value)
        owner = None if kind is None else kind.model_class()
        if owner is None:
            continue
        for field in owner._meta.private_fields:
            is_it = (
                getattr(field, "content_type_field_name", None) == target.name
                and getattr(field, "object_id_field_name", None) in values
                and concrete(field.related_model) is model
            )
            if is_it:
                return Capture(concrete(owner), field.name, model, many=True)
    return None


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


# --- how a row came to hand


def _follow(found: Capture, row: Any, frame: FrameType | None) -> None:
    """Notes from which other row this one came: a row keeps what was fetched for it."""
    at_hand = list(_at_hand(frame))
    found.around = frozenset(concrete(type(other)) for other in at_hand if other is not row)
    steps: list[tuple[Any, str, bool]] = []
    passed = [row]
    while len(steps) < MOST_DEPTH:
        step = _step(passed[-1], [other for other in at_hand if all(other is not one for one in passed)])
        if step is None:
            break
        above, name, many = step
        steps.insert(0, (concrete(type(above)), name, many))
        passed.append(above)
    found.above = tuple(steps)
    found.cached = frozenset(_fetched(passed[-1]))


def _at_hand(frame: FrameType | None) -> Iterator[Any]:
    """The rows among the local names of the frames, and in the contexts of templates, each once."""
    kind = getattr(sys.modules.get("django.db.models"), "Model", None)
    # Where templates are another engine's, there is no such class.
    contexts = getattr(sys.modules.get("django.template.context"), "BaseContext", ())
    known: set[int] = set()
    for _ in range(MOST_FRAMES):
        if frame is None or kind is None or len(known) >= MOST_AT_HAND:
            return
        for value in list(frame.f_locals.values()):
            # By its type alone: looking into a lazy object would fetch it.
            scopes = value.dicts if issubclass(type(value), contexts) else ()
            for one in (value, *(one for scope in scopes for one in list(scope.values()))):
                if issubclass(type(one), kind) and id(one) not in known:
                    known.add(id(one))
                    yield one
        frame = frame.f_back


def _fetched(row: Any) -> dict[str, Any]:
    state = row.__dict__.get("_state")
    return getattr(state, "fields_cache", None) or {}


def _step(row: Any, at_hand: list[Any]) -> tuple[Any, str, bool] | None:
    """The row that this one was fetched for, the relation, and whether that is fetched apart."""
    for other in at_hand:
        model: Any = type(other)
        names = relations(model)
        for name, value in list(_fetched(other).items()):
            if value is row and name in names and not hasattr(names[name], "ct_field"):
                if not _is_back(row, names[name]):
                    return other, name, False
        for name, rows in list(other.__dict__.get("_prefetched_objects_cache", {}).items()):
            name = name if name in names else f"{name}_set"
            if name in names and any(one is row for one in getattr(rows, "_result_cache", None) or ()):
                return other, name, True
    return None


def _is_back(row: Any, field: Any) -> bool:
    """Whether a row knows another for having been fetched as one of its several."""
    back = getattr(getattr(field, "remote_field", None), "get_accessor_name", lambda: None)()
    return back in row.__dict__.get("_prefetched_objects_cache", {})


@functools.lru_cache(maxsize=256)
def relations(model: Any) -> dict[str, Any]:
    """The fields and relations of a model, by the names that rows have for them."""
    found = {}
    for field in model._meta.get_fields():
        accessor = getattr(field, "get_accessor_name", None)
        name = accessor() if accessor is not None else field.name
        if name:
            found[name] = field
    return found


def concrete(model: Any) -> Any:
    """The model that has the table."""
    meta = getattr(model, "_meta", None)
    return model if meta is None else meta.concrete_model or model
