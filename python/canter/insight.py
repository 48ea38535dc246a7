"""Owns what Canter sees of a Django app from inside its workers, without any settings: which route
a request has, the statements it asked for, from which line, and how long each took.

Leaves what runs around each statement to ``canter._worker.Hook``, which calls here for what is rare,
advice to ``canter.advice``, and all conclusions to the front. A failure in here or there switches
it off for the process and is said once; what is not understood of an app's frames, or of its models, costs what would be
told of it alone. The app never sees either.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any

from canter import advice, captured, said, usual, written

if TYPE_CHECKING:
    from canter import _worker

MOST_GROUPS = 64
"""Statements of which values are wanted at once."""
MOST_KNOWN = 512
"""Places whose name is kept, and of which advice was made."""
MOST_COMPOSED = 64
"""Sets of statements seen together, of which advice was told."""
MOST_WRAPPED = 20
"""Decorators around a view that are looked through."""
SAMPLE_S = 300.0
"""How long somebody's wish for the values of a run holds."""

Report = tuple[
    str,
    int,
    int,
    int,
    int,
    list[tuple[int, int, int, int, int, int, int, int]],
    list[tuple[int, int, str]],
    list[tuple[int, str]],
    list[tuple[int, int, str]],
]
"""Route, statements, writes, microseconds in them and held, then groups, and what is told for the
first time: statements, places, advice."""

Read = captured.Capture | written.Written
"""What a statement was for."""

_off = False
_unread: set[str] = set()
"""What was said not to be understood."""
_original: Any = None
hook: _worker.Hook | None = None
"""What runs around each statement, once something is watched."""
_is_wanted = False
_packages: tuple[str, ...] | None = None
"""Folders of the app's own below ``site-packages``; None before somebody asks."""
_places: dict[tuple[str, int], tuple[int, str, bool]] = {}
_captures: dict[tuple[int, str, str, int, tuple[int, int] | None], Read | None] = {}
"""By view, method, route, statement and place: one view may serve the rows of another model at another address, and
the front keeps findings by method."""
_composed: list[frozenset[Read]] = []
"""What the front was told of together."""
_wanted: dict[int, float] = {}
"""Statements of which somebody wants the values of one run, and until when."""
_samples: dict[int, tuple[str, Any, str]] = {}
_roots: tuple[str, ...] = ()


def install() -> bool:
    """Watch the Django that was imported; false when there is none."""
    global _is_wanted, _original, _roots, hook
    _is_wanted = True
    base = sys.modules.get("django.core.handlers.base")
    if base is None or _original is not None:
        _note_routes_of_flask()
        return _original is not None
    from canter import _worker

    wrapper = importlib.import_module("django.db.backends.base.base").BaseDatabaseWrapper
    signals = importlib.import_module("django.db.backends.signals")
    connections = importlib.import_module("django.db").connections
    _roots = tuple(sorted({os.path.abspath(path) for path in sys.path if path}, key=len))
    _original = original = base.BaseHandler.get_response
    hook = _worker.Hook(sys.modules[__name__])
    begin, observe = hook.begin, hook.observe

    def watch(connection: Any, **_signal: object) -> None:
        if observe not in connection.execute_wrappers:
            # Around those of the app: what they add to a statement differs from run to run, and Django
            # takes the last one away when a block ends in which the connection was opened.
            connection.execute_wrappers.insert(0, observe)

    @functools.wraps(original)
    def get_response(self: Any, request: Any) -> Any:
        begin(request)
        return original(self, request)

    base.BaseHandler.get_response = get_response
    signals.connection_created.connect(watch, weak=False, dispatch_uid="canter-insight")
    for alias in connections:
        # As connections.all(initialized_only=True), which Django has from 4.1 on.
        connection = getattr(connections._connections, alias, None)
        if connection is not None:
            watch(connection=connection)
    for name in ("_commit", "_rollback"):
        setattr(wrapper, name, _ending(getattr(wrapper, name), hook.end_transaction))
    return True


def _note_routes_of_flask() -> None:
    """Have each request of a Flask app, if one was imported, say its route in the environ. Flask takes its own
    word for it away again before it returns.
    """
    flask = sys.modules.get("flask")
    if flask is None:
        return

    def note(_app: Any, **_signal: object) -> None:
        rule = flask.request.url_rule
        if rule is not None:
            flask.request.environ["canter.route"] = rule.rule

    # Before Flask 2.3 there are signals only where blinker is installed.
    with contextlib.suppress(AttributeError, RuntimeError):
        flask.request_started.connect(note, weak=False)


def is_wanted() -> bool:
    """Whether somebody has asked for the watch, whatever the app is."""
    return _is_wanted


def is_installed() -> bool:
    """Whether there is something to report."""
    return _original is not None


