"""Owns how the rows that a queryset asks for are unlike those that a relation, or the manager of their model, brings.

Leaves what follows from that to ``canter.captured``.
"""

from __future__ import annotations

from typing import Any

SOME_ROWS, MADE_ROWS, OTHER_ROWS, NO_RELATION = 1, 2, 3, 4
"""How the rows that were asked for are unlike those that a relation brings: a slice, which Python takes of what was
fetched; the same ones, made in another way, which is nothing to who counts them; others, or fewer; and such as no
relation brings.
"""


def unlike(queryset: Any, usual: tuple[Any, ...]) -> int:
    """How its rows are unlike those that a relation, or the manager of their model, brings, which are made as ``usual``
    says; empty where that is not known."""
    mine = of(queryset)
    if not any(mine):
        return 0
    usual = usual or (None,) * len(mine)
    if any(kind.__module__ == "taggit.models" for kind in queryset.model.__mro__):
        # The tags of a row are distinct without being asked to be.
        usual = (*usual[:4], True, *usual[5:])
    kinds = (SOME_ROWS, *(NO_RELATION,) * 3, *(OTHER_ROWS,) * 3, *(MADE_ROWS,) * 3)
    found = {how for how, one, other in zip(kinds, mine, usual) if one and one != other}
    return max(*found, OTHER_ROWS) if len(found) > 1 else max(found, default=0)


def of(queryset: Any) -> tuple[Any, ...]:
    """How its rows are made."""
    query = queryset.query
    left_out, is_left_out = query.deferred_loading
    return (
        query.is_sliced,
        query.combinator,
        query.select_for_update,
        (*query.extra, *query.extra_tables, *query.extra_order_by),
        query.distinct,
        query.distinct_fields,
        tuple(query.annotations),
        query.select_related,
        (is_left_out, left_out) if left_out or not is_left_out else (),
        not query.standard_ordering,
    )
