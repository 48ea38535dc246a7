"""What Canter says of a Django site without any settings: the two stories, the habits that are no
fault, phases, and who may see it. Ids are those of the acceptance list (C SQL, D observability).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import shop
from harness.operated import PATIENCE, PROGRAM, until
from harness.server import APPS, JSON_LOG, Server

TOKEN = "a-token-that-nobody-can-guess"


def serve(site: Path, *flags: str) -> Server:
    return Server(site, "", *JSON_LOG, *flags)


SAVES = """
class Each:
    def __call__(self, _request: HttpRequest) -> HttpResponse:
        for product in Product.objects.all():
            product.price += 1
            product.save()
        return HttpResponse("saved")


urlpatterns.append(path("save-each/", Each()))
"""


@pytest.fixture(scope="module")
def orders_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 orders with 134 lines: 2 + 20 + 20 + 134 = 176 queries."""
    return shop.copy(tmp_path_factory.mktemp("orders"), (20, 20, 134))


@pytest.fixture(scope="module")
def server(orders_site: Path) -> Iterator[Server]:
    habits = (APPS / "habits.py").read_text(encoding="utf-8") + SAVES
    (orders_site / "reader_site" / "habits.py").write_text(habits, encoding="utf-8")
    urls = orders_site / "reader_site" / "urls.py"
    urls.write_text(
        urls.read_text(encoding="utf-8")
        + "\nfrom reader_site import habits\nurlpatterns += habits.urlpatterns\n",
        encoding="utf-8",
    )
    with serve(orders_site, "--admin-token", TOKEN) as server:
        yield server


def test_c2_habits_that_are_no_fault_give_no_finding(server: Server) -> None:
    names = re.findall(r"^def (\w+)", (APPS / "habits.py").read_text(encoding="utf-8"), re.M)
    assert len(names) == 15
    for name in [*names, "admin/reader/customer"]:
        for _ in range(2):
            assert shop.get(server, f"/habits/{name}/")[0] == 200
    seen = {row["route"]: row["queries_max"] for row in shop.data(server)["routes"]}
    assert all(seen[f"/habits/{name}/"] > 0 for name in names), seen
    # A machine that is loaded makes anything slow, and locks be held for long.
    times = ("holding", "slow")
    findings = shop.data(server)["findings"]
    found = [one for one in findings if "/habits/" in one["route"] and one["rule"] not in times]
    assert found == []


def test_c2_many_rows_that_are_saved_one_by_one_are_a_mild_finding_of_their_own(server: Server) -> None:
    assert shop.get(server, "/save-each/")[0] == 200
    found = [one for one in shop.data(server)["findings"] if one["route"] == "GET /save-each/"]
    (one,) = [one for one in found if one["rule"] not in ("holding", "slow")]
    assert (one["rule"], one["severity"], one["count"]) == ("write_loop", "warning", 134)
    assert one["title"] == "one write for each row" and one["file"] == "reader_site/habits.py"
    assert one["advice"].startswith("change the rows and write them at once: Product.objects.bulk_update(rows, fields)")
    assert one["sql"].startswith("UPDATE reader_product SET")
    told = canter("queries", f"127.0.0.1:{server.port}", "--token", TOKEN).stdout
    assert "134 rows of a request, each with a statement of its own" in told
    assert re.search(r"(?m)^ +1 +135/135 +2 .* GET /save-each/$", told), told


def test_c3_what_is_wrong_for_get_and_head_is_told_once(orders_site: Path) -> None:
    with serve(orders_site) as server:
        for method in ("HEAD", "GET"):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
            connection.request(method, "/customers/")
            assert connection.getresponse().status == 200
            connection.close()
        told = shop.data(server)
        assert {row["label"] for row in told["routes"]} >= {"GET /customers/", "HEAD /customers/"}
        found = [one for one in told["findings"] if one["rule"] == "n_plus_one"]
        assert {one["route"] for one in found} == {"GET /customers/"}
        assert len({one["id"] for one in found}) == len(found) and {one["requests"] for one in found} == {2}


