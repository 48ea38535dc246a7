"""Each part of the dashboard in a real browser: that it says what is known, marks what is bad, and is there for
who has a keyboard or a screen reader alone. Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import concurrent.futures
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import shop
from harness.browser import CHROMIUM, FAINT, Browser
from harness.operated import PATIENCE, until
from harness.server import Server

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM: the dashboard is NOT tested in a browser"
)

READY = "document.body?.dataset.ready === 'yes'"

VIEWS = '''

def in_sql(request):
    """Waits in the database until a file is there."""
    import os, time
    from django.db import connection
    def wait(path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return 1
    with connection.cursor() as cursor:
        connection.connection.create_function("wait", 1, wait)
        cursor.execute("SELECT wait(%s)", ["go"])
    return HttpResponse("done")


def fails(request):
    return HttpResponse("x", status=500)
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = shop.copy(tmp_path_factory.mktemp("parts"), (10, 20, 60))
    views = site / "reader" / "views" / "shop.py"
    views.write_text(views.read_text(encoding="utf-8") + VIEWS, encoding="utf-8")
    urls = site / "reader" / "urls.py"
    routes = "urlpatterns = [\n    path('in-sql/', shop.in_sql),\n    path('fails/', shop.fails),"
    text = urls.read_text(encoding="utf-8")
    urls.write_text(text.replace("urlpatterns = [", routes), encoding="utf-8")
    with Server(site, "") as server:
        for path in ("/api/orders/", "/customers/", "/recent/", "/hello/", "/fails/"):
            for _ in range(2):
                assert shop.get(server, path)[0] in (200, 500)
        # Memory with its shared part is walked every 15 s, first at the start.
        until(lambda: worker_of(server)["pss_kb"], PATIENCE, "the memory of a worker")
        yield server


def worker_of(server: Server) -> Any:
    [found] = [one for one in shop.data(server)["processes"] if one["name"] == "worker 1"]
    return found


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Browser]:
    """The page of one moment."""
    with Browser(f"{server.url}/-/canter#still") as browser:
        browser.wait(READY)
        yield browser


TILES = """Object.fromEntries([...document.querySelectorAll('#tiles > div')].map(it =>
    [it.querySelector('dt').textContent, [it.querySelector('dd').textContent, it.querySelector('dd').className]]))"""


def test_d5_each_tile_says_what_is_known(page: Browser) -> None:
    """What is shown is what the page was told, of the real site."""
    data = page.run("last")
    tiles = {name: value for name, (value, _kind) in page.run(TILES).items()}
    total, now = data["total"], data["now"]
    assert tiles["Requests"] == f"{total['requests']:,}" and total["requests"] >= 10
    assert tiles["Errors"] == "2" and tiles["Over 30 s"] == "0"
    for name in ("p50", "p95", "p99"):
        shown = page.run(f"span({total[f'{name}_ms']})")
        assert tiles[name] == shown and total[f"{name}_ms"] > 0
    assert tiles["Longest"] == page.run(f"span({total['max_ms']})")
    assert tiles["Queries"] == f"{total['queries']:,}" and total["queries"] > 100
    assert tiles["In the queue"] == str(now["queued"]) and tiles["Running"] == str(now["running"])
    assert tiles["Connections"] == str(now["connections"])
    assert re.fullmatch(r"\d+ (of \d+|in 1 worker)", tiles["Threads"]), tiles
    memory = page.run(f"mb({now['memory_kb']})")
    assert tiles["Memory"].startswith(memory) and tiles["Memory"].endswith(" MB") and now["memory_kb"] > 0
    assert tiles["Pool"] == f"{data['pool']['busy']} of {data['pool']['servers']} busy"
    assert tiles["Wait for pool"] == "0" and tiles["Cache hits"].startswith("0")
    # What the empty tables take counts.
    assert tiles["Cached pages"] == f"0, {page.run('mb(last.cache.bytes / 1024)')} MB"
    assert page.run(f"{TILES}['Errors'][1]") == "bad"


BUSY = {
    "total": {"requests": 12345, "errors": 0, "timeouts": 3, "p50_ms": 4.5, "p95_ms": 1500, "p99_ms": 31000,
              "max_ms": 181000, "queries": 99},
    "now": {"queued": 11, "running": 8, "connections": 40, "memory_kb": 500_000, "memory_limit_kb": 524_288},
    "processes": [{"name": "front", "threads": 3}, {"name": "worker 1", "threads": 5}],
    "pool": {"busy": 8, "servers": 8, "clients": 20, "waiting": 2},
    "cache": {"hits": 3, "misses": 1, "pages": 2, "bytes": 2 << 20},
    "memory_sentence": "R14 in about 40 min", "memory_left_s": 2400,
    "threads": {"now": 4, "most": 40, "needed_kb": 552_960}, "threads_sentence": "all 40 need 540 MB",
    "growth_sentence": "GET /leaks/: 30 MB",
}  # fmt: skip


def test_d5_each_tile_marks_what_is_bad_and_sentences_have_their_own_line(server: Server) -> None:
    with Browser(f"{server.url}/-/canter#still") as browser:
        browser.wait(READY)
        browser.run(f"tiles({json.dumps(BUSY)})")
        tiles = browser.run(TILES)
        assert tiles == {
            "Requests": ["12,345", ""], "Errors": ["0", ""], "Over 30 s": ["3", "bad"],
            "p50": ["4.5 ms", ""], "p95": ["1.5 s", ""], "p99": ["31 s", ""], "Longest": ["3.02 min", ""],
            "Queries": ["99", ""], "In the queue": ["11", "bad"], "Running": ["8", ""],
            "Connections": ["40", ""], "Threads": ["4 of 40", ""], "Memory": ["488 of 512 MB", "bad"],
            "Pool": ["8 of 8 busy", ""], "Wait for pool": ["2", "bad"],
            "Cache hits": ["3 (75 %)", ""], "Cached pages": ["2, 2 MB", ""],
            "Memory limit": ["R14 in about 40 min", "bad"],
            "Memory of all threads": ["all 40 need 540 MB", "bad"],
            "Memory grows in": ["GET /leaks/: 30 MB", ""],
        }  # fmt: skip
        wide = "[...document.querySelectorAll('#tiles .wide')].map(it => it.getBoundingClientRect().width / $('tiles').getBoundingClientRect().width)"
        assert [round(share, 2) for share in browser.run(wide)] == [1, 1, 1]
        assert browser.run(FAINT) == []


def test_d5_charts_draw_the_line_of_30_s_once_requests_come_near_it(page: Browser) -> None:
    """The router's limit (H12), and the limit of memory."""
    drawn = "(() => {{ const it = chart('Latency', {points}, [4, 5], ' ms', 30000); return [it.querySelectorAll('.over').length, it.querySelector('svg').getAttribute('aria-label'), it.textContent]; }})()"

    def of(*slowest: int) -> Any:
        points = [[0, 1, 0, 0, 5, ms] for ms in slowest]
        return page.run(drawn.format(points=json.dumps(points)))

    assert of(20, 40) == [0, "Latency, at most 40 ms", "Latency · now 40, at most 40 ms"]
    assert of(20, 12_000)[0] == 1 and of(31_000, 20)[0] == 1
    assert of(31_000, 20)[1] == "Latency, at most 31,000 ms"
    captions = page.run("[...document.querySelectorAll('#charts figcaption')].map(it => it.textContent.split(' · ')[0])")
    assert captions == ["Requests a second", "Latency: middle and 95 of 100", "Errors in 5 s",
                        "Waiting in the queue", "Memory", "Queries a second"]  # fmt: skip
    heading = page.run("$('h-charts').textContent")
    assert re.fullmatch(r"The last (\d.* (s|min)|quarter of an hour)", heading), heading


