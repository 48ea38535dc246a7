"""The renderer: one table of texts and what they become, and all of Python's topics."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from pydoc_data.topics import topics

from django.test import SimpleTestCase

from reader.markup import Target, build_index, parse, plain, render

TITLE = "Page\n****\n\n"
ROWS = {
    "a paragraph loses its line breaks": ("one\ntwo", "<p>one two</p>"),
    "a word broken at its hyphen is whole again": ("comma-\nseparated", "<p>comma-separated</p>"),
    "a heading is a level below the title": (
        'The "try"\n=========',
        '<h2 id="the-try">The <code>try</code></h2>',
    ),
    "equal headings get anchors of their own": (
        "A\n===\n\nA\n===",
        '<h2 id="a">A</h2>\n<h2 id="a-2">A</h2>',
    ),
    "a line of its own is a rule": ("a\n\n==========\n\nb", "<p>a</p>\n<hr>\n<p>b</p>"),
    "aligned comments are code, whatever they start with": (
        'So:\n\n   "Bring me"   # a shrubbery.',
        '<p>So:</p>\n<pre tabindex="0"><code>&quot;Bring me&quot;   # a shrubbery.</code></pre>',
    ),
    "a comment behind two spaces makes a line code": (
        'So:\n\n   "Bring me"  # a shrubbery.',
        '<p>So:</p>\n<pre tabindex="0"><code>&quot;Bring me&quot;  # a shrubbery.</code></pre>',
    ),
    "bullets are a list": ("* one\n\n* two", "<ul>\n<li>one</li>\n<li>two</li>\n</ul>"),
    "numbers keep their start": ("3. three", '<ol start="3">\n<li>three</li>\n</ol>'),
    "an item may hold several blocks": (
        "* one\n\n  more",
        "<ul>\n<li><p>one</p>\n<p>more</p></li>\n</ul>",
    ),
    "code in an item is code": (
        "* so:\n\n     x = 1\n\n  then",
        '<ul>\n<li><p>so:</p>\n<pre tabindex="0"><code>x = 1</code></pre>\n<p>then</p></li>\n</ul>',
    ),
    "an indented region after a colon is code": (
        "So:\n\n   if a < b:\n       c()",
        '<p>So:</p>\n<pre tabindex="0"><code>if a &lt; b:\n    c()</code></pre>',
    ),
    "a blank line does not end code": (
        "So:\n\n   a\n\n   b\n\nthen",
        '<p>So:</p>\n<pre tabindex="0"><code>a\n\nb</code></pre>\n<p>then</p>',
    ),
    "signatures with prose below are definitions": (
        "a.__x__(self)\na.__y__(self)\n\n   Called when it is needed.",
        '<dl class="signature">\n<dt id="__x__"><code>a.__x__(self)</code></dt>\n'
        '<dt id="__y__"><code>a.__y__(self)</code></dt>\n'
        "<dd><p>Called when it is needed.</p></dd>\n</dl>",
    ),
    "a term with its meaning right below is a definition": (
        '"_*"\n   Not imported.',
        "<dl>\n<dt><code>_*</code></dt>\n<dd><p>Not imported.</p></dd>\n</dl>",
    ),
    "a note holds what is indented below it": (
        "Note:\n\n  Take care.",
        '<div class="note"><strong>Note:</strong> <p>Take care.</p></div>',
    ),
    "a version remark is set apart": (
        "Changed in version 3.1: Better.",
        '<div class="version"><strong>Changed in version 3.1:</strong> <p>Better.</p></div>',
    ),
    "a footnote and its reference point at each other": (
        "x [1]\n\n[1] y",
        '<p>x <sup><a id="fnref-1" href="#fn-1">[1]</a></sup></p>\n'
        '<div class="footnote" id="fn-1"><a href="#fnref-1" aria-label="Back to the text">[1]</a>'
        " <p>y</p></div>",
    ),
    "a reference without a footnote stays text": ("x [1]", "<p>x [1]</p>"),
    "a table has a header and joins wrapped cells": (
        '+-----+-----+\n| A   | B   |\n|=====|=====|\n| "x" | one |\n|     | two |\n+-----+-----+',
        '<div class="scroll" tabindex="0"><table>\n'
        '<thead><tr><th scope="col">A</th><th scope="col">B</th></tr></thead>\n'
        "<tbody>\n<tr><td><code>x</code></td><td>one two</td></tr>\n</tbody></table></div>",
    ),
    "code may hold quotes": (
        'print "print("hi")" now',
        "<p>print <code>print(&quot;hi&quot;)</code> now</p>",
    ),
    "code may be a quote": ('a """ b', "<p>a <code>&quot;</code> b</p>"),
    "code may have a plural s": ('"Foo"s', "<p><code>Foo</code>s</p>"),
    "a lone quote is text": ('5" long', '<p>5" long</p>'),
    "stars are emphasis, a multiplication is not": (
        "*a* and **b** and 2 * 3 * 4",
        "<p><em>a</em> and <strong>b</strong> and 2 * 3 * 4</p>",
    ),
    "a PEP is a link": (
        "**PEP 8**",
        '<p><a href="https://peps.python.org/pep-0008/">PEP 8</a></p>',
    ),
    "tags in the text are escaped": (
        '<script> "<b>" *<i>*',
        "<p>&lt;script&gt; <code>&lt;b&gt;</code> <em>&lt;i&gt;</em></p>",
    ),
}
VOID = {"br", "hr"}


