"""Owns what Canter does to Django inside its workers: PostgreSQL connections lead through the pool,
stay open between requests where nobody can tell the difference, and no request leaves a transaction
behind for the next one.

Leaves the pool's own language to ``canter.pool``. Settings are not touched, other databases are
left alone, and commands of ``manage.py`` never come here.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, ModuleType
from typing import Any

from canter import insight, said
from canter.lent import IDLE, Loan, is_readable
from canter.pgtarget import TargetError
from canter.pool import Pool, Refused, Unreachable

MODULE = "django.db.backends.postgresql.base"
"""Every PostgreSQL backend of Django, PostGIS and those of other packages derive from its class."""

THREAD_BOUND = ("django", "django_prometheus", "django_tenants", "psqlextra", "canter")
"""Packages whose backends open a connection in the thread that uses it. Others may have pools of
their own, so that the thread says nothing about who uses a connection later."""

FORGOTTEN = (
    "target is not known",
    "No such file",
    "Connection refused",
    "closed the connection",
)
"""Parts of the errors after which the pool is told again: its process has started anew."""

NO_SERVER = 4
"""libpq's ``PQTRANS_UNKNOWN``: the server is gone."""

IN_TRANSACTION = (2, 3)
"""libpq's ``PQTRANS_INTRANS`` and ``PQTRANS_INERROR``."""

_said: set[str] = set()
_ends_clean = False
"""Requests are looked after at their ends."""


class _Mine(threading.local):
    """The pooled connections that this thread has opened, so that a request that uses none costs
    nothing."""

    def __init__(self) -> None:
        self.wrappers: dict[str, Any] = {}


_mine = _Mine()


def install(path: str) -> None:
    """Lead PostgreSQL connections through the pool at ``path``, also of modules yet to come."""
    pool = Pool(path)
    module = sys.modules.get(MODULE)
    if module is not None:
        _patch(module, pool)
    else:
        sys.meta_path.insert(0, _OnImport(pool))


def pooled_databases() -> list[str]:
    """Databases of the settings that will be reached through the pool. Of those that will not, though
    they are PostgreSQL, the log is told why."""
    module = sys.modules.get("django.db")
    if module is None:
        return []
    found = []
    # Settings that cannot be used say so when somebody uses them.
    with contextlib.suppress(Exception):
        for alias in module.connections:
            wrapper = module.connections[alias]
            if _is_pooled_class(wrapper):
                refusal = _refusal(wrapper)
                if refusal is None:
                    found.append(alias)
                else:
                    _say_past_the_pool(alias, refusal)
    return found


def _refusal(wrapper: Any) -> str | None:
    """Why the pool will not be used for a database; None also where only a connection can tell."""
    base = sys.modules[MODULE].DatabaseWrapper
    if _opens_itself(type(wrapper)):
        engine = wrapper.settings_dict.get("ENGINE")
        return (
            f"its engine {engine!r} opens connections itself; with 'django.db.backends.postgresql', or a "
            "backend that builds on it, all workers share a few"
        )
    if type(wrapper).get_connection_params is not base.get_connection_params:
        # A package's own way to its parameters may ask others for them.
        return None
    try:
        params = wrapper.get_connection_params()
    except Exception:
        return None
    pool: Pool = wrapper.canter_pool
    return pool.refusal(params)


def _say_past_the_pool(alias: str, why: object) -> None:
    _say_once(f"the database {alias!r} is reached without the pool: {why}")


def _is_pooled_class(wrapper: object) -> bool:
    module = sys.modules.get(MODULE)
    return module is not None and isinstance(wrapper, module.DatabaseWrapper)


def is_pooled(wrapper: object) -> bool:
    """Whether a database's connections lead through the pool, as far as its engine shows."""
    return hasattr(type(wrapper), "canter_pool") and not _opens_itself(type(wrapper))


def _opens_itself(kind: type) -> bool:
    """Whether a backend's way to a new connection does not go on to Django's, as that of
    django-db-geventpool: nothing that it calls by name is called so."""
    for base in kind.__mro__:
        if "canter_pool" in vars(base):
            return False
        # Django's own stands in a decorator, and so may others.
        own = inspect.unwrap(vars(base).get("get_new_connection"))  # type: ignore[arg-type]
        code = getattr(own, "__code__", None)
        if code is not None and not _names(code, "get_new_connection"):
            return True
    return False