def test_d6_memory_of_each_process_and_together_stands_beside_the_limit(page: Browser) -> None:
    rows = page.run("[...document.querySelectorAll('#processes tr, #together tr')].map(it => [...it.children].map(it => it.textContent))")
    names = [row[0] for row in rows]
    assert {"supervisor", "front", "worker 1"} <= set(names), names
    worker = rows[names.index("worker 1")]
    pid, pss, uss, shared, rss, threads = (float(word.replace(",", "")) for word in worker[1:])
    assert pid > 1 and rss >= pss >= uss > 0 and shared > 0 and threads >= 1, worker
    assert names[-1].startswith("together") and float(rows[-1][2].replace(",", "")) > pss
    limit = page.run("last.now.memory_limit_kb")
    assert (", of " in names[-1]) == (limit > 0)


def test_d5_routes_come_by_the_time_they_take_and_findings_by_what_they_cost(page: Browser) -> None:
    data = page.run("last")
    labels = page.run("[...document.querySelectorAll('#routes th')].map(it => it.textContent)")
    by_time = sorted(data["routes"], key=lambda row: -row["time_per_hour_ms"])
    assert labels == [row["label"] for row in by_time] and len(labels) >= 5
    heads = page.run("[...document.querySelectorAll('#routes')].map(it => [...it.closest('table').querySelectorAll('thead th')].map(it => it.textContent))[0]")
    cells = page.run("[...document.querySelectorAll('#routes tr')].map(it => [...it.children].map(it => it.textContent))")
    fails = dict(zip(heads, cells[labels.index("GET /fails/")], strict=True))
    assert (fails["Requests"], fails["Errors"], fails["Over 30 s"]) == ("2", "2", "0"), fails
    assert "rate-limiting step: " in fails["Where it goes"]
    orders = dict(zip(heads, cells[labels.index("GET /api/orders/")], strict=True))
    assert re.fullmatch(r"\d+ to \d+", orders["Queries"]) and orders["Time / h"] != "0 ms"
    costs = [one["lost_per_hour_ms"] for one in data["findings"]]
    assert costs == sorted(costs, reverse=True) and len(costs) >= 2
    found = page.run("[...document.querySelectorAll('.finding')].map(it => it.id)")
    assert found == [one["id"] for one in data["findings"]]
    first = page.run("document.querySelector('.finding').innerText")
    for part in (" times in a request", " could go", " an hour", "reader/", "Fix: ", "SELECT "):
        assert part in first, first


