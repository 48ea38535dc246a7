"""Turns DATABASE_URL into Django's DATABASES entry.

Owns the address format, and reads nothing from the environment itself.

    postgres://user:secret@host:5432/name?sslmode=require
    postgres:///name?host=/run/postgresql     a unix socket
    postgres://host/name?pool=4               Django's own pool, at most 4 connections per process
    postgres://host/name?conn_max_age=60      keep a connection per thread for a minute
    sqlite:////srv/reader.sqlite3             a file (four slashes: an absolute path)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

# Write-ahead logging lets readers go on while one writes. IMMEDIATE takes the write lock when the
# transaction begins, where SQLite honours the timeout; a later upgrade would fail at once.
SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


def sqlite(path: Path | str) -> dict[str, Any]:
    """Settings for a SQLite file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": SQLITE_OPTIONS}


def from_url(url: str) -> dict[str, Any]:
    """Settings for a ``postgres://`` or ``sqlite://`` address; unknown options go to the driver."""
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if parts.scheme == "sqlite":
        return sqlite(name)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError(f"DATABASE_URL starts with {parts.scheme!r}, not postgres:// or sqlite://")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    host = options.pop("host", unquote(parts.hostname or ""))
    age = int(options.pop("conn_max_age", 0))
    if pool := int(options.pop("pool", 0)):
        options["pool"] = {"min_size": min(2, pool), "max_size": pool, "timeout": 30}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": age,
        "CONN_HEALTH_CHECKS": age > 0,
        "OPTIONS": options,
    }
