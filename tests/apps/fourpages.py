"""Four pages that are bound by different things, for ``canter tune``: one from memory, one that waits
for something outside, one that asks a database, one that computes. ``/broken`` fails. Each import of
this module is a byte in the file that ``PAGES_IMPORTS`` names."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


if file := os.environ.get("PAGES_IMPORTS"):
    with open(file, "a") as imports:
        imports.write("x")


WAITS = {"/api": 0.05, "/wait": 0.25}


def page(path: str) -> bytes:
    if path in WAITS:
        time.sleep(WAITS[path])
    elif path == "/database":
        with sqlite3.connect(os.environ.get("PAGES_DATABASE", ":memory:")) as database:
            return str(database.execute("select count(*) from sqlite_master").fetchone()).encode()
    elif path == "/cpu":
        return str(sum(number * number for number in range(20_000))).encode()
    elif path != "/memory":
        raise LookupError(path)
    return b"ok"


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = page(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
