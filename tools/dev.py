"""Owns setting up a checkout and running its demo site and its tests; the Makefile calls it.

Leaves what the tests are to cargo, pytest and Django. Standard library only: it must run before
anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READER = ROOT / "examples" / "reader"
SUITES = ROOT / "tests" / "pooler" / "suites"
EDGE_SUITE = ROOT / "tests" / "conformance" / "edge_suite.py"
OLDEST = (3, 10)
#: Interpreters the tests want, the one that everything runs on first.
WANTED = ("3.13", "3.10")
#: Interpreters that will do for everything, best first.
USABLE = ("3.13", "3.12", "3.14", "3.11", "3.10")
#: Processes of pytest for each interpreter: its tests wait more than they compute.
AT_ONCE = 2
#: pytest's exit code when it ran to its end and tests failed.
TESTS_FAILED = 1
#: What the built package depends on: a change here means a new build.
SOURCES = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "setup.py", "crates", "python")


class Failed(Exception):
    """A step did not succeed; the message says which and what to do."""


def main() -> int:
    """Run the command named on the command line; answers the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=sorted(COMMANDS))
    command = parser.parse_args().command
    try:
        COMMANDS[command]()
    except Failed as failed:
        print(f"\n{command}: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def setup() -> Path:
    """Make the environment that everything runs in; answers its Python."""
    return environment(best_python(), ROOT / ".venv")


def demo() -> None:
    """Set up, fill the demo site's database, and serve it."""
    python = setup()
    run("filling the demo site", [python, "manage.py", "setup_demo"], cwd=READER)
    say("serving the demo site; stop it with Ctrl-C")
    serve_demo(python)


def test() -> None:
    """Set up and run every test there is."""
    started = time.monotonic()
    need("cargo", "install Rust: https://www.rust-lang.org/tools/install")
    system_packages()
    pythons = list(test_pythons())
    python = environment(pythons[0], ROOT / ".venv")
    rust = {"PYO3_PYTHON": str(python)}
    run("formatting", ["cargo", "fmt", "--all", "--check"])
    lint = ["cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]
    run("lints", lint, env=rust)
    run("Rust tests and house rules", ["cargo", "test", "--quiet", "--no-fail-fast"])
    run("types", [python, "-m", "mypy"])
    run("demo site's own tests", [python, "manage.py", "test", "--verbosity", "1"], cwd=READER)
    steps: dict[str, Sequence[str | Path]] = {"package tests": pytest(python)}
    for other in pythons[1:]:
        version = python_version(other)
        second = environment(other, ROOT / f".venv-{version}")
        steps[f"package tests on Python {version}"] = pytest(second, "-m", "not slow")
    unsteady = run_together(steps)
    run("differential run", [python, "tests/differential/run.py"])
    run("Django's tests through the pooler", [python, SUITES / "django_suite.py", "--fast"])
    run("psycopg's tests through the pooler", [python, SUITES / "psycopg_suite.py", "--fast"])
    run("public suites of HTTP/2 and TLS", [python, EDGE_SUITE])
    for what in unsteady:
        say(f"{what}: SOME PASSED ONLY BY THEMSELVES, which is a defect; they are named above")
    say(f"all tests passed in {time.monotonic() - started:.0f} s")


def django_suite() -> None:
    """Django's own tests through the pooler, compared with the same straight to PostgreSQL."""
    run("Django's own tests", [setup(), SUITES / "django_suite.py"])


def edge_suite() -> None:
    """The public suites of HTTP/2 and TLS."""
    run("httpwg, sslyze and h2spec", [setup(), EDGE_SUITE])


def psycopg_suite() -> None:
    """psycopg's own tests through the pooler, likewise."""
    run("psycopg's own tests", [setup(), SUITES / "psycopg_suite.py"])


def pytest(python: Path, *more: str) -> list[str | Path]:
    """The command that runs the Python tests, files of them side by side: those of one file share
    servers, those of different files share nothing.

    On a machine that others load, one of thousands may miss its time. It is run once more and
    named at the end as a rerun: a defect of the test or of Canter, but no reason to stop.
    Each environment remembers for itself what failed, as two of them run at once.
    """
    cache = f"cache_dir={python.parent.parent / '.pytest_cache'}"
    words = [python, "-m", "pytest", "-q", "--reruns", "1", "-r", "fERs", "-o", cache]
    return [*words, "-n", str(AT_ONCE), "--dist", "loadfile", *more, "tests"]


def environment(base: Path, venv: Path) -> Path:
    """Make or refresh a virtual environment with the package and the tools in it."""
    python = venv / "bin" / "python"
    if not python.exists() or python_version(python) != python_version(base):
        shutil.rmtree(venv, ignore_errors=True)
        say(f"making {venv.name} with Python {python_version(base)}")
        run(None, [base, "-m", "venv", venv])
    wanted = [ROOT / "tools" / "requirements.txt", READER / "requirements.txt"]
    if changed(venv / ".tools", wanted):
        files = [word for file in wanted for word in ("-r", file)]
        run("installing tools", [python, "-m", "pip", "install", "-q", *pip_words(), *files])
        stamp(venv / ".tools", wanted)
    sources = list(files_below(ROOT / name for name in SOURCES))
    if changed(venv / ".package", sources):
        need("cargo", "install Rust: https://www.rust-lang.org/tools/install")
        words = ["install", "-q", "--no-build-isolation", "--no-deps", "--force-reinstall"]
        env = {"CANTER_BUILD_PROFILE": "dev", "PYO3_PYTHON": str(python)}
        # Progress of the build is shown: the first one takes a minute or two.
        run("building canter", [python, "-m", "pip", *words, *pip_words(), ROOT], env=env)
        stamp(venv / ".package", sources)
    return python


def serve_demo(python: Path) -> None:
    """Serve the demo site until Ctrl-C, with the slow upstream that one of its pages wants."""
    upstream = subprocess.Popen(
        [python, "upstream.py", "--port", "0"], cwd=READER, stdout=subprocess.PIPE, text=True
    )
    try:
        address = next((word for word in first_line(upstream).split() if "://" in word), "")
        env = {**os.environ, "READER_UPSTREAM_URL": address}
        program = python.parent / "canter"
        canter = [program, "serve", "--access-logfile", "none"]
        port = os.environ.get("PORT", "8000")
        if not port_is_free(int(port)):
            canter += ["--bind", "127.0.0.1:0"]
            print(f"port {port} is in use: taking another", flush=True)
        elif "PORT" not in os.environ:
            canter += ["--bind", f"127.0.0.1:{port}"]
        server = subprocess.Popen(canter, cwd=READER, env=env)
        try:
            server.wait()
        except KeyboardInterrupt:
            server.wait()
    finally:
        upstream.terminate()
        upstream.wait()


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line a program prints."""
    return process.stdout.readline() if process.stdout else ""


def port_is_free(port: int) -> bool:
    """Whether the demo can listen there."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_pythons() -> Iterator[Path]:
    """The interpreters to test on; a missing one is said loudly."""
    found = False
    for version in WANTED:
        python = find_python(version)
        if python is not None:
            found = True
            yield python
        else:
            print(f"!!! Python {version} is not here: its tests are left out", flush=True)
    if not found:
        yield best_python()


def best_python() -> Path:
    """The interpreter for the demo: the first usable one that is here, else this one."""
    for version in USABLE:
        python = find_python(version)
        if python is not None:
            return python
    if sys.version_info < OLDEST:
        raise Failed(f"Python {sys.version.split()[0]} is too old; 3.10 or newer is needed")
    return Path(sys.executable)


def find_python(version: str) -> Path | None:
    """An interpreter of this version with `venv`: on PATH, or beside this one's installation."""
    name = f"python{version}"
    beside = Path(sys.base_prefix).resolve().parent
    places = [shutil.which(name), *sorted(beside.glob(f"{version}*/bin/{name}"))]
    for place in places:
        if place is None:
            continue
        probe = [place, "-c", "import sys, venv, ensurepip; print(sys.executable)"]
        answer = subprocess.run(probe, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return Path(answer.stdout.strip())
    return None


def python_version(python: Path) -> str:
    """Major and minor version of an interpreter."""
    words = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def pip_words() -> tuple[str, ...]:
    """What every call of pip is given."""
    return ("--disable-pip-version-check",)


def files_below(places: Iterable[Path]) -> Iterator[Path]:
    """Every source file at or below the places, in order."""
    for place in places:
        if place.is_file():
            yield place
            continue
        for path in sorted(place.rglob("*")):
            if path.is_file() and path.suffix in {".rs", ".py", ".pyi", ".toml"}:
                yield path


def digest(files: Iterable[Path]) -> str:
    """A fingerprint of the files' names and contents."""
    total = hashlib.sha256()
    for file in files:
        total.update(str(file.relative_to(ROOT)).encode())
        total.update(file.read_bytes())
    return total.hexdigest()


def changed(mark: Path, files: Sequence[Path]) -> bool:
    """Whether the files differ from when the mark was set."""
    return not mark.exists() or mark.read_text() != digest(files)


def stamp(mark: Path, files: Sequence[Path]) -> None:
    """Remember the files as they are."""
    mark.write_text(digest(files))


def system_packages() -> None:
    """Install what the tests take from the system, as root only: Chromium for pages, and a MariaDB for Django on it."""
    lost = {
        "chromium": "NO CHROMIUM: pages are NOT tested in a browser",
        "mariadb-server-core mariadb-client-core": "NO MARIADB: Django on it is NOT tested",
    }
    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        del lost["chromium"]
    # Its server is not in everybody's path.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    if all(shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db", "my_print_defaults")):
        del lost["mariadb-server-core mariadb-client-core"]
    if not lost:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        for packages, loss in lost.items():
            say(f"{loss}; install {packages} to have that done")
        return
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run("looking for packages", ["apt-get", "-qq", "update"], env=env)
    for packages, loss in lost.items():
        words = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages.split()]
        try:
            run(f"installing {packages}", words, env=env)
        except Failed:
            if packages == "chromium":
                raise
            # Other systems have other names for it.
            say(f"{loss}: {packages} cannot be installed here")


def need(program: str, hint: str) -> None:
    """Fail in words when a program is missing."""
    if shutil.which(program) is None:
        raise Failed(f"`{program}` is needed and not here; {hint}")


def run(
    what: str | None,
    words: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    env: dict[str, str] | None = None,
) -> None:
    """Run one step, named for whoever watches, with the time it took."""
    if what:
        say(what)
    started = time.monotonic()
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**os.environ, **(env or {})}, check=False
    )
    if done.returncode != 0:
        raise Failed(f"{what or words[0]} failed (exit code {done.returncode}); see above")
    if what:
        print(f"    {time.monotonic() - started:.1f} s", flush=True)


