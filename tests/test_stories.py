"""``bench/stories.py``: a story in which nothing was measured is none, and a page has nothing of one machine.

Leaves telling them, which takes minutes, to ``make stories``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"

TRIED = {"choice": {"workers": 1, "threads": 8}, "level": 16, "binding": {"constraint": "cpu"}, "prose": []}
NOTHING = {"choice": None, "level": 1, "binding": None, "prose": ["Nothing was measured."]}


@pytest.fixture(scope="module", autouse=True)
def path_of_bench() -> Any:
    sys.path.insert(0, str(BENCH))
    yield
    sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def stories(path_of_bench: None) -> ModuleType:
    import stories

    return stories


class Scene:
    """A stage on which ``canter`` writes a given report."""

    def __init__(self, folder: Path, report: dict[str, Any], code: int = 0) -> None:
        self.scratch, self.out, self.seconds = folder / "scratch", folder / "out", 60
        self.scratch.mkdir()
        self.out.mkdir()
        self.report, self.code = report, code

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def canter(self, words: Sequence[str], patience: float) -> subprocess.CompletedProcess[str]:
        for flag, text in (("--json", json.dumps(self.report)), ("--html", "<svg/>")):
            (self.scratch / words[words.index(flag) + 1]).write_text(text)
        # Names that the report repeats have to be those that a reader can use.
        names = [word for word in words if "/" in word]
        return subprocess.CompletedProcess(list(words), self.code, f"told of {names}\n", "")

    def clear(self) -> None:
        pass

    def keep(self, name: str, server: object = None) -> str:
        return f"[{name}]({name})"


def tell(stories: ModuleType, monkeypatch: pytest.MonkeyPatch, scene: Scene, *flags: str) -> int:
    """Tell one story on it; the exit code."""
    monkeypatch.setattr(stories, "prepare_site", lambda python, canter: None)
    monkeypatch.setattr(stories, "Stage", lambda environment, out, seconds: scene)
    code: int = stories.main(["--only", "computing", "--out", str(scene.out), *flags])
    return code


def test_a_story_with_nothing_measured_fails_and_has_no_page(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, NOTHING, code=8)
    assert tell(stories, monkeypatch, scene) == 1
    assert list(scene.out.iterdir()) == []


def test_a_page_has_its_command_and_no_place_of_one_machine(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, TRIED)
    assert tell(stories, monkeypatch, scene, "--canter", "/opt/some/canter") == 0
    page = (scene.out / "computing.md").read_text()
    assert "    python3 bench/stories.py --only computing\n" in page
    assert "told of []" in page
    assert str(tmp_path) not in page and "/opt" not in page


def test_a_load_without_an_answer_is_no_story(stories: ModuleType, tmp_path: Path) -> None:
    from lib import loaded, stage

    file = tmp_path / "report.json"
    for text in ("", json.dumps({"hits": 0})):
        file.write_text(text)
        with pytest.raises(stage.NothingTold, match="no answer"):
            loaded._answered(file, "refused")
    tool = loaded._Tool(["wrk"], r"(\d+) requests in")
    assert tool.count("1200 requests in 5.00s") == 1200
    with pytest.raises(stage.NothingTold):
        tool.count("0 requests in 5.00s")


def test_an_unknown_story_is_named_with_those_there_are(
    stories: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stories.main(["--only", "nobody"]) == 2
    said = capsys.readouterr()
    assert "no story `nobody`" in said.out + said.err and "computing" in said.out + said.err


def program(folder: Path, script: str) -> Any:
    """An environment whose ``canter`` is a script."""
    canter = folder / "canter"
    canter.write_text(f"#!/bin/sh\n{script}\n")
    canter.chmod(0o755)
    return types.SimpleNamespace(canter=canter)


def runs(pid: str) -> bool:
    """Whether a process is there and not only its entry."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_command_that_is_not_done_in_time_ends_with_what_it_started_and_is_no_story(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lib.stage import NothingTold, Stage

    monkeypatch.setattr(Stage, "variables", lambda self: {})
    stage = Stage(program(tmp_path, "sleep 600 & echo $! > pid; wait"), tmp_path, 60)
    stage.scratch = tmp_path
    pid = tmp_path / "pid"
    with pytest.raises(NothingTold, match="`canter tune` was not done after 1 s"):
        stage.canter(["tune"], 1)
    started = pid.read_text().strip() if pid.is_file() else ""
    while started and runs(started):
        pass


