"""``canter profile``: where requests spend their time, sampled by the workers themselves, as a picture
and as data. Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import shop
from harness.operated import PATIENCE, PROGRAM, until
from harness.server import Server

APP = '''
import time
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    return [waits() if path == "/waits" else computes()]
def waits():
    time.sleep(0.05)
    return b"waited"
def computes():
    until = time.perf_counter() + 0.05
    total = 0
    while time.perf_counter() < until:
        total += sum(range(500))
    return b"computed"
'''

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("profiled"), APP, "--workers", "2") as server:
        # Who is not there yet when it begins is not profiled.
        server.wait_log("worker is ready", times=2)
        yield server


class Load:
    """Requests without end, from several threads, until it is left."""

    def __init__(self, server: Server, *paths: str) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(server, path)) for path in paths]

    def _ask(self, server: Server, path: str) -> None:
        while not self._over.is_set():
            shop.get(server, path)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def profile(server: Server, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command against the address of the site itself."""
    program = [PROGRAM, "profile", f"127.0.0.1:{server.port}", "-o", str(out), *words]
    done = subprocess.run(program, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done


def spent(out: Path) -> dict[str, int]:
    """Microseconds below each function of the app."""
    found: dict[str, int] = {}
    for line in out.read_text(encoding="utf-8").splitlines():
        stack, _blank, us = line.rpartition(" ")
        for name in set(re.findall(r"(\w+) \(", stack)):
            found[name] = found.get(name, 0) + int(us)
    return found


def test_d9_wall_time_counts_waiting_and_the_other_mode_computing_alone(
    server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "p.txt"
    with Load(server, "/waits", "/waits", "/computes"):
        said = profile(server, out, "1500ms").stdout
        wall = spent(out)
        profile(server, out, "1500ms", "--mode", "gil")
        held = spent(out)
    assert wall["waits"] > 0 and wall["computes"] > 0, wall
    assert "Wall time of requests: 1.5 s, 2 workers" in said and "written to" in said
    assert held["computes"] > 0 and held["computes"] > 5 * held.get("waits", 0), held


def test_d9_a_picture_is_whole_and_a_scope_is_read(server: Server, tmp_path: Path) -> None:
    with Load(server, "/waits", "/computes"):
        profile(server, tmp_path / "p.svg", "1s")
        profile(server, tmp_path / "p.json", "1s")
    picture = (tmp_path / "p.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    names = [node.get("data-n", "") for node in root.iter("{http://www.w3.org/2000/svg}g")]
    assert names[0] == "all" and any(name.startswith("waits (app.py:") for name in names), names
    scope = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    [sampled] = scope["profiles"]
    assert len(sampled["samples"]) == len(sampled["weights"])
    assert sum(sampled["weights"]) == sampled["endValue"] > 0
    frames = [frame["name"] for frame in scope["shared"]["frames"]]
    assert all(0 <= at < len(frames) for stack in sampled["samples"] for at in stack)


def test_d9_one_route_alone_is_kept_when_it_is_asked_for(tmp_path: Path) -> None:
    site = shop.copy(tmp_path, (10, 20, 60))
    with Server(site, "") as server, Load(server, "/api/orders/", "/hello/"):
        out = tmp_path / "p.txt"

        def stacks() -> list[str]:
            profile(server, out, "1s", "--route", "/api/orders/")
            return out.read_text(encoding="utf-8").splitlines()

        found = until(stacks, 60.0, "a sample of the route")
        assert all(line.startswith("/api/orders/;") for line in found)


def post(server: Server, query: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", f"/-/canter/profile?{query}", headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_d9_nobody_else_begins_one(tmp_path: Path) -> None:
    with Server(tmp_path, APP) as server:
        assert post(server, "seconds=1", Origin="https://evil.example")[0] == 404
        assert post(server, "seconds=1", Origin="null")[0] == 404
        assert post(server, "seconds=0")[0] == 400
        assert post(server, "seconds=0.05", Origin=server.url)[0] == 202
        assert post(server, "seconds=1", **{"X-Forwarded-For": "192.0.2.1"})[0] == 404


def test_d9_nothing_is_sampled_while_nobody_asks(tmp_path: Path) -> None:
    with Server(tmp_path, APP) as server:
        shop.get(server, "/computes")
        [worker] = server.named("worker")

        def threads() -> set[str]:
            tasks = Path(f"/proc/{worker}/task")
            return {(task / "comm").read_text().strip() for task in tasks.iterdir()}

        assert "canter-profile" not in threads()
        assert post(server, "seconds=600")[0] == 202
        assert post(server, "seconds=1")[0] == 409
        until(lambda: "canter-profile" in threads(), PATIENCE, "the thread that samples")
        # The server ends although a profile is being made: checked as it is left.


@pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: the flame graph is NOT tested in a browser")
def test_d9_the_flame_graph_zooms_and_is_searched_in_a_browser(
    server: Server, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    picture = tmp_path / "p.svg"
    with Load(server, "/waits", "/computes"):
        profile(server, picture, "1s")
    text = picture.read_text(encoding="utf-8")
    # Plays a person: searches, then zooms, and writes down what is to be seen.
    play = """
      search.value = "waits ("; search.dispatchEvent(new Event("input"));
      const hit = document.querySelector("g.hit");
      hit.dispatchEvent(new MouseEvent("click", { bubbles: true }));
      document.documentElement.dataset.seen = [note.textContent, hit.querySelector("rect").getAttribute("width"), document.querySelectorAll("g.gone").length > 0].join("|");
    """
    played = tmp_path / "played.svg"
    played.write_text(text.replace("]]></script>", play + "]]></script>"), encoding="utf-8")
    program = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000",
        "--dump-dom", played.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(program, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r'data-seen="([\d.]+) % of the time is in what the search has found\|100%\|true"', dom)
    assert found is not None and float(found[1]) > 0, dom[:2000]