class Balance(HTMLParser):
    """Fails on a tag that closes what is not open; collects ids, local links and words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fragments: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name == "href" and value and value.startswith("#"):
                self.fragments.add(value[1:])

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes nothing")


def address(target: Target) -> str:
    return f"/{target.slug}#{target.anchor}"


class MarkupTest(SimpleTestCase):
    """Text in, HTML out."""

    def test_each_shape_becomes_its_html(self) -> None:
        for name, (text, expected) in ROWS.items():
            with self.subTest(name):
                page = render("page", parse(TITLE + text), build_index({}), address)
                self.assertEqual(page.body, expected)

    def test_the_title_is_taken_out_of_the_body(self) -> None:
        page = render("x", parse('The "x" rule\n************\n\ntext'), build_index({}), address)
        self.assertEqual(page.title, "The x rule")
        self.assertEqual(page.title_html, "The <code>x</code> rule")
        self.assertEqual(page.body, "<p>text</p>")

    def test_a_topic_is_linked_once_and_never_to_itself(self) -> None:
        sources = {
            "calls": "Calls\n*****\n\nx",
            "one": "One\n***\n\nsee Calls, see Calls, see One, Calls",
        }
        parsed = {slug: parse(text) for slug, text in sources.items()}
        page = render("one", parsed["one"], build_index(parsed), address)
        self.assertEqual(
            page.body, '<p>see <a href="/calls#">Calls</a>, see Calls, see One, Calls</p>'
        )

    def test_a_method_is_linked_to_where_it_is_described(self) -> None:
        sources = {
            "a": "A\n***\n\nx.__len__(self)\n\n   Is the length.",
            "b": 'B\n***\n\n"y = x.__len__()" "x.__len__()"',
        }
        parsed = {slug: parse(text) for slug, text in sources.items()}
        page = render("b", parsed["b"], build_index(parsed), address)
        expected = '<code>y = x.__len__()</code> <a href="/a#__len__"><code>x.__len__()</code></a>'
        self.assertEqual(page.body, f"<p>{expected}</p>")

    def test_plain_drops_the_marks_and_keeps_the_words(self) -> None:
        self.assertEqual(plain('The "try" and *that*'), "The try and that")

    def test_every_topic_of_python_is_well_formed_and_loses_no_word(self) -> None:
        parsed = {slug: parse(text) for slug, text in topics.items()}
        index = build_index(parsed)
        targets: dict[str, set[str]] = {}
        links: list[Target] = []

        def noted(target: Target) -> str:
            links.append(target)
            return address(target)

        for slug, blocks in parsed.items():
            page = render(slug, blocks, index, noted)
            checker = Balance()
            checker.feed(page.body)
            with self.subTest(slug):
                self.assertEqual(checker.open, [])
                self.assertEqual(len(checker.ids), len(set(checker.ids)))
                missing = checker.fragments - set(checker.ids)
                self.assertFalse({name for name in missing if not name.startswith("fnref-")})
                words = page.title + "".join(checker.words)
                self.assertEqual(_letters(words), _letters(topics[slug]))
            targets[slug] = {*checker.ids, ""}
        self.assertGreater(len(links), 200)
        for target in links:
            self.assertIn(target.anchor, targets[target.slug], target)


def _letters(text: str) -> Counter[str]:
    """The letters alone: marks and spaces go, words stay. Wrapped table cells change the order."""
    return Counter(char for char in text if char.isalpha())
