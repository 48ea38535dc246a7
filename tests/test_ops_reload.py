"""New workers for old ones, under load, without one request lost: by SIGHUP, by
``--max-requests``, and by ``--reload`` in development.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from harness.operated import Canter, Load, until

APP = """
import os, time
version = 1
def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        open("waits", "w").close()
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{version} {os.getpid()}".encode()]
"""


def version_of(canter: Canter) -> int:
    return int(canter.get().text.split()[0])


def test_max_requests_replaces_workers_and_loses_nothing(tmp_path: Path) -> None:
    flags = ("-w", "2", "--max-requests", "50", "--max-requests-jitter", "20")
    with Canter(tmp_path, APP, *flags) as canter:
        canter.wait_ready(2)
        with Load(canter, 4) as load:
            canter.wait_log("worker is being replaced", times=10, seconds=60)
        assert load.failures == []
        seen = {body.split()[1] for _, body in load.replies}
        assert len(seen) > 5
        until(lambda: len(canter.named("worker")) == 2, what="the old workers to end")
        assert not canter.logged("worker died")


def test_max_requests_1_gives_each_request_a_process_of_its_own(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--max-requests", "1") as canter:
        pids = []
        for number in range(5):
            canter.wait_ready(number + 1)
            pids.append(canter.get().text.split()[1])
        assert len(set(pids)) == 5


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_ten_reloads_under_load_lose_nothing_and_serve_the_new_code(
    tmp_path: Path, preload: str
) -> None:
    flags = ("-w", "2", f"--preload={preload}")
    with Canter(tmp_path, APP, *flags) as canter:
        canter.wait_ready(2)
        front = canter.one("front")
        with Load(canter, 4) as load:
            for number in range(2, 12):
                canter.write(APP.replace("version = 1", f"version = {number}"))
                canter.signal(signal.SIGHUP)
                until(lambda number=number: version_of(canter) == number)
        assert load.failures == []
        assert len(load.replies) > 200
        assert canter.one("front") == front
        # Workers are replaced one after the other.
        until(lambda: {version_of(canter) for _ in range(20)} == {11})
        until(lambda: len(canter.named("worker")) == 2, what="the old workers to end")
        assert not canter.logged("worker died")


def test_sighups_in_a_row_end_with_the_newest_code(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2") as canter:
        canter.wait_ready(2)
        with Load(canter, 2) as load:
            for number in range(2, 8):
                canter.write(APP.replace("version = 1", f"version = {number}"))
                canter.signal(signal.SIGHUP)
            until(lambda: version_of(canter) == 7)
            until(lambda: len(canter.named("worker")) == 2 and len(canter.named("zygote")) == 1)
            until(lambda: {version_of(canter) for _ in range(20)} == {7})
        assert load.failures == []


def test_a_request_that_runs_during_a_reload_is_finished_by_the_old_worker(
    tmp_path: Path,
) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        with canter.connect() as client:
            client.sendall(b"GET /wait?1 HTTP/1.1\r\nHost: a\r\n\r\n")
            until((tmp_path / "waits").exists)
            canter.write(APP.replace("version = 1", "version = 2"))
            canter.signal(signal.SIGHUP)
            until(lambda: version_of(canter) == 2)
            assert b"\r\n\r\n1 " in client.recv(65536)


@pytest.mark.parametrize("preload", ["auto", "off"])
@pytest.mark.parametrize("broken", ["1 / 0", "def application(:", "import os; os._exit(3)"])
def test_a_reload_of_broken_code_keeps_the_old_workers(
    tmp_path: Path, preload: str, broken: str
) -> None:
    with Canter(tmp_path, APP, "-w", "2", f"--preload={preload}") as canter:
        canter.wait_ready(2)
        workers = set(canter.named("worker"))
        with Load(canter, 2) as load:
            canter.write(broken)
            canter.signal(signal.SIGHUP)
            if preload == "auto":
                canter.wait_log("the old workers stay")
            else:
                canter.wait_log("cannot be imported|worker died")
            done = len(load.replies)
            until(lambda: len(load.replies) > done + 50)
            assert workers <= set(canter.named("worker"))
            if "os._exit" not in broken:
                canter.wait_log("ZeroDivisionError|SyntaxError")
            canter.write(APP.replace("version = 1", "version = 2"))
            canter.signal(signal.SIGHUP)
            until(lambda: version_of(canter) == 2)
        assert load.failures == []


DJANGO = """
from django.conf import settings
settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""

URLS = """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse(b"1 "))]
"""