def _ending(original: Callable[[Any], Any], ends: Callable[[], None]) -> Callable[[Any], Any]:
    """The end of a transaction: until here a connection was held."""

    @functools.wraps(original)
    def end(self: Any) -> Any:
        ends()
        return original(self)

    return end


def disarm(error: BaseException) -> None:
    """Something in here is wrong: the app goes on without it."""
    global _off
    if _off:
        return
    _off = True
    if hook is not None:
        hook.switch_off()
    with contextlib.suppress(Exception):
        if _original is not None:
            sys.modules["django.core.handlers.base"].BaseHandler.get_response = _original
    said.say(
        f"insight is off in this process, the app goes on: {_told_of(error)}; "
        "please report it, and start with --no-insight where it comes again",
        level="warn",
    )


def _told_of(error: BaseException) -> str:
    """Kind and place. Not its words: they may quote a value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {short(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return type(error).__name__ + where


def _say_unread(what: str, error: Exception) -> None:
    """Something about a statement was not understood; said once in a process."""
    if what not in _unread:
        _unread.add(what)
        said.say(
            f"insight cannot tell {what} and tells nothing of it: {_told_of(error)}; please report it", level="warn"
        )


def is_own(file: str) -> bool:
    """Whether a file is part of the app and not of a library."""
    if file.startswith("<"):
        return False
    if "site-packages" in file or "dist-packages" in file:
        return os.path.abspath(file).startswith(_own_packages())
    library = (os.path.dirname(os.__file__), os.path.dirname(__file__))
    return not os.path.abspath(file).startswith(tuple(path + os.sep for path in library))


def _own_packages() -> tuple[str, ...]:
    """Where an app is that was installed as a package: its addresses and its settings are not those of a library."""
    global _packages
    if _packages is None:
        settings = getattr(sys.modules.get("django.conf"), "settings", None)
        if not getattr(settings, "configured", False):
            return ()
        names = {getattr(settings, key, None) for key in ("ROOT_URLCONF", "SETTINGS_MODULE")}
        tops = {name.partition(".")[0] for name in names if isinstance(name, str)}
        found = []
        for top in sorted(tops - {"", "django", "rest_framework", "canter"}):
            with contextlib.suppress(ImportError, ValueError):
                spec = importlib.util.find_spec(top)
                if spec is not None and spec.submodule_search_locations:
                    found += [os.path.abspath(path) + os.sep for path in spec.submodule_search_locations]
                elif spec is not None and spec.origin:
                    found.append(os.path.abspath(spec.origin))
        _packages = tuple(found)
    return _packages


def _whose(code: CodeType) -> bool | None:
    """Whether code is the app's own; None where Django hands a request on, to the next middleware or the view."""
    folder, _, file = code.co_filename.replace(os.sep, "/").rpartition("/")
    if folder.endswith("django/core/handlers") and (file, code.co_name) in _HANDLERS:
        return None
    return is_own(code.co_filename)


_HANDLERS = {
    ("base.py", "_get_response"),
    ("base.py", "_get_response_async"),
    ("exception.py", "inner"),
}
"""What a line of the app's own that stands further out waits for, be it middleware or what wraps the whole site:
it has not asked for what is asked for inside."""


def _capture(
    sql: str, line: tuple[int, int] | None, view: int, request: Any, why: str
) -> tuple[int, Read | None]:
    """What of a repeat is meant, and what the rows are read or written for, if something may help: looked up once
    for each statement at each place of a route. ``why``: values come ``again``, ``many`` differ, or many rows were
    ``written``."""
    # Not the text itself, which may be long.
    route = str(getattr(request.resolver_match, "route", ""))
    key = (view, _METHODS.get(str(request.method), ""), route, hash(sql), line)
    if key in _captures:
        found = _captures[key]
    else:
        if len(_captures) >= MOST_KNOWN:
            _forget_captures()
        frame = sys._getframe(1)
        try:
            read = written.capture(frame, sql, is_own) if why == "written" else captured.capture(frame, is_own)
        except Exception as error:
            # Frames hold whatever an app may have. Of what was not understood nothing is told.
            _say_unread("what some statement is for", error)
            read = captured.Capture(meant=captured.ALL)
        found = _captures[key] = read
    if found is None or isinstance(found, written.Written):
        return 0, found
    if found.meant:
        return found.meant, None
    # What only repeats is kept by who asks; nothing fetches it for all rows but a relation.
    return 0, found if why == "many" or found.one else None