def run_together(suites: dict[str, Sequence[str | Path]]) -> list[str]:
    """Run pytest for each of the suites, which mostly wait, at the same time. The first is shown as it
    goes on, the others when all have ended.

    What fails is run again by itself: a rerun within the suite meets the same load, and servers of
    its module as the first try has left them. Answers which suites passed only then.
    """
    started = time.monotonic()
    (first, words), *others = suites.items()
    codes = {}
    with contextlib.ExitStack() as files:
        running = []
        for what, command in others:
            say(f"{what}: beside the next, shown after it")
            output = files.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
            files.callback(process.wait)
            files.callback(process.terminate)
            running.append((what, process, output))
        say(first)
        codes[first] = subprocess.run(words, cwd=ROOT, check=False).returncode
        print(f"    {time.monotonic() - started:.1f} s", flush=True)
        for what, process, output in running:
            codes[what] = process.wait()
            say(what)
            output.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(output, sys.stdout.buffer)
            print(f"    {time.monotonic() - started:.1f} s", flush=True)
    failed: list[str] = []
    unsteady: list[str] = []
    for what, code in codes.items():
        try:
            if code == TESTS_FAILED:
                again = ["-n", "0", "-vv", "--last-failed", "--last-failed-no-failures", "none"]
                run(f"{what}: what failed, by itself", [*suites[what], *again])
                unsteady.append(what)
            elif code != 0:
                raise Failed(f"{what} failed (exit code {code}); see above")
        except Failed as error:
            failed.append(str(error))
    if failed:
        raise Failed("; ".join(failed))
    return unsteady


def say(what: str) -> None:
    """One line of progress."""
    print(f"==> {what}", flush=True)


COMMANDS = {
    "setup": setup,
    "demo": demo,
    "test": test,
    "django-suite": django_suite,
    "psycopg-suite": psycopg_suite,
    "edge-suite": edge_suite,
}


if __name__ == "__main__":
    sys.exit(main())
