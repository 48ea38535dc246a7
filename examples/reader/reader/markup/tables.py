"""Reads grid tables drawn with ``+---+`` and ``|``.

Owns the table grammar. Leaves the words inside a cell to `inline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells; `header` is empty when the table has none."""

    header: Row
    rows: tuple[Row, ...]


def parse_table(lines: list[str]) -> Table:
    """Returns the table drawn by `lines`; its rule lines decide columns, rows and header."""
    edges = [at for at, char in enumerate(lines[0]) if char == "+"]
    header: Row = ()
    rows: list[Row] = []
    open_row: list[str] = []
    for line in lines[1:]:
        if not line.startswith(("+-", "+=", "|=")):
            open_row.append(line)
            continue
        if open_row:
            row = _cells(open_row, edges)
            if "=" in line[:2]:
                header = row
            else:
                rows.append(row)
        open_row = []
    return Table(header, tuple(rows))


def _cells(lines: list[str], edges: list[int]) -> Row:
    """Cuts the lines of one row at the column edges and joins each column."""
    cells = []
    for left, right in pairwise(edges):
        parts = (line[left + 1 : right].strip() for line in lines)
        cells.append(" ".join(part for part in parts if part))
    return tuple(cells)
