"""Owns what a driver's connection knows by itself of its session, without asking the server: psycopg 3's and
psycopg2's, and what wraps them.
"""

from __future__ import annotations

from typing import Any

IDLE = 0
"""libpq's ``PQTRANS_IDLE``."""

NO_SERVER = 4
"""libpq's ``PQTRANS_UNKNOWN``: the server is gone."""

IN_TRANSACTION = (2, 3)
"""libpq's ``PQTRANS_INTRANS`` and ``PQTRANS_INERROR``."""


def status(connection: Any) -> int:
    """The state of a connection's transaction, as libpq counts them."""
    # psycopg 3 makes an object of ``info`` each time, and another of the answer.
    libpq = getattr(connection, "pgconn", None)
    return int((connection.info if libpq is None else libpq).transaction_status)


def touched(connection: Any) -> str | None:
    """Whether the session may be in another state than a new one; None from a pool that does not
    say."""
    libpq = getattr(connection, "pgconn", None)
    if libpq is not None:
        found: bytes | None = libpq.parameter_status(b"canter.touched")
        return None if found is None else found.decode()
    ask = getattr(connection, "get_parameter_status", None) or connection.info.parameter_status
    answer: str | None = ask("canter.touched")
    return answer
