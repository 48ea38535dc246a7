"""Differences from other parsers that were looked at: owns the list, with the reason for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parsers import Request


@dataclass(frozen=True)
class Difference:
    """One request that Canter accepts and others do not, or read differently."""

    #: ``accepted`` (two refuse it) or ``read differently``.
    kind: str
    name: str
    data: bytes
    #: Which request of the connection, from zero.
    index: int
    ours: Request
    #: What each parser made of it: the request, or how its reading ended.
    peers: Mapping[str, Request | str]


@dataclass(frozen=True)
class Allowed:
    """A class of differences in which Canter is right, or free to choose."""

    name: str
    reason: str
    covers: Callable[[Difference], bool]


ALLOWED: tuple[Allowed, ...] = ()
