"""The stage on which stories are told: PostgreSQL, a slow API, one server at a time, `canter` commands in a folder
of their own. What is told stands in `story` and `loaded`.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lib import process
from lib.environment import APPS, BENCH, Environment
from lib.measure import Services
from lib.postgres import Postgres
from lib.rounds import prepare_site_data

#: What the API takes to answer, in seconds.
API_SECONDS = 0.1
START_SECONDS = 60.0
#: The requests of a search, in `scratch`.
URLS = "urls.txt"
#: What a command that is ended has to clear up.
END_SECONDS = 10.0


@dataclass
class Found:
    """What `canter tune` chose for the requests in `URLS`, for a comparison."""

    users: int
    workers: int
    threads: int


@dataclass
class Told:
    """A story as it went: paragraphs and blocks in Markdown, and what tune chose."""

    parts: list[str] = field(default_factory=list)
    found: Found | None = None


class NothingTold(RuntimeError):
    """A story in which nothing was measured: it gets no page."""


class Stage:
    """What stands while stories are told; `with` it, so that it is cleared.

    Commands run in `scratch`, with names relative to it, so that no report has the places of one machine.
    """

    def __init__(self, environment: Environment, out: Path, seconds: int) -> None:
        self.environment, self.out, self.seconds = environment, out, seconds
        #: Of the long run, where it is not to have as many as usual.
        self.requests: int | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        try:
            self._set()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _set(self) -> None:
        self.scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        port = process.free_port()
        upstream = process.Processes(
            [[str(self.environment.python), str(BENCH / "upstream.py"), str(port), str(API_SECONDS)]],
            environment=self.environment.variables(),
            directory=APPS,
            log=self.scratch / "upstream.log",
        )
        self._stack.callback(upstream.stop)
        postgres = Postgres(self.environment.site_packages)
        self._stack.callback(postgres.stop)
        self.services = Services(self.environment, self.scratch, postgres, port)
        prepare_site_data(self.services)

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def variables(self) -> dict[str, str]:
        """The environment of every server here."""
        assert self.services.postgres is not None
        return {
            **self.environment.variables(),
            # A kept connection for each thread: as many as the cap on threads, unless the pool shares them.
            "BENCH_DATABASE": "persistent",
            "BENCH_DATABASE_PORT": str(self.services.postgres.port),
            "BENCH_UPSTREAM": f"http://127.0.0.1:{self.services.upstream_port}/",
            "TMPDIR": str(self.scratch),
            "XDG_RUNTIME_DIR": str(self.scratch),
        }

    def canter(self, words: Sequence[str], patience: float) -> subprocess.CompletedProcess[str]:
        """Run a command of Canter's to its end. The files it is told to write are not there before, so that none
        is taken for its own; one that is not done in time is ended with all it has started."""
        for flag, name in zip(words, words[1:]):
            if flag in ("--json", "--html"):
                (self.scratch / name).unlink(missing_ok=True)
        running = subprocess.Popen(
            [str(self.environment.canter), *words],
            env=self.variables(),
            cwd=self.scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            said, wrong = running.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            _end(running)
            raise NothingTold(f"`{shown(words)}` was not done after {patience:.0f} s") from None
        except BaseException:
            _end(running)
            raise
        return subprocess.CompletedProcess(running.args, running.returncode, said, wrong)

    def keep(self, name: str, server: Server | None = None) -> str:
        """Put a file that a command wrote beside the pages; answers a link to it."""
        text = (self.scratch / name).read_text()
        (self.out / name).write_text(server.usual(text) if server else text)
        return f"With charts: [{name}]({name})"

    def server(
        self, *words: str, workers: int = 1, folder: Path = APPS, variables: dict[str, str] | None = None
    ) -> Server:
        """A server, ready."""
        return Server(self, words, workers, folder, variables or {})

    def clear(self) -> None:
        """End what the last server left at the database."""
        assert self.services.postgres is not None
        self.services.postgres.disconnect()


class Server:
    """`canter serve` at a port of its own; `with` it, so that it ends."""

    def __init__(
        self, stage: Stage, words: Sequence[str], workers: int, folder: Path, variables: dict[str, str]
    ) -> None:
        self.port = process.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [str(stage.environment.canter), "serve", *words, "--bind", f"127.0.0.1:{self.port}"]
        command += ["--access-logfile", "none"]
        self._stage = stage
        self.processes = process.Processes(
            [command],
            environment=stage.variables() | variables,
            directory=folder,
            log=stage.scratch / "server.log",
        )
        deadline = time.monotonic() + START_SECONDS
        while self.processes.log.read_text(errors="replace").count("worker is ready") < workers:
            if (ended := self.processes.ended()) or time.monotonic() > deadline:
                words = ended or self.processes.last_words()
                # Nobody else would: it has not been entered.
                self.processes.stop()
                raise RuntimeError(f"the server did not start: {words}")
            time.sleep(0.05)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.processes.stop()
        self._stage.clear()

    def usual(self, text: str) -> str:
        """What speaks of this server, as of one at the port that a reader's has."""
        return text.replace(f":{self.port}", ":8000")


def _end(running: subprocess.Popen[str]) -> None:
    """End a command and all it has started; it may take a moment to stop its servers."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(running.pid, sign)
            running.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            pass
        return


def shown(words: Sequence[str]) -> str:
    """A command of Canter's as it is printed."""
    return shlex.join(["canter", *words])


def block(text: str) -> str:
    """Text as it stood in the terminal."""
    return "```\n" + "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n```"
