"""Owns the reins of a view: it tells the test where it is and waits until the test lets it go on,
so that a test is about an order of events and never about time.

The app's side is ``tests/apps/reins.py``: ``tell(word)`` says something and goes on, ``hold(word)``
says it and waits. The server's folder has the socket between.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from harness.operated import PATIENCE


class Held:
    """A view that waits."""

    def __init__(self, word: str, connection: socket.socket) -> None:
        self.word = word
        self._connection = connection

    def go(self) -> None:
        """Let it go on."""
        with contextlib.suppress(OSError):
            self._connection.sendall(b"!")
        self._connection.close()


class Reins:
    """The test's side."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._is_taken = False
        self.told: list[str] = []
        """Every word of ``tell`` so far, in order."""
        self._news: queue.Queue[str] = queue.Queue()
        self._held: queue.Queue[Held] = queue.Queue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "reins"))
        self._listener.listen(128)
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Reins:
        return self

    @contextlib.contextmanager
    def taken(self) -> Iterator[Reins]:
        """For the time of one test. Between tests no view waits, so that a test that has failed
        leaves nothing to the next."""
        self.forget()
        self._is_taken = True
        try:
            yield self
        finally:
            self._is_taken = False
            self._let_go()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._let_go()

    def _let_go(self) -> None:
        while not self._held.empty():
            self._held.get().go()

    def held(self) -> Held:
        """The next view that waits."""
        return self._held.get(timeout=PATIENCE)

    def held_within(self, seconds: float) -> Held:
        """The next view that waits; TimeoutError when none comes in time."""
        try:
            return self._held.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None

    def heard(self) -> str:
        """The next word of ``tell``."""
        return self._news.get(timeout=PATIENCE)

    def forget(self) -> None:
        """Drop what was told so far."""
        self.told.clear()
        while not self._news.empty():
            self._news.get()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                self._hear(connection)

    def _hear(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        # One short line: it comes whole.
        kind, _, word = connection.recv(1 << 16).decode().rstrip("\n").partition(" ")
        if kind == "hold":
            self._held.put(Held(word, connection))
            if not self._is_taken:
                self._let_go()
            return
        self.told.append(word)
        self._news.put(word)
        with connection:
            connection.sendall(b"!")
