"""Owns what an app writes row by row although it could be written at once: which model, by which call, read from
the frames of Django's ORM; and the call that does it at once.

Leaves finding the repeats to ``canter.insight``, and whether the app's own loop asked to ``canter.looped``. Told is only
what comes to the same, for all that Django knows: not of a model that has a ``save()`` or a field with a ``pre_save()`` of
its own, whose signals somebody hears, or whose rows refer to each other; and only where the app's own line has made the
call, for else the loop is another's. What is added to a relation, and what a cursor executes, is told in the words of
that line.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from canter import looped, managed
from canter.captured import MOST_FRAMES
from canter.usual import compared, concrete, is_field

BASE, QUERY = "django.db.models.base", "django.db.models.query"
RELATED, MANAGER = "django.db.models.fields.related_descriptors", "django.db.models.manager"

CURSOR = "django.db.backends.utils"

MAKERS = {(QUERY, "create"), (RELATED, "create"), (BASE, "save")}
"""Calls that write one row: module and function."""

ADDS, EXECUTES = (RELATED, "add"), (CURSOR, "execute")
"""Calls that do it at once if they get several: what they are called on stands in the app's line."""

LOOPS_OF_OTHERS = {
    ("django.dispatch.dispatcher", "send"),
    ("django.dispatch.dispatcher", "send_robust"),
    ("django.forms.models", "save_existing_objects"),
    ("django.forms.models", "save_new_objects"),
    # The rows of a list that can be changed in it.
    ("django.contrib.admin.options", "changelist_view"),
}
"""Who calls the app for each row, so that the app's line is in no loop of its own."""


LOOPS_OF_APP = {("django.contrib.admin.options", "response_action")}
"""Who calls the app once for all rows, whoever called that."""

SAVERS = ("save_base", "_save_parents", "_save_table", "_do_update", "_do_insert", "_prepare_related_fields_for_save")
"""What ``save()`` is made of."""


@dataclass(eq=False)
class Written:
    """What one statement was to write, of many like it."""

    model: Any
    """Of which rows; None for those of a cursor."""
    call: str
    """``create``, ``save``, ``delete``, ``update`` and ``delete`` of what a filter finds, ``add`` to a relation, or
    ``execute`` of a cursor."""
    columns: tuple[str, ...] = ()
    """Those that are written, where the call names them."""
    key: str = ""
    """The column by which a filter finds the rows."""
    rows: str = ""
    """The manager that writes them all; as the source has it, the relation or the cursor."""
    forgets_keys: bool = False
    """The database does not tell the keys of several new rows."""


def capture(frame: FrameType | None, sql: str, is_own: Callable[[str], bool]) -> Written | None:
    """Read the frames below a statement, the innermost first."""
    outermost: FrameType | None = None
    saved: Any = None
    for _ in range(MOST_FRAMES):
        if frame is None or is_own(frame.f_code.co_filename):
            break
        module, name = _name(frame)
        if (module, name) == (BASE, "save_base"):
            saved = frame.f_locals.get("self")
        # What the functions of a manager are made of stands between it and its queryset.
        if module != MANAGER:
            outermost = frame
        frame = frame.f_back
    if frame is None or outermost is None or _is_of_other(frame):
        return None
    if _name(outermost) in (ADDS, EXECUTES):
        return _by_line(outermost, frame, sql)
    found = _read(outermost, saved, sql)
    if found is None or not _is_of(sql, found.model):
        return None
    # Of rows that a filter finds, how many there were may be the answer.
    if not looped.is_plain(frame, is_own, is_answer=bool(found.key)):
        return None
    found.rows = managed.of_all(found.model)
    return found if found.rows else None


def _name(frame: FrameType) -> tuple[str, str]:
    return frame.f_globals.get("__name__", ""), frame.f_code.co_name


