"""Owns the life of a worker process on Python's side: what a forked or fresh process needs before
it serves, and its exit code.

Leaves serving to ``canter._worker``, finding the app to ``canter.loader``, and starting
processes to the supervisor and the zygote.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from canter import asked, insight, looking, profiler
from canter.wsgi import FileWrapper, base_environ, sendable

if TYPE_CHECKING:
    from canter import _worker

_DIES_FIRST = 300
"""Added to the score by which the system chooses whom to end; 1000 is the most."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker runs its app."""

    worker_id: int = 0
    """The worker's number, for people."""
    threads: int = 64
    """The most requests that run at once."""
    threads_min: int = 1
    """Threads that stay although they are idle."""
    idle_seconds: float = 30.0
    """How long another thread stays idle before it ends, with its database connections."""
    orphan_seconds: float = 25.0
    """How long running requests may go on when the front has gone; a forced end follows."""
    script_name: str = ""
    """The path the app is mounted at, without a slash at its end."""
    temp_dir: str = "/tmp"
    """Where bodies go that are too large for memory."""
    debug: bool = False
    """Show tracebacks to clients."""


@dataclass(frozen=True)
class Application:
    """The app together with what ``canter._worker`` needs from Python to call it."""

    app: Callable[..., Any]
    environ: dict[str, Any]
    file_wrapper: type[FileWrapper] = FileWrapper
    sendable: Callable[[FileWrapper], tuple[int, int, int] | None] = field(default=sendable)
    report: _worker.Hook | None = None
    """Knows what the thread's request cost."""
    reads_routes: bool = False
    """Where nothing knows that: whether the app's routes are read from the environ."""
    current: Callable[[int, Any], tuple[str, str]] | None = None
    """Tells the route of a thread's request and the statement it waits for."""
    profile: Callable[..., str] | None = None
    """Samples where the threads that run requests are."""
    ask: Callable[..., Any] | None = None
    """Answers, as a WSGI app, what the front itself asks."""


def run(app: Callable[..., Any], settings: WorkerSettings, fds: tuple[int, int, int, int]) -> int:
    """Serve ``app`` until the front lets this worker go; answer the process's exit code.

    ``fds`` are the channel's memory, the eventfd that wakes the front, the control socket and
    the files socket. They are closed here.
    """
    # Not before: a zygote that never serves has no use for the extension.
    from canter import _worker

    _prepare()
    environ = base_environ(several_threads=settings.threads > 1)
    watched = insight.is_installed()
    application = Application(
        app,
        environ,
        report=insight.hook if watched else None,
        reads_routes=insight.is_wanted() and not watched,
        current=looking.current if watched else None,
        profile=profiler.sample,
        ask=asked.answer if insight.is_wanted() else None,
    )
    return _worker.serve(application, settings, fds)


def _offer_to_die_first() -> None:
    """Have the system end this process rather than the front when memory is out (proc(5)).

    The front holds every client; a worker is one of several and is started again.
    """
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as score:
        now = int(score.read())
        score.seek(0)
        score.write(str(min(now + _DIES_FIRST, 1000)))


def _prepare() -> None:
    """Make a process that may be a fork of the zygote fit for serving."""
    gc.enable()
    _offer_to_die_first()
    # A connection opened while the app was imported is shared with the other forks.
    django_db = sys.modules.get("django.db")
    if django_db is not None:
        django_db.connections.close_all()
    if threading.current_thread() is threading.main_thread():
        # An app's own handlers would run in the main thread, which is not in Python while it
        # serves. `_worker` installs its own after this.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
