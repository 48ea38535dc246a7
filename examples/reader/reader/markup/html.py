"""Writes the blocks of a topic as HTML.

Owns tags, anchors and escaping: every piece of text passes through `escape` here, so what comes
out is safe to mark as such. Leaves page furniture (head, navigation) to the templates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from reader.markup.blocks import (
    Admonition,
    Block,
    Code,
    Definition,
    Footnote,
    Heading,
    Items,
    Paragraph,
    Quote,
    Rubric,
    Rule,
)
from reader.markup.inline import Kind, plain, spans
from reader.markup.links import Index, Target, method_name, slugify
from reader.markup.tables import Row, Table

# A name, dotted or called: ``str.format()``. Longer code is an example, not a mention.
_CODE_NAME = re.compile(r"(?:[\w.]+\.)?(\w+)(?:\(\))?")
LinkTo = Callable[[Target], str]


@dataclass(frozen=True)
class Page:
    """A rendered topic: title as words and as HTML, body, and (anchor, words) of its sections."""

    title: str
    title_html: str
    body: str
    sections: tuple[tuple[str, str], ...]


def render(slug: str, blocks: tuple[Block, ...], index: Index, link_to: LinkTo) -> Page:
    """Returns the page for `blocks`; `link_to` turns a target into an address."""
    return _Writer(slug, index, link_to).page(blocks)


class _Writer:
    """One page: remembers which anchors are used and which targets are linked."""

    def __init__(self, slug: str, index: Index, link_to: LinkTo) -> None:
        self._slug = slug
        self._index = index
        self._link_to = link_to
        self._anchors: set[str] = set()
        self._linked: set[Target] = {Target(slug)}
        self._footnotes: set[str] = set()
        self._sections: list[tuple[str, str]] = []

    def page(self, blocks: tuple[Block, ...]) -> Page:
        title = self._slug
        if blocks and isinstance(first := blocks[0], Heading):
            title, blocks = first.text, blocks[1:]
        self._footnotes = {block.label for block in blocks if isinstance(block, Footnote)}
        body = self._blocks(blocks)
        return Page(plain(title), self._unlinked(title), body, tuple(self._sections))

    def _blocks(self, blocks: tuple[Block, ...]) -> str:
        return "\n".join(self._block(block) for block in blocks)

    def _block(self, block: Block) -> str:
        match block:
            case Paragraph(text):
                return f"<p>{self._inline(text)}</p>"
            case Code(text):
                return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
            case Heading(level, text):
                return self._heading(level, text)
            case Rubric(text):
                return f'<p class="rubric">{self._inline(text)}</p>'
            case Rule():
                return "<hr>"
            case Items(start, items):
                return self._items(start, items)
            case Definition(terms, body, is_signature):
                return self._definition(terms, body, is_signature)
            case Admonition(title, body):
                return self._admonition(title, body)
            case Footnote(label, body):
                return self._footnote(label, body)
            case Quote(body):
                return f'<div class="indent">{self._blocks(body)}</div>'
            case Table(header, rows):
                return self._table(header, rows)

    def _heading(self, level: int, text: str) -> str:
        # The page title is the only h1, so sections start at h2 wherever the source starts.
        anchor = self._anchor(slugify(text))
        tag = f"h{min(max(level, 2), 6)}"
        if level <= 2:
            self._sections.append((anchor, plain(text)))
        return f'<{tag} id="{anchor}">{self._unlinked(text)}</{tag}>'

    def _items(self, start: int | None, items: tuple[tuple[Block, ...], ...]) -> str:
        entries = "\n".join(f"<li>{self._tight(item)}</li>" for item in items)
        if start is None:
            return f"<ul>\n{entries}\n</ul>"
        first = "" if start == 1 else f' start="{start}"'
        return f"<ol{first}>\n{entries}\n</ol>"

    def _tight(self, blocks: tuple[Block, ...]) -> str:
        """A lone paragraph in a list item or cell needs no tag of its own."""
        if len(blocks) == 1 and isinstance(only := blocks[0], Paragraph):
            return self._inline(only.text)
        return self._blocks(blocks)

    def _definition(self, terms: tuple[str, ...], body: tuple[Block, ...], signature: bool) -> str:
        if signature:
            heads = "\n".join(
                f'<dt id="{self._anchor(slugify(method_name(term) or term))}">'
                f"<code>{escape(term)}</code></dt>"
                for term in terms
            )
            return f'<dl class="signature">\n{heads}\n<dd>{self._blocks(body)}</dd>\n</dl>'
        heads = "\n".join(f"<dt>{self._inline(term)}</dt>" for term in terms)
        return f"<dl>\n{heads}\n<dd>{self._blocks(body)}</dd>\n</dl>"

    def _admonition(self, title: str, body: tuple[Block, ...]) -> str:
        kind = "version" if "version" in title else "note"
        if not body:
            return f'<div class="{kind}"><strong>{escape(title)}.</strong></div>'
        return f'<div class="{kind}"><strong>{escape(title)}:</strong> {self._blocks(body)}</div>'

    def _footnote(self, label: str, body: tuple[Block, ...]) -> str:
        anchor = self._anchor(f"fn-{label}")
        return (
            f'<div class="footnote" id="{anchor}"><a href="#fnref-{label}" '
            f'aria-label="Back to the text">[{label}]</a> {self._blocks(body)}</div>'
        )

    def _table(self, header: Row, rows: tuple[Row, ...]) -> str:
        head = "".join(f'<th scope="col">{self._inline(cell)}</th>' for cell in header)
        lines = (
            "<tr>" + "".join(f"<td>{self._inline(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        thead = f"<thead><tr>{head}</tr></thead>\n" if header else ""
        body = "\n".join(lines)
        # Wide tables scroll in their own box; tabindex lets the keyboard reach it.
        return (
            f'<div class="scroll" tabindex="0"><table>\n{thead}'
            f"<tbody>\n{body}\n</tbody></table></div>"
        )

    def _inline(self, text: str) -> str:
        return "".join(self._span(span.kind, span.text) for span in spans(text))

    def _unlinked(self, text: str) -> str:
        return "".join(
            f"<code>{escape(span.text)}</code>" if span.kind is Kind.CODE else escape(span.text)
            for span in spans(text)
        )

    def _span(self, kind: Kind, text: str) -> str:
        match kind:
            case Kind.TEXT:
                return self._prose(text)
            case Kind.CODE:
                code = f"<code>{escape(text)}</code>"
                name = _CODE_NAME.fullmatch(text)
                return self._link(self._index.code.get(name[1]) if name else None, code)
            case Kind.EMPHASIS:
                return f"<em>{escape(text)}</em>"
            case Kind.STRONG:
                return f"<strong>{escape(text)}</strong>"
            case Kind.PEP:
                return f'<a href="https://peps.python.org/pep-{int(text):04d}/">PEP {text}</a>'
            case Kind.FOOTNOTE:
                return self._footnote_reference(text)
            case Kind.URL:
                return f'<a href="{escape(text)}">{escape(text)}</a>'

    def _prose(self, text: str) -> str:
        parts = []
        done = 0
        for found in self._index.pattern.finditer(text):
            parts.append(escape(text[done : found.start()], quote=False))
            words = escape(found[0], quote=False)
            parts.append(self._link(self._index.titles[found[0]], words))
            done = found.end()
        parts.append(escape(text[done:], quote=False))
        return "".join(parts)

    def _link(self, target: Target | None, inner: str) -> str:
        """Links the first mention only: a page full of links is harder to read."""
        if target is None or target in self._linked:
            return inner
        self._linked.add(target)
        # Within the page a bare fragment will do, and the page can move.
        local = target.slug == self._slug
        address = f"#{target.anchor}" if local else self._link_to(target)
        return f'<a href="{escape(address)}">{inner}</a>'

    def _footnote_reference(self, label: str) -> str:
        if label not in self._footnotes:
            return f"[{label}]"
        back = self._anchor(f"fnref-{label}")
        return f'<sup><a id="{back}" href="#fn-{label}">[{label}]</a></sup>'

    def _anchor(self, wanted: str) -> str:
        """An id that is unique on the page."""
        base = re.sub(r"[^\w-]", "", wanted) or "section"
        anchor, copy = base, 2
        while anchor in self._anchors:
            anchor, copy = f"{base}-{copy}", copy + 1
        self._anchors.add(anchor)
        return anchor
