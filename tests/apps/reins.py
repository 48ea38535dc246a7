"""Owns the app's side of ``harness.control``: says where a view is, and waits where it should."""

from __future__ import annotations

import socket


def tell(word: str) -> None:
    """Say where the app is; back when the test has heard it."""
    with _say(f"tell {word}") as reins:
        reins.recv(1)


def hold(word: str) -> None:
    """Say where the app is and wait for the test's go."""
    with _say(f"hold {word}") as reins:
        reins.recv(1)


def _say(text: str) -> socket.socket:
    reins = socket.socket(socket.AF_UNIX)
    # In the server's folder, where it was started.
    reins.connect("reins")
    reins.settimeout(30)
    reins.sendall(text.encode() + b"\n")
    return reins
