"""Pages that several machines share through Valkey: one makes a page, the others have it; a purge
reaches all; a server that is slow, gone, strange or hostile costs hits and nothing else.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.operated import PROGRAM, until
from harness.pages import is_hit, status
from harness.raw import Client, Response
from harness.server import Server
from harness.valkey import Valkey

TOKEN = "a-token-for-the-tests"
RULES = '[[cache.rules]]\npath = "/a/*"\nttl = "10m"\ngrace = "1h"\ntags = ["all-a"]\n'


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path / "valkey")
    yield valkey
    valkey.close()


class Machines:
    """Servers that share pages; each in a folder of its own."""

    def __init__(self, stack: ExitStack, folder: Path, url: str) -> None:
        self.stack, self.folder, self.url = stack, folder, url
        self.count = 0

    def start(self, *flags: str) -> Server:
        """One more, which has reached Valkey."""
        self.count += 1
        folder = self.folder / f"machine-{self.count}"
        folder.mkdir()
        (folder / "canter.toml").write_text(RULES)
        server = Server(folder, "pages", "--cache-url", self.url, "--cache-token", TOKEN, *flags)
        self.stack.enter_context(server)
        server.wait_log("the shared cache answers")
        return server


@pytest.fixture
def machines(valkey: Valkey, tmp_path: Path) -> Iterator[Machines]:
    with ExitStack() as stack:
        yield Machines(stack, tmp_path, valkey.url)


def get(server: Server, path: str, *fields: str) -> Response:
    with server.client() as client:
        return client.get(path, *fields)


def purge(server: Server, query: str) -> Response:
    with server.client() as client:
        return client.post(f"/-/purge?{query}", b"", f"Authorization: Bearer {TOKEN}")


def shared(server: Server, path: str, *fields: str) -> Response:
    """The page, once it comes from the shared tier: it is written behind the answer."""
    return until(lambda: (r := get(server, path, *fields)) and "detail=shared" in status(r) and r, 20)


def test_a_page_of_one_machine_is_a_hit_on_the_other(machines: Machines, valkey: Valkey) -> None:
    one, other = machines.start(), machines.start()
    first = get(one, "/a/page")
    assert "stored" in status(first)
    until(valkey.names, 20)
    there = get(other, "/a/page")
    assert is_hit(there) and status(there).endswith("detail=shared"), status(there)
    assert there.body == first.body
    again = get(other, "/a/page")
    assert is_hit(again) and "detail" not in status(again)


def test_what_the_app_says_is_shared_without_a_rule_and_by_what_it_varies_on(
    machines: Machines, valkey: Valkey
) -> None:
    one, other = machines.start(), machines.start()
    path = "/free?h=Cache-Control:public,%20max-age=600&h=Vary:X-Kind"
    assert "stored" in status(get(one, path, "X-Kind: a"))
    until(lambda: len(valkey.names()) == 2, 20)
    assert "detail=shared" in status(get(other, path, "X-Kind: a"))
    assert not is_hit(get(other, path, "X-Kind: b"))


@pytest.mark.parametrize(
    "word", ["url=/a/gone", "prefix=/a/", "tag=all-a", "host=test", "all=1"], ids=lambda w: w[:4]
)
def test_a_purge_on_one_is_seen_on_the_other(machines: Machines, valkey: Valkey, word: str) -> None:
    one, other = machines.start(), machines.start()
    get(one, "/a/gone")
    until(valkey.names, 20)
    assert is_hit(get(other, "/a/gone"))
    assert purge(one, f"{word}&hard=1").text.split()[-1] == "1"
    until(lambda: not is_hit(get(other, "/a/gone")), 20, "the purge at the other")


def test_a8_an_unsafe_request_on_one_is_seen_on_the_other(
    machines: Machines, valkey: Valkey
) -> None:
    one, other = machines.start(), machines.start()
    path = "/free?h=Cache-Control:max-age%3D600"
    get(one, path)
    until(valkey.names, 20)
    with other.client() as client:
        client.post(path, b"x")
    after = get(other, path)
    assert not is_hit(after)
    # Once the other hears of it, it has what was made since.
    until(lambda: get(one, path).body == after.body, 20)


def test_a_soft_purge_leaves_the_page_to_be_shown_once_more(
    machines: Machines, valkey: Valkey
) -> None:
    one, other = machines.start(), machines.start()
    get(one, "/a/soft")
    until(valkey.names, 20)
    purge(one, "url=/a/soft")
    found = get(other, "/a/soft")
    assert not is_hit(found) or "ttl=0" in status(found) or "ttl=-" in status(found), status(found)


def test_a_machine_that_was_away_does_not_show_what_was_purged(
    machines: Machines, valkey: Valkey
) -> None:
    one = machines.start()
    get(one, "/a/away")
    until(valkey.names, 20)
    late = machines.start()
    assert is_hit(get(late, "/a/away"))
    # The server forgets the connections, not the pages; one machine cannot come back for a while.
    os.kill(late.named("front")[0], signal.SIGSTOP)
    try:
        purge(one, "all=1&hard=1")
        valkey.ask("CLIENT", "KILL", "TYPE", "pubsub")
    finally:
        os.kill(late.named("front")[0], signal.SIGCONT)
    until(lambda: late.log.count("the shared cache answers") >= 2, 30)
    assert not is_hit(get(late, "/a/away"))


def test_a_purge_while_the_server_is_gone_is_told_when_it_is_back(
    machines: Machines, valkey: Valkey
) -> None:
    one, other = machines.start(), machines.start()
    get(one, "/a/later")
    until(valkey.names, 20)
    assert is_hit(get(other, "/a/later"))
    valkey.kill()
    for server in (one, other):
        server.wait_log("the shared cache is not used")
    assert is_hit(get(other, "/a/later")), "memory answers meanwhile"
    purge(one, "url=/a/later&hard=1")
    valkey.start()
    until(lambda: not is_hit(get(other, "/a/later")), 30, "the purge at the other")


def test_a_purge_that_the_server_refuses_is_not_forgotten(
    machines: Machines, valkey: Valkey
) -> None:
    """Until it has been told, nothing is taken from there: what was purged does not come back."""
    one, other = machines.start(), machines.start()
    old = get(one, "/a/full").body
    assert shared(other, "/a/full").body == old
    valkey.ask("CONFIG", "SET", "maxmemory", "1")
    assert purge(one, "url=/a/full&hard=1").status == 200
    one.wait_log("its memory is full: set `maxmemory-policy allkeys-lru` there")
    assert get(one, "/a/full").body != old
    valkey.ask("CONFIG", "SET", "maxmemory", "0")
    # The app of the other machine counts for itself: its first page looks like the purged one.
    until(lambda: "fwd" in get(other, "/a/full")["Cache-Status"], 60, "the other to forget")


def test_a_reply_without_end_is_not_waited_for(machines: Machines, valkey: Valkey) -> None:
    """Somebody has filled the log of purges with what is none."""
    one = machines.start()
    get(one, "/a/kept")
    for _ in range(28):
        valkey.ask("RPUSH", "canter:purge-log", b"x" * (1 << 20))
    valkey.ask("HINCRBY", "canter:purges", "seq", "28")
    one.wait_log("it sends more than was asked for")
    assert is_hit(get(one, "/a/kept"))


def test_a_server_that_stops_costs_hits_and_no_errors(valkey: Valkey, tmp_path: Path) -> None:
    with ExitStack() as stack:
        # Time enough for a Valkey that lives, on a machine that is loaded.
        machines = Machines(stack, tmp_path, f"unix://{valkey.path}?timeout=200ms")
        server = machines.start()
        get(server, "/a/kept")
        valkey.signal(signal.SIGSTOP)
        try:
            with server.client() as client:
                for number in range(50):
                    response = client.get(f"/a/miss-{number}")
                    assert response.status == 200 and not is_hit(response)
            server.wait_log("the shared cache is not used")
            assert is_hit(get(server, "/a/kept"))
            before = time.monotonic()
            with server.client() as client:
                for number in range(100):
                    assert client.get(f"/a/none-{number}").status == 200
            # Nobody waits for a server that is known to be silent: that would be twenty seconds.
            assert time.monotonic() - before < 15
        finally:
            valkey.signal(signal.SIGCONT)
        until(lambda: server.log.count("the shared cache answers") >= 2, 30)
        assert server.log.count("the shared cache is not used") >= 1


def entry(valkey: Valkey) -> bytes:
    (name,) = until(valkey.names, 20)
    return bytes(name)


def content(valkey: Valkey, name: bytes) -> bytes:
    length, rest = valkey.ask("GET", name).split(b"\r\n", 1)
    return rest[: int(length[1:])]


@pytest.mark.parametrize("kind", ["cut", "changed", "empty", "text", "longer", "list", "huge"])
def test_a_hostile_entry_is_ignored_and_counted(
    machines: Machines, valkey: Valkey, kind: str
) -> None:
    one, other = machines.start(), machines.start()
    get(one, "/a/hostile")
    name = entry(valkey)
    bytes_ = content(valkey, name)
    middle = len(bytes_) // 2
    hostile = {
        "cut": bytes_[:middle],
        "changed": bytes_[:middle] + bytes([bytes_[middle] ^ 1]) + bytes_[middle + 1 :],
        "empty": b"\0",
        "text": b"HTTP/1.1 200 OK\r\n\r\nevil",
        "longer": bytes_ + b"more",
        "huge": b"x" * (20 << 20),
    }
    if kind == "list":
        valkey.ask("DEL", name)
        valkey.ask("RPUSH", name, "evil")
    else:
        valkey.ask("SET", name, hostile[kind])
    response = get(other, "/a/hostile")
    assert response.status == 200 and not is_hit(response) and "evil" not in response.text
    metrics = get(other, "/-/canter/metrics", "Host: localhost").text
    if kind != "list":
        assert 'canter_cache_shared_total{what="ignored"} 1' in metrics, metrics


def test_an_entry_of_another_page_is_ignored(machines: Machines, valkey: Valkey) -> None:
    one, other = machines.start(), machines.start()
    get(one, "/a/first")
    first = entry(valkey)
    get(one, "/a/second")
    until(lambda: len(valkey.names()) == 2, 20)
    (second,) = [name for name in valkey.names() if name != first]
    valkey.ask("SET", second, content(valkey, first))
    response = get(other, "/a/second")
    assert not is_hit(response)


def test_nonsense_in_the_log_of_purges_is_a_purge_of_everything(
    machines: Machines, valkey: Valkey
) -> None:
    one = machines.start()
    get(one, "/a/log")
    assert is_hit(get(one, "/a/log"))
    valkey.ask("RPUSH", "canter:purge-log", "nonsense")
    valkey.ask("HINCRBY", "canter:purges", "seq", "1")
    valkey.ask("PUBLISH", "canter:purged", "nonsense")
    until(lambda: not is_hit(get(one, "/a/log")), 20)


def test_a_server_that_has_lost_everything_begins_a_new_log(
    machines: Machines, valkey: Valkey
) -> None:
    one, other = machines.start(), machines.start()
    get(one, "/a/flushed")
    until(valkey.names, 20)
    assert is_hit(get(other, "/a/flushed"))
    valkey.ask("FLUSHALL")
    until(lambda: not is_hit(get(other, "/a/flushed")), 20, "what may have been purged is gone")
    numbers = itertools.count()

    def has_arrived() -> bool:
        # Another page each time: what the other asked for too soon, it has made itself.
        path = f"/a/after-{next(numbers)}"
        get(one, path)
        return "detail=shared" in status(get(other, path))

    until(has_arrived, 20, "a page of the one at the other")


def test_a_wrong_password_is_said_with_what_to_do(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path / "valkey")
    valkey.ask("CONFIG", "SET", "requirepass", "s3cret-word")
    try:
        for login, words in ((":wrong-word@", "user or the password"), ("", "wants a password")):
            url = f"unix://{login}{valkey.path}"
            folder = tmp_path / f"password-{bool(login)}"
            with Server(folder, "pages", "--cache-url", url) as server:
                server.wait_log(words)
                assert get(server, "/a/x").status == 200
                assert "wrong-word" not in server.log
        folder = tmp_path / "right"
        with Server(folder, "pages", "--cache-url", f"unix://:s3cret-word@{valkey.path}") as server:
            server.wait_log("the shared cache answers")
            assert "s3cret-word" not in server.log
    finally:
        valkey.close()


@pytest.mark.parametrize(
    ("url", "env", "words"),
    [
        ("http://:s3cret@h", {}, "`http` is neither Valkey nor Redis"),
        ("redis://h/x", {}, "number of a database"),
        ("REDIS_URL", {}, "the variable `REDIS_URL` is not set"),
        ("REDIS_URL", {"REDIS_URL": "redis://:s3cret@h:x"}, "holds no address"),
    ],
)
def test_a_wrong_address_is_said_before_anything_starts(
    tmp_path: Path, url: str, env: dict[str, str], words: str
) -> None:
    done = subprocess.run(
        [PROGRAM, "serve", "nothing", "--bind", "127.0.0.1:0", "--cache-url", url],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "s3cret" not in done.stderr


def test_the_address_may_stand_in_a_variable(valkey: Valkey, tmp_path: Path) -> None:
    folder = tmp_path / "variable"
    env = {"REDIS_URL": valkey.url}
    with Server(folder, "pages", "--cache-url", "REDIS_URL", env=env) as server:
        server.wait_log("the shared cache answers")


def test_many_who_miss_ask_the_tier_once(machines: Machines, valkey: Valkey) -> None:
    one = machines.start()
    before = calls(valkey)
    with ExitStack() as stack:
        clients: list[Client] = [stack.enter_context(one.client()) for _ in range(50)]
        for client in clients:
            client.send("GET /a/many HTTP/1.1\r\nHost: test\r\n\r\n")
        for client in clients:
            assert client.response().status == 200
    # Those who come while the first looks, or while the app runs, ask nothing.
    assert calls(valkey) - before < 25


def calls(valkey: Valkey) -> int:
    found = valkey.ask("INFO", "commandstats").decode()
    lines = [line for line in found.splitlines() if line.startswith("cmdstat_getrange:")]
    return int(lines[0].split("calls=")[1].split(",")[0]) if lines else 0
