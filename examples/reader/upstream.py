#!/usr/bin/env python
"""A slow HTTP API for `/slow/` to wait for: answers every GET after a delay.

    python upstream.py                       on 127.0.0.1:8100, after 1 second
    python upstream.py --port 0 --delay 0.2  on a free port, which it prints

`?delay=0.5` in the address overrides the delay for one request. Standard library only; one thread
holds thousands of waiting connections, so the wait costs the caller and not this program.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
from urllib.parse import parse_qs, urlsplit

MOST_SECONDS = 60.0
READ_TIMEOUT_SECONDS = 10.0
BACKLOG = 4096
_numbers = itertools.count(1)


def response(status: str, body: dict[str, object]) -> bytes:
    """An HTTP/1.1 response that closes the connection."""
    content = json.dumps(body).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


def delay_asked(target: str, default: float) -> float:
    """The delay in the query of `target`; ValueError when it is not a number in bounds."""
    values = parse_qs(urlsplit(target).query).get("delay")
    if not values:
        return default
    delay = float(values[-1])
    if not (math.isfinite(delay) and 0 <= delay <= MOST_SECONDS):
        raise ValueError("delay is out of bounds")
    return delay


async def answer(reader: asyncio.StreamReader, default_delay: float) -> bytes:
    """Reads one request and returns its response when the delay is over."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), READ_TIMEOUT_SECONDS)
    method, _, rest = head.decode("latin-1").partition(" ")
    if method != "GET":
        return response("405 Method Not Allowed", {"error": "only GET"})
    try:
        delay = delay_asked(rest.split(" ", 1)[0], default_delay)
    except ValueError:
        return response("400 Bad Request", {"error": f"delay is 0 to {MOST_SECONDS:g} seconds"})
    await asyncio.sleep(delay)
    return response("200 OK", {"waited_seconds": delay, "number": next(_numbers)})


async def serve(host: str, port: int, default_delay: float) -> None:
    """Runs until it is cancelled."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A caller that gives up, or sends nonsense, costs its own connection only.
        with contextlib.suppress(
            OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError
        ):
            writer.write(await answer(reader, default_delay))
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(connection, host, port, backlog=BACKLOG)
    bound = server.sockets[0].getsockname()
    print(
        f"upstream on http://{bound[0]}:{bound[1]}/ answers after {default_delay:g} s", flush=True
    )
    async with server:
        await server.serve_forever()


def main() -> None:
    """Reads the options and serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A slow HTTP API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8100, help="port; 0 takes a free one")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds before each answer")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.host, options.port, options.delay))


if __name__ == "__main__":
    main()
