"""Owns reading from the frames of Django's ORM what a statement was asked for: which relation of which model
was followed, from which row, and how that row came to hand.

Runs once for each statement at each place of a view, at most. Leaves what helps to ``canter.advice``, and finding
the repeats to ``canter.insight``. Nothing is told that ``_meta`` does not know.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType, FunctionType
from typing import Any

from canter import made, usual
from canter.made import MADE_ROWS, NO_RELATION, SOME_ROWS
from canter.usual import argument, compared, concrete, is_field

CALLS = ("count", "exists", "first", "last", "latest", "earliest", "get", "aggregate")
"""Calls that ask the database although what they are about may have been fetched already."""

ONE_OF_SEVERAL = ("first", "last", "latest", "earliest")
"""Those of them that ask for one row, in some order."""

OTHERS, ALL = 1, 2
"""What is meant by who asks again: another value each time, or the same one, too."""

CHECKS = {
    # A row that is there is not written.
    ("django.db.models.query", "get_or_create"): OTHERS,
    ("django.db.models.query", "update_or_create"): OTHERS,
    # What goes with the rows that are deleted.
    ("django.db.models.deletion", "collect"): ALL,
    # Of several forms or rows each is checked for itself, and what it refers to.
    ("django.db.models.base", "_perform_unique_checks"): ALL,
    ("django.db.models.base", "validate_constraints"): ALL,
    ("django.db.models.fields.related", "validate"): ALL,
    ("django.forms.models", "to_python"): ALL,
    ("rest_framework.validators", "qs_exists"): ALL,
    ("rest_framework.relations", "to_internal_value"): ALL,
}
"""Reads that belong to writing, which nobody can ask for all rows at once: module and function."""

LISTS_OF_ADMIN = "django.contrib.admin.templatetags.admin_list"
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
    owners: tuple[str, ...] = ()
    """Those of them whose row was at hand by itself: the first row of all may be one of its several."""
    around: frozenset[Any] = frozenset()
    """The models of the rows that were at hand."""
    seen: str = ""
    """The serializer or template that asked."""
    call: str = ""
    """One of ``CALLS``, where it was not the rows themselves that were asked for."""
    admin: str = ""
    """The class of the admin whose list asked."""
    conditions: tuple[str, ...] = ()
    """What more was asked of the rows than that they belong to the row, as arguments of ``filter()``."""
    order: tuple[str, ...] = ()
    """In which order the app asks for them: with a call for one of several, that in which it is the first. Empty
    where that has no names."""
    sums: tuple[tuple[str, str, str], ...] = ()
    """With ``aggregate()``: name, function and column of each; empty where one is more than that."""
    values: bool = False
    """Columns were asked for in place of rows."""
    fetched: bool = False
    """The rows of the relation were at hand already."""
    unlike: int = 0
    """``SOME_ROWS``, ``MADE_ROWS``, ``OTHER_ROWS`` or ``NO_RELATION``; 0 for the rows that a relation brings."""
    meant: int = 0
    """``OTHERS`` or ``ALL``, where to ask again is no fault."""


def capture(frame: FrameType | None, is_own: Callable[[str], bool]) -> Capture | None:
    """Read the frames below a statement, the innermost first."""
    innermost = frame
    found: Capture | None = None
    row: Any = None
    asked: Any = None
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
                # What a manager of the app's own asks beside is not asked for the relation it serves.
                if other is not None and (found is None or is_inside or other[0].target is found.target):
                    found, row = other
                    asked = this if row is None else asked
            if found is not None:
                if name in CALLS and found.call in ("", "get") and _is_queryset(this):
                    _note_call(found, name, this, frame)
                if name == "_iterator" and found.model is not None and _is_queryset(this):
                    # It never looks at what was fetched.
                    found.unlike = max(found.unlike, MADE_ROWS)
                if not found.model and found.call and _asks_only_between(this, frame):
                    row = _between(found, this)
                if found.filtered and is_inside and this is row and _takes_what_is_fetched(row, frame):
                    found.filtered, found.call, found.conditions, found.unlike = False, "", (), 0
                if not found.seen:
                    found.seen = _reader(this, name)
        elif found is not None and name == "items_for_result" and frame.f_globals.get("__name__") == LISTS_OF_ADMIN:
            # A column of the admin's list.
            changes = frame.f_locals.get("cl")
            found.admin = type(getattr(changes, "model_admin", None)).__qualname__
        frame = frame.f_back
    if found is not None and row is None and found.model is None and asked is not None:
        row = _of_other_library(found, asked, innermost)
    if found is not None and found.unlike:
        found, row = _of_unlike(found, row)
    if found is not None and row is not None:
        _follow(found, row, innermost)
        fetched = row.__dict__.get("_prefetched_objects_cache", {})
        found.fetched = any(name in fetched for name in _names(found.name))
    if meant:
        found = found or Capture()
        found.meant = meant
    return found


def _is_queryset(this: Any) -> bool:
    """By its type alone: to ask any object of the app whether it has an attribute may run code of its own, and makes
    what is lazy."""
    kind = getattr(sys.modules.get("django.db.models.query"), "QuerySet", ())
    return issubclass(type(this), kind)


def _relation(this: Any, name: str, frame: FrameType) -> tuple[Capture, Any] | None:
    """What is asked for, and the row from which."""
    module = type(this).__module__
    if name == "__get__" and module.startswith("django."):
        row = frame.f_locals.get("instance")
        found = _descriptor(this, row)
        return None if found is None else (found, row)
    return _queryset(this) if _is_queryset(this) else None


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
        target = concrete(field.related_model)
        return Capture(model, field.name, target, many=_is_apart(target), one=True)
    if related is not None:
        target = concrete(related.related_model)
        return Capture(model, related.get_accessor_name(), target, many=_is_apart(target), one=True)
    return None


def _is_apart(model: Any) -> bool:
    """Whether rows that others refer to come by a manager of the model's own, which a join would pass by: what it
    leaves out would be there, and what it makes of the rows would not."""
    return type(model._base_manager) is not sys.modules["django.db.models.manager"].Manager


def _queryset(this: Any) -> tuple[Capture, Any]:
    model = concrete(this.model)
    row = this._hints.get("instance")
    conditions = this.query.where.children
    equal = [pair for one in conditions if (pair := compared(one)) is not None]
    if row is not None:
        owner = concrete(type(row))
        for field in this._known_related_objects:
            name = field.remote_field.get_accessor_name()
            if name and hasattr(owner, name):
                return _several(owner, name, this, _more(this, [field])), row
        targets = [target for _alias, target, _value in equal]
        for name, column in _many_to_many(owner, model, targets):
            return _several(owner, name, this, _more(this, [column])), row
    found = _generic(model, equal, this._db)
    if found is not None:
        if len(conditions) - len(usual.of(model).conditions) > 2:
            found.filtered, found.conditions = True, ("…",)
        _note_rows(found, this)
        return found, None
    found = Capture(target=model, unlike=_unlike(this))
    of_all = usual.of(model).conditions
    left = [one for one in conditions if argument(this, one) not in of_all]
    if len(left) == 1 and (one := compared(left[0])) is not None:
        alias, target, _value = one
        if alias == this.query.base_table and is_field(model, target):
            found.key = "pk" if target.primary_key else target.name
    return found, None


def _several(owner: Any, name: str, queryset: Any, more: tuple[str, ...]) -> Capture:
    found = Capture(owner, name, concrete(queryset.model), many=True, filtered=bool(more), conditions=more)
    _note_rows(found, queryset)
    return found


def _note_rows(found: Capture, queryset: Any) -> None:
    """What of a relation's rows is asked for, and in which order, where that is not what a prefetch brings."""
    found.values = queryset._fields is not None
    found.unlike = _unlike(queryset)
    query = queryset.query
    if query.order_by and query.order_by != usual.of(queryset.model).order:
        named = all(_is_name(queryset.model._meta, it) for it in query.order_by)
        found.order = tuple(query.order_by) if named and query.standard_ordering else ()
        found.filtered = True


