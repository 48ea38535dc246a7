"""Runs the public suites over Canter's edge: the httpwg tests of HTTP/2 (RFC 9113) in plain text and
over TLS, sslyze with Mozilla's intermediate profile, and h2spec where it is installed.

Owns installing what they need in a folder of its own, starting Canter for them and reading their
verdicts. Leaves our own tests of the same rules to ``tests/test_http2.py`` and ``test_tls.py``.

    python tests/conformance/edge_suite.py [--tools FOLDER]

It needs ``cargo`` once, for ``httpwg-cli``, and io_uring, which that program is built on and containers
mostly forbid. h2spec is taken from where ``H2SPEC`` says, from the path, or built where there is ``go``.
What cannot be run here is left out and said so, which is no failure.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from ssl import VERIFY_X509_STRICT, create_default_context

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.certificates import Authority  # noqa: E402
from harness.server import Server  # noqa: E402
from relay import Relay  # noqa: E402

HTTPWG = "0.2.5"
"""The version of httpwg-cli that is installed: it has 107 tests."""
SSLYZE = "sslyze==6.3.1"
H2SPEC = "github.com/summerwind/h2spec/cmd/h2spec@v2.6.0"
IO_URING_SETUP = 425
"""The system call, of the same number on every kind of CPU (io_uring_setup(2))."""

VULNERABILITIES = {
    "heartbleed": ("heartbleed", "is_vulnerable_to_heartbleed", "False"),
    "CCS injection": ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", "False"),
    "ROBOT": ("robot", "robot_result", "NOT_VULNERABLE"),
    "compression": ("tls_compression", "supports_compression", "False"),
    "client renegotiation": (
        "session_renegotiation",
        "is_vulnerable_to_client_renegotiation_dos",
        "False",
    ),
    "early data": ("tls_1_3_early_data", "supports_early_data", "False"),
}
"""Of sslyze's report: the scan, the word in its result, and what it must say."""

