"""Refusals of other parsers that do not count: owns the list, with the reason for each.

Each entry was looked at and found to be the other program's choice, or Canter's right.
"""

from __future__ import annotations

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
)