def _unlike(queryset: Any) -> int:
    return made.unlike(queryset, usual.of(queryset.model).made)


def _of_unlike(found: Capture, row: Any) -> tuple[Capture, Any]:
    """What may be said of rows that are unlike those that a relation brings."""
    is_call = found.call not in ("", "get")
    # Of several keys at once nobody takes the first few of each.
    is_part = found.unlike == SOME_ROWS and not found.call and found.model is None and found.key != "pk"
    if found.unlike == NO_RELATION or (found.unlike != MADE_ROWS and is_call) or is_part:
        return Capture(seen=found.seen, call=found.call, admin=found.admin), None
    if found.model is not None and not found.call and (found.filtered or found.unlike != SOME_ROWS):
        # What a prefetch would bring of itself is not what was asked for.
        found.filtered, found.conditions, found.order = True, (), ()
    return found, row


def _more(queryset: Any, known: list[Any]) -> tuple[str, ...]:
    """The conditions beside that on a known column, as arguments of ``filter()``; one that has no such form is
    ``…``."""
    names = []
    for condition in queryset.query.where.children:
        found = compared(condition)
        if found is None or not any(found[1] is column for column in known):
            names.append(argument(queryset, condition))
    for name in usual.of(queryset.model).conditions:
        if name in names:
            names.remove(name)
    return ("…",) if "…" in names else tuple(names)


