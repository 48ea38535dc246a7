"""Owns what Canter does to Django inside its workers: PostgreSQL connections lead through the pool.

Leaves the pool's own language to ``canter.pool``, and what becomes of connections between requests to
``canter.between``. Settings are not touched, other databases are
left alone, and commands of ``manage.py`` never come here.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, ModuleType
from typing import Any

from canter import insight, said
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
    said.once(f"the database {alias!r} is reached without the pool: {why}")


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
    # Not before: where there is no PostgreSQL, the zygote has no use for the extension.
    importlib.import_module("canter.between")
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
            from canter import between

            between.look_after(wrapper, connection, _is_thread_bound(type(wrapper)))
            return connection
    raise AssertionError("the second round returns or raises")


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