def _is_of_other(frame: FrameType | None) -> bool:
    """Whether what asked was called for one row by somebody else."""
    model = sys.modules[BASE].Model
    managers, querysets = sys.modules[MANAGER].BaseManager, sys.modules[QUERY].QuerySet
    for _ in range(MOST_FRAMES):
        if frame is None:
            return False
        module, name = _name(frame)
        this = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames[:1] else None
        if (module, name) in LOOPS_OF_APP:
            return False
        if (module, name) in LOOPS_OF_OTHERS:
            return True
        # A method that stands for Django's own is called for each row.
        if name in ("create", "update", "delete") and issubclass(type(this), (managers, querysets)):
            return True
        if name in ("save", "delete") and issubclass(type(this), model):
            return True
        # The serializer of a list calls that of its rows for each.
        if module == "rest_framework.serializers" and name in ("create", "update") and hasattr(this, "child"):
            return True
        frame = frame.f_back
    return False


def _read(call: FrameType, saved: Any, sql: str) -> Written | None:
    named = _name(call)
    this: Any = call.f_locals.get("self")
    if named in MAKERS:
        if saved is None or not _is_plain(type(saved), "save", ("pre_save", "post_save")):
            return None
        # A relation through a table writes there as well.
        if named == (RELATED, "create") and "through" in getattr(this, "__dict__", {}):
            return None
        model = concrete(type(saved))
        if sql.startswith("INSERT"):
            return _created(model, saved)
        if saved._state.adding:
            # Whether there is such a row is only tried.
            return None
        only = call.f_locals.get("update_fields") if named == (BASE, "save") else None
        names = tuple(sorted(only)) if only else ()
        return None if _makes_values(model, names) else Written(model, "save", names)
    if named == (BASE, "delete"):
        # Deleting several sends the same signals, and goes on to the same rows.
        is_plain = _is_plain(type(this), "delete", ())
        return Written(concrete(type(this)), "delete") if is_plain else None
    if named == (QUERY, "update"):
        return _updated(this, call.f_locals.get("kwargs") or {})
    if named == (QUERY, "delete"):
        key = _key(this)
        return Written(concrete(this.model), "delete", key=key) if key else None
    return None


def _by_line(call: FrameType, line: FrameType, sql: str) -> Written | None:
    this: Any = call.f_locals.get("self")
    if _name(call) == ADDS:
        through = this.__dict__.get("through")
        senders = sys.modules["django.db.models.signals"]
        # The rows of a model of the app's own may be worth their order.
        if through is None or not through._meta.auto_created or senders.m2m_changed.has_listeners(through) or not _is_of(sql, through):
            return None
        rows = looped.called_on(line, "add", _is_of_one)
        return Written(through, "add", rows=rows) if rows else None
    if type(this).__module__ != CURSOR or not isinstance(call.f_locals.get("params"), (tuple, list, dict)):
        return None
    if not _is_quicker(this.db, sql):
        return None
    rows = looped.called_on(line, "execute", _is_of_one_statement)
    return Written(None, "execute", rows=rows) if rows else None


def _is_of_one(call: ast.Call, _changed: set[str]) -> bool:
    return len(call.args) == 1 and not isinstance(call.args[0], ast.Starred) and not call.keywords


def _is_of_one_statement(call: ast.Call, changed: set[str]) -> bool:
    is_pair = len(call.args) == 2 and not any(isinstance(one, ast.Starred) for one in call.args)
    return is_pair and not call.keywords and looped.is_constant(call.args[0], changed)


def _is_quicker(database: Any, sql: str) -> bool:
    """Whether a driver does more for ``executemany`` than to send one after another; and nothing is asked for."""
    words = re.findall(r"\w+", sql.upper())
    if not words or words[0] not in ("INSERT", "UPDATE", "DELETE") or "RETURNING" in words:
        return False
    driver = getattr(database.Database, "__name__", "")
    # Those of MySQL join the rows of an INSERT alone; psycopg2 joins nothing.
    return driver in ("psycopg", "sqlite3.dbapi2", "sqlite3") or (database.vendor == "mysql" and words[0] == "INSERT")


def _created(model: Any, row: Any) -> Written | None:
    # Where rows refer to each other, one may need the key of one before.
    if any(concrete(field.related_model) is model for field in model._meta.concrete_fields):
        return None
    if _makes_values(model, ()):
        return None
    connections = sys.modules["django.db"].connections
    features = connections[row._state.db or "default"].features
    return Written(model, "create", forgets_keys=not features.can_return_rows_from_bulk_insert)


