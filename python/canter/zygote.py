"""Owns the zygote: a process that imports the app once and then only forks workers, and the start
of a single worker that imports the app for itself where forking is not safe.

Leaves finding and importing the app to ``canter.loader`` and ``canter.project``, serving to
``canter.worker``, and when to fork to the supervisor at the other end of descriptor 3.

The words on that socket are lines of text: the kind, then ``key=value``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import platform
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from canter import (
    __version__,
    django,
    django_cache,
    django_faults,
    django_static,
    ending,
    insight,
    mounted,
    patched,
    project,
    said,
)
from canter.loader import LoadError, load

LINK_FD = 3
"""The socket to the supervisor."""

SINGLE_FDS = (4, 5, 6, 7)
"""Where a single worker finds its own descriptors."""

EXIT_APP_NOT_LOADED = 3

MOST_WORD = 60_000

THREAD_END_SECONDS = 0.25
"""How long a thread that Python has joined may still be seen."""

FORKABLE = ("jemalloc_bg_thd",)
"""Names of threads that stay, of libraries that let no fork happen while they hold a lock: PyArrow
brings jemalloc along."""

TRY_SECONDS = 1.0
"""How long a fork that is only a try may take to end."""

Fds = tuple[int, int, int, int]

Socket = socket.socket
"""The system's own, should the app replace it."""


@dataclass(frozen=True)
class Settings:
    """What the supervisor's one argument says."""

    name: str = "canter"
    """What ``ps`` and ``top`` show."""
    app: str | None = None
    """As the user named it; found from ``manage.py`` when None."""
    pythonpath: list[str] = field(default_factory=list)
    watch: bool = False
    """Report where the app's code came from."""
    pool: str | None = None
    """The socket of the PostgreSQL pool."""
    static: bool = False
    """Tell the front of Django's static files."""
    insight: bool = False
    """Watch Django's requests and statements."""
    media: bool = False
    """And of the files that users have sent."""
    request_id_header: str = "X-Request-Id"
    log_format: str = "human"
    log_level: str = "info"
    worker: dict[str, Any] = field(default_factory=dict)
    """For ``canter.worker.WorkerSettings``."""


BUILDS_HINT = "install canter again, then stop it and start it anew"


class BuildsError(Exception):
    """The program that started this is not of this package."""


def read_settings(text: str) -> Settings:
    """What the program says, which must be of this package's version: it goes on with the code that it
    was started with when the package is replaced under it.
    """
    said = json.loads(text)
    version = said.pop("version", "another version")
    if version != __version__ or said.keys() - {field.name for field in fields(Settings)}:
        raise BuildsError(
            f"the program that runs ({version}) and the installed package ({__version__}) are of "
            "different builds of Canter"
        )
    return Settings(**said)


class Link:
    """The socket to the supervisor."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def say(self, kind: str, **fields: object) -> None:
        """Send one word."""
        lines = [kind]
        lines += [f"{key}={_one_line(value)}" for key, value in fields.items()]
        self._send("\n".join(lines))

    def say_lines(self, kind: str, lines: list[str]) -> None:
        """Send a list of lines, in as many words as it takes."""
        word = kind
        for line in lines:
            if len(word) + len(line) > MOST_WORD // 4:
                self._send(word)
                word = kind
            word += "\n" + line
        if word != kind:
            self._send(word)

    def _send(self, word: str) -> None:
        # A supervisor that has gone is noticed when the next word is awaited.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.send(word.encode("utf-8", "replace")[:MOST_WORD])

    def hear(self) -> tuple[str, list[int]]:
        """Wait for one word and its descriptors; an empty word is the end."""
        word, fds, _flags, _address = socket.recv_fds(self._socket, 64, 4)
        for fd in fds:
            os.set_inheritable(fd, False)
        return word.decode(), fds

    def close(self) -> None:
        """Close this process's copy."""
        self._socket.close()