def test_c1_the_orders_api_is_named_with_its_relations_and_calls(server: Server) -> None:
    assert shop.get(server, "/api/orders/")[0] == 200
    row = shop.route(server, "GET /api/orders/")
    assert row["queries_max"] == 176
    found = [one for one in shop.data(server)["findings"] if one["route"] == "GET /api/orders/"]
    assert {one["rule"] for one in found} == {"n_plus_one"}
    assert sorted(one["count"] for one in found) == [20, 20, 134]
    for one in found:
        assert one["advice"].startswith(
            'Order.objects.select_related("customer").prefetch_related("lines__product")'
        )
        assert one["file"] == "reader/api/views.py" and one["function"] == "OrderViewSet"
        assert one["severity"] == "critical" and "?" in one["sql"]


def test_c5_many_rows_that_share_a_few_are_one_query_for_each_row(tmp_path: Path) -> None:
    site = shop.copy(tmp_path / "few", (3, 20, 0))
    with serve(site) as server:
        assert shop.get(server, "/api/orders/")[0] == 200
        found = {one["distinct"]: one for one in shop.data(server)["findings"]}
    assert {one["rule"] for one in found.values()} == {"n_plus_one"} and sorted(found) == [3, 20]
    assert found[3]["count"] == 20
    assert found[3]["advice"].startswith('Order.objects.select_related("customer")')


def applied(folder: Path, site: Path, file: str, before: str, advice: str) -> Path:
    """A copy of the site in which exactly what the advice says is done."""
    copy = folder / "reader"
    shutil.copytree(site, copy)
    expression = re.match(r"[\w.]+(\.\w+\([^)]*\))+", advice)
    assert expression is not None, advice
    source = copy / file
    text = source.read_text(encoding="utf-8")
    assert text.count(before) == 1
    source.write_text(text.replace(before, expression[0]), encoding="utf-8")
    return copy


def test_c2_applying_exactly_what_is_said_leaves_four_queries(
    server: Server, orders_site: Path, tmp_path: Path
) -> None:
    shop.get(server, "/api/orders/")
    advice = shop.data(server)["findings"][0]["advice"]
    site = applied(tmp_path, orders_site, "reader/api/views.py", "Order.objects.all()", advice)
    with serve(site) as mended:
        before, after = (shop.get(one, "/api/orders/")[2] for one in (server, mended))
        results = [json.loads(text)["results"] for text in (before, after)]
        assert results[0] == results[1]
        assert shop.route(mended, "GET /api/orders/")["queries_max"] == 4
        assert shop.data(mended)["findings"] == []


def test_c2_the_second_story_goes_from_511_to_4(tmp_path: Path) -> None:
    # 1 + 10 customers + 100 orders + 400 lines.
    site = shop.copy(tmp_path / "one", (10, 100, 400))
    with serve(site) as server:
        assert shop.get(server, "/customers/")[0] == 200
        assert shop.route(server, "GET /customers/")["queries_max"] == 511
        found = shop.data(server)["findings"]
        assert sorted(one["count"] for one in found) == [10, 100, 400]
        assert {one["file"] for one in found} == {"reader/views/shop.py"}
        assert {one["function"] for one in found} == {"customers"}
        assert "template reader/customers.html, line" in found[0]["advice"]
        advice = found[0]["advice"]
    mended = applied(tmp_path / "two", site, "reader/views/shop.py", "Customer.objects.all()", advice)
    with serve(mended) as server:
        assert shop.get(server, "/customers/")[0] == 200
        assert shop.route(server, "GET /customers/")["queries_max"] == 4
        assert shop.data(server)["findings"] == []


def test_c8_no_value_of_a_statement_leaves_the_worker(server: Server) -> None:
    shop.get(server, "/search/?q=hunter2")
    shop.get(server, "/topics/hunter2/")
    for what in ("data.json", "findings.txt", "findings.sarif", "metrics", "top.txt"):
        assert "hunter2" not in shop.get(server, f"/-/canter/{what}")[2]


