"""Start FastPySGI: its command line has no workers, so its documented way is a call in Python.

Settings are those of its author's own entry in HttpArena (frameworks/fastpysgi-wsgi/app.py):
a larger read buffer, a long listen queue, no logging.

FastPySGI 0.6 never calls `close()` of what the app returns, which PEP 3333 asks of a server and
with which Django ends a request. As a fifth argument `close` has it called here instead.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

App = Callable[..., Iterable[bytes]]


def closing(app: App) -> App:
    """The app, with its results read and closed within the call."""

    def closes(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        result = app(environ, start_response)
        close = getattr(result, "close", None)
        if close is None:
            return result
        try:
            return list(result)
        finally:
            close()

    return closes


def main(application: str, port: str, workers: str, close: str = "") -> None:
    """Serve `module:attribute` on a loopback port with a number of worker processes."""
    import fastpysgi  # type: ignore[import-untyped]

    module, _, attribute = application.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    fastpysgi.server.read_buffer_size = 256 * 1024
    fastpysgi.server.backlog = 16 * 1024
    fastpysgi.run(closing(app) if close else app, "127.0.0.1", int(port), 0, int(workers))


if __name__ == "__main__":
    sys.path.insert(0, "")
    main(*sys.argv[1:])
