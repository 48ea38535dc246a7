"""Turns the plain text of Python's help topics into HTML.

Owns the public names of the renderer. The text is what Sphinx's text writer leaves of the
language reference: close to reStructuredText, but roles, directives and link targets are gone,
so a reStructuredText parser misreads it (``"x"`` is code here, an indented line may be a grammar
rule, a list item or the body of a method). `blocks` reads the structure, `inline` the words,
`html` writes the page and `links` finds what to link to. None of them touches the database.
"""

from reader.markup.blocks import Block, parse
from reader.markup.html import Page, render
from reader.markup.inline import plain
from reader.markup.links import Target, build_index

__all__ = ["Block", "Page", "Target", "build_index", "parse", "plain", "render"]
