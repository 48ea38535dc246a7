"""Owns what Canter sees of a Django app from inside its workers, without any settings: which route
a request has, the statements it asked for, from which line, and how long each took.

Leaves taking values out of statements to ``canter._worker``, advice to ``canter.advice``, and all
conclusions to the front. A failure in here switches it off for the process and is said once; the
app never sees it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from canter import advice

MANY = advice.MANY

MOST_GROUPS = 64
"""Statements by place that are told apart in one request."""
MOST_VALUES = 64
"""Different values of a group that are told apart: more would not change what is said of it."""
EVERY_PLACE = 8
"""Times that a statement's place is looked up in a request; from then on once in 16."""
MOST_KNOWN = 512
"""Statements and places whose name is kept; then they are forgotten and told again."""
MOST_GAP_NS = 2_000_000
"""Of the Python before a statement, no more than this counts as its price."""
SAMPLE_S = 300.0
"""How long somebody's wish for the values of a run holds."""
HELD_GAP_NS = 50_000_000
"""A pause this long within a transaction is one that holds a connection for nothing."""

READS = ("SELECT", "select", "(SELECT", "WITH", "with")
KEPT = ('SELECT "django_content_type"', "SELECT `django_content_type`")
"""Kinds of things, which Django asks for once in a process and then knows: repeats of these are no
fault of a request."""
WRITES = ("INSERT", "UPDATE", "DELETE", "insert", "update", "delete", "MERGE", "REPLACE")

_KEY = secrets.randbits(64)
"""Mixed into the hashes of values, so that they mean nothing outside this process."""

_clock = time.perf_counter_ns

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


class _Work:
    """What a thread works on."""

    __slots__ = ("request", "state")

    def __init__(self) -> None:
        self.request: Any = None
        self.state: _State | None = None


class _Local(threading.local):
    """Asked once for each request and statement: it is much slower than what it holds."""

    def __init__(self) -> None:
        self.work = _Work()


class _Group:
    """The same statement at the same place, in one request."""

    __slots__ = (
        "captured", "compared", "count", "distinct", "epoch", "most", "place", "price", "repeats",
        "seen", "total",
    )  # fmt: skip

    def __init__(self, place: tuple[str, int, str], sql: str) -> None:
        self.place = place
        self.captured = False
        self.compared = sql.startswith(READS) and not sql.startswith(KEPT)
        self.count = 0
        self.total = 0
        self.most = 0
        self.price = 0
        self.repeats = 0
        self.distinct: set[int] = set()
        self.seen: set[int] = set()
        self.epoch = 0


