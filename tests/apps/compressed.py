"""Owns the answers of the tests of compression: pages, streams and files, each by its path.

Leaves what becomes of them on their way out to the tests.
"""

from __future__ import annotations
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Any]
Body = Iterable[bytes]

PAGE = "".join(f"<li>item {n} of {n * 7 % 91}</li>\n" for n in range(400)).encode()
LARGE = b"".join(b"<tr><td>%d</td></tr>\n" % (n * 31337 % 9973) for n in range(80_000))


def wait_for(name: str) -> None:
    while not os.path.exists(name):
        time.sleep(0.01)


def events(turn: bytes) -> Iterator[bytes]:
    for number in range(3):
        yield b"data: event %d of %s\n\n" % (number, turn)
        wait_for(f"{turn.decode()}-{number}")


def breaks() -> Iterator[bytes]:
    yield PAGE
    yield b"<li>the last that is seen</li>"
    raise RuntimeError("in the middle")


def rows(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield b"%d;%d;a row of a long table\n" % (number, number * 17 % 1009)


def endless() -> Iterator[bytes]:
    try:
        for number in range(10**9):
            yield PAGE
    finally:
        open("left", "w").close()


def application(environ: Environ, start_response: Start) -> Body:
    path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
    status, kind = "200 OK", "text/html; charset=utf-8"
    fields: list[tuple[str, str]] = []
    body: Body = [PAGE]
    if path == "/small":
        body = [PAGE[:200]]
    elif path == "/image":
        kind, body = "image/png", [PAGE]
    elif path == "/own":
        kind = "chemical/x-pdb"
    elif path == "/json":
        kind = "application/json"
    elif path == "/done":
        fields = [("Content-Encoding", "br")]
    elif path == "/fields":
        pairs = (pair.partition("=") for pair in query.split("&"))
        fields = [(name, value) for name, _, value in pairs]
    elif path == "/length":
        fields = [("Content-Length", str(len(PAGE)))]
    elif path == "/wrong":
        fields = [("Content-Length", "17")]
    elif path == "/status":
        status = query + " Of The Test"
        body = [] if query in ("204", "304") else body
    elif path == "/etag":
        tag = chr(34) + hashlib.md5(PAGE).hexdigest() + chr(34)
        fields = [("ETag", tag)]
        if query:
            fields.append(("Cache-Control", query))
        if tag in environ.get("HTTP_IF_NONE_MATCH", ""):
            status, body = "304 Not Modified", []
        elif environ["REQUEST_METHOD"] == "PUT":
            good = environ.get("HTTP_IF_MATCH") == tag
            status = "200 OK" if good else "412 Precondition Failed"
    elif path == "/seen":
        names = ("HTTP_ACCEPT_ENCODING", "HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH", "HTTP_IF_RANGE")
        kind, body = "image/x", [repr({name: environ.get(name) for name in names}).encode()]
    elif path == "/events":
        kind, body = "text/event-stream", events(query.encode())
    elif path == "/breaks":
        body = breaks()
    elif path == "/rows":
        kind, body = "text/csv", rows(int(query))
    elif path == "/promise":
        said, given = query.split(",")
        fields = [("Content-Length", said)]
        body = iter([b"x" * 1000] * int(given))
    elif path == "/large":
        body = [LARGE]
    elif path == "/pieces":
        body = iter([LARGE[at : at + 200_000] for at in range(0, len(LARGE), 200_000)])
    elif path == "/endless":
        body = endless()
    elif path == "/file":
        with open("file.txt", "wb") as file:
            file.write(LARGE)
        wrapper = environ["wsgi.file_wrapper"]
        kind, body = "text/plain", wrapper(open("file.txt", "rb"))
        if query:
            fields = [("ETag", chr(34) + query + chr(34))]
    elif path == "/echo":
        body = [environ["wsgi.input"].read()]
    elif path == "/noise":
        body = [random.Random(7).randbytes(5000)]
    start_response(status, [("Content-Type", kind), *fields])
    return body