def _many_to_many(owner: Any, model: Any, targets: list[Any]) -> Iterator[tuple[str, Any]]:
    """The relations of ``owner`` to several of ``model`` of which the table between holds what was compared, with
    its column."""
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
        for it in targets:
            if it.name == column and concrete(it.model) is concrete(through):
                yield name, it


def _generic(model: Any, equal: list[tuple[str, Any, Any]], database: str | None) -> Capture | None:
    """The relation back from what is of things of any kind: kind and key are compared."""
    models = sys.modules.get("django.contrib.contenttypes.models")
    if models is None:
        return None
    types: Any = models.ContentType
    # The relation has asked for the kind just now, so that it is known.
    kinds = getattr(types.objects, "_cache", {}).get(database or "default", {})
    values = {target.name: value for _alias, target, value in equal if is_field(model, target)}
    for _alias, target, value in equal:
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


def _of_other_library(found: Capture, queryset: Any, frame: FrameType | None) -> Any:
    """Completes what was asked for by a relation that is none of Django's own, as ``TaggableManager``; the row from
    which. Its table between holds the key of a row that is at hand."""
    conditions = queryset.query.where.children
    equal = [pair for one in conditions if (pair := compared(one)) is not None]
    if len(equal) < len(conditions):
        return None
    others = {target.model for _alias, target, _value in equal}
    types = getattr(sys.modules.get("django.contrib.contenttypes.models"), "ContentType", None)
    for row in _at_hand(frame):
        for field in concrete(type(row))._meta.many_to_many:
            through = getattr(field.remote_field, "through", None)
            is_it = (
                not type(field).__module__.startswith("django.")
                and others - {types} == {through}
                and concrete(field.related_model) is found.target
                and any(target.model is through and value == row.pk for _alias, target, value in equal)
                and _is_prefetchable(getattr(row, field.name, None))
            )
            if is_it:
                found.model, found.name, found.many, found.key = concrete(type(row)), field.name, True, ""
                found.values = queryset._fields is not None
                return row
    return None


def _is_prefetchable(relation: Any) -> bool:
    # The second is its name before Django 5.
    return hasattr(relation, "get_prefetch_querysets") or hasattr(relation, "get_prefetch_queryset")


def _takes_what_is_fetched(row: Any, frame: FrameType) -> bool:
    """Whether a method of a library's model looks at what was prefetched before it asks: it takes its part of that."""
    module = frame.f_globals.get("__name__", "")
    if module.startswith("django."):
        return False
    kinds = [kind for kind in type(row).__mro__ if kind.__module__ == module]
    # By their types alone: looking into a lazy object would make it.
    methods = [it for kind in kinds for it in vars(kind).values() if type(it) is FunctionType]
    return any("_prefetched_objects_cache" in method.__code__.co_names for method in methods)


def _asks_only_between(this: Any, frame: FrameType) -> bool:
    """Whether a relation to several counts rows of the table between alone."""
    return (
        frame.f_globals.get("__name__") == "django.db.models.fields.related_descriptors"
        and hasattr(this, "through")
        and hasattr(this, "prefetch_cache_name")
    )


def _between(found: Capture, this: Any) -> Any:
    """Completes what was asked for by the manager of a relation; the row from which."""
    model = concrete(type(this.instance))
    name = next((it for it in _names(this.prefetch_cache_name) if it in relations(model)), "")
    if not name:
        return None
    found.model, found.name, found.target = model, name, concrete(this.model)
    found.many, found.key = True, ""
    return this.instance


# --- which call


def _note_call(found: Capture, name: str, queryset: Any, frame: FrameType) -> None:
    found.call = name
    # What was asked before the call made a slice of it.
    found.unlike = _unlike(queryset)
    # The order is not asked for its own sake.
    found.filtered = bool(found.conditions)
    if name in ONE_OF_SEVERAL:
        found.order = _order(queryset, name, frame.f_locals.get("fields") or ())
    elif name == "aggregate":
        found.sums = _sums(queryset.model, frame.f_locals.get("kwargs") or {})


