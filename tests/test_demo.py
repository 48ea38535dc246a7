"""``make demo``, as the README has it: in a checkout of its own whose environment is set up already, so
that what is left is to fill the site and to serve it.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from harness.heard import Heard
from harness.operated import all_pids, clean_env, environ_of, until
from harness.pooler import url_of

if TYPE_CHECKING:
    from harness.postgres import Postgres

ROOT = Path(__file__).resolve().parent.parent
MARK = "DEMO_TEST_MARK"

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make demo`` reads of a checkout; its environment is that of these tests."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "Makefile", root)
    for name in ("tools", "examples"):
        ignored = shutil.ignore_patterns("var", "__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    dev = tool(root)
    if dev.python_version(dev.best_python()) != dev.python_version(Path(sys.executable)):
        pytest.skip("the demo would be set up for another Python than that of these tests")
    venv = root / ".venv"
    venv.mkdir()
    for part in Path(sys.prefix).iterdir():
        if not part.name.startswith("."):
            (venv / part.name).symlink_to(part)
    sources = list(dev.files_below(root / name for name in dev.SOURCES))
    wanted = [root / "tools" / "requirements.txt", dev.READER / "requirements.txt"]
    dev.stamp(venv / ".tools", wanted)
    dev.stamp(venv / ".package", sources)
    return root


def tool(root: Path) -> ModuleType:
    """``tools/dev.py`` of that checkout."""
    spec = importlib.util.spec_from_file_location("demo_dev", root / "tools" / "dev.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def family(folder: Path) -> list[int]:
    """Every process that is left of a demo in this folder."""
    mark = f"{MARK}={folder}".encode()
    return [pid for pid in all_pids() if mark in environ_of(pid).split(b"\0")]


@contextlib.contextmanager
def demo(checkout: Path, **env: str) -> Iterator[tuple[int, Heard]]:
    """``make demo`` until Ctrl-C: the port it names, and what it says. The one it would take is in use."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = str(held.getsockname()[1])
        process = subprocess.Popen(
            ["make", "demo", f"PYTHON={sys.executable}"],
            cwd=checkout,
            env=clean_env(**{MARK: str(checkout), "PORT": port, **env}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # As from a terminal: Ctrl-C reaches all of its processes.
            start_new_session=True,
        )
        with serving(process, checkout) as served:
            yield served


@contextlib.contextmanager
def serving(process: subprocess.Popen[bytes], checkout: Path) -> Iterator[tuple[int, Heard]]:
    """From its first ready worker to Ctrl-C."""
    heard = Heard(process)
    try:
        heard.wait("worker is ready", seconds=120)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", heard.wait(r"http://127\.0\.0\.1:\d"))
        assert found is not None
        yield int(found[1]), heard
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
        heard.end()
        until(lambda: not family(checkout), what="the end of every process")
    finally:
        for pid in family(checkout):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_make_demo_fills_the_site_serves_it_and_ends_with_ctrl_c(checkout: Path) -> None:
    with demo(checkout) as (port, _):
        assert ask(port, "/topics/try/")[0] == 200
        # The page that waits for the slow API has one to wait for.
        status, page = ask(port, "/slow/?delay=0")
        assert status == 200, page
    assert (checkout / "examples" / "reader" / "var" / "reader.sqlite3").exists()


def test_make_demo_on_postgresql_is_pooled(
    checkout: Path, postgres: Postgres, database: str
) -> None:
    with demo(checkout, DATABASE_URL=url_of(postgres, database)) as (port, heard):
        assert ask(port, "/topics/try/")[0] == 200
        assert ask(port, "/api/orders/")[0] == 200
        assert heard.matching("through the pool"), heard.text
    with postgres.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM reader_topic").fetchone()[0] > 50
