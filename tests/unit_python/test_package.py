"""Owns the rows about the package: versions agree, types hold, the stub is true."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
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
        [
            *("mypy.stubtest", "canter._worker", "--mypy-config-file", "pyproject.toml"),
            *("--allowlist", str(ALLOWED), "--ignore-unused-allowlist"),
        ],
    ],
    ids=["mypy", "stubtest"],
)
def test_types_hold(command):
    search = {**os.environ, "MYPYPATH": str(ROOT / "python")}
    run = [sys.executable, "-m", *command]
    done = subprocess.run(run, cwd=ROOT, env=search, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_source_distribution_has_all_that_a_build_needs(tmp_path):
    program = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, check=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = [
        str(path.relative_to(ROOT))
        for folder in ("crates", "xtask", "python/canter")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".rs", ".toml", ".py", ".pyi", ".typed"}
    ]
    assert len(sources) > 100
    top = ["Cargo.toml", "Cargo.lock", "README.md", "setup.py", "LICENSE-MIT", "LICENSE-APACHE"]
    assert {*sources, *top} - names == set()
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


def test_importing_the_package_has_no_effect():
    program = "import sys; before = set(sys.modules); import canter; "
    program += "assert set(sys.modules) - before == {'canter'}; "
    program += "assert callable(canter.purge) and issubclass(canter.PurgeError, Exception)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_python_m_canter_is_the_program():
    asked = subprocess.run(
        [sys.executable, "-m", "canter", "--version"], capture_output=True, text=True, check=True
    )
    assert asked.stdout.startswith("canter ")
    wrong = subprocess.run([sys.executable, "-m", "canter", "nosuch"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "canter help" in wrong.stderr
