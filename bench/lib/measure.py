"""One measurement: one server, started fresh, under one case's load, and stopped again."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lib import process
from lib.cases import Case, Request
from lib.environment import APPS, Environment
from lib.machine import cores
from lib.peers import Launch, Peer, Plan
from lib.postgres import Postgres

START_SECONDS = 30.0
MIB = 1024


class Refused(Exception):
    """The server cannot be measured; the text says why."""


@dataclass(frozen=True)
class Services:
    """What runs beside the servers under test."""

    environment: Environment
    bodies: Path
    postgres: Postgres | None
    upstream_port: int


@dataclass
class Sample:
    """What one measurement found; `error` alone is set when there was nothing to find."""

    commands: list[str] = field(default_factory=list)
    database: str = ""
    error: str | None = None
    rps: float | None = None
    requests: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    p50_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    max_us: float | None = None
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Of the server's whole tree, PostgreSQL and the slow API not included.
    cpu_us_per_request: float | None = None
    server_cpu_seconds: float | None = None
    load_cpu_seconds: float | None = None
    seconds: float | None = None
    pss_mib: float | None = None
    front_rss_mib: float | None = None
    #: The most that the site had to PostgreSQL, looked at once a second.
    postgres_connections: int | None = None
    #: The same load from `wrk` and from `canter bench`, as a check of the generator.
    wrk_rps: float | None = None
    canter_bench_rps: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(
    case: Case,
    peer: Peer,
    services: Services,
    seconds: float,
    warm_up: float,
    live: Callable[[str], None],
    *,
    check: bool = False,
) -> Sample:
    """Run it; every fault of the server becomes the sample's error."""
    sample = Sample()
    scratch = Path(tempfile.mkdtemp(prefix="canter-bench-server-"))
    server: process.Processes | None = None
    try:
        port = process.free_port()
        plan = peer.plan(Launch(case.application, port, cores(), scratch, case.workers))
        sample.commands = [" ".join(command) for command in plan.commands]
        sample.database = plan.database
        server = _start(plan, services, scratch / "log")
        _wait_until_right(server, port, case.requests, services.bodies)
        if case.idle:
            time.sleep(seconds)
            sample.pss_mib = process.pss_kib(server.roots) / MIB
            fronts = process.same_program_children(server.roots[0])
            if peer.name == "canter" and fronts:
                sample.front_rss_mib = process.rss_kib(fronts[0]) / MIB
        else:
            _load(case, server, port, services, seconds, warm_up, sample, live)
        if ended := server.ended():
            sample.error = f"died under load, {ended}"
        elif check and not case.idle and case.requests[0].body is None and len(case.requests) == 1:
            # What the other generators make of it is no part of the measurement.
            with contextlib.suppress(OSError, RuntimeError, subprocess.SubprocessError):
                sample.wrk_rps = _wrk(case, port, services.environment, seconds)
                sample.canter_bench_rps = _canter_bench(case, port, services, seconds)
    except (Refused, OSError, RuntimeError, subprocess.SubprocessError) as error:
        sample.error = str(error)
    finally:
        if server is not None:
            server.stop()
        if services.postgres is not None:
            services.postgres.disconnect()
        shutil.rmtree(scratch, ignore_errors=True)
    return sample


def _start(plan: Plan, services: Services, log: Path) -> process.Processes:
    for command in plan.commands:
        if services.environment.find(command[0]) is None:
            raise Refused(f"there is no `{command[0]}` here")
    variables = {
        **services.environment.variables(),
        **plan.environment,
        "BENCH_DATABASE": plan.database,
        "BENCH_DATABASE_PORT": str(services.postgres.port if services.postgres else 0),
        "BENCH_UPSTREAM": f"http://127.0.0.1:{services.upstream_port}/",
    }
    return process.Processes(plan.commands, environment=variables, directory=APPS, log=log)


