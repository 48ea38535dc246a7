"""Runs the public suites over Canter's edge: the httpwg tests of HTTP/2 (RFC 9113) in plain text and
over TLS, sslyze with Mozilla's intermediate profile, and h2spec where it is installed.

Owns installing what they need in a folder of its own, starting Canter for them and reading their
verdicts. Leaves our own tests of the same rules to ``tests/test_http2.py`` and ``test_tls.py``.

    python tests/conformance/edge_suite.py [--tools FOLDER]

It needs ``cargo`` once, for ``httpwg-cli``, and io_uring, which that program is built on. h2spec is a
program of its own, which nothing here installs: ``H2SPEC`` names it, or it is on the path.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from socket import AF_INET, SHUT_RDWR, SOCK_STREAM, create_connection, socket
from ssl import VERIFY_X509_STRICT, SSLContext, SSLSocket, create_default_context

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.certificates import Authority  # noqa: E402
from harness.server import Server  # noqa: E402

HTTPWG = "0.2.5"
"""The version of httpwg-cli that is installed: it has 107 tests."""
SSLYZE = "sslyze==6.3.1"

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


class Relay:
    """A door that speaks TLS and HTTP/2 by ALPN behind, for a client that knows plain text only."""

    def __init__(self, target: tuple[str, int], context: SSLContext) -> None:
        context.set_alpn_protocols(["h2"])
        self.target, self.context = target, context
        self.listener = socket(AF_INET, SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(256)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self.listener.accept()
            threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near: socket) -> None:
        try:
            raw = create_connection(self.target)
            far = self.context.wrap_socket(raw, server_hostname="localhost")
        except OSError:
            return near.close()
        assert far.selected_alpn_protocol() == "h2"
        threading.Thread(target=copy, args=(near, far), daemon=True).start()
        copy(far, near)


def copy(source: socket | SSLSocket, sink: socket | SSLSocket) -> None:
    """Everything from one to the other, then the end of both."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(SHUT_RDWR)
        except OSError:
            pass


def httpwg(tools: Path) -> Path:
    """The program, built when it is not there yet."""
    program = Path(os.environ.get("HTTPWG", tools / "bin" / "httpwg"))
    if not program.exists():
        words = ["cargo", "install", "httpwg-cli", "--version", HTTPWG, "--locked", "--root", tools]
        subprocess.run(words, check=True)
    return program


def run_httpwg(program: Path, port: int, how: str) -> bool:
    """Whether every test passes against what listens there."""
    # The suite wants to start the server itself and to end it: it is given something to end.
    words = [program, "-a", f"127.0.0.1:{port}", "--frame-timeout", "3000", "--", "sleep", "600"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout + ran.stderr)
    passed = re.search(r"Passed (\d+)/(\d+) tests", text)
    print(f"httpwg, {how}: {passed.group(0) if passed else text[-2000:]}", flush=True)
    for failed in re.findall(r"Test failed: .*(?:\n.*){3}", text):
        print("  " + failed)
    return passed is not None and passed.group(1) == passed.group(2)


def run_h2spec(port: int) -> bool:
    """Whether every test passes over TLS; in plain text one wants HTTP/1.1 to be refused."""
    program = os.environ.get("H2SPEC") or shutil.which("h2spec")
    if program is None:
        print("h2spec is not installed, and left out (H2SPEC names it)", flush=True)
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
            results.append(run_h2spec(server.port))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
