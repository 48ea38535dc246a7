"""What ``canter serve`` says when it cannot start: a sentence, where it came from, what to do,
and the exit code of ``docs/reference/exit-codes.md``.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from harness.operated import Canter, run_canter

USAGE, APP, BIND, FILE, CRASH_LOOP, PYTHON = 2, 3, 4, 5, 6, 7

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

LOCAL = ("--bind", "127.0.0.1:0", "--no-access-log")


def refused(folder: Path, code: int, *args: str, env: dict[str, str] | None = None) -> str:
    """Run ``canter serve`` with these words; its whole standard error."""
    ended = run_canter("serve", *args, cwd=folder, env=env)
    assert ended.returncode == code, ended.stderr
    assert "panicked" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("source", "name", "says"),
    [
        (HELLO, "nosuch.module", "nosuch"),
        (HELLO, "app.nosuch", "app.nosuch"),
        (HELLO, "app:nosuch", "nosuch"),
        ("x = 1", "app", "application"),
        ("application = 3", "app", "callable"),
        ("raise RuntimeError('no database here')", "app", "RuntimeError: no database here"),
        ("import nosuchlibrary", "app", "nosuchlibrary"),
        ("def application(:\n  pass", "app", "SyntaxError"),
        ("import sys; sys.exit(9)", "app", "SystemExit"),
    ],
)
@pytest.mark.parametrize("preload", ["auto", "off"])
def test_an_app_that_cannot_be_loaded_ends_the_start_with_code_3(
    tmp_path: Path, source: str, name: str, says: str, preload: str
) -> None:
    (tmp_path / "app.py").write_text(source)
    text = refused(tmp_path, APP, name, *LOCAL, f"--preload={preload}", "-w", "2")
    assert says in text
    assert "\ncanter: " in text


def test_an_app_that_ends_python_while_it_is_imported_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os; os._exit(9)")
    assert "exit code 9" in refused(tmp_path, APP, "app", *LOCAL)


def test_an_import_error_shows_the_traceback_of_the_app(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import inner")
    (tmp_path / "inner.py").write_text("def f():\n    1 / 0\nf()\n")
    text = refused(tmp_path, APP, "app", *LOCAL)
    assert "Traceback (most recent call last)" in text
    assert 'inner.py", line 2, in f' in text
    assert text.count("ZeroDivisionError") >= 1


FACTORY = """
def create_app(word):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [word.encode()]
    return application
