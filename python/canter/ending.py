"""Owns the end of a worker on Python's side: waiting for the app's own threads and calling what it has
registered with ``atexit``, as Python does at the end of any program, and what of that is not for a fork.

Leaves finishing requests to ``canter._worker``, and ending a worker that takes too long to the supervisor.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable

from canter import said

EXIT_STUCK = 4
"""As of a worker whose requests did not end in time."""


def leave_to_the_zygote() -> None:
    """Take from a fork the duties of the process that imported the app.

    What was registered with ``atexit`` stays: it runs in each worker, as it would had the worker imported the
    app for itself. Finalizers do not: they take away what all workers use, as a ``TemporaryDirectory``. Nor
    are the processes that the import has started for this one to wait for.
    """
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.atexit = False
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        # As multiprocessing does in its own forks.
        vars(process)["_children"] = set()


def finish(limit: float) -> None:
    """Do what Python does before it ends, for no longer than ``limit`` seconds."""
    if limit <= 0:
        return
    # By a thread: a handler may wait in a system call, or have changed the signals.
    threading.Thread(target=_give_up, args=(limit,), name="canter-end", daemon=True).start()
    _call(getattr(threading, "_shutdown", None))
    _call(getattr(atexit, "_run_exitfuncs", None))


def _call(what: Callable[[], object] | None) -> None:
    if what is None:
        return
    try:
        what()
    except BaseException:
        # A handler that calls sys.exit() ends nothing but itself.
        said.say(
            "what the app does at its end failed",
            text=f"what the app does at its end failed:\n{traceback.format_exc()}",
            traceback=traceback.format_exc(),
        )


def _give_up(limit: float) -> None:
    time.sleep(limit)
    names = ", ".join(thread.name for thread in threading.enumerate() if not thread.daemon)
    what = "a worker's exit handlers and threads did not end within --graceful-timeout, and are left"
    stacks = _stacks()
    said.say(what, text=f"{what}; threads: {names}\n{stacks}", threads=names, traceback=stacks)
    os._exit(EXIT_STUCK)


def _stacks() -> str:
    """Where each thread is."""
    with contextlib.suppress(OSError), open(os.memfd_create("stacks"), "w+b") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read().decode("utf-8", "replace")
    return ""