def test_d5_a_click_shows_the_plan(server: Server) -> None:
    with Browser(f"{server.url}/-/canter#still") as browser:
        browser.wait(READY)
        button = "[...document.querySelectorAll('.finding button')].find(it => it.textContent === 'Explain')"
        browser.click(button)
        browser.wait("[...document.querySelectorAll('.finding [role=status]')].some(it => it.textContent.includes('EXPLAIN QUERY PLAN'))")
        # What is answered is said to who does not see it.
        assert browser.run(f"{button}.closest('article').querySelector('[role=status]') !== null")


def test_d5_a_slow_request_shows_its_statement_and_its_stack_while_it_runs(server: Server) -> None:
    with Browser(f"{server.url}/-/canter") as browser:
        browser.wait(READY)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(shop.get, server, "/in-sql/?secret=hunter2")
            try:
                browser.wait("document.querySelector('#running pre')?.textContent.includes('SELECT wait(?)')")
                browser.click("document.querySelector('#running summary')")
                browser.wait("document.querySelector('#running details').open")
                text = browser.run("document.getElementById('running').innerText")
                # Opened once, it stays so while the list is drawn anew.
                before = browser.run("document.querySelector('#running').innerText")
                browser.wait(f"document.querySelector('#running').innerText !== {json.dumps(before)}")
                assert browser.run("document.querySelector('#running details').open")
            finally:
                (server.folder / "go").touch()
            assert asked.result()[0] == 200
    assert "GET /in-sql/" in text and "running, route /in-sql/" in text
    assert "in in_sql" in text and "reader/views/shop.py" in text and "hunter2" not in text