"""


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_an_app_may_be_what_a_factory_answers(tmp_path: Path, preload: str) -> None:
    app = ("app:create_app('made')",)
    with Canter(tmp_path, FACTORY, "-w", "1", f"--preload={preload}", app=app) as canter:
        assert canter.get("/").body == b"made"


def test_a_wrong_name_gets_the_nearest_right_one(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    assert "application" in refused(tmp_path, APP, "app:aplication", *LOCAL)


def test_asgi_is_refused_until_it_exists(tmp_path: Path) -> None:
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "asgi.py").write_text("async def application(scope, r, s): pass")
    text = refused(tmp_path, USAGE, "mysite.asgi", *LOCAL)
    assert "not served yet" in text
    assert "canter serve mysite.wsgi" in text


@pytest.mark.parametrize("name", ["gevent", "eventlet", "asgi", "uvicorn.workers.UvicornWorker"])
def test_a_worker_class_that_does_not_exist_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    text = refused(tmp_path, USAGE, "app", "-k", name, *LOCAL)
    assert name in text
    assert "flag" in text and "hint:" in text


def test_a_port_in_use_names_the_process_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        text = refused(tmp_path, BIND, "app", "--bind", f"127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in text
    assert f"(pid {os.getpid()}) listens there" in text
    assert "hint: stop it, or choose another port" in text


def test_a_second_canter_on_the_same_port_names_the_first(tmp_path: Path) -> None:
    with Canter(tmp_path, HELLO, "-w", "1") as canter:
        canter.wait_ready()
        text = refused(tmp_path, BIND, "app", "--bind", f"127.0.0.1:{canter.port}")
        assert "canter" in text.split("listens there")[0]
        assert canter.get().status == 200


def test_a_port_that_is_named_twice_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    text = refused(tmp_path, BIND, "app", "-b", f":{port}", "-b", f"127.0.0.1:{port}")
    assert f"`:{port}` listens there already" in text
    assert "hint: name each port once" in text
    assert "stop it" not in text


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    # TEST-NET-1 (RFC 5737)
    text = refused(tmp_path, BIND, "app", "--bind", "192.0.2.1:8000")
    assert "this machine does not have that address" in text


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to drop rights"
)
def test_a_privileged_port_needs_rights_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit <= 1:
        pytest.skip("this machine has no privileged ports")
    ended = run_canter(
        "serve",
        "app",
        "--bind",
        f"127.0.0.1:{limit - 1}",
        cwd=tmp_path,
        wrapper=["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"],
    )
    assert ended.returncode == BIND, ended.stderr
    assert "administrator" in ended.stderr
    assert "AmbientCapabilities" in ended.stderr


def test_a_config_file_that_is_missing_is_named(tmp_path: Path) -> None:
    text = refused(tmp_path, FILE, "app", "--config", "nosuch.toml")
    assert "nosuch.toml" in text


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
@pytest.mark.parametrize(("name", "code"), [("canter.toml", FILE), ("app.py", APP)])
def test_a_file_that_may_not_be_read_is_named_with_what_to_do(
    tmp_path: Path, name: str, code: int
) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    (tmp_path / name).touch()
    (tmp_path / name).chmod(0)
    capabilities = "-dac_override,-dac_read_search"
    wrapper = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]
    ended = run_canter(
        "serve", "app", *LOCAL, cwd=tmp_path, wrapper=wrapper if os.geteuid() == 0 else []
    )
    assert ended.returncode == code, ended.stderr
    assert name in ended.stderr
    assert "hint:" in ended.stderr and "read" in ended.stderr.split("hint:")[1], ended.stderr


def test_a_config_file_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "canter.toml").mkdir()
    assert "canter.toml" in refused(tmp_path, FILE, "app")


@pytest.mark.parametrize(
    ("args", "env", "file", "says"),
    [
        (["--wrokers", "3"], {}, "", ["--wrokers", "--workers"]),
        (["-w", "many"], {}, "", ["many", "workers", "flag `-w`"]),
        (["--timeout", "-3"], {}, "", ["-3", "--timeout"]),
        (["--timeout", "3 fortnights"], {}, "", ["fortnights"]),
        (["--bind", "127.0.0.1:99999"], {}, "", ["127.0.0.1:99999"]),
        (["--daemon"], {}, "", ["--daemon", "systemd"]),
        ([], {"CANTER_WROKERS": "3"}, "", ["CANTER_WROKERS", "CANTER_WORKERS"]),
        ([], {"CANTER_WORKERS": "many"}, "", ["CANTER_WORKERS", "many"]),
        ([], {"WEB_CONCURRENCY": "many"}, "", ["WEB_CONCURRENCY", "many"]),
        ([], {"PORT": "http"}, "", ["PORT", "http"]),
        ([], {}, "wrokers = 3", ["canter.toml", "wrokers", "workers"]),
        ([], {}, "workers = 'many'", ["canter.toml", "many"]),
        ([], {}, "workers = = 3", ["canter.toml"]),
        ([], {}, "timeout = '30 parsecs'", ["canter.toml", "parsecs"]),
    ],
)
def test_a_bad_setting_stops_the_start_and_names_layer_and_value(
    tmp_path: Path, args: list[str], env: dict[str, str], file: str, says: list[str]
) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    if file:
        (tmp_path / "canter.toml").write_text(file)
    text = refused(tmp_path, USAGE, "app", *args, env=env)
    for part in says:
        assert part in text
    assert text.startswith("canter: ")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--chdir", "nosuch"], FILE, "nosuch"),
        (["--access-logfile", "nosuch/access.log"], FILE, "nosuch/access.log"),
        (["--pid", "nosuch/canter.pid"], FILE, "nosuch/canter.pid"),
        (["--python", "/nosuch/python"], PYTHON, "/nosuch/python"),
        (["--python", "/etc/hostname"], PYTHON, "/etc/hostname"),
    ],
)
def test_a_path_that_cannot_be_used_is_named(
    tmp_path: Path, args: list[str], code: int, says: str
) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    assert says in refused(tmp_path, code, "app", *LOCAL, *args)


@pytest.mark.parametrize(("source", "code"), [(HELLO, 0), ("1 / 0", APP)])
def test_check_config_loads_the_app_and_listens_on_nothing(
    tmp_path: Path, source: str, code: int
) -> None:
    (tmp_path / "app.py").write_text(source)
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        ended = run_canter("serve", "app", "--check-config", "--bind", address, cwd=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert ("ZeroDivisionError" in ended.stderr) == (code == APP)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--certfile", "nosuch.pem"], "nosuch.pem"),
        (["--access-logfile", "nosuch/access.log"], "nosuch/access.log"),
        (["--temp-dir", "nosuch"], "nosuch"),
    ],
)
def test_check_config_says_what_a_start_would_say(
    tmp_path: Path, args: list[str], says: str
) -> None:
    (tmp_path / "app.py").write_text(HELLO)
    ended = run_canter("serve", "app", "--check-config", *args, cwd=tmp_path)
    assert ended.returncode == FILE, ended.stderr
    assert says in ended.stderr


def test_serve_without_an_app_and_without_manage_py_says_what_to_write(tmp_path: Path) -> None:
    ended = run_canter("serve", *LOCAL, cwd=tmp_path)
    assert ended.returncode in (USAGE, APP), ended.stderr
    assert "manage.py" in ended.stderr and "canter serve" in ended.stderr


def test_nothing_is_left_running_after_a_failed_start(tmp_path: Path) -> None:
    with Canter(tmp_path, "1 / 0") as canter:
        assert canter.wait() == APP
        assert canter.family() == []


@pytest.mark.parametrize(
    ("deadly", "preload", "says"),
    [
        (
            "os.register_at_fork(after_in_child=lambda: os._exit(5))",
            "on",
            "cannot fork a worker .*exit code 5",
        ),
        ("os._exit(5)", "off", "worker died .*exit code 5"),
    ],
)
def test_workers_that_can_never_serve_end_the_start_with_code_6(
    tmp_path: Path, deadly: str, preload: str, says: str
) -> None:
    source = f"{HELLO}\nimport os\n{deadly}\n"
    with Canter(tmp_path, source, "-w", "1", f"--preload={preload}") as canter:
        code = canter.wait(30)
        assert code == CRASH_LOOP, canter.log
        assert len(canter.logged(says)) > 3, canter.log
        assert canter.family() == []


@pytest.mark.parametrize(
    ("words", "told", "to_do"),
    [
        ("top --nope", "there is no option `--nope`", "`canter help top`"),
        ("queries --acknowledge", "`--acknowledge` needs a value", "`canter help queries`"),
        ("doctor --cache", "`--cache` needs a value", "`canter help doctor`"),
        ("purge --all=yes", "`--all` takes no value", "`canter help purge`"),
        ("bench --nope", "--nope", "hint:"),
        ("doctor 127.0.0.1:1", "from: address `127.0.0.1:1`", "give its address"),
        ("tune app --url-list /nosuch", "cannot read `/nosuch`", "check the path"),
        ("options --max-memory-per-worker 5 app", "flag `--max-memory-per-worker`", "16"),
    ],
)
def test_wrong_words_are_answered_with_what_to_do(
    tmp_path: Path, words: str, told: str, to_do: str
) -> None:
    done = run_canter(*words.split(), cwd=tmp_path)
    assert done.returncode not in (0, 1)
    assert told in done.stderr and to_do in done.stderr, done.stderr