APP = """
def application(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


def httpwg(tools: Path) -> Path | None:
    """The program, built when it is not there yet; None where it could not run."""
    parameters = ctypes.create_string_buffer(120)
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(IO_URING_SETUP, 1, parameters)
    if ring < 0:
        print(f"httpwg is LEFT OUT: no io_uring here ({os.strerror(ctypes.get_errno())})", flush=True)
        return None
    os.close(ring)
    program = Path(os.environ.get("HTTPWG", tools / "bin" / "httpwg"))
    if not program.exists():
        # Without optimizing it is there sooner, and fast enough.
        words = ["cargo", "install", "--quiet", "--debug", "--locked", "--root", tools]
        subprocess.run([*words, "httpwg-cli", "--version", HTTPWG], check=True)
    return program


def run_httpwg(program: Path | None, port: int, how: str) -> bool:
    """Whether every test passes against what listens there."""
    if program is None:
        return True
    # The suite wants to start the server itself and to end it: it is given something to end.
    words = [program, "-v", "-a", f"127.0.0.1:{port}", "--frame-timeout", "3000", "--", "sleep", "600"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout + ran.stderr)
    passed = re.search(r"Passed (\d+)/(\d+) tests", text)
    print(f"httpwg, {how}: {passed.group(0) if passed else text[-2000:]}", flush=True)
    whole = passed is not None and passed.group(1) == passed.group(2)
    if not whole:
        print(*failures(text), sep="\n", flush=True)
    return whole


def failures(text: str) -> list[str]:
    """Which tests did not pass, and what was said of it. A test that panics is never called failed."""
    begun, passed = (re.findall(rf"{word}: (.*)$", text, re.MULTILINE) for word in ("Running test", "Test passed"))
    lines = [f"  not passed: {name}" for name in sorted({*begun} - {*passed})]
    said = re.findall(r"Test failed: .*(?:\n.*){3}|^Message: .*\n.*$", text, re.MULTILINE)
    return [*lines, *(re.sub(r"\s*\n\s*", "; ", "  " + word.strip()) for word in said)]


def h2spec(tools: Path) -> str | Path | None:
    """The program, built where that can be done; None where it is not to be had."""
    program = os.environ.get("H2SPEC") or shutil.which("h2spec")
    if program is not None:
        return program
    built = tools / "bin" / "h2spec"
    if not built.exists():
        if shutil.which("go") is None:
            print("h2spec is LEFT OUT: it is not here, and no `go` to build it (H2SPEC names it)", flush=True)
            return None
        env = {**os.environ, "GOBIN": str(built.parent)}
        if subprocess.run(["go", "install", H2SPEC], env=env, timeout=300, check=False).returncode:
            print("h2spec is LEFT OUT: it could not be built (H2SPEC names it)", flush=True)
            return None
    return built


def run_h2spec(program: str | Path | None, port: int) -> bool:
    """Whether every test passes over TLS; in plain text one wants HTTP/1.1 to be refused."""
    if program is None:
        return True
    words = [program, "-h", "127.0.0.1", "-p", str(port), "-t", "-k", "--strict", "-o", "4"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    passed = re.search(r"(\d+) tests, (\d+) passed, 0 skipped, 0 failed", ran.stdout)
    failures = ran.stdout[ran.stdout.find("Failures:") :][-4000:]
    print(f"h2spec, over TLS: {passed.group(0) if passed else failures}", flush=True)
    return passed is not None and ran.returncode == 0


def run_sslyze(tools: Path, port: int, folder: Path, root: Path) -> bool:
    """Whether nothing is said against the server under Mozilla's intermediate profile."""
    python = tools / "sslyze" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", tools / "sslyze"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", SSLYZE], check=True)
    out = folder / "sslyze.json"
    words = ["-m", "sslyze", "--mozilla_config", "intermediate", "--json_out", str(out)]
    words += ["--certinfo", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--sslv2", "--sslv3"]
    words += ["--heartbleed", "--openssl_ccs", "--robot", "--compression", "--reneg"]
    words += ["--early_data", "--elliptic_curves", "--ems", "--certinfo_ca_file", str(root), f"127.0.0.1:{port}"]
    ran = subprocess.run([python, *words], capture_output=True, text=True, timeout=300, check=False)
    said = ran.stdout[ran.stdout.find("COMPLIANCE AGAINST") :]
    # A private authority and a short-lived certificate of a test are no part of the profile.
    against = re.findall(r"^\s*\* (\w+): (.*)$", said, re.MULTILINE)
    settings = [line for line in against if line[0] not in ("certificate_path_validation", "maximum_certificate_lifespan")]
    report = json.loads(out.read_text())["server_scan_results"][0]["scan_result"]
    unsound = []
    for name, (scan, word, right) in VULNERABILITIES.items():
        result = report[scan]["result"]
        if result is None or right not in str(result[word]):
            unsound.append(name)
    if not said:
        print(ran.stdout + ran.stderr)
    print(f"sslyze, Mozilla intermediate: {settings + unsound or 'nothing against it'}", flush=True)
    return bool(said) and not settings and not unsound


def main() -> int:
    """Runs all of them; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = Path(__file__).resolve().parents[2] / "target" / "edge-suite"
    parser.add_argument("--tools", type=Path, default=default, help="where the suites are installed")
    tools: Path = parser.parse_args().tools.resolve()
    tools.mkdir(parents=True, exist_ok=True)
    program = httpwg(tools)
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Server(folder / "plain", APP, "--http2", "plain", "--ban", "off") as server:
            results.append(run_httpwg(program, server.port, "plain text"))
        authority = Authority("Canter test authority")
        root = authority.write(folder / "root.pem")
        pair = authority.issue(folder / "localhost", "localhost", is_server=True)
        flags = (f"--certfile={pair.chain}", f"--keyfile={pair.key}", "--ban", "off")
        with Server(folder / "tls", APP, *flags) as server:
            context = create_default_context(cafile=str(root))
            context.verify_flags &= ~VERIFY_X509_STRICT
            relay = Relay(server.address, context)
            results.append(run_httpwg(program, relay.port, "over TLS"))
            results.append(run_sslyze(tools, server.port, folder, root))
            results.append(run_h2spec(h2spec(tools), server.port))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
