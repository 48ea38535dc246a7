"""``canter serve --bench-token``: what ``canter bench`` on another machine has to be told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from harness.operated import PROGRAM
from harness.server import Server

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def asked(url: str, *words: str) -> dict[str, Any]:
    """The report of a run."""
    done = subprocess.run(
        [PROGRAM, "bench", url, *words, "--json", "-", "--quiet"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a9_canter_agrees_for_its_token_alone(folder: Path) -> None:
    token, words = "0123456789abcdef", ["--users", "1", "-n", "3"]
    with Server(folder / "server", APP, "--bench-token", token) as server:
        path = f"{server.url}/.well-known/canter-bench/"
        agreed = asked(f"{path}{token}", *words)
        wrong = asked(f"{path}0123456789abcdee", *words)
        page = asked(server.url, *words)
    # 204 has no body; a wrong token is a path of the app.
    assert agreed["requests"][0]["hits"] == 3 and agreed["statuses"]["2xx"] == 3
    assert agreed["errors"] == wrong["errors"] == page["errors"] == 0
    assert wrong["bytes_in"] == page["bytes_in"] != agreed["bytes_in"]
