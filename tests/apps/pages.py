"""Owns an app whose pages say what they were told to say of caching, and count how often they ran.

``/page?…`` answers with the fields of its query (``h=Name:value``), a status (``s=404``) and a body that
echoes what the app was sent, followed by a long text (``lines=4000``). ``/hold/…`` waits for the
test; ``/proxied/…`` says all fields that it was sent; ``/purging?url=…`` purges a page.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import canter
from reins import hold

COUNTS: dict[str, Iterator[int]] = {}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    count = next(COUNTS.setdefault(path, itertools.count(1)))
    query = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
    fields = [("Content-Type", "text/plain")]
    fields = [("Content-Type", "text/html")] if path.endswith(".css") else fields
    fields += [tuple(value.split(":", 1)) for name, value in query if name == "h"]
    status = next((value for name, value in query if name == "s"), "200")
    if path.startswith("/hold/"):
        hold(f"{path} {count}")
    if path.startswith("/csrf/"):
        fields.append(("Set-Cookie", "csrftoken=new"))
    if path == "/purging":
        status = "200" if canter.purge(url=dict(query)["url"], hard=True) else "404"
    if path.startswith("/crash/") and count > 1:
        os._exit(7)
    if path.startswith("/mended/") and count == 1:
        status = path.rsplit("/", 1)[1]
    if path.startswith("/dies/") and not os.path.exists("died"):
        hold(f"{path} {count}")
        with open("died", "w"):
            os._exit(7)
    if path.startswith("/fail/") and count > 1:
        status = "503"
    if path.startswith("/stream/"):
        start_response(f"{status} X", fields)
        return stream(path, count)
    if path.startswith("/proxied/"):
        told = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        start_response("200 OK", [*fields, ("Cache-Control", "max-age=600")])
        return [f"{count} {json.dumps(told)}".encode()]
    start_response(f"{status} X", fields)
    names = ("HTTP_COOKIE", "HTTP_ACCEPT_LANGUAGE", "HTTP_USER_AGENT", "HTTP_X_EVIL", "HTTP_HOST")
    if "named" in path:
        names += ("HTTP_X_REQUEST_ID", "HTTP_IF_NONE_MATCH", "HTTP_RANGE")
    told = " ".join(f"{name}={environ.get(name, '-')}" for name in names)
    body = f"{count} {environ['REQUEST_METHOD']} {environ['QUERY_STRING']} {told} {environ['REMOTE_ADDR']}"
    lines = int(next((value for name, value in query if name == "lines"), 0))
    text = "".join(hashlib.sha256(f"{path} {line}".encode()).hexdigest() for line in range(lines))
    return [(body + text).encode()]


def stream(path: str, count: int) -> Iterator[bytes]:
    yield f"{count} begins ".encode()
    hold(f"{path} {count}")
    if path.endswith("/broken"):
        raise RuntimeError("in the middle")
    yield b"ends"
