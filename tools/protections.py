"""Owns the proof that each protection has a test which fails without it (``tests/protections.toml``): one copy
of the tree in which every protection can be taken out by a variable of the environment, one build of it,
and one run of the tests for each row.

Leaves whether rows and source fit together to ``tests/test_protections.py``. Standard library only.

    python tools/protections.py               # all rows; needs canter installed for tests, and cargo
    python tools/protections.py S1 H5-memory  # these

An interpreter with canter and the tools in it runs the tests: this one, or ``--python``.
"""

from __future__ import annotations

import argparse
import atexit
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings the other.
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "protections.toml"

VARIABLE = "TEST_UNPROTECTED"
"""Names the rows whose protection is taken out, with spaces between them."""

SECONDS = 300
"""For the tests of one row; one that waits for what never comes has its own limits."""


@dataclass(frozen=True)
class Edit:
    file: str
    take: str
    put: str

    def of(self, row: str) -> str:
        """What stands in the place of ``take``."""
        is_named = f'value.to_string_lossy().split(\' \').any(|one| one == "{row}")'
        return self.put.replace("WITHOUT", f'std::env::var_os("{VARIABLE}").is_some_and(|value| {is_named})')


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    tests: tuple[str, ...]
    edits: tuple[Edit, ...]
    together: tuple[str, ...]

    @property
    def id(self) -> str:
        """As in the list of what a client cannot do."""
        return self.name.split("-")[0]


def rows() -> list[Row]:
    table: dict[str, dict[str, Any]] = tomllib.loads(TABLE.read_text())
    return [
        Row(
            name, row["what"], tuple(row["tests"]), tuple(Edit(**edit) for edit in row.get("edits", [])),
            tuple(row.get("with", [])),
        )
        for name, row in table.items()
    ]  # fmt: skip


def copy(tree: Path, table: list[Row]) -> None:
    """The sources, with every protection one that can be taken out; what is there already is left alone, so
    that little is built anew."""
    edited: dict[str, str] = {}
    for row in table:
        for edit in row.edits:
            source = edited.get(edit.file) or (ROOT / edit.file).read_text()
            if source.count(edit.take) != 1:
                sys.exit(f"{row.name}: {edit.file} has {source.count(edit.take)} of what is to be taken out")
            edited[edit.file] = source.replace(edit.take, edit.of(row.name))
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    names = [
        name for name in listed.split("\0")
        if (ROOT / name).is_file() and not name.startswith(("docs/", "bench/", "examples/"))
    ]  # fmt: skip
    gone = {path for path in tree.rglob("*") if path.is_file()} - {tree / name for name in names}
    for path in gone:
        path.unlink()
    for name in names:
        data = edited[name].encode() if name in edited else (ROOT / name).read_bytes()
        path = tree / name
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def cargo(tree: Path, *words: str) -> str:
    ran = subprocess.run(["cargo", *words], cwd=tree, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        sys.exit("the copy cannot be built")
    return ran.stdout


def built(tree: Path, crates: set[str]) -> dict[str, str]:
    """The programs by name: ``canter``, and the unit tests of these crates."""
    told = cargo(tree, "build", "-q", "-p", "canter", "--message-format", "json")
    for crate in sorted(crates):
        told += cargo(tree, "test", "-q", "--no-run", "--lib", "-p", crate, "--message-format", "json")
    found: dict[str, str] = {}
    for line in told.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            name = message["target"]["name"].replace("_", "-")
            found[name] = message["executable"]
    return found


def is_unit(test: str) -> bool:
    """Whether it is a crate and a name, and not one of pytest's."""
    return test.startswith("canter-")


def outcome(test: str, without: tuple[str, ...], programs: dict[str, str], python: str) -> str:
    """What becomes of the test where these are taken out: ``passes``, ``fails``, ``breaks`` (an error that is not
    the test's own, as one of a fixture) or ``is not done``, within its time."""
    crate, _, name = test.partition(" ") if is_unit(test) else ("", "", "")
    env = {**os.environ, VARIABLE: " ".join(without), "CANTER_PROGRAM": programs["canter"]}
    if name:
        command = [programs[crate], "--quiet", name]
    else:
        command = [python, "-m", "pytest", "-q", "-x", "-rfE", "-p", "no:cacheprovider", test]
    try:
        ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"is not done within {SECONDS} s"
    said = ran.stdout + ran.stderr
    ran_none = " 0 passed" in said.replace("\n0 passed", " 0 passed") and not ran.returncode
    if ran_none or ran.returncode not in (0, 1, 101) or (" skipped" in said and " passed" not in said):
        sys.exit(f"{test} was not run:\n{said[-2000:]}")
    if ran.returncode == 0:
        return "passes"
    return "fails" if is_failure(test, said) else "breaks"


def is_failure(test: str, said: str) -> bool:
    """Whether it was the test that failed, by its own line in what was said."""
    lines = said.splitlines()
    if is_unit(test):
        name = test.partition(" ")[2]
        return any(line.startswith("    ") and line.strip().endswith(name) for line in lines)
    is_failed = any(line.startswith(f"FAILED {test}") for line in lines)
    return is_failed and not any(line.startswith("ERROR ") for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", help="names of rows; all of them if none is given")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the tests")
    parser.add_argument("--at-once", type=int, default=2, help="tests at a time")
    wanted = parser.parse_args()
    table = rows()
    chosen = [row for row in table if not wanted.rows or row.name in wanted.rows or row.id in wanted.rows]
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    tree = target / "protections"
    copy(tree, table)
    # Not that of the tree: cargo takes two trees with one layout for the same, and the one for built.
    os.environ["CARGO_TARGET_DIR"] = str(target / "protections-built")
    tests = [(row, test) for row in chosen for test in row.tests]
    programs = built(tree, {test.split(" ")[0] for _, test in tests if is_unit(test)})
    # Beside the interpreter that it serves with.
    beside = Path(wanted.python).parent / f"canter-unprotected-{os.getpid()}"
    shutil.copy2(programs["canter"], beside)
    atexit.register(beside.unlink)
    programs["canter"] = str(beside)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(wanted.at_once) as pool:

        def prove(row: Row, test: str) -> str:
            as_it_is = outcome(test, (), programs, wanted.python)
            if as_it_is != "passes":
                return f"{as_it_is} as it is"
            found = outcome(test, (row.name, *row.together), programs, wanted.python)
            return "" if found == "fails" else f"{found} without its protection"

        for (row, test), fault in zip(tests, pool.map(lambda one: prove(*one), tests), strict=True):
            failed += bool(fault)
            print(f"{row.name:16} {row.what:72} {fault or 'fails without it'}{': ' + test if fault else ''}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
