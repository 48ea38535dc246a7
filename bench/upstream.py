"""The slow HTTP API of the mixed case: answers any request after one second, thousands at a time.

`python upstream.py PORT [SECONDS]`. One asyncio loop, one timer per request, nothing else, so that
it is never what limits the servers under test.
"""

from __future__ import annotations

import asyncio
import sys

BODY = b'{"order": 4711, "state": "shipped", "carrier": "slow"}'
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(BODY), BODY)
)
MAX_HEAD = 16 * 1024
MAX_CONNECTIONS = 8192


class SlowAnswer(asyncio.Protocol):
    """One connection: reads one request head, waits, answers, closes."""

    __slots__ = ("delay", "head", "open", "timer", "transport")

    def __init__(self, delay: float, open: set[SlowAnswer]) -> None:
        self.delay = delay
        self.open = open
        self.head = b""
        self.timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection unless there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open.add(self)
        if len(self.open) > MAX_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Start the clock at the end of the request head."""
        self.head += data
        if b"\r\n\r\n" in self.head and self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(self.delay, self.answer)
        elif len(self.head) > MAX_HEAD and self.transport is not None:
            self.transport.abort()

    def eof_received(self) -> bool:
        """A client may close its sending side and still wait."""
        return self.timer is not None

    def answer(self) -> None:
        """Send the one answer there is."""
        if self.transport is not None:
            self.transport.write(RESPONSE)
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection and its timer."""
        self.open.discard(self)
        if self.timer is not None:
            self.timer.cancel()


async def main(port: int, delay: float) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    open_connections: set[SlowAnswer] = set()
    server = await loop.create_server(
        lambda: SlowAnswer(delay, open_connections), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0))
