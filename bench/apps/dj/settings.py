"""Settings of the site: `startproject`'s defaults for production, minus what needs sessions.

That is DEBUG off, templates cached, and of the seven default middleware the four that work
without a session: security, common, CSRF, clickjacking. How the database is reached comes from
BENCH_DATABASE, because the best documented way differs from server to server:

    fresh          Django's default: a connection per request
    persistent     CONN_MAX_AGE = None: a connection per thread, kept
    pool:N         Django's pool (psycopg_pool) with at most N connections in each process
    geventpool:N   django-db-geventpool with at most N connections in each process
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def _database(way: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("BENCH_DATABASE_PORT", "5432"),
        "NAME": "bench",
        "USER": "bench",
        "CONN_MAX_AGE": 0,
        "OPTIONS": {},
    }
    kind, _, size = way.partition(":")
    if kind == "persistent":
        settings["CONN_MAX_AGE"] = None
    elif kind == "pool":
        settings["OPTIONS"] = {"pool": {"min_size": int(size), "max_size": int(size)}}
    elif kind == "geventpool":
        # As the README of django-db-geventpool says: the engine for psycopg 3, CONN_MAX_AGE = 0.
        settings["ENGINE"] = "django_db_geventpool.backends.postgresql_psycopg3"
        settings["OPTIONS"] = {"MAX_CONNS": int(size), "REUSE_CONNS": int(size)}
    elif kind != "fresh":
        raise ValueError(f"BENCH_DATABASE={way}: fresh, persistent, pool:N or geventpool:N")
    return settings


SECRET_KEY = "only-for-the-benchmark"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "dj.urls"
WSGI_APPLICATION = "dj.wsgi.application"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["dj"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
    }
]
DATABASES = {"default": _database(os.environ.get("BENCH_DATABASE", "fresh"))}

# The slow HTTP API of the mixed case.
UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9/")
