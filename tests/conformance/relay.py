"""A door that speaks TLS, and HTTP/2 by ALPN, behind it: for a client that knows plain text only.

Owns both directions of each connection, on one thread: an OpenSSL session is not for two at once. An
end is passed on as an end, a reset as a reset, and each only after all that came before it, so that a
client sees what it would see without the door. Leaves certificates to ``harness.certificates``.
"""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from select import select
from socket import AF_INET, SHUT_WR, SO_LINGER, SOCK_STREAM, SOL_SOCKET, create_connection, socket
from ssl import MemoryBIO, SSLContext, SSLError, SSLWantReadError

AT_ONCE = 65536
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: a close sends a reset (socket(7))."""


class Relay:
    """Listens on a port of loopback in plain text, and speaks TLS with ``target``."""

    def __init__(self, target: tuple[str, int], context: SSLContext) -> None:
        context.set_alpn_protocols(["h2"])
        self._target, self._context = target, context
        self._listener = socket(AF_INET, SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near: socket) -> None:
        with near:
            try:
                with create_connection(self._target) as far:
                    _Tunnel(near, far, self._context).run()
            except OSError:
                near.setsockopt(SOL_SOCKET, SO_LINGER, RESET)


class _Tunnel:
    """One connection: plain bytes at ``near``, sealed ones at ``far``."""

    def __init__(self, near: socket, far: socket, context: SSLContext) -> None:
        self._near, self._far = near, far
        self._incoming, self._outgoing = MemoryBIO(), MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._far_listens = True

    def run(self) -> None:
        """Until both sides have ended.

        Raises ``OSError`` when the far side has reset the connection, or has broken TLS.
        """
        self._shake_hands()
        reading = [self._near, self._far]
        while reading:
            for ready in select(reading, [], [])[0]:
                goes_on = self._from_near() if ready is self._near else self._from_far()
                if not goes_on:
                    reading.remove(ready)

    def _shake_hands(self) -> None:
        while True:
            try:
                self._session.do_handshake()
            except SSLWantReadError:
                self._flush()
                self._receive()
            else:
                break
        self._flush()
        assert self._session.selected_alpn_protocol() == "h2"

    def _from_near(self) -> bool:
        try:
            data = self._near.recv(AT_ONCE)
        except OSError:
            data = b""
        if data:
            self._session.write(data)
            self._flush()
        elif self._far_listens:
            with suppress(OSError):
                self._far.shutdown(SHUT_WR)
        return bool(data)

    def _from_far(self) -> bool:
        self._receive()
        while True:
            try:
                data = self._session.read(AT_ONCE)
            except SSLWantReadError:
                # A key update, say, wants an answer.
                self._flush()
                return True
            except SSLError:
                # The end of the connection without TLS's word for it (``SSLEOFError``).
                data = b""
            if not data:
                with suppress(OSError):
                    self._near.shutdown(SHUT_WR)
                return False
            with suppress(OSError):
                self._near.sendall(data)

    def _receive(self) -> None:
        sealed = self._far.recv(AT_ONCE)
        if sealed:
            self._incoming.write(sealed)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Sends what is sealed. A far side that takes nothing more may still have something to say,
        which is then read to its end."""
        sealed = self._outgoing.read()
        if sealed and self._far_listens:
            try:
                self._far.sendall(sealed)
            except OSError:
                self._far_listens = False
