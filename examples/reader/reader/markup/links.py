"""Finds what a topic can link to: other topics, their sections, documented methods.

Owns the index from names to targets. The source text has lost its link targets, so names are
matched again: a section title in running prose, a method or a keyword in code.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reader.markup.blocks import Block, Definition, Heading
from reader.markup.inline import plain

_METHOD = re.compile(r"(?:^|[ .])(\w+)(?:\(|$)")


@dataclass(frozen=True)
class Target:
    """A place in a topic; an empty anchor is the whole page."""

    slug: str
    anchor: str = ""


@dataclass
class Index:
    """Names to targets: `titles` for prose, `code` for code."""

    titles: dict[str, Target] = field(default_factory=dict)
    code: dict[str, Target] = field(default_factory=dict)
    pattern: re.Pattern[str] = re.compile(r"(?!)")


def slugify(text: str) -> str:
    """An anchor that survives in a URL: ``The "try" statement`` is ``the-try-statement``."""
    return re.sub(r"[^\w]+", "-", plain(text).lower()).strip("-")


def method_name(signature: str) -> str:
    """The bare name of a signature: ``object.__add__(self, other)`` is ``__add__``."""
    found = _METHOD.search(signature)
    return found[1] if found else ""


def build_index(topics: Mapping[str, Iterable[Block]]) -> Index:
    """Indexes parsed topics.

    Some topics are whole chapters that repeat others. The smallest topic that has a name gets the
    link, so that a link leads to the page about it.
    """
    index = Index()
    by_size = sorted(topics.items(), key=lambda item: (len(repr(item[1])), item[0]))
    for slug, blocks in by_size:
        _add_topic(index, slug, tuple(blocks))
    names = sorted(index.titles, key=len, reverse=True)
    if names:
        # One word is a section title only where the prose says so ("see section Calls").
        alone = [re.escape(name) for name in names if " " not in name]
        several = [re.escape(name) for name in names if " " in name]
        index.pattern = re.compile(
            rf"\b(?:{'|'.join(several) or '(?!)'})\b"
            rf"|(?<=section )(?:{'|'.join(alone) or '(?!)'})\b"
            rf"|(?<=[Ss]ee )(?:{'|'.join(alone) or '(?!)'})\b"
        )
    return index


def _add_topic(index: Index, slug: str, blocks: tuple[Block, ...]) -> None:
    if slug in keyword.kwlist:
        index.code.setdefault(slug, Target(slug))
    for block in blocks:
        if isinstance(block, Heading):
            anchor = "" if block.level == 1 else slugify(block.text)
            index.titles.setdefault(plain(block.text), Target(slug, anchor))
        elif isinstance(block, Definition) and block.is_signature:
            for term in block.terms:
                if name := method_name(term):
                    index.code.setdefault(name, Target(slug, slugify(name)))
            _add_topic(index, slug, block.body)