def _names(code: CodeType, ending: str) -> bool:
    """Whether a function, or one within it, uses a name that ends so."""
    return any(name.endswith(ending) for name in code.co_names) or any(
        isinstance(inner, CodeType) and _names(inner, ending) for inner in code.co_consts
    )


class _OnImport(importlib.abc.MetaPathFinder):
    """Patches the module when somebody imports it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != MODULE:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Patching(spec.loader, self.pool)
                return spec
        return None


class _Patching(importlib.abc.Loader):
    """A loader that patches what another has loaded."""

    def __init__(self, loader: importlib.abc.Loader, pool: Pool) -> None:
        self.loader = loader
        self.pool = pool

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _patch(module, self.pool)

    def __getattr__(self, name: str) -> Any:
        # What tracebacks and inspect want of the loader, the source above all.
        return getattr(self.loader, name)


def _patch(module: ModuleType, pool: Pool) -> None:
    wrapper = module.DatabaseWrapper
    if hasattr(wrapper, "canter_pool"):
        return
    wrapper.canter_pool = pool
    wrapper.canter_pooled = False
    wrapper.canter_kept = False
    wrapper.canter_loan = None
    # The last step before the driver: whatever a derived class does to the parameters is done.
    original = wrapper.get_new_connection

    def get_new_connection(self: Any, conn_params: Mapping[str, object]) -> Any:
        return _connect(self, conn_params, pool, original)

    wrapper.get_new_connection = get_new_connection
    own_pool = getattr(wrapper, "pool", None)
    if isinstance(own_pool, property):
        # OPTIONS["pool"]: a pool in each process before the one that all share would only add a
        # second limit, of 4 connections unless somebody thought of it.
        def no_pool(self: Any) -> Any:
            return None if self.canter_pooled else own_pool.__get__(self, type(self))

        wrapper.pool = property(no_pool)


def _connect(
    wrapper: Any,
    params: Mapping[str, object],
    pool: Pool,
    original: Callable[[Any, Mapping[str, object]], Any],
) -> Any:
    for afresh in (False, True):
        try:
            ours = pool.through(params, _settings(wrapper), afresh=afresh)
        except (Refused, TargetError) as error:
            _say_past_the_pool(wrapper.alias, error)
            wrapper.canter_pooled = False
            return original(wrapper, params)
        except Unreachable as error:
            raise wrapper.Database.OperationalError(str(error)) from error
        wrapper.canter_pooled = True
        try:
            connection = original(wrapper, ours)
        except wrapper.Database.OperationalError as error:
            if afresh or not any(part in str(error) for part in FORGOTTEN):
                raise
        else:
            if _is_mine(wrapper):
                _mine.wrappers[wrapper.alias] = wrapper
            _keep(wrapper, connection)
            _end_loan(wrapper)
            # Where connections outlive a request anyway: what is done on a lent one nobody else sees.
            outlives = wrapper.settings_dict.get("CONN_MAX_AGE") != 0
            if outlives and _is_thread_bound(type(wrapper)):
                # What wraps the driver's connection may know no weak references: nothing is lent.
                with contextlib.suppress(TypeError):
                    wrapper.canter_loan = Loan(connection)
            _end_requests_clean()
            return connection
    raise AssertionError("the second round returns or raises")


def _is_mine(wrapper: Any) -> bool:
    """Whether a wrapper is this thread's. A pool of the app's own has all its connections made by the
    wrapper whose thread was the first to ask: what that one has open is not for others to end."""
    mine: bool = wrapper._thread_ident == threading.get_ident()
    return mine


def _settings(wrapper: Any) -> dict[str, str]:
    """Start-up settings: with them, Django has nothing left to set when it is connected."""
    settings = {}
    zone = getattr(wrapper, "timezone_name", None)
    if zone:
        settings["TimeZone"] = str(zone)
    if insight.is_installed():
        # The pool need not look at statements that are told of here.
        settings["canter.watched"] = "on"
    if _is_thread_bound(type(wrapper)):
        # By this the front knows whose statement to cancel when a client has gone.
        settings["canter.thread"] = str(threading.get_native_id())
    return settings


def _is_thread_bound(kind: type) -> bool:
    return all(
        base.__module__.partition(".")[0] in THREAD_BOUND
        for base in kind.__mro__
        if "get_new_connection" in vars(base) or "connect" in vars(base)
    )


def _keep(wrapper: Any, connection: Any) -> None:
    """Keep a connection that Django would close after each request: behind the pool it costs next
    to nothing, and a new one costs the driver half a millisecond. Django's setting means a fresh
    session for each request, so only one that is as good as fresh is kept; the pool knows."""
    wants_fresh = wrapper.settings_dict.get("CONN_MAX_AGE") == 0
    wrapper.canter_kept = (
        wants_fresh and _is_thread_bound(type(wrapper)) and _touched(connection) == "off"
    )
    if wrapper.canter_kept:
        wrapper.close_at = None


def _touched(connection: Any) -> str | None:
    """Whether the session may be in another state than a new one; None from a pool that does not
    say."""
    ask = getattr(connection, "get_parameter_status", None) or connection.info.parameter_status
    answer: str | None = ask("canter.touched")
    return answer


def _end_requests_clean() -> None:
    """From the first connection on: before, there is nothing to be left."""
    global _ends_clean
    if _ends_clean:
        return
    from canter import _worker

    # Not by Django's signals: a view that uses Django's test client, or another handler, has them
    # sent in the middle of its own transaction. The end comes after Django's, which closes what need
    # not stay.
    _worker.around_requests(begin_well, end_transactions)
    _ends_clean = True


def begin_well() -> None:
    """Drop kept connections that have ended meanwhile: the pool's process may have started anew."""
    for wrapper in list(_mine.wrappers.values()):
        loan = wrapper.canter_loan
        if loan is not None and loan.begin_request():
            _close_lent(wrapper)
    _end_transactions()
    for wrapper in list(_mine.wrappers.values()):
        if wrapper.canter_kept and wrapper.connection is not None:
            # Between requests the pool has nothing to say but goodbye.
            if is_readable(wrapper.connection.fileno()):
                wrapper.close()


