"""Owns what tests of ``apps/dbsite`` on a PostgreSQL ask of both: starting the site, an entry of its
settings, what a view says, whether a statement runs.

Leaves the servers themselves to ``server`` and ``postgres``, and the fixtures to ``conftest``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.operated import together
from harness.pooler import url_of
from harness.postgres import Postgres
from harness.server import Server


def environment(postgres: Postgres, database: str, folder: Path, **site: Any) -> dict[str, str]:
    """The variables of a site on this database, with what ``SITE`` shall say."""
    return {
        "DATABASE_URL": url_of(postgres, database),
        "SITE": json.dumps(site),
        "HOME": str(folder),
    }


@contextlib.contextmanager
def starting(postgres: Postgres, database: str, folder: Path) -> Iterator[Callable[..., Server]]:
    """Start the site with flags, variables, and what ``SITE`` shall say."""
    with contextlib.ExitStack() as stack:

        def start(*flags: str, env: dict[str, str] | None = None, **site: Any) -> Server:
            env = environment(postgres, database, folder, **site) | (env or {})
            return stack.enter_context(Server(folder / "site", "dbsite", *flags, env=env))

        yield start


def where(postgres: Postgres, name: str, **more: Any) -> dict[str, Any]:
    """An entry of ``DATABASES``."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": "site",
        "HOST": str(postgres.folder),
        "PORT": postgres.port,
        **more,
    }


def facts(server: Server, path: str = "/", status: int = 200) -> Any:
    """What a view says."""
    with server.client() as client:
        response = client.get(path, "Host: localhost")
    assert response.status == status, f"{path}: {response.body!r}\n{server.log}"
    return json.loads(response.body) if status == 200 else None


def most_connections(postgres: Postgres, database: str, work: Callable[[], object]) -> int:
    """How many connections the database server saw at the most while the work was done."""
    most = 0
    done = False

    def watch() -> None:
        nonlocal most
        while not done:
            most = max(most, len(postgres.backends(database)))

    def do() -> None:
        nonlocal done
        try:
            work()
        finally:
            done = True

    together([watch, do])
    return most


def is_running(postgres: Postgres, database: str, part: str) -> bool:
    """Whether a statement with these words runs."""
    return any(
        state == "active" and part in query for _, state, query in postgres.backends(database)
    )
