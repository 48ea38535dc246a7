"""Differences that were looked at: owns the lists, with the reason for each.

``ALLOWED`` holds refusals of other parsers that say nothing against Canter, ``STRICTER`` what
Canter alone refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from parsers import Request


@dataclass(frozen=True)
class Refusal:
    """One parser's refusal of a request that Canter accepts."""

    peer: str
    #: Its own words.
    said: str
    data: bytes
    #: Which request of the connection, from zero.
    index: int
    ours: Request


@dataclass(frozen=True)
class Allowed:
    """A class of refusals that says nothing against Canter."""

    name: str
    reason: str
    covers: Callable[[Refusal], bool]


_SPACED = re.compile(rb"\n[0-9A-Fa-f]+(?=[^\r\n]*(?:[ \t][;=]|[;=][ \t]))[ \t]*;[^\r\n]*\r\n")
"""A chunk's line with white space where its extensions may have some."""


def _says(peer: str, *beginnings: str) -> Callable[[Refusal], bool]:
    return lambda it: it.peer == peer and it.said.startswith(beginnings)


ALLOWED = (
    Allowed(
        "httptools knows a fixed list of methods",
        "RFC 9110, section 9.1: any token may be a method; whether a page takes it is for the app"
        " to say, with 405. Canter refuses letters in lower case and more than 32 bytes.",
        _says("httptools", "refused: Invalid method encountered", "refused: Expected space after"),
    ),
    Allowed(
        "gunicorn takes methods of 3 to 20 letters",
        "As above.",
        _says("gunicorn", "refused: InvalidRequestMethod"),
    ),
    Allowed(
        "h11 takes no empty line before a request",
        "RFC 9112, section 2.2: a server should ignore at least one; Canter ignores two.",
        lambda it: (
            _says("h11", "refused: no request line received")(it)
            and b"\r\n" + it.ours.method in it.data
        ),
    ),
    Allowed(
        "gunicorn takes at most one empty line before a request",
        "As above.",
        lambda it: (
            _says("gunicorn", "refused: InvalidRequestLine Invalid HTTP request line: ''")(it)
            and b"\r\n\r\n" + it.ours.method in it.data
        ),
    ),
    Allowed(
        "httptools, waitress and h11 take no white space around ; and = in chunk extensions",
        "RFC 9112, section 7.1.1: a recipient must parse it there (BWS), and gunicorn does. At the end"
        " of the line Canter takes none.",
        lambda it: (
            (
                _says("httptools", "refused: Invalid character in chunk")(it)
                or _says("waitress", "refused: Invalid chunk")(it)
                or _says("h11", "refused: illegal chunk header")(it)
            )
            and _SPACED.search(it.data) is not None
        ),
    ),
)

#: Reject words with which Canter refuses what all the others take, and why it does.
STRICTER = {
    "bad-chunk-size": "More than 16 digits, be they zeros: nobody sends them but to find overflows.",
    "bad-content-length": "More than 19 digits, for the same reason.",
    "bad-escape": "Otherwise %zz and %25zz are one path for the app and two for a proxy.",
    "bad-host": "The others leave the Host field to the app.",
    "bad-target": "Schemes other than http and https, and relative paths: not addressed to us.",
    "chunk-extension-too-long": "Nobody uses them but to waste work (CVE-2024-21647).",
    "duplicate-field": "Two credentials or content types make the request mean two things.",
    "forbidden-trailer": "RFC 9110, section 6.5.1: must not be sent.",
    "host-disagrees": "RFC 9112, section 3.2.2: a client sends both alike.",
    "method-refused": "CONNECT and TRACE are for proxies; the others leave them to the app.",
    "nul-in-path": "Ends a path early in C libraries.",
    "overlong-in-path": "A second spelling of a byte that a filter looked for.",
}
