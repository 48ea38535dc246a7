"""``canter selftest``: Canter holds, a server that takes everything does not, and nothing but this
machine is attacked. Only the quick attacks; the slow ones take minutes and are for people.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from harness.operated import PROGRAM
from harness.server import Server

APP = """
def application(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def selftest(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "selftest", *words], capture_output=True, text=True, timeout=120, check=False
    )


class Gullible(BaseHTTPRequestHandler):
    """Takes what Python's own server takes, which is a lot."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gullible() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gullible)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_canter_holds(folder: Path) -> None:
    with Server(folder / "server", APP, "--http2", "plain") as server:
        process = server.process.pid
        ran = selftest(server.url, "--only", "S8,P,H2,H3", "--json", "--process", str(process), "--patience", "3s")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["url"] == server.url + "/"
    verdicts = {attack["id"]: attack["verdict"] for attack in report["attacks"]}
    assert verdicts == {"S8": "held", "P": "held", "H2": "held", "H3": "held"}
    for attack in report["attacks"]:
        assert attack["answered"] == attack["visitors"] == 20
        assert attack["used"] == attack["ended"] > 0
        assert attack["memory_kb"] < 20_000


@pytest.mark.slow
def test_canter_holds_against_those_that_take_their_time(folder: Path) -> None:
    with Server(folder / "slow", APP, "--http2", "plain") as server:
        process = str(server.process.pid)
        words = ("--only", "S5,S14,H7", "-c", "20", "--json", "--process", process, "--patience", "3s")
        ran = selftest(server.url, *words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    attacks = {attack["id"]: attack for attack in json.loads(ran.stdout)["attacks"]}
    # Idle connections of one client may stay as long as others have room.
    verdicts = {name: attack["verdict"] for name, attack in attacks.items()}
    assert verdicts == {"S5": "held", "S14": "tolerated", "H7": "held"}
    assert [attacks[name]["used"] for name in ("S5", "S14", "H7")] == [20, 100, 20]
    assert all(attack["answered"] == attack["visitors"] == 20 for attack in attacks.values())


def test_a_server_that_takes_broken_requests_falls(gullible: int) -> None:
    ran = selftest(f"127.0.0.1:{gullible}", "--only", "P")
    assert ran.returncode == 8
    assert "FELL" in ran.stdout and "took: both Content-Length and Transfer-Encoding" in ran.stdout


def test_http_2_that_is_not_spoken_is_no_fall(gullible: int) -> None:
    ran = selftest(f"127.0.0.1:{gullible}", "--only", "h2 rapid")
    assert ran.returncode == 0 and "not spoken" in ran.stdout


@pytest.mark.parametrize("url", ["example.org", "http://93.184.216.34/", "10.0.0.1:80", "https://127.0.0.1"])
def test_nothing_but_this_machine_is_attacked(url: str) -> None:
    ran = selftest(url)
    assert ran.returncode == 2 and "loopback" in ran.stderr + "loopback" * ("https" in url)


@pytest.mark.parametrize("word", ["S99", "S4"])
def test_an_attack_that_cannot_be_tried_is_no_success(gullible: int, word: str) -> None:
    ran = selftest(f"127.0.0.1:{gullible}", "--only", word)
    assert ran.returncode == 2 and f"`{word}`" in ran.stderr


def test_a_server_that_is_not_there_is_said_to_be_missing() -> None:
    ran = selftest("127.0.0.1:1")
    assert ran.returncode == 9 and "does not answer" in ran.stderr


def test_help_lists_the_options() -> None:
    ran = selftest("--help")
    assert ran.returncode == 0 and "--connections" in ran.stdout
