"""The dashboard in a real browser: it fills itself, shows what clients send as text alone, fits a
phone and the dark. Without Chromium these tests are left out, and one line says so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import shop
from harness.server import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM: the dashboard is NOT tested in a browser"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = shop.copy(tmp_path_factory.mktemp("page"), (10, 20, 60))
    # A route and a line of code that would be markup.
    views = site / "reader" / "views" / "shop.py"
    views.write_text(
        views.read_text(encoding="utf-8")
        + "\n\ndef hostile(request):\n"
        + "    for n in range(6):\n"
        + "        list(Customer.objects.filter(pk=n))  # <img src=x>\n"
        + "    return HttpResponse('x')\n",
        encoding="utf-8",
    )
    urls = site / "reader" / "urls.py"
    text = urls.read_text(encoding="utf-8").replace("import path", "import path, re_path")
    urls.write_text(
        text.replace(
            "urlpatterns = [", "urlpatterns = [\n    re_path('^<b>/$', shop.hostile),"
        ),
        encoding="utf-8",
    )
    with Server(site, "") as server:
        for path in ("/api/orders/", "/customers/", "/recent/", "/%3Cb%3E/", "/hello/"):
            assert shop.get(server, path)[0] == 200
        yield server


def browse(folder: Path, server: Server, *flags: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    program = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", f"--user-data-dir={folder}",
        "--virtual-time-budget=3000", *flags, f"{server.url}/-/canter#still",
    ]  # fmt: skip
    return subprocess.run(program, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def dom(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as the browser has it once it has filled itself."""
    return browse(tmp_path_factory.mktemp("dom"), server, "--dump-dom").stdout


def test_d5_the_page_fills_itself(dom: str) -> None:
    assert 'data-ready="yes"' in dom
    assert "rate-limiting step: " in dom
    assert "one query for each row in GET /api/orders/" in dom
    assert 'select_related("customer").prefetch_related("lines__product")' in dom
    assert "reader/views/shop.py:" in dom
    assert re.search(r"worker 1</th><td>\d+</td>", dom)
    assert dom.count("<svg") == 6


def test_d5_what_others_have_named_is_text_and_no_markup(dom: str) -> None:
    assert "GET /&lt;b&gt;/" in dom and "&lt;img src=x&gt;" in dom
    assert "<img" not in dom and "<b>" not in dom


def test_d5_everything_has_a_name_for_those_who_do_not_see_it(dom: str) -> None:
    assert '<html lang="en">' in dom and "name=\"viewport\"" in dom
    for picture in re.findall(r"<svg[^>]*>", dom):
        assert 'role="img"' in picture and "aria-label=" in picture
    assert dom.count("<h1>") == 1
    for region in re.findall(r'<div class="scroll"[^>]*>', dom):
        assert 'tabindex="0"' in region and "aria-labelledby=" in region
    assert re.search(r'<tr><th scope="row">', dom)


@pytest.mark.parametrize("size", ["1280,1600", "390,1600"])
def test_d5_it_can_be_drawn_on_a_desk_and_on_a_phone(
    server: Server, tmp_path: Path, size: str
) -> None:
    picture = tmp_path / "page.png"
    done = browse(tmp_path / "profile", server, f"--window-size={size}", f"--screenshot={picture}")
    assert picture.exists(), done.stderr
    assert picture.stat().st_size > 10_000