def test_d5_a_keyboard_alone_reaches_all_there_is(server: Server) -> None:
    with Browser(f"{server.url}/-/canter#still") as browser:
        browser.wait(READY)
        where = "(() => { const it = document.activeElement; return [it.tagName, it.textContent.trim().slice(0, 40), it.getAttribute('aria-label') ?? it.getAttribute('aria-labelledby') ?? '']; })()"
        browser.press("Tab")
        assert browser.run(where)[:2] == ["A", "Go to the findings"]
        assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0, "it is seen once it is reached"
        seen = []
        for _ in range(80):
            browser.press("Tab")
            seen.append(tuple(browser.run(where)))
            if seen[-1][1] == "findings as SARIF":
                break
        # In the order in which they stand, and each is seen to have the focus.
        wanted = browser.run("[...document.querySelectorAll('main a, main button, main select, main [tabindex=\"0\"], main summary')].length")
        assert len(seen) == wanted, seen
        regions = [label for tag, _text, label in seen if tag == "DIV"]
        assert regions == ["h-routes", "h-statements", "h-processes"]
        browser.run("document.querySelector('.finding button').focus()")
        browser.press("Tab")
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        # The way past everything: to the findings, and on from there.
        browser.run("document.querySelector('.skip').focus()")
        browser.press("Enter")
        browser.wait("location.hash === '#findings'")
        browser.press("Tab")
        assert browser.run("document.activeElement.closest('.finding') === document.querySelector('.finding')")


def test_d5_a_screen_reader_is_told_what_everything_is(page: Browser) -> None:
    """The tree that Chromium gives to assistive technology."""
    page.tell("Accessibility.enable")
    nodes = page.tell("Accessibility.getFullAXTree")["nodes"]
    told: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            told.setdefault(node["role"]["value"], []).append(name)
    headings = told["heading"]
    for heading in ("Canter", "Findings, the dearest first", "Requests that take more than a second, now",
                    "Routes by the time they take in an hour", "Statements by time", "Processes"):  # fmt: skip
        assert heading in headings, headings
    levels = [
        next(one["value"]["value"] for one in node["properties"] if one["name"] == "level")
        for node in nodes
        if not node["ignored"] and node["role"]["value"] == "heading"
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False)), levels
    assert {"banner", "main"} <= set(told)
    # Nothing that can be used or is a picture is without a name.
    for role in ("button", "link", "combobox", "image", "region", "columnheader", "rowheader"):
        assert told[role] and all(name.strip() for name in told[role]), (role, told[role])
    assert len(set(told["button"])) == len(told["button"]), "two buttons of one name"
    assert {"Routes by the time they take in an hour", "Statements by time", "Processes"} <= set(told["region"])
    assert any(re.fullmatch(r"(\w+ \d+ %, )*\w+ \d+ %", name) for name in told["image"]), told["image"]
    assert told.get("status"), sorted(told)
    terms = told.get("term") or told["DescriptionListTerm"]
    assert len(terms) == page.run("document.querySelectorAll('#tiles dt').length")
    texts = set(told["StaticText"])
    assert {"Requests", "Over 30 s", "Memory", "Pool", "Cache hits", "Threads"} <= texts


@pytest.mark.parametrize(("width", "dark"), [(320, False), (320, True), (390, False), (1280, True)])
def test_d5_nothing_is_cut_off_or_faint_however_narrow_or_dark(
    server: Server, tmp_path: Path, width: int, dark: bool
) -> None:
    """WCAG 2.2, 1.4.10: at 320 pixels nothing has to be scrolled in two directions but tables."""
    with Browser(f"{server.url}/-/canter#still", width=width, dark=dark) as browser:
        browser.wait(READY)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(FAINT) == []
        cut = "[...document.querySelectorAll('#tiles dd, #tiles dt, figcaption, h2, h3, .finding p')].filter(it => it.scrollWidth > it.clientWidth + 1).map(it => it.textContent)"
        assert browser.run(cut) == []
        browser.picture(tmp_path / "page.png")
