"""The dashboard in a real browser: it fills itself, shows what clients send as text alone, fits a
phone and the dark. Without Chromium these tests are left out, and one line says so.
"""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import shop
from harness.browser import CHROMIUM, FAINT, Browser
from harness.server import Server

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
        + "    return HttpResponse('x')\n"
        + "\n\ndef waits(request):\n"
        + "    import os, time\n"
        + "    while not os.path.exists('go'):\n"
        + "        time.sleep(0.02)\n"
        + "    return HttpResponse('x')\n",
        encoding="utf-8",
    )
    urls = site / "reader" / "urls.py"
    text = urls.read_text(encoding="utf-8").replace("import path", "import path, re_path")
    urls.write_text(
        text.replace(
            "urlpatterns = [",
            "urlpatterns = [\n    re_path('^<b>/$', shop.hostile),\n    path('waits/', shop.waits),",
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
    # One sentence for the site, and one for each route.
    assert re.search(r">GET /api/orders/</th>.*?rate-limiting step: [^<]+</div></td></tr>", dom)
    assert "<dt>Cache hits</dt><dd>0" in dom
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


READY = "document.body?.dataset.ready === 'yes'"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_d5_it_fits_a_desk_and_a_phone_and_can_be_read_by_day_and_by_night(
    server: Server, tmp_path: Path, width: int, dark: bool
) -> None:
    with Browser(f"{server.url}/-/canter#still", width=width, dark=dark) as browser:
        browser.wait(READY)
        assert browser.run("document.documentElement.scrollWidth") <= width
        dark_page = browser.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark_page == dark
        assert browser.run(FAINT) == []
        picture = tmp_path / "page.png"
        browser.picture(picture)
    assert picture.stat().st_size > 10_000


def test_d5_plan_and_acknowledgement_are_a_key_away_and_the_focus_stays(server: Server) -> None:
    with Browser(f"{server.url}/-/canter#still") as browser:
        browser.wait(READY)
        found = "[...document.querySelectorAll('.finding')].find(it => it.textContent.includes('GET /customers/'))"
        loop = f"document.getElementById({browser.run(found + '.id')!r})"

        def press(name: str, seen: str) -> None:
            button = f"[...{loop}.querySelectorAll('button')].find(it => it.textContent === {name!r})"
            browser.run(f"{button}.focus()")
            browser.press("Enter")
            browser.wait(f"{loop}.textContent.includes({seen!r})")

        press("Explain", "EXPLAIN QUERY PLAN")
        assert browser.run("document.activeElement.textContent") == "Explain"
        press("Acknowledge", "kept in canter-acknowledged.txt")
        assert browser.run(f"{loop}.querySelector('h3').textContent").startswith("acknowledged: ")
        assert browser.run(f"{loop} === document.querySelector('#findings').lastElementChild")
        press("Take back", "Acknowledge")
        assert not browser.run(f"{loop}.querySelector('h3').textContent").startswith("acknowledged: ")


def test_d2_the_browsers_own_tools_show_where_the_time_went(server: Server) -> None:
    with Browser(f"{server.url}/recent/") as browser:
        told = browser.wait("performance.getEntriesByType('navigation')[0]?.serverTiming.map(it => [it.name, it.duration, it.description])")
    names = {name: (duration, description) for name, duration, description in told}
    assert {"queue", "app", "sql"} <= set(names) and names["app"][0] > 0, told
    assert names["sql"][1].endswith(" queries")


def test_d5_a_request_that_runs_is_seen_by_the_stream_while_it_runs(server: Server) -> None:
    with Browser(f"{server.url}/-/canter") as browser:
        browser.wait(READY)
        browser.wait("document.getElementById('state').textContent === 'live'")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(shop.get, server, "/waits/?x=1")
            try:
                browser.wait("document.getElementById('running').textContent.includes('GET /waits/')")
            finally:
                (server.folder / "go").touch()
            assert asked.result()[0] == 200
        browser.wait("document.getElementById('running').textContent === 'None.'")
