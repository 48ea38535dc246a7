"""Owns the rows about the package: versions agree, types hold, the stub is true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import canter

ROOT = Path(__file__).parents[2]

ALLOWED = Path(__file__).with_name("stub_allowlist.txt")
"""What the build for tests adds to the extension."""


def test_the_python_package_and_the_crates_have_one_version():
    manifest = (ROOT / "Cargo.toml").read_text()
    package = manifest.split("[workspace.package]")[1]
    assert package.split('version = "')[1].split('"')[0] == canter.__version__


@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--no-incremental"],
        ["mypy.stubtest", "canter._worker", "--allowlist", str(ALLOWED), "--ignore-unused-allowlist"],
    ],
    ids=["mypy", "stubtest"],
)
def test_types_hold(command):
    search = {**os.environ, "MYPYPATH": str(ROOT / "python")}
    run = [sys.executable, "-m", *command]
    done = subprocess.run(run, cwd=ROOT, env=search, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_package_has_no_effect():
    program = "import sys; before = set(sys.modules); import canter; "
    program += "assert set(sys.modules) - before == {'canter'}"
    subprocess.run([sys.executable, "-c", program], check=True)