def _updated(queryset: Any, values: dict[str, Any]) -> Written | None:
    key = _key(queryset)
    model = concrete(queryset.model)
    fields = {field.name for field in model._meta.concrete_fields if not field.primary_key}
    if not key or not values or not fields.issuperset(values):
        return None
    # What a row gets may follow from what it has.
    if any(hasattr(type(value), "resolve_expression") for value in values.values()):
        return None
    return Written(model, "update", tuple(values), key)


def _key(queryset: Any) -> str:
    """The column by which exactly one value is asked for. With a second condition the app may want to know whether
    it held.
    """
    query = queryset.query
    if not managed.is_plain(type(queryset)) or queryset._db not in (None, "default"):
        return ""
    conditions = query.where.children
    if len(conditions) != 1 or query.is_sliced or (found := compared(conditions[0])) is None:
        return ""
    alias, target, _value = found
    if alias != query.base_table or not is_field(concrete(queryset.model), target):
        return ""
    return "pk" if target.primary_key else str(target.name)


def _is_plain(model: Any, method: str, signals: tuple[str, ...]) -> bool:
    """Whether the rows can be written without what ``method`` and the hearers of signals would do for each."""
    base = sys.modules[BASE].Model
    senders = sys.modules["django.db.models.signals"]
    return (
        getattr(model, method) is getattr(base, method)
        and all(getattr(model, name, None) is getattr(base, name, None) for name in SAVERS)
        # The rows of several tables cannot be written at once.
        and not concrete(model)._meta.parents
        and not any(getattr(senders, signal).has_listeners(model) for signal in signals)
    )


def _makes_values(model: Any, names: tuple[str, ...]) -> bool:
    """Whether a field does more when its row is saved than to give what the row has, as those of files do. Of the day it
    is known what."""
    fields = sys.modules["django.db.models.fields"]
    known = [kind.pre_save for kind in (fields.Field, fields.DateField, fields.DateTimeField, fields.TimeField)]
    return any(
        type(field).pre_save not in known
        for field in model._meta.concrete_fields
        if not names or field.name in names or field.attname in names
    )


def _is_of(sql: str, model: Any) -> bool:
    """Whether the statement writes the table of the model, and not that of what is deleted with its rows."""
    table = re.escape(model._meta.db_table)
    return re.match(rf'(INSERT(?: OR IGNORE| IGNORE)? INTO|UPDATE|DELETE FROM) ["`]?{table}["`]?[ (]', sql) is not None


def at_once(one: Written) -> str:
    """The call that writes all rows at once."""
    rows = one.rows
    if one.call == "create":
        known = "; this database does not tell their keys then" if one.forgets_keys else ""
        return f"gather the rows and write them at once: {rows}.bulk_create(rows){known}"
    if one.call == "add":
        return f"gather the rows and add them at once: {rows}.add(*rows)"
    if one.call == "execute":
        return f"gather the values and send them at once: {rows}.executemany(sql, values)"
    if one.call == "delete":
        keys = "keys" if one.key in ("", "pk") else "values"
        return f"gather the {keys} and delete once: {rows}.filter({one.key or 'pk'}__in={keys}).delete()"
    names = f"[{', '.join(map(_quoted, one.columns))}]" if one.columns else "fields"
    text = f"change the rows and write them at once: {rows}.bulk_update(rows, {names})"
    if not one.columns:
        text += ", with the names of the fields that change"
    if one.call == "update":
        values = ", ".join(f"{name}=…" for name in one.columns)
        text += f"; where all get the same, {rows}.filter({one.key}__in=values).update({values})"
    own = [
        field.name
        for field in one.model._meta.concrete_fields
        # Of a save that names its fields, no other is set either.
        if getattr(field, "auto_now", False) and (not one.columns or field.name in one.columns)
    ]
    if own and one.call == "save":
        text += f"; {' and '.join(map(_quoted, own))} {'is' if len(own) == 1 else 'are'} not set by it"
    return text


def _quoted(name: str) -> str:
    return f'"{name}"'
