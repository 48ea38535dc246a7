"""``canter tune --observe`` beside a server that runs: what it would change, and what that would save, in numbers.

Leaves searches to ``test_tune``.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.memory import own_kilobytes
from harness.operated import PROGRAM, until
from harness.server import Server


def serve(folder: Path, *flags: str) -> Server:
    return Server(folder / "site", "fourpages", "--admin-bind", f"unix:{folder / 'admin.sock'}", *flags)


def look(folder: Path, *flags: str, time: str = "1s") -> str:
    words = [str(PROGRAM), "tune", "--observe", str(folder / "admin.sock"), "--time", time, *flags]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(folder: Path, time: str = "1s") -> dict[str, Any]:
    told: dict[str, Any] = json.loads(look(folder, "--json", "-", time=time))
    return told


def asked(server: Server, path: str, *flags: str) -> None:
    words = [str(PROGRAM), "bench", server.url + path, "--quiet", *flags]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert "No request failed." in done.stdout, done.stdout + done.stderr


@contextmanager
def users(server: Server, count: int, path: str) -> Iterator[None]:
    """So many ask for a page, again and again; each has had an answer when this begins."""
    words = [str(PROGRAM), "bench", server.url + path, "--users", str(count), "-d", "10m", "--quiet"]
    load = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(server.access_lines()) >= 2 * count, 60, "answers to all users")
        yield
    finally:
        load.terminate()
        load.wait(60)


def about(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {advice["about"]: advice for advice in told["advice"]}


def own_bytes(server: Server) -> int:
    """Memory of all its processes; pages that several share count once."""
    return own_kilobytes(server.family()) * 1024


def test_b7_a_running_server_is_looked_at_and_not_changed(tmp_path: Path) -> None:
    with serve(tmp_path, "--threads", "3") as server:
        asked(server, "/memory", "-n", "1500", "--users", "2")
        before = server.children()
        told = seen(tmp_path)
        assert told["requests_ever"] >= 1500 and told["workers"] == 1
        assert told["memory"] > 0
        assert look(tmp_path).startswith("Looked for ")
        assert server.children() == before
    words = [str(PROGRAM), "tune", "--observe", str(tmp_path / "admin.sock"), "--time", "1s"]
    nobody = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert nobody.returncode == 9 and "tells nothing about itself" in nobody.stderr


def test_b7_a_page_that_waits_wants_more_threads_and_with_them_no_more(tmp_path: Path) -> None:
    with serve(tmp_path, "--threads", "1") as server, users(server, 6, "/wait"):
        told = seen(tmp_path, "2s")
        text = look(tmp_path, time="2s")
    advice = about(told)
    assert advice.keys() == {"threads"}, told
    assert advice["threads"]["change"] == "`--threads 2` or more"
    why = re.match(
        r"(\d+) % of the requests' time was waiting for a thread, up to (\d) requests at once, "
        r"while the busiest worker used 0\.\d\d cores$",
        advice["threads"]["why"],
    )
    assert why is not None, advice
    # Of six one is answered and five wait, so five of six parts of the time are waiting.
    assert int(why[1]) >= 60 and 4 <= int(why[2]) <= 6
    assert told["running_peak"] == 1, told
    assert f"- {advice['threads']['change']}: " in text and "saves" not in text
    assert text.endswith("Nothing was changed. `canter tune` tries it before you do.\n")
    with serve(tmp_path, "--threads", "6") as server, users(server, 6, "/wait"):
        told = seen(tmp_path, "2s")
    assert "threads" not in about(told), told


def test_b7_too_many_workers_are_told_with_what_they_cost_and_without_them_there_is_nothing_to_change(
    tmp_path: Path,
) -> None:
    with serve(tmp_path, "--workers", "3", "--threads", "2") as server:
        asked(server, "/memory", "-n", "1500", "--users", "2")
        told = seen(tmp_path)
        text = look(tmp_path)
        before = own_bytes(server)
    advice = about(told)
    assert advice.keys() == {"workers"}, told
    assert advice["workers"]["change"] == "`--workers 1`"
    assert re.match(r"3 workers use at most 0\.\d\d cores together at their busiest \([\d.,]+ requests a second\); 1 would be ",
                    advice["workers"]["why"]), advice  # fmt: skip
    saves = advice["workers"]["saves_bytes"]
    assert re.search(r"; saves about [\d.]+ MB\.$", text, re.MULTILINE), text
    with serve(tmp_path, "--workers", "1", "--threads", "2") as server:
        asked(server, "/memory", "-n", "1500", "--users", "2")
        told = seen(tmp_path)
        text = look(tmp_path)
        saved = before - own_bytes(server)
    # What it came to: a worker's memory differs a little from time to time.
    assert 0.5 * saved < saves < 2 * saved, (saves, saved)
    assert told["advice"] == [], told
    assert text.endswith("Nothing to change: nothing is short, and nothing is left over.\n")
