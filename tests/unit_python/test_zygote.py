"""Tests of the zygote: what makes forking unsafe, and its words to the supervisor.

The process tests play the supervisor at the other end of the socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from canter import __version__, zygote

APP = "def application(environ, start_response): return []\n"


LAUNCH = """
import fcntl, json, os, sys
# First out of the way: a target may be another one's source.
given = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in json.loads(sys.argv[1])]
for index, fd in enumerate(given):
    os.dup2(fd, 3 + index)
os.execv(sys.executable, [sys.executable, "-m", "canter.zygote", *sys.argv[2:]])
"""


class Supervisor:
    """The other end of a zygote's socket."""

    def __init__(self, folder: Path, role: str, fds: list[int], **settings: object) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        given = [os.dup(fd) for fd in (theirs.fileno(), *fds)]
        order = json.dumps({"version": __version__, **settings})
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, json.dumps(given), order, role],
            pass_fds=given,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stderr=subprocess.PIPE,
            text=True,
        )
        for fd in given:
            os.close(fd)
        theirs.close()

    def hear(self) -> tuple[str, dict[str, str]]:
        kind, *lines = self.socket.recv(65536).decode().split("\n")
        return kind, dict(line.split("=", 1) for line in lines if "=" in line)

    def end(self) -> tuple[int, str]:
        self.socket.close()
        _, stderr = self.process.communicate(timeout=20)
        return self.process.returncode, stderr


@contextlib.contextmanager
def started(folder: Path, role: str = "zygote", **settings: object) -> Iterator[Supervisor]:
    supervisor = Supervisor(folder, role, [], **settings)
    try:
        yield supervisor
    finally:
        supervisor.process.kill()
        supervisor.process.communicate()


def run_alone(program: str) -> list[str]:
    """The lines that a Python process of its own prints: this one may have threads that tests
    before have left."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def test_a_process_with_one_thread_and_no_new_socket_may_be_forked() -> None:
    program = "from canter import zygote; print(zygote.find_danger(set()))"
    assert run_alone(program) == ["None"]


def test_a_thread_is_a_danger_and_is_named() -> None:
    program = """
import threading
from canter import zygote
done = threading.Event()
thread = threading.Thread(target=done.wait, name="reporter", daemon=True)
thread.start()
print(zygote.other_threads(), zygote.find_danger(set(zygote.open_sockets())))
done.set()
thread.join()
print(zygote.other_threads())
"""
    during, after = run_alone(program)
    assert during == "['reporter'] importing the app has started 1 thread (reporter)"
    assert after == "[]"


NATIVE = """
import ctypes, os
from canter import zygote
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, libc.pause, None)
"""

ENDS_AT_FORK = """
@ctypes.CFUNCTYPE(None)
def prepare():
    libc.pthread_cancel(thread)
    libc.pthread_join(thread, None)
