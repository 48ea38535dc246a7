"""Owns the run of the conformance suite for HTTP caches (http-tests/cache-tests, BSD-3) against Canter:
it starts ``canter serve`` with the suite's origin as a WSGI app behind it, lets the suite play, and
writes the table.

    python3 tools/cache_conformance/run.py CHECKOUT [--canter PATH] [--only ID] [--write]

CHECKOUT is a clone of the suite with ``npm install undici`` done in it. Without ``--write`` the
table is only printed. Leaves the origin to ``origin.py`` and the tests to the suite.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "cache-conformance.md"

JUDGE = """
import tests from '%(tests)s'
import { determineTestResult, resultTypes } from '%(results)s'
import fs from 'fs'
const results = JSON.parse(fs.readFileSync(0))
const words = new Map(Object.entries(resultTypes).map(([word, type]) => [type, word]))
const out = []
for (const group of tests) for (const test of group.tests) {
  if (test.browser_only) continue
  const verdict = words.get(determineTestResult(tests, test.id, results))
  const why = Array.isArray(results[test.id]) ? results[test.id][1] : ''
  out.push({ group: group.name, id: test.id, name: test.name, kind: test.kind || 'required', verdict, why })
}
console.log(JSON.stringify(out))
"""

BEYOND_WSGI = {
    "interim-102": "WSGI has no 102",
    "interim-103": "of the fields of an early hint only `Link` is passed on",
    "interim-no-header-reuse": "of the fields of an early hint only `Link` is passed on",
}
"""What cannot be played through WSGI at all."""

BY_CHOICE = {
    "vary-normalise-lang-order": "by choice: of languages with the same weight an app takes the first",
    "headers-store-Set-Cookie": "an answer with `Set-Cookie` is never stored",
    "other-set-cookie": "an answer with `Set-Cookie` is never stored",
}
"""What Canter does otherwise on purpose, beside heuristic freshness (`heuristic-*`)."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--canter", default=shutil.which("canter") or "canter")
    parser.add_argument("--only", default="", help="one test, with what both sides saw")
    parser.add_argument("--write", action="store_true", help="write docs/cache-conformance.md")
    args = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = start(args.canter, port, Path(folder))
        try:
            if args.only:
                print(play(args.checkout, port, args.only))
                return 0
            rows = judged(args.checkout, play(args.checkout, port, ""))
        finally:
            server.terminate()
            server.wait(30)
    text = page(rows, revision(args.checkout))
    print(text)
    if args.write:
        PAGE.write_text(text)
    return 0


def start(canter: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    """``canter serve`` with the origin, once it answers."""
    command = [
        canter, "serve", "origin", "--pythonpath", str(HERE), "--bind", f"127.0.0.1:{port}",
        "--workers", "1", "--threads", "64", "--no-access-log", "--log-level", "error",
        "--cache", "on",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen(command, cwd=folder, env=env)
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)
        except urllib.error.HTTPError:
            return server
        except OSError:
            if server.poll() is not None:
                sys.exit("canter has ended")
            subprocess.run(["sleep", "0.1"], check=False)
    sys.exit("canter does not answer")


def play(checkout: Path, port: int, only: str) -> str:
    """What the suite prints."""
    env = {
        **os.environ,
        "npm_config_base": f"http://127.0.0.1:{port}",
        "npm_config_id": "",
        "npm_package_config_id": only,
    }
    command = ["node", "--no-warnings", "test-engine/cli.mjs"]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, timeout=420)
    if done.returncode:
        sys.exit(done.stderr.decode())
    return done.stdout.decode()


def judged(checkout: Path, results: str) -> list[dict[str, Any]]:
    """Each test with its verdict, by the suite's own rules."""
    script = JUDGE % {
        "tests": (checkout / "tests/index.mjs").resolve(),
        "results": (checkout / "test-engine/lib/results.mjs").resolve(),
    }
    results = results[results.index("{") :]
    command = ["node", "--no-warnings", "--input-type=module", "-e", script]
    done = subprocess.run(command, input=results.encode(), capture_output=True, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def revision(checkout: Path) -> str:
    """The suite's commit, where the checkout knows it."""
    done = subprocess.run(
        ["git", "-C", str(checkout), "log", "-1", "--format=%h of %cs"], capture_output=True
    )
    return done.stdout.decode().strip() or "a checkout without history"


def page(rows: list[dict[str, Any]], suite: str) -> str:
    """The table as Markdown."""
    kinds = ("required", "optimal", "check")
    groups: dict[str, collections.Counter[str]] = {}
    for row in rows:
        count = groups.setdefault(row["group"], collections.Counter())
        count[row["kind"]] += 1
        count[row["kind"] + " passed"] += row["verdict"] in ("pass", "yes")
    total: collections.Counter[str] = sum(groups.values(), collections.Counter())
    lines = [
        "# Conformance of the page cache",
        "",
        "What [http-tests/cache-tests](https://github.com/http-tests/cache-tests), the suite for HTTP",
        f"caches, says of Canter ({suite}). Written by",
        "`python3 tools/cache_conformance/run.py CHECKOUT --write`, which starts `canter serve` with the",
        "suite's origin as a WSGI app, so that the way of a real request is tested. The cache runs with its defaults.",
        "",
        f"**Required: {total['required passed']} of {total['required']}. "
        f"Optimal: {total['optimal passed']} of {total['optimal']}.**",
        "",
        "| group | required | optimal | behaviour «yes» |",
        "| --- | --- | --- | --- |",
    ]
    for group, count in groups.items():
        cells = [
            f"{count[kind + ' passed']} of {count[kind]}" if count[kind] else "" for kind in kinds
        ]
        lines.append(f"| {group} | {' | '.join(cells)} |")
    lines += ["", "## What is not passed", "", "| test | kind | verdict | why |", "| --- | --- | --- | --- |"]
    for row in rows:
        if row["kind"] == "check" or row["verdict"] == "pass":
            continue
        why = BEYOND_WSGI.get(row["id"]) or BY_CHOICE.get(row["id"])
        if why is None and row["id"].startswith("heuristic-"):
            why = "by choice: nothing is stored without a word of the app"
        verdict = row["verdict"].replace("_", " ")
        lines.append(f"| `{row['id']}` | {row['kind']} | {verdict} | {why or row['why']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
