"""Owns what the front asks a worker in words of its own, as one WSGI app that no client can reach:
which settings the app runs with, how long a connection to a database takes to make, and how the database
would run a statement.

Leaves the plan to ``canter.explain``, and what follows from settings to the program.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from canter import django, explain

TRIES = 3
"""Connections that are made to a database to see how long one takes."""

TRYING = 5.0
"""After so many seconds it is told what is known by then; whoever asks waits for ten."""

PATIENCE = 2
"""Seconds that one may take, as far as its driver knows such a limit: often of each address, and without the
time that it takes to find those."""

_trying = threading.Lock()


def answer(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one question, which is JSON, with JSON."""
    try:
        question = json.loads(environ["wsgi.input"].read())
        kind = question.get("ask")
        if kind == "explain":
            told = explain.explain(question)
        else:
            told = connecting() if kind == "connect" else settings()
    except Exception as error:
        # No values: what a database says of a statement may quote it.
        told = {"error": f"the app cannot tell: {type(error).__name__}"}
    body = json.dumps(told).encode()
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", fields)
    return [body]


def settings() -> dict[str, Any]:
    """What Django runs with, as far as speed depends on it. Names and numbers only, no secrets."""
    django = sys.modules.get("django")
    if django is None or "django.conf" not in sys.modules:
        return {"django": None}
    from django.conf import settings as found

    return {
        "django": ".".join(str(part) for part in django.VERSION[:2]),
        "debug": bool(found.DEBUG),
        "middleware": [str(name) for name in found.MIDDLEWARE or ()],
        "apps": [str(name) for name in found.INSTALLED_APPS],
        "session_engine": str(found.SESSION_ENGINE),
        "session_cache": str(found.SESSION_CACHE_ALIAS),
        "session_save_every_request": bool(found.SESSION_SAVE_EVERY_REQUEST),
        "caches": {alias: str(one.get("BACKEND", "")) for alias, one in found.CACHES.items()},
        "databases": [_database(alias, one) for alias, one in found.DATABASES.items()],
        "templates": [_engine(one) for one in found.TEMPLATES],
        "static_root": bool(found.STATIC_ROOT),
        "static_storage": _static_storage(found),
        "user_table": _user_table(found),
        "session_table": _session_table(found),
        "has_sessions": "django.contrib.sessions" in found.INSTALLED_APPS,
        "switch_interval": sys.getswitchinterval(),
    }


def connecting() -> dict[str, Any]:
    """How long a connection takes to make, in milliseconds, of each database that the app connects to anew
    for each request: of a few that are made now and closed again, the middle one.
    """
    from django.db import connections

    aliases = []
    for alias in connections:
        one = _database(alias, connections.settings[alias])
        if one["conn_max_age"] != 0 or one["pooled"] or one["own_pool"]:
            continue
        # Of others it is not known how long a driver tries.
        if one["vendor"] in ("postgresql", "mysql"):
            aliases.append(alias)
    return _tried(aliases, connections.create_connection)


def _tried(aliases: list[str], create: Callable[[str], Any]) -> dict[str, Any]:
    """What trying tells of each, within ``TRYING`` whatever a driver does: it has a thread of its own, for
    nobody can end one that waits for a server that is down, and this one has requests to answer.
    """
    if not _trying.acquire(blocking=False):
        return {alias: {"error": "those that were tried before are still being made"} for alias in aliases}
    told: dict[str, Any] = {}
    end = time.monotonic() + TRYING

    def work() -> None:
        try:
            for alias in aliases:
                try:
                    told[alias] = _connecting(create(alias), end)
                except Exception as error:
                    told[alias] = {"error": f"none could be made: {type(error).__name__}"}
        finally:
            _trying.release()

    thread = threading.Thread(target=work, name="canter-connecting", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        _trying.release()
        raise
    thread.join(TRYING)
    late = {"error": f"none could be made in {TRYING:.0f} s"}
    return {alias: told.get(alias, late) for alias in aliases}


def _connecting(wrapper: Any, end: float) -> dict[str, Any]:
    options = copy.copy(wrapper.settings_dict.get("OPTIONS") or {})
    options["connect_timeout"] = _patience(options.get("connect_timeout"))
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": options}
    took: list[float] = []
    for _ in range(TRIES):
        begun = time.monotonic()
        if begun > end:
            break
        try:
            wrapper.connect()
            took.append((time.monotonic() - begun) * 1000)
        finally:
            wrapper.close()
    return {"ms": statistics.median(took)} if took else {"error": "there was no time to try"}


def _patience(own: Any) -> Any:
    """The site's own limit where it is a shorter one; 0 and what is no number are none."""
    try:
        is_shorter = 0 < float(own) < PATIENCE
    except (TypeError, ValueError):
        is_shorter = False
    return own if is_shorter else PATIENCE


def _user_table(found: Any) -> str:
    from django.apps import apps

    try:
        model = apps.get_model(found.AUTH_USER_MODEL)
    except (LookupError, ValueError):
        # A site without users.
        return ""
    return str(model._meta.db_table)


def _session_table(found: Any) -> str:
    engine = sys.modules.get(found.SESSION_ENGINE)
    model = getattr(getattr(engine, "SessionStore", None), "get_model_class", None)
    return "" if model is None else str(model()._meta.db_table)


def _database(alias: str, one: Mapping[str, Any]) -> dict[str, Any]:
    from django.db import connections

    wrapper = connections[alias]
    return {
        "alias": alias,
        "vendor": wrapper.vendor,
        "conn_max_age": one.get("CONN_MAX_AGE", 0),
        "atomic_requests": bool(one.get("ATOMIC_REQUESTS")),
        "pooled": django.is_pooled(wrapper),
        # Django's own, from 5.1 on, wants an age of 0.
        "own_pool": bool((one.get("OPTIONS") or {}).get("pool")),
    }


def _engine(one: Mapping[str, Any]) -> dict[str, Any]:
    options = one.get("OPTIONS") or {}
    loaders = options.get("loaders")
    is_django = str(one.get("BACKEND", "")).endswith("DjangoTemplates")
    # Without loaders of its own an engine caches, since Django 4.1 also with DEBUG.
    cached = loaders is None or "cached.Loader" in str(loaders)
    return {"django": is_django, "cached": cached}


def _static_storage(found: Any) -> str:
    storages = getattr(found, "STORAGES", None) or {}
    backend = (storages.get("staticfiles") or {}).get("BACKEND")
    return str(backend or getattr(found, "STATICFILES_STORAGE", ""))