libc.__register_atfork(prepare, None, None, None)
"""

SAY = """
print(zygote.find_danger(set(zygote.open_sockets())))
"""


def test_threads_that_a_library_ends_for_a_fork_are_no_danger() -> None:
    # As those of OpenBLAS, which NumPy brings along.
    assert run_alone(NATIVE + ENDS_AT_FORK + SAY) == ["None"]


def test_the_thread_of_an_allocator_that_knows_of_forks_is_no_danger() -> None:
    name = "libc.pthread_setname_np(thread, b'jemalloc_bg_thd')\n"
    assert run_alone(NATIVE + name + SAY) == ["None"]


def test_a_librarys_thread_that_stays_is_a_danger_and_not_called_after_canter() -> None:
    said = ["importing the app has started 1 thread (one of a native library)"]
    assert run_alone(NATIVE + SAY) == said


def test_a_fork_for_a_try_that_hangs_is_ended() -> None:
    hangs = "import time\nos.register_at_fork(after_in_child=lambda: time.sleep(3600))\n"
    quick = "zygote.TRY_SECONDS = 0.1\n"
    assert "1 thread" in run_alone(NATIVE + hangs + quick + SAY)[0]


def test_a_connection_is_a_danger_and_its_peer_is_named() -> None:
    before = set(zygote.open_sockets())
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address), server.accept()[0]:
            danger = zygote.find_danger(before)
    assert danger is not None and f"127.0.0.1:{address[1]}" in danger


def test_sockets_from_before_the_import_are_no_danger() -> None:
    one, other = socket.socketpair()
    with one, other:
        before = set(zygote.open_sockets())
        danger = zygote.find_danger(before)
    assert danger is None or "connection" not in danger


def test_a_word_has_one_line_for_each_field() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        zygote.Link(ours).say("failed", what="two\nlines=here", worker=3)
        assert theirs.recv(1000) == b"failed\nwhat=two lines=here\nworker=3"


def test_a_long_list_is_sent_in_several_words() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lines = [f"/srv/{number}/" + "x" * 200 for number in range(300)]
    with ours, theirs:
        zygote.Link(ours).say_lines("watch", lines)
        ours.close()
        heard: list[str] = []
        while word := theirs.recv(65536).decode():
            kind, *rest = word.split("\n")
            assert kind == "watch"
            heard += rest
    assert heard == lines


def test_the_zygote_loads_the_app_and_ends_with_its_socket(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with started(tmp_path, app="shop") as supervisor:
        kind, fields = supervisor.hear()
        assert kind == "loaded"
        assert fields["app"] == "shop"
        assert fields["versions"].startswith("Python 3.")
        assert "danger" not in fields
        assert supervisor.end()[0] == 0


def test_the_zygote_says_why_it_must_not_be_forked(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        APP + "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='reporter', daemon=True).start()\n"
    )
    with started(tmp_path, app="shop") as supervisor:
        kind, fields = supervisor.hear()
        assert kind == "loaded"
        assert fields["danger"] == "importing the app has started 1 thread (reporter)"
        # The thread does not keep the process alive.
        assert supervisor.end()[0] == 0


def test_an_app_that_cannot_be_imported_shows_its_own_lines_only(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def boom():\n    raise KeyError('SECRET')\nboom()\n")
    with started(tmp_path, app="shop") as supervisor:
        kind, fields = supervisor.hear()
        code, stderr = supervisor.end()
    assert (kind, code) == ("failed", 3)
    assert "KeyError" in fields["what"]
    assert "shop.py" in stderr and "importlib" not in stderr


def test_a_missing_module_has_a_hint_and_no_traceback(tmp_path: Path) -> None:
    with started(tmp_path, app="nowhere") as supervisor:
        kind, fields = supervisor.hear()
        code, stderr = supervisor.end()
    assert (kind, code, stderr) == ("failed", 3, "")
    assert "--chdir" in fields["hint"]


def test_sources_are_reported_also_when_the_import_fails(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import helper_of_shop, missing_helper\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helper_of_shop.py").touch()
    pythonpath = [str(tmp_path / "lib")]
    with started(tmp_path, app="shop", watch=True, pythonpath=pythonpath) as supervisor:
        assert supervisor.hear()[0] == "failed"
        kind, *paths = supervisor.socket.recv(65536).decode().split("\n")
    assert kind == "watch" and str(tmp_path / "lib") in paths


def test_a_fork_is_no_child_of_the_zygote_and_ends_without_its_word(tmp_path: Path) -> None:
    # The app cannot be served here, as there is no front: what counts is who was forked.
    (tmp_path / "shop.py").write_text(APP)
    with started(tmp_path, app="shop") as supervisor:
        assert supervisor.hear()[0] == "loaded"
        with open(os.devnull, "rb") as null:
            socket.send_fds(supervisor.socket, [b"fork 7"], [null.fileno()] * 4)
        kind, fields = supervisor.hear()
        assert (kind, fields["worker"]) == ("forked", "7")
        children = Path(f"/proc/{supervisor.process.pid}/task/{supervisor.process.pid}/children")
        assert children.read_text() == ""
        assert supervisor.end()[0] == 0


def test_check_says_that_the_app_can_be_served(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    for app, code in [("shop", 0), ("shop:nope", 3)]:
        order = json.dumps({"version": __version__, "app": app})
        result = subprocess.run(
            [sys.executable, "-m", "canter.zygote", order, "check"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == code, result.stderr


def test_the_module_says_who_starts_it() -> None:
    with pytest.raises(SystemExit) as ended:
        sys.exit(zygote.main([]))
    assert ended.value.code == 2


@pytest.mark.parametrize("settings", [{"version": "9.9"}, {"app": "shop", "from_tomorrow": 1}])
def test_a_program_of_another_build_is_told_so_and_what_to_do(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    with started(tmp_path, **settings) as supervisor:
        word = supervisor.socket.recv(4096).decode()
        assert word.startswith("failed\n")
        assert "are of different builds of Canter" in word
        assert "install canter again, then stop it and start it anew" in word
    result = subprocess.run(
        [sys.executable, "-m", "canter.zygote", json.dumps({"app": "shop"}), "check"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 3
    assert "different builds" in result.stderr