class _State:
    """What is known of the request under way; made with its first statement."""

    __slots__ = (
        "atomic", "captured", "current", "ended", "epoch", "groups", "held", "last", "queries",
        "sql_ns", "vendors", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.queries = 0
        self.writes = 0
        self.sql_ns = 0
        self.held = 0
        self.ended = 0
        self.epoch = 0
        self.atomic = False
        self.current: str | None = None
        self.groups: dict[tuple[str, str, int], _Group] = {}
        # By statement: how often it ran, and the group it belonged to last.
        self.last: dict[str, list[Any]] = {}
        self.vendors: dict[str, str] = {}
        self.captured: list[tuple[tuple[str, str, int], advice.Capture]] = []


_local = _Local()
_running: dict[int, _State] = {}
_off = False
_original: Any = None
_is_own: dict[str, bool] = {}
_names: dict[str, int] = {}
_places: dict[tuple[str, int], tuple[int, str]] = {}
_told: set[int] = set()
_captured: set[tuple[str, str, int]] = set()
_wanted: dict[int, float] = {}
"""Statements of which somebody wants the values of one run, and until when."""
_samples: dict[int, tuple[str, Any, str]] = {}
_roots: tuple[str, ...] = ()


def install() -> bool:
    """Watch the Django that was imported; false when there is none."""
    global _original, _roots
    base = sys.modules.get("django.core.handlers.base")
    if base is None or _original is not None:
        return _original is not None
    wrapper = importlib.import_module("django.db.backends.base.base").BaseDatabaseWrapper
    signals = importlib.import_module("django.db.backends.signals")
    connections = importlib.import_module("django.db").connections
    _roots = tuple(sorted({os.path.abspath(path) for path in sys.path if path}, key=len))
    _original = original = base.BaseHandler.get_response

    @functools.wraps(original)
    def get_response(self: Any, request: Any) -> Any:
        work = _local.work
        work.request = request
        work.state = None
        return original(self, request)

    base.BaseHandler.get_response = get_response
    signals.connection_created.connect(_watch, weak=False, dispatch_uid="canter-insight")
    for connection in connections.all(initialized_only=True):
        _watch(connection=connection)
    for name in ("_commit", "_rollback"):
        setattr(wrapper, name, _ending(getattr(wrapper, name)))
    return True


def is_installed() -> bool:
    """Whether there is something to report."""
    return _original is not None


def _watch(connection: Any, **_signal: object) -> None:
    if observe not in connection.execute_wrappers:
        connection.execute_wrappers.append(observe)


def _ending(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The end of a transaction: until here a connection was held."""

    @functools.wraps(original)
    def end(self: Any) -> Any:
        state = _local.work.state
        if state is not None and state.atomic:
            state.atomic = False
            gap = _clock() - state.ended
            if gap >= HELD_GAP_NS:
                state.held += gap
        return original(self)

    return end


def disarm(error: BaseException) -> None:
    """Something in here is wrong: the app goes on without it."""
    global _off
    if _off:
        return
    _off = True
    with contextlib.suppress(Exception):
        sys.modules["django.core.handlers.base"].BaseHandler.get_response = _original
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {short(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    # Not its words: they may quote a value.
    print(
        f"canter: insight is off in this process, the app goes on: {type(error).__name__}{where}; "
        "please report it, and start with --insight=false where it comes again",
        file=sys.stderr,
        flush=True,
    )


def observe(
    execute: Callable[..., Any],
    sql: str,
    params: Any,
    many: bool,
    context: Mapping[str, Any],
) -> Any:
    """Django's ``execute_wrapper``: time one statement."""
    work = _local.work
    if work.request is None or _off:
        return execute(sql, params, many, context)
    state = work.state
    if state is None:
        state = work.state = _State()
        _running[threading.get_ident()] = state
    state.current = sql
    began = _clock()
    try:
        return execute(sql, params, many, context)
    finally:
        ended = _clock()
        state.current = None
        try:
            _note(state, sql, params, many, context["connection"], began, ended)
        except Exception as error:
            disarm(error)


def _note(
    state: _State, sql: str, params: Any, many: bool, connection: Any, began: int, ended: int
) -> None:
    spent = ended - began
    gap = began - state.ended if state.queries else 0
    state.ended = ended
    state.queries += 1
    state.sql_ns += spent
    if connection.in_atomic_block:
        if state.atomic and gap >= HELD_GAP_NS:
            state.held += gap
        state.atomic = True
    if _wanted:
        _keep_sample(sql, params, many, connection)
    group = _group(state, sql, connection)
    if group is None:
        return
    group.count += 1
    group.total += spent
    if spent > group.most:
        group.most = spent
    group.price += spent + (gap if gap < MOST_GAP_NS else MOST_GAP_NS)
    if group.compared:
        _note_values(state, group, params)
        if not group.captured and len(group.distinct) >= MANY:
            group.captured = True
            _capture(state, sql, group)
    elif many or sql.startswith(WRITES):
        # What is asked from here on may have another answer.
        state.epoch += 1
        state.writes += 1


def _note_values(state: _State, group: _Group, params: Any) -> None:
    try:
        value = hash((_KEY, params))
    except TypeError:
        value = hash((_KEY, repr(params)))
    if group.epoch != state.epoch:
        group.epoch = state.epoch
        group.seen.clear()
    if value in group.seen:
        group.repeats += 1
    elif len(group.seen) < MOST_VALUES:
        group.seen.add(value)
        if len(group.distinct) < MOST_VALUES:
            group.distinct.add(value)


def _group(state: _State, sql: str, connection: Any) -> _Group | None:
    known = state.last.get(sql)
    if known is None:
        if len(state.last) >= MOST_GROUPS:
            return None
        known = state.last[sql] = [0, None]
        state.vendors[sql] = connection.vendor
    times = known[0]
    known[0] = times + 1
    group: _Group | None = known[1]
    if times < EVERY_PLACE or not times & 15:
        place = _place(sys._getframe(3))
        key = (sql, place[0], place[1])
        group = state.groups.get(key)
        if group is None and len(state.groups) < MOST_GROUPS:
            group = state.groups[key] = _Group(place, sql)
        known[1] = group
    return group


def _place(frame: FrameType | None) -> tuple[str, int, str]:
    """File, line and function of the innermost frame that is the app's own; empty without one."""
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        own = _is_own.get(file)
        if own is None:
            own = _is_own[file] = is_own(file)
        if own:
            return file, frame.f_lineno, code.co_name
        frame = frame.f_back
    return "", 0, ""


def is_own(file: str) -> bool:
    """Whether a file is part of the app and not of a library."""
    if len(_is_own) > 10_000:
        _is_own.clear()
    if file.startswith("<") or "site-packages" in file or "dist-packages" in file:
        return False
    library = (os.path.dirname(os.__file__), os.path.dirname(__file__))
    return not os.path.abspath(file).startswith(tuple(path + os.sep for path in library))


def _capture(state: _State, sql: str, group: _Group) -> None:
    """What the rows are read for: looked up once for each statement at each place."""
    key = (sql, group.place[0], group.place[1])
    if key in _captured:
        return
    if len(_captured) >= MOST_KNOWN:
        _captured.clear()
    _captured.add(key)
    found = advice.capture(sys._getframe(3))
    if found is not None:
        state.captured.append((key, found))


def current(ident: int) -> str | None:
    """The statement that a thread waits for now, without values."""
    state = _running.get(ident)
    sql = None if state is None else state.current
    if state is None or sql is None:
        return None
    from canter import _worker

    return _worker.strip(sql, state.vendors.get(sql, ""))[2]


def template(name: int) -> str | None:
    """The statement of this name as Django has it, if this process has asked it lately."""
    return next((sql for sql, known in _names.items() if known == name), None)


def want_sample(name: int) -> None:
    """Keep the values of this statement's next run, for one plan."""
    _samples.pop(name, None)
    if len(_wanted) < MOST_GROUPS:
        _wanted[name] = time.monotonic() + SAMPLE_S


def take_sample(name: int) -> tuple[str, Any, str] | None:
    """Statement, values and database of a run that was wanted. They are forgotten here."""
    return _samples.pop(name, None)


def _keep_sample(sql: str, params: Any, many: bool, connection: Any) -> None:
    name = _names.get(sql)
    until = _wanted.pop(name, 0.0) if name is not None else 0.0
    if name is not None and until > time.monotonic() and not many:
        _samples.clear()
        _samples[name] = (sql, params, connection.alias)


def report() -> Report | str | None:
    """What is to be told of this thread's request, which is answered: its route alone when it has
    asked for nothing; None without a request."""
    work = _local.work
    request, state = work.request, work.state
    if request is None or _off:
        return None
    work.request = work.state = None
    try:
        match = request.resolver_match
        name = route(match.route) if match is not None else ""
        if state is None:
            return name
        _running.pop(threading.get_ident(), None)
        return _report(state, name, match)
    except Exception as error:
        disarm(error)
        return None


def _report(state: _State, name: str, match: Any) -> Report:
    statements: list[tuple[int, int, str]] = []
    places: list[tuple[int, str]] = []
    merged: dict[tuple[int, int], list[int]] = {}
    named: dict[tuple[str, str, int], tuple[int, int]] = {}
    for key, group in state.groups.items():
        sql = key[0]
        statement = _names.get(sql)
        if statement is None:
            statement = _name_statement(sql, state.vendors.get(sql, ""), statements)
        place = _name_place(group.place, match, places)
        named[key] = (statement, place)
        row = merged.setdefault((statement, place), [0] * 6)
        row[0] += group.count
        row[1] += len(group.distinct)
        row[2] += group.repeats
        row[3] += group.total // 1000
        row[4] = max(row[4], group.most // 1000)
        row[5] += group.price // 1000
    groups = [(*key, *row) for key, row in merged.items()]
    told = []
    if state.captured:
        texts = advice.compose([found for _key, found in state.captured], list(state.last))
        for (key, _found), text in zip(state.captured, texts):
            if text:
                told.append((*named[key], text))
    return (
        name,
        state.queries,
        state.writes,
        state.sql_ns // 1000,
        state.held // 1000,
        groups,  # type: ignore[return-value]
        statements,
        places,
        told,
    )


def _name_statement(sql: str, vendor: str, told: list[tuple[int, int, str]]) -> int:
    from canter import _worker

    name, bits, text = _worker.strip(sql, vendor)
    if len(_names) >= MOST_KNOWN:
        _names.clear()
    _names[sql] = name
    if name not in _told:
        _tell(name)
        told.append((name, bits, text))
    return name


def _name_place(place: tuple[str, int, str], match: Any, told: list[tuple[int, str]]) -> int:
    file, line, function = place
    if not file and match is not None:
        file, line, function = _view(match.func)
    known = _places.get((file, line))
    if known is None:
        text = f"{short(file)}\n{line}\n{function}\n{_source(file, line)}"
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
        if len(_places) >= MOST_KNOWN:
            _places.clear()
        known = _places[file, line] = (int.from_bytes(digest, "little"), text)
    if known[0] not in _told:
        _tell(known[0])
        told.append(known)
    return known[0]


def _tell(name: int) -> None:
    # Forgotten, everything is told once more, which costs little.
    if len(_told) >= 4 * MOST_KNOWN:
        _told.clear()
    _told.add(name)


def _view(view: Any) -> tuple[str, int, str]:
    """Where a view is defined, when no line of the app's own asked."""
    for attribute in ("view_class", "cls", "__wrapped__"):
        view = getattr(view, attribute, view)
    name = getattr(view, "__qualname__", type(view).__qualname__)
    code = getattr(view, "__code__", None)
    if code is not None:
        return code.co_filename, code.co_firstlineno, name
    module = sys.modules.get(getattr(view, "__module__", ""))
    file = getattr(module, "__file__", None) or ""
    line = getattr(view, "__firstlineno__", 0) or _class_line(file, name)
    return file, line, name


def _class_line(file: str, name: str) -> int:
    start = f"class {name.rpartition('.')[2]}"
    with contextlib.suppress(OSError, UnicodeDecodeError), open(file, encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            if text.lstrip().startswith(start):
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
@functools.lru_cache(maxsize=MOST_KNOWN)
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
