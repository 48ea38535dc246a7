"""Owns the server connections that Canter's pool lends to threads of the app: asking for one, putting
its socket under the driver's, and closing it when it is wanted back.

Leaves when a request begins and ends to ``canter.between``, and whether one is lent to the pool. A lent
connection is the driver's own in everything: nobody else reads it or writes to it, and to close it is to
give it back. The socket that was under the driver before stays open beside it: by its end the pool knows
that the server is free, and through it the pool says that it wants the server.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
import weakref
from typing import Any

from canter._worker import is_readable
from canter.libpq import IDLE, status

LEND = b"l\0\0\0\x04"
LENT = b"l\0\0\0\x05\x01"
NOT_LENT = b"l\0\0\0\x05\0"
"""The words of ``crates/pg/src/session/lend.rs``."""

OFTEN = 32
"""Requests of a thread within a second that make it ask. With fewer, it gains nothing to speak of."""

PAUSE = 1.0
"""Seconds between one question and the next."""

PATIENCE = 2.0
"""The pool answers at once. One that does not is about to end."""

GOODBYE = b"X\0\0\0\x04"
"""PostgreSQL's ``Terminate``, and our own word to the pool."""


class Loan:
    """One connection of the driver, which one thread uses, and the server that is lent to it, if any.

    The driver's connection is its thread's alone. Others end the server's socket instead, which the driver
    learns as it would of a server that went away.
    """

    def __init__(self, connection: Any) -> None:
        # Not the connection itself: it ends when its owner lets go of it.
        self._connection = weakref.ref(connection)
        self._requests = 0
        self._since = self._next = time.monotonic()
        self._process = os.getpid()
        self._ours: socket.socket | None = None
        self._server: socket.socket | None = None
        self._descriptors: tuple[int, int] | None = None
        # The collector may end a connection, and with it this, on the thread that has the lock.
        self._lock = threading.RLock()
        self._in_request = True
        self._is_wanted = False

    @property
    def is_lent(self) -> bool:
        """A server is lent."""
        return self._ours is not None

    def begin_request(self) -> bool:
        """Whether the connection is to be closed before this request uses it."""
        self._requests += 1
        with self._lock:
            self._in_request = True
            # Between requests the server has nothing to say but goodbye, and the pool that it wants it.
            return self._is_wanted or (self._descriptors is not None and is_readable(*self._descriptors))

    def end_request(self) -> bool:
        """Whether the connection is to be closed now that a request is over. When the thread has many
        requests, ask for a server."""
        if self._ours is None and self._requests >= OFTEN and not self._is_wanted:
            now = time.monotonic()
            is_busy = now - self._since < PAUSE and now >= self._next
            self._requests, self._since = 0, now
            connection = self._connection()
            if is_busy and connection is not None:
                self._next = now + PAUSE
                self._ask(connection)
        with self._lock:
            self._in_request = False
        return self._is_wanted

    def close(self) -> None:
        """Say that the server is free. The driver's connection has been closed before."""
        with self._lock:
            self._let_go()

    def _ask(self, connection: Any) -> None:
        try:
            descriptor: int = connection.fileno()
            if status(connection) != IDLE or is_readable(descriptor):
                return
            listener = _listener()
            ours = socket.socket(fileno=os.dup(descriptor))
        except Exception:
            # No descriptor is left, or no thread, or the connection has ended: it stays as it is.
            return
        try:
            ours.settimeout(PATIENCE)
            ours.sendall(LEND)
            server = _answer(ours)
            if server is None:
                ours.close()
                return
            self._server = socket.socket(fileno=server)
            os.dup2(server, descriptor, inheritable=False)
            self._descriptors = (ours.fileno(), server)
            self._ours = ours
            # Should nobody close the connection but the garbage collector.
            weakref.finalize(connection, self.close)
            listener.listen(ours, self)
        except Exception:
            # What the pool makes of this nobody knows: the next request gets a new connection.
            self._is_wanted = True
            self._let_go()
            ours.close()

    def want(self) -> None:
        """The pool has spoken, or ended: the server goes now, or when the request is over."""
        with self._lock:
            self._is_wanted = True
            server = self._server
            if self._in_request or server is None:
                return
            with contextlib.suppress(OSError):
                server.send(GOODBYE)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            self._let_go()

    def _let_go(self) -> None:
        ours, self._ours = self._ours, None
        server, self._server = self._server, None
        self._descriptors = None
        if server is not None:
            server.close()
        if ours is not None:
            # A fork of this process may hold it open; and it has no server to speak of.
            if self._process == os.getpid():
                with contextlib.suppress(OSError):
                    ours.send(GOODBYE, socket.MSG_DONTWAIT)
            ours.close()


class _Listener:
    """Hears of servers that are wanted back, on a thread of its own: the one that has such a server may
    have no request for long."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._loans: dict[int, weakref.ref[Loan]] = {}
        threading.Thread(target=self._run, name="canter-lent", daemon=True).start()

    def listen(self, ours: socket.socket, loan: Loan) -> None:
        """Tell ``loan`` once, when the pool has something to say on ``ours``."""
        descriptor = ours.fileno()
        self._loans[descriptor] = weakref.ref(loan)
        # A descriptor leaves by itself when it is closed.
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLONESHOT)

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                known = self._loans.pop(descriptor, None)
                loan = known() if known is not None else None
                if loan is not None:
                    loan.want()


_listening: _Listener | None = None
_first = threading.Lock()


def _listener() -> _Listener:
    global _listening
    with _first:
        if _listening is None:
            _listening = _Listener()
        return _listening


def _answer(ours: socket.socket) -> int | None:
    """The descriptor of a server, or None; an OSError when it is no answer."""
    said, control, _, _ = ours.recvmsg(len(LENT), socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    descriptors = [
        int.from_bytes(data[:4], sys.byteorder)
        for level, kind, data in control
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(data) >= 4
    ]
    if said == LENT and descriptors:
        return descriptors[0]
    for descriptor in descriptors:
        os.close(descriptor)
    if said != NOT_LENT:
        raise ConnectionError(f"the pool answered {said!r}")
    return None
