"""Start FastPySGI: its command line has no workers, so its documented way is a call in Python.

Settings are those of its author's own entry in HttpArena (frameworks/fastpysgi-wsgi/app.py):
a larger read buffer, a long listen queue, no logging.
"""

from __future__ import annotations

import importlib
import sys


def main(application: str, port: str, workers: str) -> None:
    """Serve `module:attribute` on a loopback port with a number of worker processes."""
    import fastpysgi  # type: ignore[import-untyped]

    module, _, attribute = application.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    fastpysgi.server.read_buffer_size = 256 * 1024
    fastpysgi.server.backlog = 16 * 1024
    fastpysgi.run(app, "127.0.0.1", int(port), 0, int(workers))


if __name__ == "__main__":
    sys.path.insert(0, "")
    main(*sys.argv[1:])