_METHODS = {it: it for it in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")} | {"HEAD": "GET"}
"""As what a request is judged."""


def _forget_captures() -> None:
    """From here on all advice is told once more."""
    _captures.clear()
    _composed.clear()
    usual.forget()


def _compose(found: list[Read], statements: list[str]) -> list[tuple[str, int]]:
    """What helps, as ``advice`` says; nothing where the front knows it."""
    together = frozenset(found)
    # Of fewer than were seen together less would be said.
    if any(together <= other for other in _composed):
        return []
    if len(_composed) >= MOST_COMPOSED:
        _composed.clear()
    _composed.append(together)

    def failed(error: Exception) -> None:
        _say_unread("what helps against some repeated statement", error)

    return advice.compose(found, statements, failed)


def _say_crowded(route: str, queries: int, crowded_out: int) -> None:
    """A request asks for more than is told apart; said once in a process."""
    said.say(
        f"a request of {route or 'an unknown route'} asks {queries} statements, of which {crowded_out} are other ones than insight "
        "tells apart in a request: they are counted, and no finding follows from them",
        level="info",
    )


def current(ident: int) -> str | None:
    """The statement that a thread waits for now, without values."""
    return None if hook is None else hook.current(ident)


def template(name: int) -> str | None:
    """The statement of this name as Django has it, if this process has asked it lately."""
    return None if hook is None else hook.template(name)


def want_sample(name: int) -> None:
    """Keep the values of this statement's next run, for one plan."""
    _samples.pop(name, None)
    if len(_wanted) < MOST_GROUPS:
        _wanted[name] = time.monotonic() + SAMPLE_S
        if hook is not None:
            hook.want_values(True)


def take_sample(name: int) -> tuple[str, Any, str] | None:
    """Statement, values and database of a run that was wanted. They are forgotten here."""
    return _samples.pop(name, None)


def _keep_sample(name: int, sql: str, params: Any, many: bool, connection: Any) -> None:
    until = _wanted.pop(name, 0.0)
    if hook is not None and not _wanted:
        hook.want_values(False)
    if until > time.monotonic() and not many:
        _samples.clear()
        _samples[name] = (sql, params, connection.alias)


def report() -> Report | str | None:
    """What is to be told of this thread's request, which is answered: its route alone when it has
    asked for nothing; None without a request."""
    return None if hook is None else hook.report()


def _name_place(code: CodeType | None, at: int, match: Any) -> tuple[int, str, bool]:
    """Name and text of a line of the app's own, or of the view, where none has asked; and whether that is the
    app's own."""
    file, line, function = "", 0, ""
    if code is not None:
        file, line, function = code.co_filename, at, code.co_name
    elif match is not None:
        file, line, function = _view(match.func)
    known = _places.get((file, line))
    if known is None:
        text = f"{short(file)}\n{line}\n{function}\n{_source(file, line)}"
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
        if len(_places) >= MOST_KNOWN:
            _places.clear()
        known = _places[file, line] = (int.from_bytes(digest, "little"), text, bool(file) and is_own(file))
    return known


def _view(view: Any) -> tuple[str, int, str]:
    """Where a view is defined, when no line of the app's own asked."""
    for _ in range(MOST_WRAPPED):
        inside = (getattr(view, attribute, None) for attribute in ("view_class", "cls", "__wrapped__"))
        found = next((it for it in inside if it is not None), None)
        if found is None:
            break
        view = found
    name = getattr(view, "__qualname__", type(view).__qualname__)
    code = getattr(view, "__code__", None)
    if code is not None:
        return code.co_filename, code.co_firstlineno, name
    module = sys.modules.get(getattr(view, "__module__", ""))
    file = getattr(module, "__file__", None) or ""
    line = getattr(view, "__firstlineno__", 0) or _class_line(file, name)
    return file, line, name


def _class_line(file: str, name: str) -> int:
    name = name.rpartition(".")[2]
    # A function that was made a class of, as ``api_view`` does, stands as itself in the file.
    start = re.compile(rf"\s*(class|def|async def) {re.escape(name)}\b")
    with contextlib.suppress(OSError, UnicodeDecodeError), open(file, encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            if start.match(text):
                return number
    return 0


def _source(file: str, line: int) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError), open(file, encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            if number == line:
                return " ".join(text.split())[:160]
    return ""


def short(file: str) -> str:
    """A file as seen from the project: the same on every machine."""
    path = os.path.abspath(file) if file else ""
    for root in (os.getcwd(), *reversed(_roots)):
        if path.startswith(root + os.sep):
            return path[len(root) + 1 :]
    return path


@functools.lru_cache(maxsize=1024)
def route(pattern: str) -> str:
    """The pattern of an address for people: ``api/^orders/(?P<pk>[^/.]+)/$`` becomes
    ``/api/orders/<pk>/``."""
    out = []
    rest = pattern
    while rest:
        head, mark, rest = rest.partition("(?P<")
        out.append(head)
        if not mark:
            break
        name, _angle, rest = rest.partition(">")
        depth = 1
        at = 0
        while at < len(rest) and depth:
            if rest[at] == "\\":
                at += 1
            elif rest[at] in "()":
                depth += 1 if rest[at] == "(" else -1
            at += 1
        rest = rest[at:]
        out.append(f"<{name}>")
    text = "".join(out).replace("\\Z", "")
    for mark in "^$?\\":
        text = text.replace(mark, "")
    return "/" + text.lstrip("/")