def end_transactions() -> None:
    """Roll back what a request has left open, so that the next one on this thread starts clean and
    the server connection is free for others."""
    _end_transactions()
    for wrapper in list(_mine.wrappers.values()):
        loan = wrapper.canter_loan
        if loan is not None and loan.end_request():
            _close_lent(wrapper)


def _end_transactions() -> None:
    for alias, wrapper in list(_mine.wrappers.items()):
        connection = wrapper.connection
        if connection is None:
            _end_loan(wrapper)
            del _mine.wrappers[alias]
            continue
        # The driver knows from the last answer of the server; nothing is sent for this.
        if int(connection.info.transaction_status) != IDLE:
            _end_transaction(wrapper)
        if wrapper.canter_kept and wrapper.connection is not None:
            if _touched(wrapper.connection) != "off":
                wrapper.close()


def _close_lent(wrapper: Any) -> None:
    # As at the end of CONN_MAX_AGE: the app finds a new connection where it needs one.
    with contextlib.suppress(wrapper.Database.Error):
        wrapper.close()
    _end_loan(wrapper)


def _end_loan(wrapper: Any) -> None:
    loan, wrapper.canter_loan = wrapper.canter_loan, None
    if loan is not None:
        loan.close()


def _end_transaction(wrapper: Any) -> None:
    connection = wrapper.connection
    status = int(connection.info.transaction_status)
    if status != NO_SERVER:
        _say_once(
            f"a request left a transaction open on {wrapper.alias!r}: it was rolled back "
            "(said once)"
        )
    is_plain = status in IN_TRANSACTION
    with contextlib.suppress(wrapper.Database.Error):
        if is_plain and not wrapper.in_atomic_block:
            if connection.autocommit:
                # The app has said BEGIN itself; psycopg2's rollback() would do nothing.
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
            else:
                connection.rollback()
            return
    # A copy in progress, or an atomic block that nobody will leave: the next request gets a new
    # connection object.
    with contextlib.suppress(wrapper.Database.Error):
        connection.close()
    _end_loan(wrapper)
    _mine.wrappers.pop(wrapper.alias, None)
    with contextlib.suppress(AttributeError):
        del sys.modules["django.db"].connections[wrapper.alias]


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        said.say(text, level="warn")
