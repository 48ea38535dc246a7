"""The ways to stop, and what each does to requests, connections and processes; the duties of a
process with the number 1.

A test waits fifteen seconds for an end: less than a view of these waits, and than what runs may go
on where a test does not set it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from harness.operated import (
    PATIENCE,
    PROGRAM,
    Canter,
    clean_env,
    is_alive,
    refuses,
    together,
    until,
    waiting,
)

APP = """
import os, time
def application(environ, start_response):
    path, word = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/wait":
        open("waits", "w").close()
        time.sleep(float(word))
    elif path == "/held":
        open("waits", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.005)
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return stream(int(word))
    elif path == "/orphan":
        os.system("sleep 0.1 & echo $! > orphan")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
def stream(count):
    for number in range(count):
        yield b"%d\\n" % number
        open("waits", "w").close()
        time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_f8_a_request_that_runs_is_finished_and_told_to_close(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "30s") as canter:
        canter.wait_ready()

        def stop() -> None:
            until((tmp_path / "waits").exists)
            canter.signal(number)

        reply, _ = together([lambda: canter.get("/wait?3"), stop])
        assert reply is not None and reply.status == 200
        assert reply.headers["connection"] == "close"
        assert canter.wait(15) == 0
        assert canter.family() == []


def test_a_stream_is_finished(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "30s") as canter:
        canter.wait_ready()

        def stop() -> None:
            until((tmp_path / "waits").exists)
            canter.signal(signal.SIGTERM)

        reply, _ = together([lambda: canter.get("/stream?10"), stop])
        assert reply is not None and len(reply.body.split()) == 10
        assert canter.wait(15) == 0


def test_connections_that_come_just_after_the_order_are_still_served(tmp_path: Path) -> None:
    """A router needs a moment to notice."""
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "30s", "--health") as canter:
        canter.wait_ready()
        assert canter.get("/-/ready").status == 200
        # It takes new ones for half a second: that begins when this goes on.
        front = canter.one("front")
        os.kill(front, signal.SIGSTOP)
        try:
            canter.signal(signal.SIGTERM)
            canter.wait_log("stopping")
            late = canter.connect()
            late.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        finally:
            os.kill(front, signal.SIGCONT)
        with late:
            seen = b"".join(iter(lambda: late.recv(65536), b""))
        head = seen.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
        assert head[0] == b"http/1.1 200 ok" and b"connection: close" in head
        assert canter.wait(15) == 0


def test_after_the_grace_connections_are_refused_while_what_runs_is_finished(tmp_path: Path) -> None:
    """No system goes on completing connections that nobody would accept."""
    flags = ("-w", "1", "--graceful-timeout", "60s", "--admin-bind", "127.0.0.1:0")
    bind = ("127.0.0.1:0", f"unix:{tmp_path}/s", "127.0.0.2:0")
    with Canter(tmp_path, APP, *flags, bind=bind) as canter:
        canter.wait_ready()
        found = sorted(set(re.findall(r"http://(127\.0\.0\.\d):(\d+)", canter.log)))
        bound = [(host, int(port)) for host, port in found]
        addresses: list[tuple[int, object]] = [(socket.AF_INET, address) for address in bound]
        addresses.append((socket.AF_UNIX, f"{tmp_path}/s"))
        # The site twice, the dashboard, the unix socket.
        assert len(addresses) == 4 and not any(refuses(*address) for address in addresses)
        with socket.create_connection(bound[-1], PATIENCE) as client:
            client.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            until((tmp_path / "waits").exists)
            canter.signal(signal.SIGTERM)
            for address in addresses:
                until(lambda: refuses(*address), what=f"{address} to be refused")
            (tmp_path / "go").touch()
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert canter.wait(15) == 0


