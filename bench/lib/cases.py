"""The cases: which requests, how many at once, against which servers. Declared once, here."""

from __future__ import annotations

import random
from dataclasses import dataclass

RAW = "raw:application"
DJANGO = "dj.wsgi:application"

#: What is fast with one process; the other servers document no set-up with so few.
FAST = ("canter", "fastpysgi", "granian", "granian-1", "uwsgi")
ONE_PROCESS = (*FAST, "gunicorn-gthread", "gunicorn-gevent", "waitress")
EVERYONE = (*ONE_PROCESS, "gunicorn-sync", "nginx")

#: What is sent and expected, where it is not Django's own test client that says (`dj/prepare.py`).
BODIES = {
    "raw-hello": b"Hello, World!",
    "raw-10k": bytes(range(32, 112)) * 128,
    "echo": random.Random(4711).randbytes(100 * 1024),
    # Nothing that a server could shorten.
    "static-27k": random.Random(2731).randbytes(27 * 1024),
}


@dataclass(frozen=True)
class Request:
    """One kind of request; `body` and `expect` name files in the folder of bodies."""

    path: str
    expect: str
    name: str = "all"
    weight: int = 1
    body: str | None = None


@dataclass(frozen=True)
class Case:
    """One row group of the comparison."""

    name: str
    title: str
    application: str
    workers: int | None
    connections: int
    requests: tuple[Request, ...]
    peers: tuple[str, ...]
    #: `None`: as the command line says.
    seconds: float | None = None
    warm_up: float | None = None
    #: A visitor who waits longer has been failed.
    timeout: float = 30.0
    #: Measure memory at rest after one request, not speed.
    idle: bool = False
    #: Sample memory every second while under load, not only at its end.
    watch_memory: bool = False


def _django_hello(workers: int, connections: int, peers: tuple[str, ...]) -> Case:
    plural = "s" if workers > 1 else ""
    # What Django does at a request's end is skipped by a server that never calls close().
    peers = (*peers, "fastpysgi-close")
    return Case(
        f"django-hello-{workers}w-c{connections}",
        f"Django hello, {workers} worker{plural}, {connections} connections",
        DJANGO,
        workers,
        connections,
        (Request("/hello", "hello"),),
        peers,
    )


CASES = (
    Case(
        "raw-hello",
        "Raw WSGI hello (13 bytes), 1 worker, 64 connections",
        RAW,
        1,
        64,
        (Request("/", "raw-hello"),),
        ONE_PROCESS,
    ),
    Case(
        "raw-10k",
        "Raw WSGI 10 KB, 1 worker, 64 connections",
        RAW,
        1,
        64,
        (Request("/10k", "raw-10k"),),
        FAST,
    ),
    Case(
        "raw-latency",
        "Raw WSGI hello, 1 worker, one connection (latency)",
        RAW,
        1,
        1,
        (Request("/", "raw-hello"),),
        FAST,
    ),
    Case(
        "static",
        "Static file of 27 KB, 64 connections",
        RAW,
        1,
        64,
        (Request("/static/site.bin", "static-27k"),),
        ("canter-static", "nginx-static"),
    ),
    Case(
        "cache-hit",
        "Cache hit, Django hello, 1 worker, 64 connections",
        DJANGO,
        1,
        64,
        (Request("/hello", "hello"),),
        ("canter-cache", "nginx-cache", "varnish"),
    ),
    _django_hello(1, 32, FAST),
    _django_hello(1, 64, FAST),
    _django_hello(2, 32, EVERYONE),
    _django_hello(2, 64, FAST),
    Case(
        "django-page",
        "Django page with 50 ORM rows from PostgreSQL, 2 workers, 32 connections",
        DJANGO,
        2,
        32,
        (Request("/page", "page"),),
        (*EVERYONE, "fastpysgi-close", "gunicorn-geventpool"),
    ),
    Case(
        "echo",
        "Raw WSGI echo of a 100 KB POST, 1 worker, 64 connections",
        RAW,
        1,
        64,
        (Request("/echo", "echo", body="echo"),),
        ONE_PROCESS,
    ),
    Case(
        "django-echo",
        "Django echo of a 100 KB POST, 2 workers, 32 connections",
        DJANGO,
        2,
        32,
        (Request("/echo", "echo", body="echo"),),
        EVERYONE,
    ),
    Case(
        "mixed",
        "Mixed, 1000 connections: half wait 1 s for a slow HTTP API, half query PostgreSQL",
        DJANGO,
        None,
        1000,
        (Request("/api", "api", name="api"), Request("/db", "db", name="db")),
        (
            "canter",
            "gunicorn-geventpool",
            "gunicorn-gevent",
            "granian",
            "granian-350",
            "waitress",
            "waitress-200",
            "gunicorn-gthread",
            "gunicorn-sync",
            "uwsgi-threads",
            "nginx",
            "fastpysgi",
        ),
        seconds=15.0,
        warm_up=5.0,
        timeout=10.0,
        watch_memory=True,
    ),
    Case(
        "cpu",
        "Django view that computes, 2 workers, 32 connections",
        DJANGO,
        2,
        32,
        (Request("/cpu", "cpu"),),
        EVERYONE,
    ),
    Case(
        "idle",
        "Memory at rest: 1 worker, Django imported, one request served",
        DJANGO,
        1,
        1,
        (Request("/hello", "hello"),),
        ONE_PROCESS,
        seconds=3.0,
        idle=True,
    ),
)
