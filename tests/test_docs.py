"""Owns what can be checked of the documentation: command lines run, options and files exist, words
of the log are the program's.

Leaves links between pages to ``cargo xtask tidy`` and generated pages to ``cargo xtask docs``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import corpus
import pytest
from harness import manuals

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference" / "options.md"
CANTER = Path(sysconfig.get_path("scripts")) / "canter"

#: Flags of every command, which no page lists.
OTHER_FLAGS = {"--help"}
#: Variables of the build (``setup.py``) and of the app's side, which the program passes over.
PASSED_OVER = {
    "CANTER_BUILD_PROFILE",
    "CANTER_PURGE_SERVER",
    "CANTER_SOCKET",
}
#: Variables of the tests.
OTHER_VARIABLES = PASSED_OVER | {
    "CANTER_PSYCOPG_SOURCE",
    "CANTER_MODEL_SEEDS",
    "CANTER_TEST_POOLER",
    "CANTER_TEST_POSTGRES",
    "CANTER_TEST_TRIES",
}

#: A command in a code block: alone, or where a Procfile, a unit or a path puts it.
COMMAND = re.compile(r"^(?:web: |ExecStart=)?(?:\S*/)?canter (?P<words>[a-z].*)$")
#: The array that a Dockerfile gives as a command.
ARRAY = re.compile(r'^CMD \["canter", (?P<words>.*)\]$')
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


@dataclass(frozen=True)
class Page:
    """A page written by hand, in the parts that the checks look at."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self) -> Iterator[list[str]]:
        """Code blocks, fenced or indented by four columns or more, without the indentation."""
        block: list[str] = []
        fenced = False
        for line in [*self.text.splitlines(), ""]:
            if line.lstrip().startswith("```"):
                fenced = not fenced
            elif fenced or line.startswith("    "):
                block.append(line.strip())
                continue
            elif not line and block:
                # An indented block may hold an empty line.
                block.append("")
                continue
            if block:
                yield block
                block = []
        if block:
            yield block

    def spans(self) -> Iterator[str]:
        """Inline code."""
        for line in self.text.splitlines():
            if not line.startswith("    "):
                yield from re.findall(r"`([^`]+)`", line)

    def commands(self) -> Iterator[str]:
        """The words behind ``canter``, wherever the page shows a command line."""
        lines = [line for block in self.blocks() for line in block]
        for line in [*lines, *self.spans()]:
            # What stands behind two blanks, or behind a sign, explains the command.
            line = re.split(r" {2,}| #", line)[0].rstrip(";")
            if found := COMMAND.match(line):
                yield found["words"]
            elif found := ARRAY.match(line):
                yield found["words"].replace('", "', " ").strip('"')


def _pages() -> list[Page]:
    written = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return [Page(path) for path in sorted(written) if "reference" not in path.parts]


PAGES = _pages()
COMMANDS = sorted({words for page in PAGES for words in page.commands()})


