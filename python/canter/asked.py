"""Owns what the front asks a worker in words of its own, as one WSGI app that no client can reach:
which settings the app runs with, and how the database would run a statement.

Leaves the plan to ``canter.explain``, and what follows from settings to the program.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from canter import django, explain


def answer(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one question, which is JSON, with JSON."""
    try:
        question = json.loads(environ["wsgi.input"].read())
        told = explain.explain(question) if question.get("ask") == "explain" else settings()
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
