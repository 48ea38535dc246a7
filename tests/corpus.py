"""The rows of ``corpus/h1``: owns reading their format, which ``corpus/README.md`` describes.

Sending the bytes and comparing the answers is left to the tests that import this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "corpus" / "h1"

#: The body limit, in bytes, that the rows assume the server runs with.
MAX_BODY = 1 << 20

_REPEAT = re.compile(rb"\\\{(\d+)\*")
_PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True)
class Answer:
    """One status that the server sends, in its order."""

    status: int
    #: Length of the request body for a 200, the reason word for a refused request.
    detail: str = ""
    #: Whether the server may leave it out; only ever true for 100.
    optional: bool = False


@dataclass(frozen=True)
class Row:
    """One connection: what the client sends, and how the server must answer."""

    file: str
    name: str
    rule: str
    raw: bytes
    answers: tuple[Answer, ...]
    #: ``keep``, ``close`` or ``incomplete``.
    end: str

    @property
    def id(self) -> str:
        """A name that is unique over all files."""
        return f"{self.file}: {self.name}"

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after the last answer."""
        return self.end == "close"


def rows() -> list[Row]:
    """All rows of all files."""
    return [row for path in sorted(FOLDER.glob("*.txt")) for row in _rows_of(path)]


def _rows_of(path: Path) -> Iterator[Row]:
    heading: str | None = None
    data: list[str] = []
    for line in path.read_text(encoding="ascii").split("\n"):
        if line.startswith("# "):
            if heading is not None:
                raise ValueError(f"{path.name}: {heading!r} has no '=>' line")
            heading, data = line[2:], []
        elif line.startswith("=> "):
            if heading is None:
                raise ValueError(f"{path.name}: {line!r} has no '#' line")
            name, rule = heading.split(" | ")
            *answers, end = line[3:].split(" ")
            if end not in ("keep", "close", "incomplete"):
                raise ValueError(f"{path.name}: {heading!r} ends in {end!r}")
            yield Row(
                path.stem,
                name,
                rule,
                unescape("".join(data).encode("ascii")),
                tuple(_answer(text) for text in answers),
                end,
            )
            heading = None
        else:
            data.append(line)


def _answer(text: str) -> Answer:
    status, _, detail = text.partition("/")
    return Answer(int(status.rstrip("?")), detail, status.endswith("?"))


def unescape(text: bytes) -> bytes:
    """Turn the escapes of a row into the bytes that are sent."""
    out, rest = _unescape(text, nested=False)
    if rest:
        raise ValueError(f"left over: {rest!r}")
    return out


def _unescape(text: bytes, *, nested: bool) -> tuple[bytes, bytes]:
    out = bytearray()
    while text:
        if nested and text.startswith(b"}"):
            return bytes(out), text[1:]
        if not text.startswith(b"\\"):
            out += text[:1]
            text = text[1:]
        elif (repeat := _REPEAT.match(text)) is not None:
            inner, text = _unescape(text[repeat.end() :], nested=True)
            out += inner * int(repeat[1])
        elif text[1:2] == b"x":
            out += bytes.fromhex(text[2:4].decode("ascii"))
            text = text[4:]
        else:
            out += _PLAIN[text[1:2]]
            text = text[2:]
    if nested:
        raise ValueError("a repetition is not closed")
    return bytes(out), b""
