"""Owns a real MariaDB for the tests: finding its programs, a server of its own in a folder, on a socket that is
nobody else's. Leaves asking it to the site that is served.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import pymysql
import pytest

from harness.operated import PATIENCE, until
from harness.postgres import die_with_parent

DATABASE = "site"


def program(name: str) -> str:
    """The path of a program; without it the test is left out, in words that `make test` prints."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"NO MariaDB ({name}): Django on it is NOT tested; install mariadb-server-core to have that done")
    return found


class MariaDb:
    """A server with one empty database; whoever runs the tests is its `root`."""

    def __init__(self, folder: Path) -> None:
        server, install = program("mariadbd"), program("mariadb-install-db")
        folder.mkdir()
        # The path of a socket is short.
        self.socket = folder / "m.sock"
        # A server that root starts wants to be told so.
        who = ["--user=root"] if os.geteuid() == 0 else []
        data = f"--datadir={folder / 'data'}"
        made = [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db", *who]
        done = subprocess.run(made, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        self.log = folder / "log"
        words = ["--no-defaults", data, f"--socket={self.socket}", "--skip-networking", f"--log-error={self.log}"]
        quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"]
        self.process = subprocess.Popen(
            [server, *words, *quick, f"--pid-file={folder / 'pid'}", *who],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=functools.partial(die_with_parent, signal.SIGKILL),
        )

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            connection = pymysql.connect(unix_socket=str(self.socket), user="root")
        except pymysql.err.OperationalError:
            return False
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        return True

    def __enter__(self) -> MariaDb:
        try:
            until(self._answers, PATIENCE, "an answer of MariaDB")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