def test_a_server_that_takes_the_path_of_one_that_stops_keeps_its_socket_file(tmp_path: Path) -> None:
    flags = ("-w", "1", "--graceful-timeout", "60s")
    bind = ("127.0.0.1:0", f"unix:{tmp_path}/s")
    site = (socket.AF_UNIX, f"{tmp_path}/s")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with Canter(tmp_path / "one", APP, *flags, bind=bind) as old:
        old.wait_ready()
        with old.connect() as client:
            client.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            until((tmp_path / "one" / "waits").exists)
            old.signal(signal.SIGTERM)
            until(lambda: refuses(*site), what="the path to be free")
            with Canter(tmp_path / "two", APP, *flags, bind=bind) as new:
                new.wait_ready()
                (tmp_path / "one" / "go").touch()
                assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
                assert old.wait(15) == 0
                with socket.socket(socket.AF_UNIX) as late:
                    late.settimeout(PATIENCE)
                    late.connect(site[1])
                    late.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert late.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_idle_connections_are_closed(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1") as canter:
        canter.wait_ready()
        with canter.connect() as fresh, canter.connect() as kept:
            kept.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
            canter.signal(signal.SIGTERM)
            assert kept.recv(100) == b""
            assert fresh.recv(100) == b""
        assert canter.wait(15) == 0


def test_a_request_that_does_not_end_is_cut_at_the_graceful_timeout(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "1s") as canter:
        canter.wait_ready()
        with waiting(canter):
            started = time.monotonic()
            canter.signal(signal.SIGTERM)
            assert canter.wait(15) == 0
            assert time.monotonic() - started > 0.8
        assert canter.family() == []


def test_graceful_timeout_0_stops_at_once(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "0") as canter:
        canter.wait_ready()
        with waiting(canter):
            canter.signal(signal.SIGTERM)
            canter.wait(15)
        assert canter.family() == []


def test_a_second_sigint_stops_at_once(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "30s") as canter:
        canter.wait_ready()
        with waiting(canter):
            canter.signal(signal.SIGINT)
            canter.wait_log("stopping")
            canter.signal(signal.SIGINT)
            assert canter.wait(15) == 130
        assert canter.family() == []


def test_sigquit_does_not_wait_for_requests(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "30s") as canter:
        canter.wait_ready()
        with waiting(canter):
            canter.signal(signal.SIGQUIT)
            assert canter.wait(15) == 0
        assert canter.family() == []


def test_ctrl_c_in_a_terminal_reaches_every_process_and_still_finishes_requests(
    tmp_path: Path,
) -> None:
    with Canter(tmp_path, APP, "-w", "1", start_new_session=True) as canter:
        canter.wait_ready()

        def interrupt() -> None:
            until((tmp_path / "waits").exists)
            os.killpg(canter.pid, signal.SIGINT)

        reply, _ = together([lambda: canter.get("/wait?0.3"), interrupt])
        assert reply is not None and reply.status == 200
        assert canter.wait(15) == 0


def test_sigterm_while_the_app_is_imported_stops_at_once(tmp_path: Path) -> None:
    source = "import time; open('imports', 'w').close(); time.sleep(60)\n" + APP
    with Canter(tmp_path, source, "-w", "1") as canter:
        until((tmp_path / "imports").exists)
        canter.signal(signal.SIGTERM)
        assert canter.wait(15) == 0
        assert canter.family() == []


def test_requests_wait_while_the_app_is_imported(tmp_path: Path) -> None:
    source = """
    import os, time
    while not os.path.exists("go"):
        time.sleep(0.01)
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"at last"]
    """
    with Canter(tmp_path, source, "-w", "1", "--health") as canter:
        with canter.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert canter.get("/-/live").status == 200
            assert canter.get("/-/ready").status == 503
            (tmp_path / "go").touch()
            assert b"at last" in client.recv(65536)
        assert canter.get("/-/ready").status == 200


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root for a PID namespace"
)
def test_f12_as_process_1_orphans_are_reaped_and_sigterm_works(tmp_path: Path) -> None:
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False)
    if probe.returncode != 0:
        pytest.skip("PID namespaces are not allowed here")
    wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with Canter(tmp_path, APP, "-w", "1", wrapper=wrapper) as canter:
        canter.wait_ready()
        first = [pid for pid in canter.family() if status_of(pid).get("NSpid", "").endswith("\t1")]
        assert len(first) == 1
        assert canter.get("/orphan").status == 200
        until(lambda: not zombies_of(canter), what="the orphan to be reaped")
        os.kill(first[0], signal.SIGTERM)
        assert canter.wait(15) == 0
        until(lambda: not is_alive(first[0]))


def test_a_closed_standard_error_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    read, write = os.pipe()
    process = subprocess.Popen(
        [PROGRAM, "serve", "app", "--bind", "unix:s", "-w", "1"],
        cwd=tmp_path, env=clean_env(), stderr=write, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    os.close(read)
    try:
        until((tmp_path / "s").exists)
        with_curl = ["curl", "-s", "--unix-socket", "s", "-o", "/dev/null", "-w", "%{http_code}"]
        if not shutil.which("curl"):
            pytest.skip("needs curl")
        out = subprocess.run(
            [*with_curl, "http://a/"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert out.stdout == "200"
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


def status_of(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line)


def zombies_of(canter: Canter) -> list[int]:
    """Dead processes whose parent is one of Canter's and has not asked how they ended."""
    family = set(canter.family())
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    found = [(pid, status_of(pid)) for pid in numbers]
    return [
        pid
        for pid, status in found
        if "Z" in status.get("State", "") and int(status["PPid"]) in family
    ]


def test_a_stopped_worker_does_not_keep_everything_from_stopping(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "2", "--graceful-timeout", "1s") as canter:
        canter.wait_ready(2)
        for pid in (canter.named("worker")[0], canter.one("zygote")):
            os.kill(pid, signal.SIGSTOP)
        canter.signal(signal.SIGTERM)
        assert canter.wait(15) == 0
        assert canter.family() == []


def test_a_stopped_front_does_not_keep_everything_from_stopping(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", "--graceful-timeout", "1s") as canter:
        canter.wait_ready()
        os.kill(canter.one("front"), signal.SIGSTOP)
        canter.signal(signal.SIGTERM)
        assert canter.wait(15) == 0
        assert canter.family() == []
