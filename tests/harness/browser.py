"""Owns a headless Chromium that a test plays a person with: it opens a page, waits for what is to be
seen, clicks, and takes pictures, over the browser's own pipe.

Leaves which page and what is expected to the tests.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from harness.operated import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""The program, where there is one."""

PATIENCE = 60.0
"""A browser on a busy machine takes its time."""

FAINT = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const found = parts(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const out = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some(it => it.nodeType === 3 && it.data.trim());
    if (!own || ["SCRIPT", "STYLE"].includes(node.tagName) || !node.getClientRects().length) continue;
    const [one, other] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) out.push([node.textContent.slice(0, 40), ratio]);
  }
  return out;
})()
"""
"""The contrast of each text with what lies behind it (WCAG 2.2, sections 1.4.3 and the definition of
relative luminance); text that is too faint, with its ratio."""


class Browser:
    """One tab. Words are those of the DevTools protocol, each ended by a zero byte."""

    def __init__(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        assert CHROMIUM is not None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # Out of the way of 3 and 4, which the browser reads and writes.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, from_browser)]
        program = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
            f"--user-data-dir={self._folder.name}", "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            program,
            close_fds=False,
            preexec_fn=lambda: (os.dup2(ends[0], 3), os.dup2(ends[1], 4)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        try:
            (tab,) = (one for one in until(self._tabs, PATIENCE, "a tab") if one["type"] == "page")
            told = self.tell("Target.attachToTarget", targetId=tab["targetId"], flatten=True)
            self._session = told["sessionId"]
            self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            self.tell("Emulation.setEmulatedMedia", features=[scheme])
            self.tell("Page.navigate", url=url)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it and forgets what it kept."""
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._folder.cleanup()

    def _tabs(self) -> list[Any]:
        found = self.tell("Target.getTargets")["targetInfos"]
        return [one for one in found if one["type"] == "page"][:1]

    def tell(self, method: str, **params: Any) -> Any:
        """Gives one order and waits for its answer; events between are passed over."""
        self._number += 1
        order: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            order["sessionId"] = self._session
        os.write(self._out, json.dumps(order).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                piece = os.read(self._in, 1 << 16)
                assert piece, "the browser has ended"
                self._buffer += piece
            word, _zero, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(word)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, script: str) -> Any:
        """Waits until the expression is true, and returns it."""
        return until(lambda: self.run(script), PATIENCE, script)

    def press(self, key: str) -> None:
        """Presses a key, as somebody without a mouse does."""
        codes = {"Tab": 9, "Enter": 13}
        more = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=codes[key], **(more if kind == "keyDown" else {}))  # fmt: skip

    def click(self, script: str) -> None:
        """Clicks what the expression finds, where it is."""
        self.run(f"{script}.scrollIntoView({{ block: 'center' }})")
        x, y = self.run(
            f"(() => {{ const it = {script}.getBoundingClientRect(); return [it.x + it.width / 2, it.y + it.height / 2]; }})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path, whole: bool = True) -> None:
        """What is to be seen; with ``whole`` the page to its end."""
        told = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                         **({"clip": self._whole()} if whole else {}))  # fmt: skip
        path.write_bytes(base64.b64decode(told["data"]))

    def _whole(self) -> dict[str, float]:
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}


def read_by_day_and_by_night(page: Path, pictures: Path) -> None:
    """A report in one file: on a desk by day and on a phone by night all of it is there, can be read, and
    nothing is fetched from elsewhere. Leaves a picture of each."""
    for width, dark in [(1280, False), (390, True)]:
        with Browser(page.resolve().as_uri(), width=width, dark=dark) as browser:
            browser.wait("document.readyState === 'complete' && !!document.querySelector('svg')")
            assert browser.run("document.documentElement.scrollWidth") <= width
            paper = browser.run("getComputedStyle(document.body).backgroundColor")
            light = sum(map(int, re.findall(r"\d+", paper)[:3])) > 3 * 128
            assert light != dark, paper
            assert browser.run(FAINT) == []
            assert browser.run("performance.getEntriesByType('resource').map(it => it.name)") == []
            assert browser.run("[...document.querySelectorAll('svg')].every(it => it.getClientRects().length)")
            # Charts are scrolled on a phone, not made so small that nobody can read them.
            sizes = browser.run("[...document.querySelectorAll('svg text')].map(it => it.getBoundingClientRect().height)")
            assert min(sizes) >= 8, sizes
            browser.picture(pictures / f"{page.stem}-{'dark' if dark else 'light'}.png")
