"""The sockets ``canter serve`` listens on, however it came by them, and what it tells the service
manager.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.operated import Canter, run_canter, stat_of, until

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr((environ["SERVER_NAME"], environ["REMOTE_ADDR"])).encode()]
"""

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def ask(address: object, family: int) -> bytes:
    with socket.socket(family) as client:
        client.settimeout(10)
        client.connect(address)  # type: ignore[arg-type]
        client.sendall(REQUEST)
        got = b""
        while piece := client.recv(65536):
            got += piece
    return got


def test_a_unix_socket_has_its_mode_and_is_removed_at_the_end(tmp_path: Path) -> None:
    flags = ("-w", "1", "--unix-socket-mode", "620")
    with Canter(tmp_path, APP, *flags, bind=["unix:s"]) as canter:
        canter.wait_ready()
        path = tmp_path / "s"
        assert stat.S_IMODE(path.stat().st_mode) == 0o620
        assert ask(str(path), socket.AF_UNIX).startswith(b"HTTP/1.1 200 ")
        assert canter.stop() == 0
        assert not path.exists()


def test_a_unix_socket_left_over_by_a_killed_server_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        with Canter(tmp_path, APP, "-w", "1", bind=["unix:s"]) as canter:
            canter.wait_ready()
            assert ask(str(tmp_path / "s"), socket.AF_UNIX).startswith(b"HTTP/1.1 200 ")
    assert (tmp_path / "s").exists()


def test_a_unix_socket_of_a_server_that_is_about_to_listen_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (tmp_path / "app.py").write_text("")
    with socket.socket(socket.AF_UNIX) as starting:
        starting.bind(str(path))
        listens = threading.Timer(0.05, starting.listen)
        listens.start()
        ended = run_canter("serve", "app", "--bind", f"unix:{path}", cwd=tmp_path)
        listens.join()
    assert ended.returncode == 4, ended.stderr
    assert "another server answers there" in ended.stderr


def test_a_unix_socket_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", bind=["unix:s"]) as canter:
        canter.wait_ready()
        ended = run_canter("serve", "app", "--bind", "unix:s", cwd=tmp_path)
        assert ended.returncode == 4
        assert "another server answers there" in ended.stderr
        assert ask(str(tmp_path / "s"), socket.AF_UNIX).startswith(b"HTTP/1.1 200 ")


