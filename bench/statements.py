"""Owns measuring what insight adds to a request for each statement: `python bench/statements.py`, with the Python that Canter is
installed in, and Django. Leaves whole requests to `run.py`.

The statements cost nothing and are asked for 20 frames below the view; told is the least CPU time of 40 rounds.
"""

# Django ships no types.
# mypy: disable-error-code="misc, import-untyped, import-not-found"

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from canter import insight

DEPTH = 20
ROUNDS = 40
REQUESTS = 500
SQL = (
    'SELECT "dj_product"."id", "dj_product"."slug", "dj_product"."name" FROM "dj_product" '
    'WHERE "dj_product"."stock" > %s ORDER BY "dj_product"."name" ASC LIMIT 50 -- '
)


class Request:
    """As much of one as insight looks at; it stands for its own ``ResolverMatch``."""

    route = "page"

    def __init__(self) -> None:
        self.resolver_match = self

    @staticmethod
    def func() -> None:
        """The view's name."""


# Not the app's own, as Django's frames are not.
LIBRARY: dict[str, Any] = {}
CODE = "def deep(n, call, *values):\n return deep(n - 1, call, *values) if n else call(*values)\n"
exec(compile(CODE, "<library>", "exec"), LIBRARY)


def microseconds(view: Callable[..., Any], report: Callable[[], Any]) -> float:
    """CPU time of a request, the least of all rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(REQUESTS):
            view(None, Request())
            report()
        best = min(best, (time.process_time_ns() - began) / REQUESTS / 1000)
    return best


def main() -> None:
    """Print the table."""
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings.configure(DATABASES={"default": database})
    from django.core.handlers.base import BaseHandler
    from django.db import connection

    connection.ensure_connection()
    context = {"connection": connection}
    execute: Callable[..., Any] = lambda *_words: None  # noqa: E731
    count, kinds = 0, 0

    def view(_handler: Any, _request: Any) -> None:
        for n in range(count):
            LIBRARY["deep"](DEPTH, execute, SQL + str(n % kinds), (n, "x"), False, context)

    rows = []
    for count, kinds in ((0, 1), (1, 1), (2, 2), (11, 11), (11, 1), (41, 1)):
        rows.append((count, kinds, microseconds(view, lambda: None)))
    BaseHandler.get_response = view
    insight.install()
    (wrapper,) = connection.execute_wrappers
    execute = functools.partial(wrapper, execute)
    for count, kinds, without in rows:
        more = microseconds(BaseHandler.get_response, insight.report) - without
        what = f"{count:3} statements" if kinds == max(count, 1) else f"{count:3} times the same"
        print(f"{what}: {more:6.2f} us more than {without:.2f}")


if __name__ == "__main__":
    main()