def _wait_until_right(
    server: process.Processes, port: int, requests: tuple[Request, ...], bodies: Path
) -> None:
    """Until the first request is answered as it must be."""
    request = requests[0]
    expected = (bodies / request.expect).read_bytes()
    body = (bodies / request.body).read_bytes() if request.body else None
    deadline = time.monotonic() + START_SECONDS
    said = "no answer"
    while time.monotonic() < deadline:
        if ended := server.ended():
            raise Refused(f"did not start, {ended}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST" if body is not None else "GET", request.path, body)
            answer = connection.getresponse()
            received = answer.read()
            if answer.status == 200 and received == expected:
                return
            said = f"{answer.status} with {len(received)} bytes, not the expected {len(expected)}"
        except (OSError, http.client.HTTPException) as error:
            said = str(error)
        finally:
            connection.close()
        time.sleep(0.05)
    raise Refused(f"did not answer rightly in {START_SECONDS:.0f} s: {said}; {server.last_words()}")


def _load(
    case: Case,
    server: process.Processes,
    port: int,
    services: Services,
    seconds: float,
    warm_up: float,
    sample: Sample,
    live: Callable[[str], None],
) -> None:
    command = [str(services.environment.load), "--connect", f"127.0.0.1:{port}"]
    command += ["--connections", str(case.connections), "--warm-up", str(warm_up)]
    command += ["--seconds", str(seconds), "--timeout", str(case.timeout)]
    for request in case.requests:
        target = f"name={request.name},path={request.path},weight={request.weight}"
        target += f",expect={services.bodies / request.expect}"
        if request.body:
            target += f",method=POST,body={services.bodies / request.body}"
        command += ["--target", target]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as load:
        try:
            cpu = _watch(load, case, server, services.postgres, sample, live)
            # The generator holds its connections until it reads a line, so that memory was
            # measured with all of them open.
            output, _ = load.communicate("\n", timeout=10)
        finally:
            load.kill()
    report = json.loads(output)
    for name in ("rps", "requests", "failed", "failures", "targets", "seconds"):
        setattr(sample, name, report[name])
    for name in ("p50_us", "p90_us", "p99_us", "max_us"):
        setattr(sample, name, report[name])
    sample.load_cpu_seconds = report["cpu_seconds"]
    sample.server_cpu_seconds = cpu
    if sample.requests:
        sample.cpu_us_per_request = cpu / sample.requests * 1e6


def _watch(
    load: subprocess.Popen[str],
    case: Case,
    server: process.Processes,
    postgres: Postgres | None,
    sample: Sample,
    live: Callable[[str], None],
) -> float:
    """Follow the generator's marks; gives the server's CPU seconds from `start` to `end`."""
    assert load.stderr is not None
    before, peak, counted = 0.0, 0, "warming up"
    last = (0.0, 0)
    for line in load.stderr:
        word, *values = line.split()
        if word == "start":
            before, counted, last = process.cpu_seconds(server.roots), "", (0.0, 0)
        elif word == "at":
            at, succeeded, failed = float(values[0]), int(values[1]), int(values[2])
            rate = (succeeded - last[1]) / max(at - last[0], 0.001)
            last = (at, succeeded)
            live(f"{counted} {rate:,.0f}/s, {failed:,} failed".strip())
            if case.watch_memory and not counted:
                peak = max(peak, process.pss_kib(server.roots))
                if postgres is not None:
                    connections = max(sample.postgres_connections or 0, postgres.connections())
                    sample.postgres_connections = connections
        elif word == "end":
            cpu = process.cpu_seconds(server.roots) - before
            peak = max(peak, process.pss_kib(server.roots))
            sample.pss_mib = peak / MIB
            return cpu
        else:
            raise Refused(f"the load generator: {line.strip()}")
    raise Refused("the load generator ended early")


def _wrk(case: Case, port: int, environment: Environment, seconds: float) -> float | None:
    program = environment.find("wrk")
    if program is None:
        return None
    address = f"http://127.0.0.1:{port}{case.requests[0].path}"
    command = [program, "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    return float(found[1]) if found and "Non-2xx" not in done.stdout else None


def _canter_bench(case: Case, port: int, services: Services, seconds: float) -> float | None:
    program = services.environment.canter
    if program is None:
        return None
    address = f"http://127.0.0.1:{port}{case.requests[0].path}"
    command = [str(program), "bench", address, "--users", str(case.connections), "--quiet"]
    command += ["-d", f"{max(1, round(seconds))}s", "--inside", "off", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    report = json.loads(done.stdout or "{}")
    return report["rate"] if report.get("hits") and not report["errors"] else None
