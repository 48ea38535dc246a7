"""More requests than the app can answer, offered whether or not it keeps up (an open loop): the app
goes on at its own pace, those who are turned away hear so at once, health checks are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path

from harness.operated import together, until
from harness.raw import Client
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
    # A sleep takes a little more than it says, on a loaded machine a good deal more.
    assert len(served) >= 0.5 * CAPACITY * SECONDS
    # Of 600 all but those served, those that wait, and what a loaded machine did not offer in time.
    assert len(refused) > 200
    # At once, and not after a time in the queue: that is seconds long.
    assert refused[len(refused) // 2] < 1.0
    assert all("Retry-After: " in head for status, _, head in load if status == 503)
    assert {status for status, _, _ in health} == {200} and len(health) > 5 * SECONDS
    assert sorted(seconds for _, seconds, _ in health)[len(health) // 2] < 1.0


def test_l2_a_burst_is_served_and_nobody_is_refused(folder: Path) -> None:
    with Server(folder / "burst", APP, "--threads", "1") as server:

        async def run() -> list[Answer]:
            return list(await asyncio.gather(*(ask(server.address, "/") for _ in range(150))))

        assert [status for status, _, _ in asyncio.run(run())] == [200] * 150


BROKEN = """
import os
import time


def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/bad/") and not os.path.exists("well"):
        time.sleep(30)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


def test_l8_a_part_that_fails_is_held_back_and_comes_back_by_itself(tmp_path: Path) -> None:
    # Long enough for what works, on a machine that is loaded.
    flags = ("--timeout", "4s", "--threads", "40")
    with Server(tmp_path, BROKEN, *flags) as server:

        def ask(path: str) -> int:
            with server.client() as client:
                return client.get(path).status

        assert together([lambda: ask("/bad/1")] * 8) == [504] * 8
        server.wait_log("a part of the site fails.*/bad/")
        # More at once than may try: the others hear at once, with a word on when to come back.
        waiting = [server.client() for _ in range(10)]
        for client in waiting:
            client.send("GET /bad/2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert ask("/good") == 200
        answers = [client.response() for client in waiting]
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) >= 6 and all(answer["Retry-After"] == "1" for answer in refused)
        for client in waiting:
            client.close()
        (tmp_path / "well").touch()
        until(lambda: [ask("/bad/3") for _ in range(8)] == [200] * 8, 20)
        until(lambda: ask("/bad/3") == 200 and server.logged("a part of the site works again"), 20)


ORDER = """
import json
import os
import time

ORDER = []


def application(environ, start_response):
    path = environ["PATH_INFO"]
    ORDER.append(path)
    while path == "/hold" and not os.path.exists("go"):
        time.sleep(0.01)
    body = json.dumps(ORDER).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_l7_what_is_urgent_goes_ahead_by_path_or_cookie(folder: Path) -> None:
    flags = ("--threads", "1", "--health", "--priority", "/pay/", "--priority", "cookie:sessionid")
    with Server(folder / "urgent", ORDER, *flags) as server, contextlib.ExitStack() as held:

        def send(path: str, cookie: str = "a=b") -> Client:
            client = held.enter_context(server.client())
            client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n")
            # What came before it on other connections has been read when this is answered.
            for _ in range(2):
                with server.client() as probe:
                    assert probe.get("/-/live").status == 200
            return client

        first = send("/hold")
        usual = [send(f"/usual/{number}") for number in range(20)]
        urgent = [send("/pay/now"), send("/usual/known", "b=c; sessionid=1")]
        (folder / "urgent" / "go").touch()
        for client in [first, *usual, *urgent]:
            assert client.response().status == 200
        with server.client() as client:
            order = json.loads(client.get("/order").body)
    # Behind those that the worker had been offered already, ahead of the rest.
    assert order[0] == "/hold"
    assert max(order.index("/pay/now"), order.index("/usual/known")) <= 11