def _order(queryset: Any, name: str, fields: Any) -> tuple[str, ...]:
    """The columns by which the row that is asked for is the first."""
    query, meta = queryset.query, queryset.model._meta
    if name in ("latest", "earliest"):
        latest = meta.get_latest_by or ()
        names = tuple(fields) or ((latest,) if isinstance(latest, str) else tuple(latest))
    else:
        names = tuple(query.order_by or (meta.ordering if query.default_ordering else ()) or ("pk",))
    if query.extra_order_by or not query.standard_ordering or not all(_is_name(meta, it) for it in names):
        return ()
    if name in ("last", "latest"):
        names = tuple(it[1:] if it.startswith("-") else f"-{it}" for it in names)
    return names


def _is_name(meta: Any, name: Any) -> bool:
    if not isinstance(name, str):
        return False
    first = name.lstrip("-").split("__")[0]
    return first == "pk" or any(first == field.name for field in meta.get_fields())


def _sums(model: Any, asked: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    found = []
    for alias, function in asked.items():
        sources = getattr(function, "source_expressions", None) or [None]
        column = getattr(sources[0], "name", None)
        is_plain = (
            type(function).__module__ == "django.db.models.aggregates"
            and not getattr(function, "filter", None)
            and not getattr(function, "distinct", False)
            and type(sources[0]).__name__ == "F"
            and _is_name(model._meta, column)
        )
        if not is_plain:
            return ()
        found.append((alias, type(function).__name__, str(column)))
    return tuple(found)


def _reader(this: Any, name: str) -> str:
    """The serializer or template that asked, where it is one."""
    kind = type(this)
    if name == "to_representation" and any("fields" in vars(one) for one in kind.__mro__):
        return f"serializer {kind.__qualname__}"
    node = getattr(sys.modules.get("django.template.base"), "Node", ())
    if name == "render_annotated" and issubclass(kind, node):
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
    fetched = _fetched(passed[-1])
    found.cached = frozenset(fetched)
    # What came to hand after the row may have come from it.
    outermost: dict[int, Place] = {}
    for place, other in _placed(frame):
        outermost[id(other)] = max(place, outermost.get(id(other), place))
    own = outermost.get(id(passed[-1]))
    found.owners = tuple(
        name for name, value in sorted(fetched.items()) if own is not None and outermost.get(id(value), own) > own
    )


Place = tuple[int, int, int, int]
"""Where a name is: the greater, the earlier it was set. Frames from the innermost on; in each, names in the order in
which its source sets them first; scopes of a template from the innermost on."""


def _at_hand(frame: FrameType | None) -> Iterator[Any]:
    """The rows that are at hand, each once."""
    known: set[int] = set()
    for _place, one in _placed(frame):
        if id(one) not in known:
            known.add(id(one))
            yield one


def _placed(frame: FrameType | None) -> Iterator[tuple[Place, Any]]:
    """The rows among the local names of the frames, and in the contexts of templates, with where they are."""
    kind = getattr(sys.modules.get("django.db.models"), "Model", None)
    # Where templates are another engine's, there is no such class.
    contexts = getattr(sys.modules.get("django.template.context"), "BaseContext", ())
    known: set[int] = set()
    for depth in range(MOST_FRAMES):
        if frame is None or kind is None or len(known) >= MOST_AT_HAND:
            return
        for at, value in enumerate(list(frame.f_locals.values())):
            # By its type alone: looking into a lazy object would fetch it.
            scopes = value.dicts if issubclass(type(value), contexts) else ()
            for level, scope in enumerate([{"": value}, *scopes]):
                for nth, one in enumerate(list(scope.values())):
                    if issubclass(type(one), kind):
                        known.add(id(one))
                        yield (depth, -at, -level, -nth), one
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
                    return other, name, _is_apart(concrete(type(row)))
        for name, rows in list(other.__dict__.get("_prefetched_objects_cache", {}).items()):
            name = next((it for it in _names(name) if it in names), "")
            if name and any(one is row for one in getattr(rows, "_result_cache", None) or ()):
                return other, name, True
    return None


def _names(name: str) -> tuple[str, str, str]:
    """What a relation may be called where rows are kept under its name."""
    return name, f"{name}_set", name.removesuffix("_set")


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


def manager(model: Any) -> str:
    """The manager of a model for people, which need not be called ``objects``."""
    name = getattr(getattr(model, "_default_manager", None), "name", None) or "_default_manager"
    return f"{model.__name__}.{name if hasattr(model, name) else '_default_manager'}"
