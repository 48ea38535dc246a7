"""What a person sees who starts ``canter serve`` in a terminal: a real one, made by the system."""

from __future__ import annotations

import http.client
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

from harness.operated import PATIENCE, PROGRAM, clean_env

APP = '''
def application(environ, start_response):
    raise RuntimeError(f"no such page: {environ['PATH_INFO']}")
'''


class Screen:
    """What has been written to a terminal."""

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal
        self.text = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Read until the pattern is there."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.text)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} is not on the screen:\n{self.text}"
            if select.select([self.terminal], [], [], left)[0]:
                self.text += os.read(self.terminal, 65536).decode("utf-8", "replace")
        return found


def test_a_traceback_can_be_read_on_a_terminal_and_nobody_can_paint_there(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    near, far = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "serve", "app", "--bind", "127.0.0.1:0", "-w", "1", "--no-access-log"],
        cwd=tmp_path,
        env=clean_env(),
        stdout=far,
        stderr=far,
        start_new_session=True,
    )
    os.close(far)
    try:
        screen = Screen(near)
        port = int(screen.until(r"http://127\.0\.0\.1:(\d+)")[1])
        screen.until("worker is ready")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/%1b%5d0;mine%07/painted")
        assert connection.getresponse().status == 500
        connection.close()
        screen.until("painted(?s:.*)RuntimeError.*painted")
        lines = [line.rstrip("\r") for line in screen.text.split("\n")]
        at = next(number for number, line in enumerate(lines) if "app.py" in line)
        assert lines[at].strip().startswith('File "') and lines[at].endswith("in application")
        assert lines[at + 1].strip().startswith("raise RuntimeError")
        # What a request brings is shown, not obeyed: this would set the window's title.
        assert "\x1b]" not in screen.text and "\x07" not in screen.text
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(near)
