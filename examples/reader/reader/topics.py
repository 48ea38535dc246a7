"""Loads Python's help topics into the database.

Owns the way from `pydoc_data.topics` to rows: parse all, index the links between them, render
each, write them in one statement. Topics that a different Python version no longer has stay, with
their comments.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.urls import reverse

from reader import markup
from reader.models import Topic

_RENDERED = ["title", "title_html", "source", "body_html", "sections", "words"]


def load(sources: Mapping[str, str]) -> int:
    """Renders `sources` (slug to text) and inserts or updates them; returns how many there are."""
    parsed = {slug: markup.parse(text) for slug, text in sources.items()}
    index = markup.build_index(parsed)
    rows = []
    for slug, blocks in parsed.items():
        page = markup.render(slug, blocks, index, _address)
        rows.append(
            Topic(
                slug=slug,
                title=page.title,
                title_html=page.title_html,
                source=sources[slug],
                body_html=page.body,
                sections=page.sections,
                words=len(sources[slug].split()),
            )
        )
    Topic.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["slug"], update_fields=_RENDERED
    )
    return len(rows)


def _address(target: markup.Target) -> str:
    page = reverse("topic", args=[target.slug])
    return f"{page}#{target.anchor}" if target.anchor else page
