"""Facts about the machine and the versions measured, for the head of the report."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

from lib.environment import ROOT, Environment


def facts(environment: Environment, postgres: str | None) -> dict[str, str]:
    """Name and value, in the order they are shown."""
    found = {
        "Date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        **box(),
        "Python": _output([str(environment.python), "-c", "import sys; print(sys.version)"]),
    }
    if postgres:
        found["PostgreSQL"] = postgres
    for name, flag in (("nginx", "-v"), ("wrk", "-v")):
        if program := environment.find(name):
            found[name] = _output([program, flag]).removeprefix("nginx version: nginx/")
    if environment.canter:
        found["Canter"] = f"{_output([str(environment.canter), '--version'])}, commit {commit()}"
    return found


def box() -> dict[str, str]:
    """What does not depend on what is measured."""
    return {
        "Processor": f"{cores()} cores, {_cpu_model()}",
        "Memory": _memory(),
        "System": f"{platform.system()} {platform.release()}, {_distribution()}",
        "Load before": f"{os.getloadavg()[0]:.2f} (1 minute)",
    }


def versions(environment: Environment) -> dict[str, str]:
    """Every distribution installed beside the servers."""
    pip = [str(environment.python), "-m", "pip", "--disable-pip-version-check", "list"]
    text = _output([*pip, "--format", "json"], whole=True)
    return {row["name"].lower(): row["version"] for row in json.loads(text or "[]")}


def cores() -> int:
    """Cores this program may use."""
    return len(os.sched_getaffinity(0))


def _output(command: list[str], *, whole: bool = False) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    text = (done.stdout or done.stderr).strip()
    return text if whole else (text.splitlines() or ["unknown"])[0]


def commit() -> str:
    """What is checked out; `unknown` where that cannot be told."""
    if not (ROOT / ".git").exists():
        return "unknown"
    # What is written in docs changes nothing that is measured.
    state = _output(["git", "status", "--porcelain", "--untracked-files=no", "--", ":!docs", ":!*.md"], whole=True)
    changed = " with changes" if state else ""
    return _output(["git", "rev-parse", "--short", "HEAD"]) + changed


def _field(path: str, name: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            key, _, value = line.replace("=", ":", 1).partition(":")
            if key.strip() == name:
                return value.strip().strip('"')
    except OSError:
        pass
    return "unknown"


def _cpu_model() -> str:
    return _field("/proc/cpuinfo", "model name")


def _memory() -> str:
    kib = _field("/proc/meminfo", "MemTotal").removesuffix(" kB")
    return f"{int(kib) / 1024**2:.1f} GiB" if kib.isdigit() else kib


def _distribution() -> str:
    return _field("/etc/os-release", "PRETTY_NAME")
