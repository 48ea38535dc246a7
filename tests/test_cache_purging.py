"""Which server is purged: the one that runs the app, the one of the folder, the one that is named, and never another
of the same user. Leaves which pages are meant to ``test_cache_pages``.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import canter
import pytest
from harness.control import Reins
from harness.operated import PROGRAM, refuses, until
from harness.pages import is_hit
from harness.server import Server


#: Purges the server that runs it, with `?wait` not before the test says so.
PURGING = """
import os, time
import canter
def app(environ, start_response):
    if environ["PATH_INFO"] == "/purge":
        if environ["QUERY_STRING"] == "wait":
            open("waits", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.005)
        body, kept = str(canter.purge(everything=True, hard=True)).encode(), "no-store"
    else:
        body, kept = b"page", "public, max-age=600"
    start_response("200 OK", [("Cache-Control", kept), ("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The variables of servers that only this test finds, which are also those of this process."""
    for name in ("CANTER_SOCKET", "CANTER_CACHE_TOKEN", "CANTER_PURGE_SERVER"):
        monkeypatch.delenv(name, raising=False)
    # The path of a socket is short.
    with tempfile.TemporaryDirectory() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield {"XDG_RUNTIME_DIR": runtime}


@pytest.mark.parametrize("more", [(), ("--insight=false",)])
def test_p_commands_of_the_same_user_purge_without_a_token(
    all_reins: Reins,
    tmp_path: Path,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
) -> None:
    """Servers of other tests are not found: each has its own folder for the private socket."""
    with pytest.raises(canter.PurgeError, match="no server of this user"):
        canter.purge(everything=True)
    flags = ("--cache-rule", "/* ttl=10m")
    monkeypatch.chdir(tmp_path)
    with Server(tmp_path, "pages", *flags, *more, env=env) as server, server.client() as client:
        for purge in (
            lambda: subprocess.check_output([PROGRAM, "purge", "/x", "--hard"], text=True, timeout=60),
            lambda: f"{canter.purge(url='/x', hard=True)} pages\n",
        ):
            client.get("/x")
            assert is_hit(client.get("/x"))
            assert purge() == "1 pages\n"
            assert not is_hit(client.get("/x"))
        done = subprocess.run([PROGRAM, "purge", "relative"], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and "say what to purge" in done.stderr
        with pytest.raises(canter.PurgeError, match="say what to purge"):
            canter.purge(url="relative")
        # The same words are of no use at the site's own address, which with nothing gathered is the app's.
        assert client.post("/-/canter/purge?all=1", b"", "X-Canter: 1").status == (200 if more else 404)
        assert is_hit(client.get("/x"))


def test_p_nobody_purges_another_server_than_the_one_that_is_meant(
    tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def purge(*words: str) -> str:
        done = subprocess.run(
            [PROGRAM, "purge", "--all", "--hard", *words], capture_output=True, text=True, timeout=60
        )
        return done.stdout if done.returncode == 0 else done.stderr

    with (
        Server(tmp_path / "one", PURGING, "--insight=false", env=env) as one,
        Server(tmp_path / "two", PURGING, env=env) as two,
        one.client() as first,
        two.client() as second,
    ):
        def fill() -> None:
            for client in (first, second):
                client.get("/")
                assert is_hit(client.get("/"))

        fill()
        # The app means its own server, whichever others there are.
        assert first.get("/purge").body == b"1" and is_hit(second.get("/"))
        fill()
        monkeypatch.chdir(tmp_path)
        both = [str(server.process.pid) for server in (one, two)]
        told = purge()
        assert "not said which server" in told and all(f"{pid} in {tmp_path}" in told for pid in both), told
        with pytest.raises(canter.PurgeError, match=f"{both[0]}.sock.*{both[1]}.sock|{both[1]}.sock.*{both[0]}.sock"):
            canter.purge(everything=True)
        assert is_hit(first.get("/")) and is_hit(second.get("/"))
        assert purge("--address", both[1]) == "1 pages\n"
        assert is_hit(first.get("/")) and not is_hit(second.get("/"))
        fill()
        assert purge("--address", "one") == "1 pages\n"
        assert is_hit(second.get("/"))
        fill()
        monkeypatch.chdir(tmp_path / "two")
        assert purge() == "1 pages\n" and is_hit(first.get("/"))
        fill()
        assert canter.purge(everything=True, hard=True) == 1 and is_hit(first.get("/"))
        # One that gathers nothing says so.
        done = subprocess.run([PROGRAM, "top", both[0], "--once"], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and "--insight=false" in done.stderr


def test_p_a_view_purges_while_its_request_is_finished(tmp_path: Path, env: dict[str, str]) -> None:
    """What runs when the order to stop comes goes on to its end, and may need the server for it."""
    with Server(tmp_path, PURGING, "--graceful-timeout", "60s", env=env) as server:
        with server.client() as client:
            client.get("/")
            client.send(b"GET /purge?wait HTTP/1.1\r\nHost: a\r\n\r\n")
            until((tmp_path / "waits").exists)
            server.signal(signal.SIGTERM)
            until(lambda: refuses(socket.AF_INET, server.address), what="the end of accepting")
            (tmp_path / "go").touch()
            answer = client.response()
            assert (answer.status, answer.body) == (200, b"1"), server.log
        assert server.wait() == 0


def test_p_an_app_whose_server_has_no_private_socket_purges_with_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CANTER_CACHE_TOKEN", "CANTER_PURGE_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANTER_SOCKET", "")
    flags = ("--cache-rule", "/* ttl=10m", "--cache-token", "a-token-for-the-tests")
    with Server(tmp_path, "pages", *flags) as server, server.client() as client:
        client.get("/x")
        assert is_hit(client.get("/x"))
        monkeypatch.setenv("PORT", str(server.port))
        with pytest.raises(canter.PurgeError, match="no private socket.*CANTER_CACHE_TOKEN"):
            canter.purge(url="/x", hard=True)
        monkeypatch.setenv("CANTER_CACHE_TOKEN", "a-token-for-the-tests")
        assert canter.purge(url="/x", hard=True) == 1
        assert not is_hit(client.get("/x"))


def test_the_dashboards_address_without_a_dashboard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("app = None\n")
    words = ["serve", "app", "--insight=false", "--admin-bind", "127.0.0.1:0"]
    done = subprocess.run([PROGRAM, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "`admin-bind`" in done.stderr, done.stderr
