"""Owns noticing that an app has replaced Python's threads by greenlets, under which a worker cannot run,
and finding the line that does it.

Leaves refusing the app to ``canter.zygote``.
"""

from __future__ import annotations

import os
import re
import sys

from canter.loader import LoadError

CALL = re.compile(r"^(?!\s*def )[^#]*\b(patch_all|patch_thread|monkey_patch)\s*\(")

LIBRARIES = (
    ("gevent", "gevent.monkey", "is_module_patched", "threading"),
    ("eventlet", "eventlet.patcher", "is_monkey_patched", "thread"),
)
"""Where each says what it has replaced."""


def refuse() -> None:
    """Raise a :class:`LoadError` when threads are not threads any more."""
    for library, module, function, replaced in LIBRARIES:
        ask = getattr(sys.modules.get(module), function, None)
        if ask is not None and ask(replaced):
            raise LoadError(
                f"the app has put {library}'s greenlets in place of Python's threads; "
                f"remove {_line()}: here each request that waits has a thread, and needs no patching"
            )


def _line() -> str:
    """Where the app patches, as far as its own files say."""
    library = os.path.dirname(os.__file__)
    own = {library for library, *_more in LIBRARIES}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in own:
            continue
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        if file.startswith(library) or "site-packages" in file or "dist-packages" in file:
            continue
        try:
            with open(file, encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    if CALL.match(line):
                        return f"line {number} of {os.path.relpath(file)}, `{line.strip()[:120]}`"
        except OSError:
            continue
    return "what calls its monkey patching, perhaps a library that the app imports"
