"""Where options come from: flag over variable over platform over file over default, as
``canter options --json`` shows and ``canter serve`` does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.operated import Canter, run_canter

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REMOTE_ADDR"].encode()]
"""


def options(
    folder: Path, *args: str, env: dict[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    ended = run_canter("options", "--json", *args, cwd=folder, env=env)
    assert ended.returncode == 0, ended.stderr
    return {option["name"]: option for option in json.loads(ended.stdout)["options"]}


def test_a_flag_beats_a_variable_beats_the_platform_beats_the_file_beats_the_default(
    tmp_path: Path,
) -> None:
    env: dict[str, str] = {}
    args: list[str] = []

    def workers() -> tuple[list[str], str]:
        found = options(tmp_path, *args, env=env)["workers"]
        return found["values"], found["origin"]

    assert workers() == ([], "default")
    (tmp_path / "pyproject.toml").write_text("[tool.canter]\nworkers = 2\n")
    values, origin = workers()
    assert values == ["2"] and "pyproject.toml" in origin
    (tmp_path / "canter.toml").write_text("workers = 3\n")
    values, origin = workers()
    assert values == ["3"] and "canter.toml" in origin
    env["WEB_CONCURRENCY"] = "4"
    values, origin = workers()
    assert values == ["4"] and "WEB_CONCURRENCY" in origin
    env["CANTER_WORKERS"] = "5"
    values, origin = workers()
    assert values == ["5"] and "CANTER_WORKERS" in origin
    args += ["--workers", "6"]
    values, origin = workers()
    assert values == ["6"] and "--workers" in origin


@pytest.mark.parametrize(
    ("env", "name", "values"),
    [
        ({"PORT": "5000"}, "bind", [":5000"]),
        ({"PORT": "5000", "CANTER_BIND": "127.0.0.1:1"}, "bind", ["127.0.0.1:1"]),
        ({"FORWARDED_ALLOW_IPS": "10.0.0.0/8,::1"}, "forwarded-allow-ips", ["10.0.0.0/8", "::1"]),
        ({"DYNO": "web.1"}, "graceful-timeout", ["25s"]),
        ({"DYNO": "web.1", "CANTER_GRACEFUL_TIMEOUT": "7s"}, "graceful-timeout", ["7s"]),
    ],
)
def test_platform_variables_count(
    tmp_path: Path, env: dict[str, str], name: str, values: list[str]
) -> None:
    assert options(tmp_path, env=env)[name]["values"] == values


def test_secrets_of_the_app_are_not_shown(tmp_path: Path) -> None:
    ended = run_canter("options", "--json", "--env", "SECRET=hunter2", cwd=tmp_path)
    assert ended.returncode == 0 and "hunter2" not in ended.stdout


def test_port_and_web_concurrency_are_what_serve_uses(tmp_path: Path) -> None:
    env = {"PORT": "0", "WEB_CONCURRENCY": "2"}
    with Canter(tmp_path, APP, env=env, bind=()) as canter:
        canter.wait_ready(2)
        assert canter.get().text == "127.0.0.1"
        assert len(canter.named("worker")) == 2
        assert "every address of this machine" in canter.log


def test_the_environment_given_by_env_reaches_the_app(tmp_path: Path) -> None:
    source = """
    import os
    word = os.environ["WORD"]
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [word.encode(), str("WORD" in environ).encode()]
    """
    with Canter(tmp_path, source, "--env", "WORD=said", "-w", "1") as canter:
        assert canter.get().text == "saidFalse"


def test_chdir_and_pythonpath_say_where_modules_are(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helping.py").write_text("word = b'helped'")
    (tmp_path / "site" / "inner.py").write_text("from helping import word")
    source = """
    from inner import word
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [word]
    """
    flags = ("--chdir", "site", "--pythonpath", "../lib", "-w", "1")
    (tmp_path / "site" / "app.py").symlink_to(tmp_path / "app.py")
    with Canter(tmp_path, source, *flags) as canter:
        assert canter.get().text == "helped"


def test_the_pid_file_holds_the_supervisor_and_goes_with_it(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "--pid", "canter.pid", "-w", "1") as canter:
        canter.wait_ready()
        assert int((tmp_path / "canter.pid").read_text()) == canter.pid
        assert canter.stop() == 0
        assert not (tmp_path / "canter.pid").exists()


def test_the_pid_file_of_a_canter_that_runs_is_not_taken(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "--pid", "canter.pid", "-w", "1") as canter:
        canter.wait_ready()
        words = ("serve", "app", "--pid", "canter.pid", "--bind", "127.0.0.1:0")
        ended = run_canter(*words, cwd=tmp_path)
        assert ended.returncode != 0
        assert f"process {canter.pid}, a Canter that still runs" in ended.stderr
        assert "name another file" in ended.stderr
        assert int((tmp_path / "canter.pid").read_text()) == canter.pid
        (tmp_path / "canter.pid").write_text("1")
        assert canter.stop() == 0
        assert (tmp_path / "canter.pid").read_text() == "1"


def test_every_name_of_gunicorns_options_is_understood_or_answered(tmp_path: Path) -> None:
    gunicorn = pytest.importorskip("gunicorn.config")
    unanswered = []
    for setting in gunicorn.KNOWN_SETTINGS:
        for flag in setting.cli or ():
            done = run_canter("options", flag, "1", cwd=tmp_path)
            if "unknown option" in done.stderr:
                unanswered.append(flag)
        (tmp_path / "canter.toml").write_text(f"{setting.name} = 1\n")
        done = run_canter("options", cwd=tmp_path)
        (tmp_path / "canter.toml").unlink()
        if "no option is called" in done.stderr:
            unanswered.append(setting.name)
    assert unanswered == []