def test_a_report_of_an_earlier_command_is_not_taken_for_its_own(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lib.stage import Stage

    monkeypatch.setattr(Stage, "variables", lambda self: {})
    stage = Stage(program(tmp_path, "exit 9"), tmp_path, 60)
    stage.scratch = tmp_path
    (tmp_path / "grid.json").write_text("{}")
    done = stage.canter(["bench", "--json", "grid.json"], 60)
    assert done.returncode == 9
    assert not (tmp_path / "grid.json").exists()


@pytest.mark.parametrize("error", [FileNotFoundError("page.html"), KeyError("choice"), ValueError("no JSON")])
def test_the_trouble_of_one_story_does_not_end_the_others(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    scene = Scene(tmp_path, TRIED)
    told: list[str] = []

    def fail(words: Sequence[str], patience: float) -> subprocess.CompletedProcess[str]:
        told.append(words[0])
        raise error

    monkeypatch.setattr(scene, "canter", fail)
    assert tell(stories, monkeypatch, scene, "--only", "computing,from-memory") == 1
    assert told == ["tune", "tune"]


def test_the_long_run_is_as_long_as_it_is_told(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, TRIED)
    seen: list[int | None] = []

    def long_run(stage: Any) -> Any:
        seen.append(stage.requests)
        return stories.telling.Told(["told"])

    story = stories.Story("long-run", "Five million requests", long_run)
    monkeypatch.setattr(stories, "STORIES", (story,))
    assert tell(stories, monkeypatch, scene, "--only", "long-run", "--requests", "50000000") == 0
    assert seen == [50_000_000]
    page = (scene.out / "long-run.md").read_text()
    assert "50,000,000 requests" in page and "--only long-run --requests 50000000" in page


def test_b6_four_nine_and_nine_with_one_thread_are_measured_in_blocks_beside_what_was_found(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lib import grid, points
    from lib.stage import Found, Told

    rates = {(4, 64): 400.0, (9, 64): 396.0, (9, 1): 250.0, (4, 16): 404.0}
    order: list[tuple[int, int]] = []

    def measure(stage: Any, users: int, setting: tuple[int, int], row: Any, *, see: bool) -> None:
        assert (stage, users, see) == ("stage", 32, True)
        # A machine that grows slower, and a hundredth of chance.
        weather = (1 - len(order) / 100) * (1.01 if len(order) % 2 else 0.99)
        order.append(setting)
        row.rates.append(rates[setting] * weather)
        row.p95.append(100.0)
        row.memory.append(30.0 * setting[0])
        row.cause = f"The server says: {setting[0]} workers."

    monkeypatch.setattr(grid, "measure", measure)
    page = points.compare("stage", Told(found=Found(32, 4, 16)))  # type: ignore[arg-type]
    blocks = [order[at : at + 4] for at in range(0, len(order), 4)]
    assert len(blocks) == grid.PAIRS and all(set(block) == set(rates) for block in blocks)
    assert len({tuple(block) for block in blocks}) > 1, "each has an order of its own"
    heading, sentence, *_ = page.split("\n\n")
    assert heading == "## 4 workers with 64 threads, 9 workers with 64 threads, or 9 workers with 1 thread?"
    assert sentence.startswith("At 32 users, 4 workers with 64 threads gave the most of the three, ")
    assert "9 workers with 1 thread gave -3" in sentence and "with 270 MB: less" in sentence
    assert "What tune found, 4 workers with 16 threads, gave " in sentence
    assert "9 workers with 64 threads gave " in sentence and "no difference that can be told" in sentence
    table = [line.split() for line in page.splitlines() if line.endswith(("tune", "three", " 8"))]
    assert [(int(row[0]), int(row[1])) for row in table] == [(4, 64), (9, 64), (9, 1), (4, 16)]
    assert "- 9 workers with 1 thread: The server says: 9 workers." in page


def test_b6_the_three_are_on_the_page_of_the_mixed_story(
    stories: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, TRIED)
    told = []

    def compare(stage: Any, found: Any) -> str:
        told.append(found.found)
        return "## The three"

    monkeypatch.setattr(stories.points, "compare", compare)
    assert tell(stories, monkeypatch, scene, "--only", "mixed") == 0
    assert [(it.users, it.workers, it.threads) for it in told] == [(16, 1, 8)]
    assert (scene.out / "mixed.md").read_text().rstrip().endswith("## The three")
    assert tell(stories, monkeypatch, scene) == 0
    assert len(told) == 1, "one page alone asks no such question"
