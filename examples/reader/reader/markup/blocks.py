"""Reads the block structure of a topic: headings, lists, code, tables, definitions.

Owns the line grammar and the guess what an indented region is. Leaves the words inside a
paragraph to `inline` and the tags to `html`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from reader.markup.tables import Table, parse_table

# The order in which Sphinx's text writer hands out underlines; the position is the level.
UNDERLINES = "*=-~\"'^"
_UNDERLINE = re.compile(rf"([{re.escape(UNDERLINES)}])\1{{2,}}")
_RULE = re.compile(rf"([{re.escape(UNDERLINES)}])\1{{9,}}")
_RUBRIC = re.compile(r"-\[ (.+) \]-")
_BULLET = re.compile(r"[*-] +(?=\S)")
_NUMBER = re.compile(r"(\d+)\. +(?=\S)")
_FOOTNOTE = re.compile(r"\[(\d+)\] +(?=\S)")
_ADMONITION = re.compile(
    r"(Note|See also|Warning|Important|Tip|Hint|Availability"
    r"|\*\*CPython implementation detail|(?:Added|New|Changed) in version [\w.]+"
    r"|Deprecated since version [^:\n]+):(?:\*\*)?(?:\s+|$)"
    r"|((?:Added|New|Changed) in version [\w.]+)\.$"
)


@dataclass(frozen=True)
class Heading:
    """A section title; level 1 is the title of the topic."""

    level: int
    text: str


@dataclass(frozen=True)
class Rubric:
    """A title outside the outline, such as "Footnotes"."""

    text: str


@dataclass(frozen=True)
class Rule:
    """A line across the page."""


@dataclass(frozen=True)
class Paragraph:
    """Words, still with their inline marks."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to show as they stand: Python, a session, a grammar rule."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; `start` is its first number, or None for bullets."""

    start: int | None
    items: tuple[tuple[Block, ...], ...]


@dataclass(frozen=True)
class Definition:
    """One or more terms or signatures and what they mean."""

    terms: tuple[str, ...]
    body: tuple[Block, ...]
    is_signature: bool


@dataclass(frozen=True)
class Admonition:
    """A note, a warning, or a remark about a version."""

    title: str
    body: tuple[Block, ...]


@dataclass(frozen=True)
class Footnote:
    """The text behind a ``[1]``."""

    label: str
    body: tuple[Block, ...]


@dataclass(frozen=True)
class Quote:
    """Indented prose."""

    body: tuple[Block, ...]


Block = (
    Heading
    | Rubric
    | Rule
    | Paragraph
    | Code
    | Items
    | Definition
    | Admonition
    | Footnote
    | Quote
    | Table
)


def parse(text: str) -> tuple[Block, ...]:
    """Returns the blocks of one topic, in order."""
    return _Parser(text.expandtabs().split("\n")).blocks()


class _Parser:
    """One pass over lines that all belong to one indentation level."""

    __slots__ = ("_at", "_lines")

    def __init__(self, lines: list[str]) -> None:
        self._lines = [line.rstrip() for line in lines]
        self._at = 0

    def blocks(self) -> tuple[Block, ...]:
        found: list[Block] = []
        while self._skip_blank():
            found.append(self._next())
        return tuple(found)

    def _next(self) -> Block:
        """The first shape that fits wins; a paragraph fits everything."""
        line = self._lines[self._at]
        if line[0] == " ":
            return _indented(self._region(1))
        if (below := self._peek(1)) and (mark := _UNDERLINE.fullmatch(below)):
            self._at += 2
            return Heading(UNDERLINES.index(mark[1]) + 1, line)
        if _RULE.fullmatch(line):
            self._at += 1
            return Rule()
        if mark := _RUBRIC.fullmatch(line):
            self._at += 1
            return Rubric(mark[1])
        if line.startswith("+-"):
            return parse_table(self._take(lambda text: text[:1] in ("+", "|")))
        if _BULLET.match(line):
            return Items(None, self._items(_BULLET))
        if mark := _NUMBER.match(line):
            return Items(int(mark[1]), self._items(_NUMBER))
        if mark := _FOOTNOTE.match(line):
            return Footnote(mark[1], self._item(mark.end()))
        if mark := _ADMONITION.match(line):
            return self._admonition(mark)
        return self._paragraph()

    def _skip_blank(self) -> bool:
        while self._at < len(self._lines) and not self._lines[self._at]:
            self._at += 1
        return self._at < len(self._lines)

    def _peek(self, ahead: int) -> str:
        at = self._at + ahead
        return self._lines[at] if at < len(self._lines) else ""

    def _take(self, wanted: Callable[[str], bool]) -> list[str]:
        """Lines from here on while `wanted` holds."""
        begin = self._at
        while self._at < len(self._lines) and wanted(self._lines[self._at]):
            self._at += 1
        return self._lines[begin : self._at]

    def _region(self, depth: int) -> str:
        """The blank or deeper lines from here on, dedented."""
        return textwrap.dedent("\n".join(self._deeper(depth))).strip("\n")

    def _deeper(self, depth: int) -> list[str]:
        return self._take(lambda text: not text or text[:depth].isspace())

    def _item(self, width: int) -> tuple[Block, ...]:
        """A marker of `width` and the lines that hang below it.

        They lose exactly that width: what is left of their indentation marks code in the item.
        """
        first = self._lines[self._at][width:]
        self._at += 1
        deeper = self._deeper(2)
        below = (line[width:] if line[:width].isspace() else line.lstrip() for line in deeper)
        return parse("\n".join([first, *below]))

    def _items(self, marker: re.Pattern[str]) -> tuple[tuple[Block, ...], ...]:
        items = []
        while self._skip_blank() and (mark := marker.match(self._lines[self._at])):
            items.append(self._item(mark.end()))
        return tuple(items)

    def _admonition(self, mark: re.Match[str]) -> Admonition:
        """A title with text behind it, or below it and indented."""
        self._lines[self._at] = self._lines[self._at][mark.end() :]
        title = (mark[1] or mark[2]).strip("*")
        if self._lines[self._at]:
            text = self._take(bool)
            return Admonition(title, parse("\n".join(text)))
        self._at += 1
        return Admonition(title, parse(self._region(1)))

    def _paragraph(self) -> Block:
        lines = self._take(lambda text: bool(text) and text[0] != " ")
        if self._peek(0):
            # An indented line without a gap belongs to the last line: a definition list.
            return self._definition(lines)
        region = self._peek_region()
        if region and lines[-1][-1] not in ".:,;" and _is_prose(region):
            self._region(1)
            return Definition(tuple(lines), parse(region), is_signature=True)
        return Paragraph(_join(lines))

    def _definition(self, lines: list[str]) -> Block:
        if len(lines) > 1:
            # Only the last line is the term; the rest is a paragraph of its own.
            self._at -= 1
            return Paragraph(_join(lines[:-1]))
        return Definition((lines[0],), parse(self._region(1)), is_signature=False)

    def _peek_region(self) -> str:
        """The indented region after the blank lines here, without taking it."""
        here = self._at
        region = self._region(1) if self._skip_blank() and self._peek(0)[0] == " " else ""
        self._at = here
        return region


def _indented(region: str) -> Block:
    """What an indented region is when nothing above claimed it: a nested list, prose or code."""
    if region.startswith("+-") or _BULLET.match(region) or _NUMBER.match(region):
        return Quote(parse(region))
    first = region.split("\n\n", 1)[0]
    if _is_prose(region) and (first.endswith((".", ":")) or region.count("\n") > 3):
        return Quote(parse(region))
    return Code(region)


def _is_prose(region: str) -> bool:
    """Whether a region starts like a sentence, a list or a remark rather than like code."""
    line = region.split("\n", 1)[0]
    # Three spaces inside a line align something, and "# " starts a comment: only code has these.
    if (
        "::=" in line
        or line.startswith(">>>")
        or " = " in line
        or re.search(r"\S {3,}\S|\S  # ", line)
    ):
        return False
    if _BULLET.match(line) or _ADMONITION.match(line):
        return True
    return bool(re.match(r"[\"*“(]*[A-Z][\w’'()*\".]*,? [\w\"*(“]", line)) and line[-1] != ")"


def _join(lines: list[str]) -> str:
    """Undoes the line wrapping; a word broken at its hyphen is put together again."""
    text = " ".join(line.strip() for line in lines)
    return re.sub(r"(?<=[a-z]-) (?=[a-z])", "", text)
