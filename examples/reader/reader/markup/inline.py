"""Reads the words of a paragraph: code, emphasis, PEP and footnote references.

Owns the inline grammar and yields typed spans. Leaves linking and escaping to `html`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a span is."""

    TEXT = auto()
    CODE = auto()
    EMPHASIS = auto()
    STRONG = auto()
    PEP = auto()
    FOOTNOTE = auto()
    URL = auto()


@dataclass(frozen=True)
class Span:
    """A piece of a paragraph; `text` is without its marks."""

    kind: Kind
    text: str


_MARKS = (
    (Kind.PEP, re.compile(r"\*\*PEP (\d+)\*\*")),
    (Kind.STRONG, re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")),
    (Kind.EMPHASIS, re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]*?[^\s*])\*(?![\w*])")),
    (Kind.FOOTNOTE, re.compile(r"\[(\d+)\]")),
    (Kind.URL, re.compile(r"(https?://[^\s<>\"]*[^\s<>\".,;:)])")),
)
_START = re.compile(r"\"|\*|\[\d|https?://")
_LONGEST_CODE = 300


def spans(text: str) -> Iterator[Span]:
    """Yields the spans of `text`; joined, their words are the words of `text`."""
    done = at = 0
    while start := _START.search(text, at):
        at = start.start()
        span, end = _span_at(text, at)
        if span is None:
            at += 1
            continue
        if done < at:
            yield Span(Kind.TEXT, text[done:at])
        yield span
        done = at = end
    if done < len(text):
        yield Span(Kind.TEXT, text[done:])


def plain(text: str) -> str:
    """The words alone, for page titles, anchors and search results."""
    return "".join(span.text for span in spans(text))


def _span_at(text: str, at: int) -> tuple[Span | None, int]:
    if text[at] == '"':
        end = _code_end(text, at)
        return (Span(Kind.CODE, text[at + 1 : end - 1]), end) if end else (None, at)
    for kind, pattern in _MARKS:
        if mark := pattern.match(text, at):
            return Span(kind, mark[1]), mark.end()
    return None, at


def _code_end(text: str, at: int) -> int:
    """The end of code that starts with the quote at `at`, or 0.

    The code may itself hold quotes: ``"print("hi")"``. So a quote only closes when a word does
    not go on behind it (a plural s may) and the quotes inside are balanced or the only content.
    """
    if at and (text[at - 1].isalnum() or text[at - 1] == '"'):
        return 0
    end = at + 1
    while 0 < (end := text.find('"', end + 1)) <= at + _LONGEST_CODE:
        inside = text[at + 1 : end]
        behind = text[end + 1 : end + 3]
        if behind[:1] == '"' or (behind[:1].isalnum() and not re.fullmatch(r"s\b\W?", behind)):
            continue
        if inside.count('"') % 2 == 0 or not inside.strip('"\\'):
            return end + 1
    return 0
