"""Black-box tests of the processes: what each death and each signal leads to."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from running import APP, LIMIT, Answer, Running, Slow, kill_and_wait, serving, watching


@contextlib.contextmanager
def in_background(running: Running, path: str) -> Iterator[tuple[Future[Answer], Slow]]:
    """A request that is under way inside the app, until it is let go."""
    slow = Slow(running.folder)
    try:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(running.get, path)
            try:
                slow.wait_begun()
                yield future, slow
            finally:
                slow.go()
    finally:
        slow.close()


def test_workers_are_children_of_the_supervisor_which_has_one_thread(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "2") as running:
        running.wait_ready(2)
        _, _, parent = running.get().body.split()
        assert int(parent) == running.process.pid
        assert len(running.pids_of("worker")) == 2
        threads = os.listdir(f"/proc/{running.process.pid}/task")
        assert len(threads) == 1


def test_a_dead_worker_is_replaced_and_its_end_is_told(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        assert running.get("/exit").status == 502
        died = running.wait_for("worker died")
        assert died["reason"] == "exit code 9"
        running.wait_ready(1)
        assert running.get().status == 200


def test_a_killed_zygote_hurts_nobody_and_comes_back(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        before = running.get().body
        kill_and_wait(running.pid_of("zygote"))
        assert running.get().body == before
        running.wait_for("the zygote died: workers go on, the app is imported again for later ones")
        kill_and_wait(running.pid_of("worker"))
        running.wait_ready(1)
        assert running.get().body != before


def test_a_killed_front_is_replaced_on_the_same_socket(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        inode = (tmp_path / "s").stat().st_ino
        old = running.pid_of("worker")
        with watching(old) as ended:
            kill_and_wait(running.pid_of("front"))
            # Waits in the backlog until the next front takes it.
            assert running.get().status == 200
            assert ended()
        assert (tmp_path / "s").stat().st_ino == inode


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "2") as running:
        running.wait_ready(2)
        with watching(*running.processes()) as ended:
            running.process.kill()
            assert ended()


def test_a_worker_that_never_finishes_does_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1", "--graceful-timeout", "1s") as running:
        running.wait_ready(1)
        with (
            in_background(running, "/slow") as (answer, _),
            watching(*running.processes()) as ended,
        ):
            running.process.kill()
            assert ended()
            with pytest.raises(ConnectionError):
                answer.result(LIMIT)


def test_sigterm_finishes_what_runs_and_exits_with_0(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        pids = running.processes()
        with in_background(running, "/slow") as (answer, slow), watching(*pids) as ended:
            running.signal(signal.SIGTERM)
            running.wait_for("stopping")
            slow.go()
            assert running.wait() == 0
            assert ended()
            assert answer.result(LIMIT).status == 200
        assert not (tmp_path / "s").exists()


def test_what_is_not_finished_within_the_graceful_timeout_is_ended(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1", "--graceful-timeout", "0.5s") as running:
        running.wait_ready(1)
        with in_background(running, "/slow") as (answer, _):
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
            with pytest.raises(ConnectionError):
                answer.result(LIMIT)


def test_the_second_sigint_ends_at_once_with_130(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        with in_background(running, "/slow"), watching(*running.processes()) as ended:
            running.signal(signal.SIGINT)
            running.wait_for("stopping")
            running.signal(signal.SIGINT)
            assert running.wait() == 130
            assert ended()


def test_sighup_brings_the_new_code_and_lets_the_old_finish(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        (tmp_path / "shop.py").write_text(APP.replace('"one"', '"two"'))
        with in_background(running, "/slow") as (answer, slow):
            running.signal(signal.SIGHUP)
            running.wait_for("the code was read again")
            running.wait_ready(1)
            assert running.get().body.startswith("two ")
            slow.go()
            assert answer.result(LIMIT).body.startswith("one ")


def test_new_code_that_fails_leaves_the_old_workers(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        (tmp_path / "shop.py").write_text("raise KeyError('SECRET')")
        running.signal(signal.SIGHUP)
        failed = running.wait_for("the new code cannot be imported; the old workers stay")
        assert "KeyError: 'SECRET'" in failed["reason"]
        assert any("shop.py" in line for line in running.text)
        assert running.get().body.startswith("one ")


def test_a_changed_source_file_is_a_reload(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1", "--reload") as running:
        running.wait_ready(1)
        (tmp_path / "shop.py").write_text("def broken(")
        running.wait_for("the new code cannot be imported; the old workers stay")
        assert running.get().body.startswith("one ")
        (tmp_path / "shop.py").write_text(APP.replace('"one"', '"two"'))
        running.wait_ready(1)
        assert running.get().body.startswith("two ")


def test_with_reload_a_broken_app_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text("import missing_module")
    with serving(tmp_path, "-w", "1", "--reload", app="later") as running:
        running.wait_for("the app cannot be imported; waiting for a change of its source")
        (tmp_path / "later.py").write_text(APP)
        running.wait_ready(1)
        assert running.get().status == 200


def test_sigttin_and_sigttou_change_the_number_of_workers(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as running:
        running.wait_ready(1)
        (first,) = running.pids_of("worker")
        running.signal(signal.SIGTTIN)
        assert running.wait_for("number of workers changed")["workers"] == 2
        running.wait_ready(1)
        assert len(running.pids_of("worker")) == 2
        with watching(first) as ended:
            running.signal(signal.SIGTTOU)
            assert ended()
        assert running.get().status == 200


@pytest.mark.parametrize("preload", ["--preload=auto", "--no-preload"])
@pytest.mark.parametrize(
    ("source", "app", "said"),
    [
        ("raise KeyError('SECRET')", "shop", "importing shop failed: KeyError: 'SECRET'"),
        ("", "shop", "shop has neither 'application' nor 'app'"),
        ("", "nowhere", "there is no module 'nowhere' here"),
    ],
)
def test_an_app_that_cannot_be_imported_ends_the_start_with_3(
    tmp_path: Path, preload: str, source: str, app: str, said: str
) -> None:
    (tmp_path / "shop.py").write_text(source)
    with serving(tmp_path, "-w", "2", preload, app=app) as running:
        assert running.wait() == 3
        assert f"canter: {said}" in "".join(running.text)


def test_a_zygote_that_dies_in_the_import_ends_the_start_with_3(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import os; os._exit(5)")
    with serving(tmp_path, app="shop") as running:
        assert running.wait() == 3
        assert "Python ended while it imported the app: exit code 5" in "".join(running.text)


def test_workers_that_never_become_ready_end_the_start_with_6(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import os; os._exit(5)")
    with serving(tmp_path, "-w", "1", "--no-preload", app="shop") as running:
        assert running.wait() == 6
        assert running.messages().count("worker died") > 3


@pytest.mark.parametrize("preload", ["--preload=auto", "--preload=on"])
def test_an_app_with_threads_is_served_and_the_danger_is_named(
    tmp_path: Path, preload: str
) -> None:
    (tmp_path / "threads.py").write_text(
        APP + "import threading\nthreading.Thread("
        "target=threading.Event().wait, name='reporter', daemon=True).start()\n"
    )
    with serving(tmp_path, "-w", "1", preload, app="threads") as running:
        running.wait_ready(1)
        assert running.get().status == 200
        assert any("(reporter)" in str(entry.get("found")) for entry in running.log)
        assert len(running.pids_of("zygote")) == (preload == "--preload=on")


def test_the_service_manager_hears_ready_watchdog_reloading_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        with serving(tmp_path, "-w", "1", **environment) as running:

            def hear(word: bytes) -> None:
                while not manager.recv(200).startswith(word):
                    pass

            hear(b"READY=1")
            assert running.get().status == 200
            hear(b"WATCHDOG=1")
            running.signal(signal.SIGHUP)
            hear(b"RELOADING=1\nMONOTONIC_USEC=")
            hear(b"READY=1")
            running.signal(signal.SIGTERM)
            hear(b"STOPPING=1")
            assert running.wait() == 0


def test_a_socket_in_use_is_told_with_exit_code_4(tmp_path: Path) -> None:
    with serving(tmp_path, "-w", "1") as first:
        first.wait_ready(1)
        with serving(tmp_path, "-w", "1") as second:
            assert second.wait() == 4
            assert "another server answers there" in "".join(second.text)
        assert first.get().status == 200
