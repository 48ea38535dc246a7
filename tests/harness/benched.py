"""Owns servers that answer by a script, and running ``canter bench`` against them: each knows what the report has
to say.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.operated import PROGRAM

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Handler = Callable[[socket.socket], None]


def bench(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "bench", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | (env or {}),
    )


def report(*words: str) -> dict[str, Any]:
    done = bench(*words, "--json", "-", "--quiet")
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def serving(
    handler: Handler, path: Path | None = None, host: str = "127.0.0.1"
) -> Iterator[str]:
    """A server whose every connection is given to ``handler``, on a thread of its own."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(str(path) if path else (host, 0))
    listener.listen(128)

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                handler(connection)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield str(path) if path else f"http://{host}:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def requests(connection: socket.socket) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """The requests of a connection: the first line, fields, body."""
    reader = connection.makefile("rb")
    while line := reader.readline():
        fields = {}
        while (field := reader.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        yield line.decode("latin-1").strip(), fields, reader.read(int(fields.get("content-length", "0")))


def always(answer: bytes, close: bool = False) -> Handler:
    def handle(connection: socket.socket) -> None:
        for _ in requests(connection):
            connection.sendall(answer)
            if close:
                return

    return handle