def main(argv: list[str]) -> int:
    """Run as ``python -m canter.zygote SETTINGS ROLE``; the role is ``zygote``, ``check``, or the
    number of the worker to be.
    """
    if len(argv) != 2:
        print("canter.zygote is started by canter; use: canter serve", file=sys.stderr)
        return 2
    try:
        settings = read_settings(argv[0])
    except BuildsError as error:
        if argv[1] == "check":
            print(f"canter: {error}\n  hint: {BUILDS_HINT}", file=sys.stderr)
        else:
            Link(socket.socket(fileno=LINK_FD)).say("failed", what=str(error), hint=BUILDS_HINT)
        return EXIT_APP_NOT_LOADED
    if argv[1] == "check":
        return _check(settings)
    said.start(settings.log_format, settings.log_level)
    sock = socket.socket(fileno=LINK_FD)
    sock.set_inheritable(False)
    link = Link(sock)
    # Ctrl-C and the end of a terminal reach every process of it, a service manager's SIGTERM often
    # every process of the service. All are for the supervisor, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if argv[1] == "zygote":
        _name_process(f"{settings.name}-zygote")
        return _zygote(settings, link)
    _name_process(f"{settings.name}-worker")
    return _single(settings, link, int(argv[1]))


def _zygote(settings: Settings, link: Link) -> int:
    sockets_before = set(open_sockets())
    app = _import_app(settings, link, lambda: find_danger(sockets_before))
    if app is None:
        return EXIT_APP_NOT_LOADED
    while True:
        try:
            word, fds = link.hear()
        except ConnectionError:
            return 0
        if not word:
            return 0
        kind, _space, number = word.partition(" ")
        if kind == "fork" and len(fds) == 4:
            _fork(app, settings, link, int(number), (fds[0], fds[1], fds[2], fds[3]))
        for fd in fds:
            os.close(fd)


def _single(settings: Settings, link: Link, number: int) -> int:
    for fd in SINGLE_FDS:
        os.set_inheritable(fd, False)
    app = _import_app(settings, link, lambda: None)
    if app is None:
        return EXIT_APP_NOT_LOADED
    link.close()
    return _serve(app, settings, number, SINGLE_FDS)


def _import_app(
    settings: Settings, link: Link, danger: Callable[[], str | None]
) -> Callable[..., Any] | None:
    """Import the app, tell the supervisor how that went, and freeze what is there."""
    started = time.monotonic()
    try:
        name, app = _find_and_load(settings)
    except (LoadError, project.ProjectError) as error:
        what, hint = _explained(error)
        link.say("failed", what=what, **({"hint": hint} if hint else {}))
        if settings.watch:
            link.say_lines("watch", source_directories())
        return None
    if settings.insight:
        try:
            insight.install()
        except Exception as error:
            # What watches an app is no reason not to serve it.
            insight.disarm(error)
    broken = project.warm()
    found = danger()
    if settings.watch:
        link.say_lines("watch", source_directories())
    mounted.tell_django()
    pooled = django.pooled_databases() if settings.pool is not None else []
    files = django_static.describe(static=settings.static, media=settings.media)
    pages = django_cache.describe()
    files.lines += pages.lines
    files.notes += pages.notes
    if settings.static:
        app = django_static.wrap(app)
    # What exists now lives for ever: the collector shall neither look at it nor, by doing so,
    # make the workers' copies of its memory their own.
    gc.collect()
    gc.freeze()
    took_ms = int((time.monotonic() - started) * 1000)
    more = {} if found is None else {"danger": found}
    if broken is not None:
        more["broken"] = broken
    if pooled:
        more["pooled"] = ", ".join(pooled)
    if files.notes:
        more["notes"] = "\t".join(files.notes)
    link.say_lines("files", files.lines)
    link.say("loaded", app=name, versions=versions(), took_ms=took_ms, **more)
    return app


def _find_and_load(settings: Settings) -> tuple[str, Callable[..., Any]]:
    # What the app prints shall be seen when it is printed, also through a pipe.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # What an app asks of its command line is how it is run, not what processes Canter has.
    sys.argv = ["canter", "serve", *([settings.app] if settings.app else [])]
    # Absent with PYTHONSAFEPATH.
    here = os.getcwd()
    if not {here, ""} & set(sys.path):
        sys.path.insert(0, here)
    sys.path[:0] = settings.pythonpath
    if settings.pool is not None:
        # Before the app: a connection may be opened as soon as it is imported.
        django.install(settings.pool)
    if settings.app:
        name, app = settings.app, load(settings.app)
    else:
        name, app = project.load_app(here)
    patched.refuse()
    django_faults.install(settings.request_id_header)
    return name, app


