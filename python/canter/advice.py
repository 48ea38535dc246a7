"""Owns what helps against one query for each row: from all relations that the statements of a request follow it
is said which call fetches them.

Leaves reading the relations from Django's frames to ``canter.captured``, calls such as ``count()`` to
``canter.instead``, and writes to ``canter.written``. Nothing is told that ``_meta`` does not know.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from canter import instead, written
from canter.captured import MOST_DEPTH, Capture, manager, relations
from canter.usual import concrete
from canter.written import Written

Step = tuple[str, bool]
"""A relation on the way, and whether it is fetched apart."""


UNKNOWN, RELATION, WRITE = 0, 1, 2
"""Why a statement is repeated, as the front knows it (``Repeat`` in ``crates/insight/src/observation.rs``)."""


def compose(
    seen: list[Capture | Written], statements: list[str], failed: Callable[[Exception], None]
) -> list[tuple[str, int]]:
    """A text for each capture of one request, empty where nothing is known that helps; and why the statement is
    repeated: ``RELATION`` where it is for one row that several may have in common. ``failed`` is called for each
    capture of which nothing can be told because of an error; the others are told without it.
    """
    found = [one for one in seen if isinstance(one, Capture)]
    usable, roots = [], {}
    for one in found:
        try:
            if _is_usable(one):
                usable.append(one)
        except Exception as error:
            failed(error)
    for one in list(usable):
        try:
            roots[id(one)] = _path(one, found, usable, ())
        except Exception as error:
            usable.remove(one)
            failed(error)
    told = []
    for each in seen:
        try:
            told.append(_told(each, usable, roots, statements))
        except Exception as error:
            told.append(("", UNKNOWN))
            failed(error)
    return told


def _told(
    one: Capture | Written, usable: list[Capture], roots: dict[int, tuple[Any, list[Step]]], statements: list[str]
) -> tuple[str, int]:
    if isinstance(one, Written):
        return written.at_once(one), WRITE
    return _text(one, usable, roots, statements), RELATION if one.one else UNKNOWN


def _text(one: Capture, usable: list[Capture], roots: dict[int, tuple[Any, list[Step]]], statements: list[str]) -> str:
    if one.call and one.many and one.name and not one.one:
        text = instead.of_call(one)
        return text + _read_by(one) if text else _without_relation(one)
    if one.values and one.many and one.name and not one.filtered and not one.one:
        return instead.of_values(one) + _read_by(one)
    path = roots.get(id(one))
    if path is None or not _was_read(path[0], statements):
        return _without_relation(one)
    mine = [at[1] for other in usable if (at := roots[id(other)])[0] is path[0]]
    return _call(path[0], mine, one)


def _is_usable(one: Capture) -> bool:
    if one.model is None or one.deferred or one.filtered or not one.name:
        return False
    if (one.call or one.values) and one.many and not one.one:
        # The rows are not what is wanted.
        return False
    return one.name in relations(one.model)


def _path(
    one: Capture, found: list[Capture], usable: list[Capture], passed: tuple[int, ...]
) -> tuple[Any, list[Step]]:
    """The model from which everything started, and the relations from there to this one."""
    above = list(one.above)
    for at in reversed(range(len(above))):
        if _is_back(above[at], above[at + 1][0] if at + 1 < len(above) else one.model, found):
            above = above[at + 1 :]
            break
    root = above[0][0] if above else one.model
    steps = [*((name, many) for _model, name, many in above), (one.name, one.many)]
    if len(passed) < MOST_DEPTH:
        for other in usable:
            is_new = other is not one and id(other) not in passed
            if is_new and other.many and other.target is root and other.model is not root and _is_of(one, other):
                before, first = _path(other, found, usable, (*passed, id(one)))
                return before, [*first, *steps]
    return root, steps


def _is_back(step: tuple[Any, str, bool], model: Any, found: list[Capture]) -> bool:
    """Whether a row of ``model`` was not fetched for that of the step, but the other way round, as the several
    rows that belong to it: each of these knows it from the start.
    """
    owner, name, many = step
    back = getattr(relations(owner).get(name), "remote_field", None)
    accessor = getattr(back, "get_accessor_name", lambda: None)()
    is_one = not many or getattr(relations(owner).get(name), "many_to_one", False)
    return is_one and any(it.many and it.model is model and it.name == accessor for it in found)


def _is_of(one: Capture, other: Capture) -> bool:
    """Whether the first row on the way to ``one`` came as one of the several of ``other``."""
    field: Any = relations(other.model).get(other.name)
    back = getattr(field, "field", None)
    if back is not None and not field.many_to_many:
        return back.name in one.cached
    # Between these two nothing is noted on the rows themselves.
    return other.model in one.around


def _was_read(model: Any, statements: list[str]) -> bool:
    # `shop_order` is not read where `shop_order_item` is.
    name = re.compile(rf"(?<!\w){re.escape(model._meta.db_table)}(?!\w)")
    return any(name.search(sql) for sql in statements)


def _call(root: Any, paths: list[list[Step]], one: Capture) -> str:
    joined: list[str] = []
    fetched: list[str] = []
    for path in paths:
        name = "__".join(name for name, _many in path)
        into = fetched if any(many for _name, many in path) else joined
        if name not in into:
            into.append(name)
    calls = _calls(joined, fetched)
    text = manager(root) + calls
    if not one.many and _knows_fetch_modes():
        text += f"; or .fetch_mode(models.FETCH_PEERS) there, which is enough for {one.name!r}"
    text += _of_one(root, one, calls, [*joined, *fetched])
    if one.admin and joined:
        listed = ", ".join(f'"{name}"' for name in _longest(joined))
        text += f"; in {one.admin}: list_select_related = [{listed}]"
    return text + _read_by(one)


def _calls(joined: list[str], fetched: list[str]) -> str:
    text = ""
    for call, names in (("select_related", _longest(joined)), ("prefetch_related", _longest(fetched))):
        if names:
            text += f".{call}({', '.join(repr(name) for name in names)})".replace("'", '"')
    return text


def _of_one(root: Any, one: Capture, calls: str, names: list[str]) -> str:
    """The same where everything began at the several of one row, as on a page about it: by the relation, or, for a
    template cannot give it words, together with the row.
    """
    if root is not (one.above[0][0] if one.above else one.model):
        return ""
    followed = {name.split("__")[0] for name in names}
    for name in one.owners:
        field = relations(root).get(name)
        accessor = getattr(getattr(field, "remote_field", None), "get_accessor_name", lambda: None)()
        if field is None or not field.many_to_one or name in followed:
            continue
        owner = concrete(field.related_model)
        # A relation can do without a way back.
        if accessor not in relations(owner):
            continue
        row = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", owner.__name__).lower()
        if one.seen.startswith("template"):
            known = _calls([], [f"{accessor}__{it}" for it in names])
            return f"; where a template asks {row}.{accessor}.all: {manager(owner)}{known}"
        return f"; where the rows are those of one {owner.__name__}: {row}.{accessor}{calls}"
    return ""


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
        return instead.of_filter(one) + _read_by(one)
    if one.target is not None and one.key:
        return instead.of_key(one) + _read_by(one)
    return ""


def _read_by(one: Capture) -> str:
    return f" (read by {one.seen})" if one.seen else ""


def _knows_fetch_modes() -> bool:
    django = sys.modules.get("django")
    return django is not None and django.VERSION >= (6, 1)
