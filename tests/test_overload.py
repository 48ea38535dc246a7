"""More requests than the app can answer, offered whether or not it keeps up (an open loop): the app
goes on at its own pace, those who are turned away hear so at once, health checks are answered.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from harness.server import Server

APP = """
import time


def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0.02))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

# Few enough that the clients of this test cost next to nothing: it measures the server.
CAPACITY = 10
SECONDS = 6

Answer = tuple[int, float, str]
"""Status, seconds, head."""


async def ask(address: tuple[str, int], path: str) -> Answer:
    """One request on a connection of its own."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    finally:
        writer.close()
    return int(head.split()[1]), time.monotonic() - began, head


async def offer(address: tuple[str, int], path: str, rate: int) -> list[Answer]:
    """So many a second, each at its time; the answers up to the end. Who waits still then leaves."""
    began = time.monotonic()
    tasks = []
    for number in range(rate * SECONDS):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(ask(address, path)))
    await asyncio.sleep(max(0.0, began + SECONDS - time.monotonic()))
    answers = [task.result() for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return answers


def test_l1_ten_times_the_load_leaves_the_app_at_its_pace(folder: Path) -> None:
    flags = ("--threads", "1", "--health", "--queue-size", "2000")
    with Server(folder / "server", APP, *flags) as server:

        async def run() -> tuple[list[Answer], list[Answer]]:
            load = offer(server.address, f"/?{1 / CAPACITY}", CAPACITY * 10)
            health = offer(server.address, "/-/live", 10)
            return await asyncio.gather(load, health)

        load, health = asyncio.run(run())
    served = [seconds for status, seconds, _ in load if status == 200]
    refused = sorted(seconds for status, seconds, _ in load if status == 503)
    assert {status for status, _, _ in load} == {200, 503}
    # A sleep takes a little more than it says, so a little less than the capacity is there.
    assert len(served) >= 0.8 * CAPACITY * SECONDS
    # All but those served and ten seconds' worth of others that wait.
    assert len(refused) > (10 * SECONDS - SECONDS - 20) * CAPACITY
    assert refused[len(refused) // 2] < 0.05
    assert all("Retry-After: " in head for status, _, head in load if status == 503)
    assert {status for status, _, _ in health} == {200} and len(health) > 9 * SECONDS
    assert sorted(seconds for _, seconds, _ in health)[len(health) // 2] < 0.05


def test_l2_a_burst_is_served_and_nobody_is_refused(folder: Path) -> None:
    with Server(folder / "burst", APP, "--threads", "1") as server:

        async def run() -> list[Answer]:
            return list(await asyncio.gather(*(ask(server.address, "/") for _ in range(150))))

        assert [status for status, _, _ in asyncio.run(run())] == [200] * 150