def test_d1_phases_of_the_log_add_up_to_its_duration(server: Server) -> None:
    shop.get(server, "/recent/", X_Request_Id="phases-1")
    line = server.access_entry("phases-1")
    assert line["route"] == "/recent/" and line["queries"] == 1
    whole = ("duration_ms", "wall_ms")
    phases = {key: value for key, value in line.items() if key.endswith("_ms") and key not in whole}
    assert len(phases) == 9 and phases["sql_ms"] > 0 and phases["app_ms"] > 0
    assert abs(sum(phases.values()) - line["wall_ms"]) <= 1


def test_d2_a_browser_on_this_machine_is_told_where_the_time_went(server: Server) -> None:
    _status, fields, _text = shop.get(server, "/recent/", Sec_Fetch_Mode="navigate")
    assert re.search(r'app;dur=[\d.]+, .*sql;dur=[\d.]+;desc="1 queries"', fields["server-timing"])
    # One that says nothing of itself is not.
    assert "server-timing" not in shop.get(server, "/recent/")[1]


def test_d2_a_program_on_this_machine_is_told_with_its_first_request(server: Server) -> None:
    with server.client() as client:
        ask = "GET /recent/ HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\n\r\n"
        client.send(ask)
        first = {name.lower(): value for name, value in client.response().fields}
        assert "sql;dur=" in first["server-timing"]
        # What goes on asking, as a load generator does, does not pay for it each time.
        client.send(ask)
        assert "server-timing" not in {name.lower() for name, _value in client.response().fields}


def test_d3_metrics_reach_beyond_the_routers_patience(server: Server) -> None:
    shop.get(server, "/recent/")
    _status, fields, text = shop.get(server, "/-/canter/metrics")
    assert fields["content-type"].startswith("text/plain; version=0.0.4")
    labels = 'http_request_method="GET",http_route="/recent/"'
    labels += ',http_response_status_code="200",url_scheme="http"'
    for end in ("30", "60", "+Inf"):
        assert f'http_server_request_duration_seconds_bucket{{{labels},le="{end}"}} ' in text
    assert 'canter_process_memory_bytes{process="front",kind="pss"}' in text
    assert re.search(r'canter_process_cpu_seconds_total\{process="worker 1"\} \d', text)


FAILING = """
def application(environ, start_response):
    status = environ["QUERY_STRING"] or "200"
    start_response(f"{status} Told", [("Content-Length", "0")])
    return []
"""


def test_d3_what_failed_is_seen_in_the_metrics_by_its_status(tmp_path: Path) -> None:
    with Server(tmp_path, FAILING) as server:
        for query, times in (("", 3), ("?404", 2), ("?500", 1), ("?503", 2)):
            for _ in range(times):
                shop.get(server, f"/{query}")
        text = shop.get(server, "/-/canter/metrics")[2]
    name = "http_server_request_duration_seconds_count"
    row = rf'^{name}{{.*http_route="",http_response_status_code="(\d+)",url_scheme="http"(.*)}} (\d+)$'
    assert re.findall(row, text, re.M) == [
        ("200", "", "3"),
        ("404", "", "2"),
        ("500", ',error_type="500"', "1"),
        ("503", ',error_type="503"', "2"),
    ]


def test_d5_the_page_needs_nothing_else_and_is_small(server: Server) -> None:
    status, fields, page = shop.get(server, "/-/canter")
    assert status == 200 and len(page) <= 150_000
    assert "default-src 'none'" in fields["content-security-policy"]
    assert not re.findall(r'(?:src|href)="(?!/-/canter|#)', page)


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"X_Real_IP": "192.0.2.1"},
        {"Via": "1.1 somewhere"},
        {"CF_Connecting_IP": "192.0.2.1"},
        {"Host": "shop.example"},
    ],
)
def test_d5_what_comes_through_a_proxy_does_not_count_as_local(
    orders_site: Path, headers: dict[str, str]
) -> None:
    with serve(orders_site) as server:
        assert shop.get(server, "/-/canter")[0] == 200
        for path in ("/-/canter", "/-/canter/data.json", "/-/canter/events", "/-/canter?token="):
            assert shop.get(server, path, **headers)[0] == 404


