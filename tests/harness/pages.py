"""Owns what a response says of the page cache."""

from __future__ import annotations

from harness.raw import Response


def status(response: Response) -> str:
    """All that ``Cache-Status`` says (RFC 9211)."""
    return " ".join(response.all("Cache-Status"))


def is_hit(response: Response) -> bool:
    """Whether it came from the cache."""
    return status(response).startswith("canter; hit")


def count(response: Response) -> int:
    """Which call of the app ``pages`` made it: its first word."""
    return int(response.text.split()[0])