def test_a_unix_socket_outlives_the_front(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", bind=["unix:s"]) as canter:
        canter.wait_ready()
        os.kill(canter.one("front"), signal.SIGKILL)
        assert ask(str(tmp_path / "s"), socket.AF_UNIX).startswith(b"HTTP/1.1 200 ")


def test_several_addresses_are_served_at_once(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", bind=["127.0.0.1:0", "unix:a", "unix:b"]) as canter:
        canter.wait_ready()
        assert canter.get().status == 200
        for name in "ab":
            assert ask(str(tmp_path / name), socket.AF_UNIX).startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("ipv6")
def test_ipv6_is_served(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", bind=["[::1]:0"]) as canter:
        canter.wait_ready()
        got = ask(("::1", canter.port), socket.AF_INET6)
        assert b"('::1', '::1')" in got


@pytest.mark.usefixtures("ipv6")
def test_a_port_alone_is_every_address_and_ipv4_clients_look_like_ipv4(tmp_path: Path) -> None:
    with Canter(tmp_path, APP, "-w", "1", bind=[":0"]) as canter:
        canter.wait_ready()
        assert b"'::1')" in ask(("::1", canter.port), socket.AF_INET6)
        assert b"'127.0.0.1')" in ask(("127.0.0.1", canter.port), socket.AF_INET)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener


def pass_as_3(listener: socket.socket) -> list[str]:
    """A shell puts the socket where systemd would, and names its own process."""
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ exec "$@"'
    return ["bash", "-c", script, "bash"]


def test_sockets_from_systemd_are_served(tmp_path: Path, listener: socket.socket) -> None:
    address = listener.getsockname()
    with Canter(
        tmp_path,
        APP,
        "-w",
        "1",
        bind=(),
        env={"LISTEN_FDS": "1"},
        wrapper=pass_as_3(listener),
        pass_fds=[listener.fileno()],
    ) as canter:
        canter.wait_ready()
        assert ask(address, socket.AF_INET).startswith(b"HTTP/1.1 200 ")
        # What was said to the supervisor is not for the app.
        environ = Path(f"/proc/{canter.one('worker')}/environ").read_bytes()
        assert b"TEST_MARK" in environ


def test_several_sockets_from_systemd_are_all_served(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        # A descriptor may be overwritten before it is copied: first out of the way.
        high = [os.dup2(each.fileno(), 50 + at) for at, each in enumerate((a, b))]
        script = 'exec 3<&50 4<&51; LISTEN_PID=$$ exec "$@"'
        try:
            with Canter(
                tmp_path,
                APP,
                "-w",
                "1",
                bind=(),
                env={"LISTEN_FDS": "2"},
                wrapper=["bash", "-c", script, "bash"],
                pass_fds=high,
            ) as canter:
                canter.wait_ready()
                for each in (a, b):
                    got = ask(each.getsockname(), socket.AF_INET)
                    assert got.startswith(b"HTTP/1.1 200 ")
        finally:
            for number in high:
                os.close(number)


def test_sockets_for_another_process_are_not_taken(tmp_path: Path, listener: socket.socket) -> None:
    env = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "CANTER_WORKERS": "1"}
    ended = run_canter("options", "--json", cwd=tmp_path, env=env)
    assert "fd://" not in ended.stdout


def test_a_descriptor_can_be_named(tmp_path: Path, listener: socket.socket) -> None:
    number = listener.fileno()
    with Canter(tmp_path, APP, "-w", "1", bind=[f"fd://{number}"], pass_fds=[number]) as canter:
        canter.wait_ready()
        assert ask(listener.getsockname(), socket.AF_INET).startswith(b"HTTP/1.1 200 ")
        # The front dies; its successor finds the same socket.
        os.kill(canter.one("front"), signal.SIGKILL)
        assert ask(listener.getsockname(), socket.AF_INET).startswith(b"HTTP/1.1 200 ")
        assert canter.stop() == 0
    with socket.create_connection(listener.getsockname()):
        pass


@pytest.mark.parametrize("kind", ["closed", "file", "unbound"])
def test_a_descriptor_that_is_no_listening_socket_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    with open(tmp_path / "file", "wb") as file, socket.socket() as unbound:
        number = {"closed": 77, "file": file.fileno(), "unbound": unbound.fileno()}[kind]
        if kind != "closed":
            os.set_inheritable(number, True)
        with Canter(
            tmp_path, APP, bind=[f"fd://{number}"],
            pass_fds=[number] if kind != "closed" else [],
        ) as canter:  # fmt: skip
            assert canter.wait() == 4
            assert f"descriptor {number}" in canter.log


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        yield manager


def test_the_service_manager_hears_ready_reloading_and_stopping(
    tmp_path: Path, manager: socket.socket
) -> None:
    source = """
    import os, time
    while not os.path.exists("go"):
        time.sleep(0.01)
    """ + APP.replace("\n", "\n    ")
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with Canter(tmp_path, source, "-w", "1", env=env) as canter:
        canter.wait_log("http://")
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1000)
        manager.settimeout(10)
        (tmp_path / "go").touch()
        assert manager.recv(1000).startswith(b"READY=1")
        assert canter.get().status == 200
        canter.signal(signal.SIGHUP)
        assert manager.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(1000).startswith(b"READY=1")
        canter.signal(signal.SIGTERM)
        assert manager.recv(1000).startswith(b"STOPPING=1")
        assert canter.wait(15) == 0


def test_the_watchdog_is_fed_while_the_front_answers_and_not_when_it_hangs(
    tmp_path: Path, manager: socket.socket
) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with Canter(tmp_path, APP, "-w", "1", env=env) as canter:
        words = {b""}
        while not {b"READY=1", b"WATCHDOG=1"} <= words:
            words.add(manager.recv(1000))
        front = canter.one("front")
        os.kill(front, signal.SIGSTOP)
        until(lambda: stat_of(front)[0] == "T")
        manager.settimeout(1.0)

        def is_silent() -> bool:
            try:
                manager.recv(1000)
            except TimeoutError:
                return True
            return False

        # What the front answered before may be passed on late. It is asked each 200 ms.
        until(is_silent, 4.0, "a second without a sign of life")


def test_the_app_does_not_inherit_the_service_manager(
    tmp_path: Path, manager: socket.socket
) -> None:
    source = """
    import os
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [os.environ.get("NOTIFY_SOCKET", "none").encode()]
    """
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with Canter(tmp_path, source, "-w", "1", env=env) as canter:
        assert canter.get().text == "none"


def test_no_socket_of_canter_is_open_in_programs_that_the_app_starts(tmp_path: Path) -> None:
    source = """
    import subprocess
    def application(environ, start_response):
        out = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, close_fds=False)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [out.stdout]
    """
    with Canter(tmp_path, source, "-w", "1") as canter:
        opened = canter.get().text
        assert "socket:" not in opened and "memfd:" not in opened and "eventfd" not in opened
        until(lambda: canter.get().status == 200)