def test_d5_once_a_proxy_was_seen_being_on_this_machine_proves_nothing(orders_site: Path) -> None:
    with serve(orders_site, "--admin-token", TOKEN) as server:
        assert shop.get(server, "/-/canter")[0] == 200
        shop.get(server, "/hello/", X_Forwarded_For="192.0.2.1")
        assert shop.get(server, "/-/canter")[0] == 404
        # Nor to commands, unless they have the token.
        top = ("top", f"127.0.0.1:{server.port}", "--once")
        refused = canter(*top)
        assert refused.returncode == 9 and "CANTER_ADMIN_TOKEN" in refused.stderr
        assert canter(*top, "--token", TOKEN).returncode == 0
        assert canter(*top, "--token", "two words").returncode == 2
        assert canter(*top, CANTER_ADMIN_TOKEN=TOKEN).returncode == 0


def test_d5_the_token_opens_it_from_anywhere_once(server: Server) -> None:
    away = {"Host": "localhost", "X_Forwarded_For": "192.0.2.1"}
    assert shop.get(server, f"/-/canter?token={TOKEN[:-1]}", **away)[0] == 404
    status, fields, _text = shop.get(server, f"/-/canter?token={TOKEN}", **away)
    assert (status, fields["location"]) == (303, "/-/canter")
    cookie = fields["set-cookie"]
    assert TOKEN not in cookie and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert shop.get(server, "/-/canter", Cookie=cookie.split(";")[0], **away)[0] == 200
    assert shop.get(server, "/-/canter/metrics", Authorization=f"Bearer {TOKEN}", **away)[0] == 200
    assert TOKEN not in server.log and TOKEN not in server.stdout


def ask(address: tuple[str, int] | str, path: str, **fields: str) -> http.client.HTTPResponse:
    """An answer over TCP or a unix socket, of which the body is yet to be read."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    connection.sock.settimeout(PATIENCE)
    connection.sock.connect(address)
    connection.request("GET", path, headers=fields)
    return connection.getresponse()


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="LEFT OUT: only root can open a socket as another user"
)


@contextlib.contextmanager
def as_user(user: int) -> Iterator[None]:
    """A socket belongs to who makes it, whoever uses it."""
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


def asked_by(
    user: int, server: Server, path: str, method: str = "GET", **fields: str
) -> tuple[int, dict[str, str], str]:
    """Status, fields and text of what another user of this machine gets, as a proxy without words of
    its own: its ``Host`` is the address it connects to."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with as_user(user):
        connection.connect()
    connection.request(method, path, headers={key.replace("_", "-"): it for key, it in fields.items()})
    answer = connection.getresponse()
    text = "" if path.endswith("/events") and answer.status == 200 else answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), text


@needs_root
def test_d5_a_proxy_that_says_nothing_of_itself_shows_the_dashboard_to_nobody(
    orders_site: Path,
) -> None:
    with serve(orders_site, "--admin-token", TOKEN) as server:
        assert [shop.get(server, f"/-/canter{it}")[0] for it in ("", "/metrics")] == [200, 200]
        # 33 is www-data, as which both a proxy and the site may run.
        for user in (65_534, 33, 1000):
            for path in ("", "/data.json", "/events", "/metrics", "/settings.json", "/profile.json"):
                status, _fields, text = asked_by(user, server, f"/-/canter{path}")
                assert status == 403, path
                assert all(way in text for way in ("CANTER_ADMIN_TOKEN", "canter top", "--admin-bind"))
        for act in ("acknowledge?id=a", "explain?id=a", "profile?seconds=1", "purge?all=1", "scale?"):
            mark = {"X_Canter": "1", "Content_Length": "0"}
            assert asked_by(65_534, server, f"/-/canter/{act}", "POST", **mark)[0] == 403, act
        keyed = {"Authorization": f"Bearer {TOKEN}"}
        assert asked_by(65_534, server, "/-/canter", **keyed)[0] == 200
        # No phases for its clients, and whose they are is not asked for each of them.
        for user in (65_534, 0):
            fields = asked_by(user, server, "/hello/", Sec_Fetch_Mode="navigate")[1]
            assert not any(name.lower() == "server-timing" for name in fields)
        # After so many strangers the system is asked again within a second.
        until(lambda: shop.get(server, "/-/canter")[0] == 200)
        # Not to be confused with who is far away: for them there is no such page.
        assert asked_by(65_534, server, "/-/canter", Via="1.1 somewhere")[0] == 404