def test_a_reload_of_broken_views_keeps_the_old_workers(tmp_path: Path) -> None:
    # Django imports them with the first request, so that the app itself can be imported.
    (tmp_path / "urls.py").write_text(URLS)
    with Canter(tmp_path, DJANGO, "-w", "1") as canter:
        assert version_of(canter) == 1
        canter.write("import not_installed_here", "urls.py")
        canter.signal(signal.SIGHUP)
        said = canter.wait_log("the old workers stay")
        assert "ModuleNotFoundError: No module named 'not_installed_here'" in said
        assert version_of(canter) == 1
        canter.write(URLS.replace("1 ", "2 "), "urls.py")
        canter.signal(signal.SIGHUP)
        until(lambda: version_of(canter) == 2)


def test_views_that_are_broken_from_the_start_do_not_hold_up_a_reload(tmp_path: Path) -> None:
    (tmp_path / "urls.py").write_text("import not_installed_here")
    with Canter(tmp_path, DJANGO, "-w", "1") as canter:
        assert canter.get().status == 500
        canter.write("import another_not_installed", "urls.py")
        canter.signal(signal.SIGHUP)
        canter.wait_log("the code was read again")
        assert canter.logged("the old workers stay") == []


def test_after_a_broken_reload_a_crashed_worker_is_still_replaced(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        canter.write("1 / 0")
        canter.signal(signal.SIGHUP)
        canter.wait_log("the old workers stay")
        os.kill(canter.one("worker"), signal.SIGKILL)
        assert version_of(canter) == 1


def test_a_reload_whose_import_hangs_is_given_up_for_the_next(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        canter.write("import time; open('imports', 'w').close(); time.sleep(60)")
        canter.signal(signal.SIGHUP)
        until((tmp_path / "imports").exists)
        assert version_of(canter) == 1
        canter.write(APP.replace("version = 1", "version = 3"))
        canter.signal(signal.SIGHUP)
        until(lambda: version_of(canter) == 3)
        until(lambda: len(canter.named("zygote")) == 1)


def asked_of_a_zygote_that_is_replaced(canter: Canter) -> int:
    """A worker is wanted of a zygote that stands still, then the code is read again; the new one."""
    canter.wait_ready()
    old = canter.one("zygote")
    os.kill(old, signal.SIGSTOP)
    os.kill(canter.one("worker"), signal.SIGKILL)
    canter.wait_log("worker died")
    canter.wait_log("the zygote is asked for a worker", times=2)
    canter.signal(signal.SIGHUP)
    canter.wait_log("the code was read again")
    canter.wait_ready(2)
    assert canter.get().status == 200
    return until(lambda: [pid for pid in canter.named("zygote") if pid != old])[0]


def test_a_worker_asked_of_the_old_zygote_is_not_waited_for(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--log-level", "debug") as canter:
        asked_of_a_zygote_that_is_replaced(canter)
        canter.wait_log("the zygote that was asked for a worker has gone")


@pytest.mark.slow
def test_a_worker_asked_of_the_old_zygote_does_not_end_the_new_one(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--log-level", "debug") as canter:
        zygote = asked_of_a_zygote_that_is_replaced(canter)
        # Longer than a fork may take.
        with contextlib.suppress(AssertionError):
            until(lambda: canter.logged("was not ready in time"), 33.0)
        assert canter.one("zygote") == zygote
        assert canter.logged("was not ready in time") == []


def test_reload_restarts_the_app_when_a_module_changes(tmp_path: Path) -> None:
    source = APP.replace("version = 1", "from inner import version")
    (tmp_path / "inner.py").write_text("version = 1")
    with Canter(tmp_path, source, "-w", "1", "--reload") as canter:
        assert version_of(canter) == 1
        canter.write("version = 2", "inner.py")
        until(lambda: version_of(canter) == 2)
        assert "inner.py" in canter.wait_log("source changed")


def test_reload_keeps_the_old_code_while_the_new_is_broken_and_recovers(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--reload") as canter:
        assert version_of(canter) == 1
        canter.write("def application(:")
        canter.wait_log("SyntaxError")
        canter.wait_log("the old workers stay")
        assert version_of(canter) == 1
        canter.write(APP.replace("version = 1", "version = 3"))
        until(lambda: version_of(canter) == 3)


def test_reload_waits_for_code_that_is_broken_at_the_start(tmp_path: Path) -> None:
    with Canter(tmp_path, "1 / 0", "-w", "1", "--reload") as canter:
        canter.wait_log("waiting for a change")
        canter.write(APP)
        # Until the change is seen, nobody waits for code that cannot be imported.
        until(lambda: version_of(canter) == 1)


def test_reload_watches_extra_files(tmp_path: Path) -> None:
    source = APP.replace("version = 1", "version = int(open('number.txt').read())")
    (tmp_path / "number.txt").write_text("1")
    flags = ("-w", "1", "--reload", "--reload-extra-file", "number.txt")
    with Canter(tmp_path, source, *flags) as canter:
        assert version_of(canter) == 1
        canter.write("2", "number.txt")
        until(lambda: version_of(canter) == 2)