def _canter(words: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``canter`` where no file says anything, and no variable but those of ``more``."""
    platform = {"PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "DYNO", "LISTEN_FDS"}
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in platform and not key.startswith("CANTER_")
    }
    env["DATABASE_URL"] = "postgresql://shop:secret@db.example.com/shop"
    env |= more
    return subprocess.run(
        [CANTER, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_pages_show_command_lines() -> None:
    assert {"serve", "serve mysite.wsgi", "options", "help serve"} <= set(COMMANDS)
    assert any("--bind" in words for words in COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_line_in_the_docs_is_understood(words: str, tmp_path: Path) -> None:
    # `canter options` reads what `canter serve` would, and starts nothing.
    # A line that goes on in the next one is looked at as far as it goes.
    command, *rest = shlex.split(words.rstrip("\\"))
    if command == "pool":
        rest.append("--check-config")
    if command not in ("serve", "options", "pool", "help"):
        # They would need a server or a project; their words are those of their help.
        # What stands behind ` -- ` is for the servers that a command starts.
        flags = set(FLAG.findall(words.partition(" -- ")[0]))
        done = _canter(["help", command], tmp_path)
        assert flags <= set(FLAG.findall(done.stdout))
    else:
        done = _canter(["options" if command == "serve" else command, *rest], tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_command_line_with_a_mistake_would_be_noticed(tmp_path: Path) -> None:
    assert _canter(["options", "--no-such-option", "mysite.wsgi"], tmp_path).returncode == 2


def test_every_file_of_settings_in_the_docs_is_understood(tmp_path: Path) -> None:
    shown = 0
    for page in PAGES:
        for block in page.blocks():
            lines = [line for line in block if line]
            if lines and all(re.match(r"[a-z-]+ = ", line) for line in lines):
                (tmp_path / "canter.toml").write_text("\n".join(lines))
                done = _canter(["options"], tmp_path)
                assert done.returncode == 0, f"{page.name}: {done.stderr}"
                shown += 1
    assert shown > 0


def _known_flags() -> set[str]:
    pages = (REFERENCE, REFERENCE.with_name("bench.md"), REFERENCE.with_name("tune.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    rows = [line for line in text.splitlines() if line.startswith(("| flag |", "| `-"))]
    commands = {words.split()[0] for words in COMMANDS} - {"help", "options"}
    helped = "\n".join(_canter(["help", command], ROOT).stdout for command in sorted(commands))
    return {flag for text in (*rows, helped) for flag in FLAG.findall(text)} | OTHER_FLAGS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_a_page_names_exists(page: Page) -> None:
    # A piece of code that starts with another word is the command line of another program.
    named = {flag for span in page.spans() if span.startswith("-") for flag in FLAG.findall(span)}
    assert named - _known_flags() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_that_a_page_names_exists(page: Page) -> None:
    known = set(re.findall(r"`(CANTER_[A-Z_]+)`", REFERENCE.read_text(encoding="utf-8")))
    named = set(re.findall(r"\bCANTER_[A-Z_]*[A-Z]\b", page.text))
    assert named - known - OTHER_VARIABLES == set()


@pytest.mark.parametrize("name", sorted(PASSED_OVER))
def test_a_variable_that_the_pages_tell_to_set_stops_no_start(name: str, tmp_path: Path) -> None:
    done = _canter(["options", "mysite.wsgi"], tmp_path, **{name: "http://127.0.0.1:8000"})
    assert (done.returncode, done.stderr) == (0, "")


def _sources() -> dict[str, str]:
    folders = ("bench", "crates", "python", "tests", "tools", "xtask", "examples")
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for folder in folders
        for kind in ("*.rs", "*.py")
        for path in (ROOT / folder).rglob(kind)
        if not {"target", "build", ".work"} & set(path.relative_to(ROOT).parts)
    } | {"setup.py": ""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_source_file_that_a_page_names_exists(page: Page) -> None:
    paths = [f"/{path}" for path in _sources()]
    named = {span for span in page.spans() if re.fullmatch(r"[\w/.-]+\.(rs|py)", span)}
    # Of the user's side.
    named -= {"manage.py", "gunicorn.conf.py"}
    missing = {name for name in named if not any(path.endswith(f"/{name}") for path in paths)}
    assert missing == set()


def test_the_words_of_the_log_are_those_of_the_program() -> None:
    # String literals may be broken by a backslash at the end of a line.
    sources = [
        re.sub(r"\\\n\s*", "", text) for path, text in _sources().items() if path.startswith(("crates/", "python/"))
    ]
    page = ROOT / "docs" / "explain" / "what-happens-when.md"
    rows = [line.split(" | ") for line in page.read_text(encoding="utf-8").splitlines()]
    quoted = {
        span
        for row in rows
        if len(row) > 2 and row[0].startswith("| ")
        for span in re.findall(r"`([^`]+)`", row[2])
        if " " in span and "…" not in span
    }
    assert len(quoted) > 10
    assert {words for words in quoted if not any(words in text for text in sources)} == set()


def test_the_table_of_crates_is_that_of_the_house_rules() -> None:
    rules = (ROOT / "xtask" / "src" / "tidy" / "graph.rs").read_text(encoding="utf-8")
    table = rules.split("const GRAPH")[1].split("];\n")[0]
    checked = {
        name.removeprefix("crates/"): set(re.findall(r'"(\w+)"', below))
        for name, below in re.findall(r'\(\s*"([\w/]+)",\s*&\[([^\]]*)\]', table)
    }
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split("## Crates")[1].split("\n## ")[0]
    shown = {
        name: set(below.strip("` ").split())
        for name, below in re.findall(r"^\| `(\w+)` \|.*\| ([^|]*)\|$", section, re.MULTILINE)
    }
    assert shown == checked


def test_every_page_can_be_found_from_an_index() -> None:
    for folder, index in (("how-to", "index.md"), ("explain", "index.md"), ("decisions", "decisions/README.md")):
        listed = (ROOT / "docs" / index).read_text(encoding="utf-8")
        for page in (ROOT / "docs" / folder).glob("*.md"):
            assert page.name == "README.md" or f"{page.name})" in listed, page.name


def test_a_decision_is_one_page() -> None:
    for page in (ROOT / "docs" / "decisions").glob("0*.md"):
        lines = page.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, page.name
        for heading in ("## Context", "## Decision", "## What follows"):
            assert heading in lines, f"{page.name} has no {heading}"


def _shown(page: Page) -> Iterator[tuple[str, str]]:
    """The tests, and the rows of the corpus, in the last column of the tables."""
    for line in page.text.splitlines():
        if line.startswith("| ") and ("CVE-" in line or "RUSTSEC-" in line):
            last = line.rstrip("| ").rsplit(" | ", 1)[1]
            found = re.findall(r"`([^`]+)`|\"([^\"]+)\"", last)
            assert found, line
            yield from found


def test_every_test_that_a_page_on_holes_names_exists() -> None:
    page = Page(ROOT / "docs" / "explain" / "holes-of-others.md")
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "crates").rglob("*.rs")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    tests = set(re.findall(r"^\s*(?:def|fn) (\w+)", text, re.MULTILINE))
    rows = {row.name for row in corpus.rows()}
    named = list(_shown(page))
    assert len(named) > 30
    assert [test for test, _ in named if test and test not in tests] == []
    assert [row for _, row in named if row and row not in rows] == []


def test_no_library_is_older_than_its_last_hole() -> None:
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    leasts = {"h2": (0, 4, 20), "rustls": (0, 23, 18), "rustls-webpki": (0, 103, 13), "pyo3": (0, 29, 0)}
    for name, least in leasts.items():
        found = re.findall(rf'^name = "{name}"\nversion = "(\d+)\.(\d+)\.(\d+)', lock, re.MULTILINE)
        assert found and all(tuple(map(int, version)) >= least for version in found), name


def _reference() -> Iterator[tuple[str, str, str]]:
    """Section, option and default of each in the reference."""
    section = option = ""
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("### "):
            option = line[4:].strip("`")
        elif line.startswith("| default | "):
            yield section, option, line.removeprefix("| default | ").removesuffix(" |")


def test_each_option_that_protects_has_a_sentence_about_its_default() -> None:
    page = Page(ROOT / "docs" / "explain" / "why-these-defaults.md")
    told = {
        option: default
        for option, default, why in re.findall(r"^\| `--([a-z0-9-]+)` \| (.+?) \| (.+) \|$", page.text, re.MULTILINE)
        if why
    }
    sections = {"TLS", "Time limits", "Size limits", "Proxies and health"}
    others = {"backlog", "max-connections", "max-connections-per-ip", "queue-size"}
    assert told == {
        option: default for section, option, default in _reference() if section in sections or option in others
    }


def test_the_page_of_commands_has_every_manual_as_it_is_printed() -> None:
    page = manuals.PAGE.read_text(encoding="utf-8")
    again = "run `python tests/harness/manuals.py`"
    assert manuals.renewed(page, CANTER) == page, again
    listed = subprocess.run([CANTER, "help"], capture_output=True, text=True, check=True).stdout
    known = re.findall(r"^  ([a-z]+) ", listed.partition("Commands:")[2], re.MULTILINE)
    missing = [name for name in known if f"\n## canter {name}\n" not in page]
    elsewhere = {"bench", "tune"}
    assert not set(missing) - elsewhere, f"{missing} have no place on {manuals.PAGE.name}"