@needs_root
def test_d5_an_address_of_the_dashboards_own_is_for_all_users_of_the_machine(
    orders_site: Path,
) -> None:
    with serve(orders_site, "--admin-bind", "127.0.0.1:0") as server:
        # That of the dashboard stands first.
        assert asked_by(65_534, server, "/-/canter/metrics")[0] == 200
        assert asked_by(65_534, server, "/-/canter", Via="1.1 somewhere")[0] == 404


def test_d5_at_an_address_of_its_own_there_is_the_page_and_no_app_and_watching_takes_no_thread(
    orders_site: Path,
) -> None:
    path = str(orders_site / "admin.sock")
    flags = ("--threads", "1", "--admin-bind", "127.0.0.1:0", "--admin-bind", f"unix:{path}")
    with serve(orders_site, *flags) as server:
        shown, site = (("127.0.0.1", port) for port in server.ports)
        # That the site is reached through a proxy on this machine changes nothing there.
        assert ask(site, "/hello/", Via="1.1 somewhere").status == 200
        assert ask(site, "/-/canter").status == 404
        for address in (shown, path):
            for page, status in (("", 200), ("/metrics", 200), ("/hello/", 404), ("/nothing", 404)):
                target = page if page == "/hello/" else f"/-/canter{page}"
                assert ask(address, target).status == status, (address, page)
            assert ask(address, "/-/canter", Via="1.1 somewhere").status == 404
        # More look on than there are threads, and each has been told something.
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                watching = stack.enter_context(contextlib.closing(ask(shown, "/-/canter/events")))
                assert watching.readline().startswith(b"data:")
            assert ask(site, "/hello/").status == 200


def test_d2_a_browser_that_has_shown_the_token_is_told_from_anywhere(orders_site: Path) -> None:
    away = {"X_Forwarded_For": "192.0.2.1", "Sec_Fetch_Mode": "navigate"}
    with serve(orders_site, "--admin-token", TOKEN) as server:
        _status, fields, _text = shop.get(server, f"/-/canter?token={TOKEN}", **away)
        key = fields["set-cookie"].split(";")[0]
        assert "sql;dur=" in shop.get(server, "/recent/", Cookie=key, **away)[1]["server-timing"]
        name, _, value = key.partition("=")
        forged = f"{name}={'1' if value[0] == '0' else '0'}{value[1:]}"
        for cookie in (forged, f"{name}={TOKEN}", "a=b"):
            assert "server-timing" not in shop.get(server, "/recent/", Cookie=cookie, **away)[1]


def canter(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **env}
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=PATIENCE, env=env)


def test_d5_commands_ask_the_server_over_its_private_socket(
    server: Server, tmp_path: Path
) -> None:
    shop.get(server, "/api/orders/")
    address = shop.socket_of(server)
    top = canter("top", address, "--once")
    assert top.returncode == 0 and "GET /api/orders/" in top.stdout, top.stderr
    text = canter("queries", address).stdout
    assert "one query for each row" in text and "select_related" in text
    sarif = json.loads(canter("queries", address, "--format", "sarif").stdout)
    results = sarif["runs"][0]["results"]
    assert results[0]["locations"][0]["physicalLocation"]["region"]["startLine"] > 0
    checked = canter("check", address, "--max-queries", "10", "--route", "/api/orders/")
    assert checked.returncode == 8 and "176 queries" in checked.stdout
    baseline = tmp_path / "accepted.txt"
    assert canter("check", address, "--write-baseline", str(baseline)).returncode == 0
    again = canter("check", address, "--baseline", str(baseline), "--max-queries", "176")
    assert again.returncode == 0, again.stdout
    assert canter("top", str(tmp_path / "none"), "--once").returncode == 9


def test_c11_without_insight_nothing_is_gathered_and_nothing_answers(orders_site: Path) -> None:
    with serve(orders_site, "--insight=false") as server:
        assert shop.get(server, "/recent/")[0] == 200
        assert shop.get(server, "/-/canter")[0] == 404
        assert "queries" not in until(server.access_lines, PATIENCE, "a line")[0]