def _explained(error: Exception) -> tuple[str, str]:
    """What is wrong and what to do; the traceback of the app's own fault goes to stderr."""
    cause = error.__cause__
    if cause is not None:
        # The way through the import machinery says nothing about the app.
        trace = cause.__traceback__
        while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        said.cause("the app cannot be imported", cause, trace)
    what, _semicolon, hint = str(error).partition("; ")
    return what, hint


def _is_machinery(filename: str) -> bool:
    own = os.path.dirname(__file__)
    machinery = os.path.dirname(importlib.__file__)
    return filename.startswith(("<frozen importlib", own + os.sep, machinery + os.sep))


def _check(settings: Settings) -> int:
    """``--check-config``: import the app and say how that went."""
    try:
        name, _app = _find_and_load(settings)
    except (LoadError, project.ProjectError) as error:
        what, hint = _explained(error)
        print(f"canter: {what}" + (f"\n  hint: {hint}" if hint else ""), file=sys.stderr)
        return EXIT_APP_NOT_LOADED
    if project.warm() is not None:
        # It has said what, with the traceback. A reload keeps the code from before then.
        return EXIT_APP_NOT_LOADED
    print(f"{name} can be served ({versions()})")
    return 0


def _fork(app: Callable[..., Any], settings: Settings, link: Link, number: int, fds: Fds) -> None:
    """Fork a worker whose parent is the supervisor.

    A child forks again and ends, so that the worker is an orphan, and the supervisor, who is
    subreaper, adopts it. The worker waits for a byte until the supervisor has been told of it.
    """
    _flush()
    go_read, go_write = os.pipe()
    pid_read, pid_write = os.pipe()
    try:
        middle = _fork_quietly()
        if middle == 0:
            _be_middle(app, settings, link, number, fds, (go_read, go_write, pid_write))
        os.close(pid_write)
        pid_write = -1
        answer = os.read(pid_read, 32)
        code = "unknown"
        # An app that ignores SIGCHLD has the kernel reap: nobody is left to wait for.
        with contextlib.suppress(ChildProcessError):
            code = str(os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]))
        if answer:
            link.say("forked", worker=number, pid=int(answer))
            os.write(go_write, b"!")
        else:
            # What the app has registered to run after a fork may have ended it.
            what = f"the fork ended before it was a worker, exit code {code}"
            link.say("not forked", worker=number, what=what)
    except OSError as error:
        link.say("not forked", worker=number, what=error)
    finally:
        for fd in (go_read, go_write, pid_read, pid_write):
            if fd >= 0:
                os.close(fd)


def _be_middle(
    app: Callable[..., Any],
    settings: Settings,
    link: Link,
    number: int,
    fds: Fds,
    pipes: tuple[int, int, int],
) -> None:
    """Never returns: this process's stack belongs to the zygote."""
    code = 1
    try:
        go_read, go_write, pid_write = pipes
        pid = os.fork()
        if pid:
            os.write(pid_write, str(pid).encode())
            code = 0
        else:
            link.close()
            os.close(go_write)
            os.close(pid_write)
            told = os.read(go_read, 1)
            os.close(go_read)
            if told:
                _name_process(f"{settings.name}-worker")
                ending.leave_to_the_zygote()
                code = _serve(app, settings, number, fds)
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _serve(app: Callable[..., Any], settings: Settings, number: int, fds: Fds) -> int:
    from canter.worker import WorkerSettings, run

    own = WorkerSettings(worker_id=number, script_name=mounted.script_name(), **settings.worker)
    code = run(app, own, fds)
    ending.finish(own.orphan_seconds)
    return code


