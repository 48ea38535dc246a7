"""Importing once and forking: what is shared, and what makes forking unsafe."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from harness.memory import rollup_kilobytes
from harness.operated import Canter, until

APP = """
import os
importer = os.getpid()
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{importer} {os.getpid()}".encode()]
"""

THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(3600,), name="reporter", daemon=True).start()
"""

SOCKET = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(listener.getsockname())
"""


def importer_and_server(canter: Canter) -> tuple[int, int]:
    importer, server = canter.get().text.split()
    return int(importer), int(server)


def test_the_app_is_imported_once_and_forked(tmp_path: Path) -> None:
    source = "print('imported', flush=True)\n" + APP
    with Canter(tmp_path, source, "-w", "2") as canter:
        canter.wait_ready(2)
        importer, server = importer_and_server(canter)
        assert importer == canter.one("zygote") != server
        assert canter.stdout.count("imported") == 1


@pytest.mark.parametrize(
    ("danger", "says"), [(THREAD, r"thread \(reporter\)"), (SOCKET, r"connections? .*127\.0\.0\.1")]
)
def test_an_app_that_is_not_safe_to_fork_is_imported_by_each_worker_and_told_why(
    tmp_path: Path, danger: str, says: str
) -> None:
    with Canter(tmp_path, APP + danger, "-w", "2") as canter:
        canter.wait_ready(2)
        importer, server = importer_and_server(canter)
        assert importer == server
        line = canter.wait_log("forking is not safe")
        assert re.search(says, line), line
        assert canter.named("zygote") == []


def test_preload_on_forks_all_the_same_and_warns(tmp_path: Path) -> None:
    with Canter(tmp_path, APP + THREAD, "-w", "1", "--preload=on") as canter:
        canter.wait_ready()
        importer, server = importer_and_server(canter)
        assert importer != server
        assert "reporter" in canter.wait_log("not safe here")


@pytest.mark.parametrize("flag", ["--preload=off", "--no-preload"])
def test_preload_off_imports_the_app_in_each_worker(tmp_path: Path, flag: str) -> None:
    with Canter(tmp_path, APP, "-w", "2", flag) as canter:
        canter.wait_ready(2)
        importer, server = importer_and_server(canter)
        assert importer == server
        assert canter.named("zygote") == []


def test_what_was_imported_is_shared_by_the_workers(tmp_path: Path) -> None:
    source = APP + "\nballast = [str(number) for number in range(300_000)]\n"
    with Canter(tmp_path, source, "-w", "2") as canter:
        canter.wait_ready(2)
        canter.get()
        for worker in canter.named("worker"):
            private = rollup_kilobytes(worker, "Private_Dirty", "Private_Clean")
            assert private < 12 << 10, private


def test_workers_that_still_import_the_app_hold_up_no_stop(tmp_path: Path) -> None:
    source = f"{THREAD}import os\nif os.path.exists('slow'): time.sleep(3600)\nopen('slow', 'w')\n"
    with Canter(tmp_path, APP + source, "-w", "2", "--graceful-timeout", "1h") as canter:
        canter.wait_log("forking is not safe")
        until(lambda: len(canter.named("worker")) == 2)
        canter.signal(signal.SIGTERM)
        assert canter.wait(15) == 0
        assert "--graceful-timeout" not in canter.log