def find_danger(sockets_before: set[str]) -> str | None:
    """Why this process must not be forked, in words; None when it may be."""
    # A query made while the app was imported has left a connection, which Django opens again
    # when it is needed.
    django_db = sys.modules.get("django.db")
    if django_db is not None:
        with contextlib.suppress(Exception):
            django_db.connections.close_all()
    found = []
    threads = other_threads()
    if threads and threading.active_count() == 1:
        _try_to_fork()
        threads = [name for name in other_threads() if name not in FORKABLE]
    if threads:
        found.append(f"importing the app has started {_listed('thread', threads)}")
    peers = [peer for name, peer in open_sockets().items() if name not in sockets_before]
    if peers:
        found.append(f"importing the app has opened {_listed('connection', peers)}")
    return " and ".join(found) or None


def _try_to_fork() -> None:
    """Fork once for nothing: libraries that know of forks end their threads for one, and start them again
    when they are used. OpenBLAS, which every app with NumPy has, is one of them."""
    child = _fork_quietly()
    if child == 0:
        os._exit(0)
    patience = time.monotonic() + TRY_SECONDS
    # An app that ignores SIGCHLD has the kernel reap.
    with contextlib.suppress(ChildProcessError):
        while not os.waitpid(child, os.WNOHANG)[0]:
            if time.monotonic() > patience:
                # What runs after a fork may wait for a thread that is not there.
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.001)


def _fork_quietly() -> int:
    """``os.fork`` without Python's warning of threads: of those that are there the log tells, where they
    are a danger."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def other_threads() -> list[str]:
    """The names of all threads but this one, as far as they have names.

    The system still lists a thread for a moment after Python has joined it, so one that Python
    does not know is looked at again before it counts.
    """
    patience = time.monotonic() + THREAD_END_SECONDS
    while True:
        known = {thread.native_id: thread.name for thread in threading.enumerate()}
        others = [int(entry) for entry in os.listdir("/proc/self/task")]
        others.remove(threading.get_native_id())
        if all(thread in known for thread in others) or time.monotonic() > patience:
            # Threads of native libraries are not known to Python.
            names = [known.get(thread) or _native(thread) for thread in others]
            return [name for name in names if name]
        time.sleep(0.001)


def open_sockets() -> dict[str, str]:
    """The sockets of this process: the kernel's name for each, and where it leads."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            name = os.readlink(f"/proc/self/fd/{entry}")
            if name.startswith("socket:"):
                found[name] = _peer(int(entry))
    return found


def _peer(fd: int) -> str:
    copy = Socket(fileno=os.dup(fd))
    try:
        address = copy.getpeername()
    except OSError:
        return "a socket without a peer"
    finally:
        copy.close()
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    return os.fsdecode(address) or "a unix socket"


def _native(thread: int) -> str | None:
    """What to call a thread that Python does not know; None when it has ended."""
    name = _comm(thread)
    # One that nobody has named is called after the process that started it.
    return "one of a native library" if name == _comm(os.getpid()) else name


def _comm(thread: int) -> str | None:
    """The system's name of a thread; None when it has ended."""
    try:
        with open(f"/proc/self/task/{thread}/comm", encoding="utf-8") as comm:
            return comm.read().strip()
    except OSError:
        return None


def source_directories() -> list[str]:
    """Where the imported modules that are not part of an installation came from."""
    installed = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__)})
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and not path.startswith(installed):
            found.add(os.path.dirname(os.path.abspath(path)))
    found.discard(os.path.dirname(os.path.abspath(__file__)))
    return sorted(path for path in found if "\n" not in path and "site-packages" not in path)


def versions() -> str:
    """For people: ``Python 3.13.0, Django 5.2``."""
    text = f"Python {platform.python_version()}"
    django = sys.modules.get("django")
    if django is not None:
        text += f", Django {django.get_version()}"
    return text


def _listed(noun: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
    return f"{len(names)} {noun}{'s' if len(names) != 1 else ''} ({shown})"


def _name_process(name: str) -> None:
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as comm:
        comm.write(name)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()


def _one_line(value: object) -> str:
    return " ".join(str(value).splitlines())[:4000]


if __name__ == "__main__":
    code = main(sys.argv[1:])
    _flush()
    # Threads that the app has started would keep the process alive.
    os._exit(code)
