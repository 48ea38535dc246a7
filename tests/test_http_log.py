"""The access log and the id of a request, from outside: each form, and what nobody may forge."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from harness.operated import Canter, until
from harness.raw import Client, head
from harness.server import JSON_LOG, Server

TIME = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+]0000\]"
AGENT = "User-Agent: test/1"
REFERER = "Referer: http://a/"


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("common", rf'127\.0\.0\.1 - - {TIME} "GET /path\?q=1 HTTP/1\.1" 200 5'),
        (
            "combined",
            rf'127\.0\.0\.1 - - {TIME} "GET /path\?q=1 HTTP/1\.1" 200 5 "http://a/" "test/1"',
        ),
        (
            "logfmt",
            r"time=\S+Z client=127\.0\.0\.1 method=GET target=\S*/path\?q=1\S* .*"
            r"request_id=[0-9a-f]{32} .*status=200 bytes=5 duration_ms=\d+\.\d+ cache=BYPASS cache_detail=no-freshness "
            r'route="" queries=0 wall_ms=\d+\.\d+ router_ms=0\.000 (\w+_ms=\d+\.\d+ ?)+',
        ),
    ],
)
def test_a_request_is_one_line_in_the_form_that_was_asked_for(
    tmp_path: Path, form: str, pattern: str
) -> None:
    with Server(tmp_path, "web", "--access-log-format", form) as server:
        with server.client() as client:
            client.get("/path?q=1", AGENT, REFERER)
        assert re.fullmatch(pattern, line := server.access_line("path")), line


def test_a_json_line_has_every_fact(tmp_path: Path) -> None:
    with Server(tmp_path, "web", *JSON_LOG) as server:
        with server.client() as client:
            client.get("/path?q=1", AGENT, REFERER)
            client.get("/bare", method="HEAD")
        facts = json.loads(server.access_line("path"))
        bare = json.loads(server.access_line("bare"))
    took = facts.pop("duration_ms")
    assert 0 < took < 60_000
    assert re.fullmatch("[0-9a-f]{32}", facts.pop("request_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts.pop("time"))
    assert abs(facts.pop("wall_ms") - took) <= 1
    phases = [facts.pop(name) for name in list(facts) if name.endswith("_ms")]
    assert len(phases) == 9 and abs(sum(phases) - took) <= 1
    assert facts == {
        "route": "",
        "queries": 0,
        "client": "127.0.0.1",
        "method": "GET",
        "target": "/path?q=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 5,
        "referer": "http://a/",
        "user_agent": "test/1",
        "cache": "BYPASS",
        "cache_detail": "no-freshness",
    }
    assert (bare["method"], bare["bytes"]) == ("HEAD", 0)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_bytes_of_a_refusal_are_those_of_its_body(tmp_path: Path, method: str) -> None:
    with Server(tmp_path, "web", *JSON_LOG, "--max-body", "1MB") as server:
        for status, logged, line in [
            (400, "host-repeated", "Host: again"),
            (413, "/too-large", "Content-Length: 2000000"),
        ]:
            with server.client() as client:
                client.send(head(method, "/too-large", "Host: a", line))
                refused = client.response(method)
            assert refused.status == status
            assert (len(refused.body) == 0) is (method == "HEAD")
            facts = json.loads(server.access_line(f'"{logged}"'))
            assert (facts["status"], facts["bytes"]) == (status, len(refused.body))


@pytest.mark.parametrize("form", ["common", "combined", "json", "logfmt"])
def test_p20_nothing_a_client_sends_can_forge_a_line(tmp_path: Path, form: str) -> None:
    agent = 'User-Agent: a" 200 "\xff\x80b\\'
    with Server(tmp_path, "web", "--access-log-format", form) as server:
        with server.client() as client:
            # What is not a request at all is logged too, without its bytes.
            client.send("GET /\x1b[31mred HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.response().status == 400
        with server.client() as client:
            client.get('/%1b%0a"forged', agent)
            client.get("/last")
        server.access_line("last")
        raw = (tmp_path / "stdout").read_bytes()
    assert raw.count(b"\n") == 3 and b"\x1b" not in raw and b"\r" not in raw
    if form == "json":
        assert "b\\" in json.loads(raw.splitlines()[1])["user_agent"]
    if form == "combined":
        quoted = re.findall(rb'"((?:[^"\\]|\\.)*)"', raw.splitlines()[1])
        assert len(quoted) == 3, raw


def test_an_id_is_made_for_every_request_and_shown_to_app_and_log(tmp_path: Path) -> None:
    with Server(tmp_path, "web", *JSON_LOG) as server:
        with server.client() as client:
            seen = [request_id(client) for _ in range(3)]
        for identity in seen:
            assert re.fullmatch("[0-9a-f]{32}", identity)
            server.access_line(identity)
    assert len(set(seen)) == 3


def test_a_harmless_id_is_kept_and_any_other_replaced(tmp_path: Path) -> None:
    with Server(tmp_path, "web") as server, server.client() as client:
        assert request_id(client, "X-Request-Id: from-the-proxy.1") == "from-the-proxy.1"
        for bad in ('a"b', "a b", "x" * 300, "\xff", ""):
            assert re.fullmatch("[0-9a-f]{32}", request_id(client, f"X-Request-Id: {bad}"))


def test_the_id_may_come_in_another_field(tmp_path: Path) -> None:
    flags = ("--request-id-header", "X-Trace")
    with Server(tmp_path, "web", *flags) as server, server.client() as client:
        seen = json.loads(client.get("/environ", "X-Trace: t-1", "X-Request-Id: r-1").text)
    assert (seen["HTTP_X_TRACE"], seen["HTTP_X_REQUEST_ID"]) == ("t-1", "r-1")


def request_id(client: Client, *lines: str) -> str:
    """The id that the app sees; always in one field of the environ and once."""
    identity = json.loads(client.get("/environ", *lines).text)["HTTP_X_REQUEST_ID"]
    assert isinstance(identity, str)
    return identity


def test_the_log_of_an_error_has_method_path_id_and_traceback(tmp_path: Path) -> None:
    with Server(tmp_path, "web") as server:
        with server.client() as client:
            response = client.get("/fails?%0aforged=1", "X-Request-Id: id-of-the-failing")
            assert response.status == 500
            assert client.get().status == 200
        line = server.wait_log("id-of-the-failing")
        assert "GET" in line and "/fails" in line
        server.wait_log("this view always fails")
        server.wait_log("Traceback")
        assert not server.logged("^forged")


def test_no_access_log_means_no_line(tmp_path: Path) -> None:
    with Server(tmp_path, "web", "--no-access-log") as server, server.client() as client:
        assert client.send(head("GET", "/")).response().status == 200
    assert (tmp_path / "stdout").read_text() == ""


def test_after_sigusr1_a_rotated_log_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    with Server(tmp_path, "web", "--access-logfile", str(path)) as server:
        with server.client() as client:
            client.get("/before")
            until(lambda: "/before" in path.read_text())
            path.rename(rotated)
            client.get("/between")
            until(lambda: "/between" in rotated.read_text(), what="the old file is written on")
            server.signal(signal.SIGUSR1)
            until(path.exists)
            client.get("/after")
            until(lambda: "/after" in path.read_text())
        assert "/after" not in rotated.read_text()


def test_p14_a_field_whose_name_is_not_passed_on_is_named_once(tmp_path: Path) -> None:
    with Server(tmp_path, "web") as server, server.client() as client:
        for _ in range(2):
            client.send(head("GET", "/environ", "X_Api_Key: 1", "Proxy: http://evil"))
            assert "evil" not in (seen := client.response().text) and "API_KEY" not in seen
        assert client.get().status == 200
        told = server.logged("is not given to the app")
    assert len(told) == 2, told
    assert "field=X_Api_Key peer=127.0.0.1" in told[0] and "with - in place of _" in told[0]
    assert "field=Proxy" in told[1] and "HTTP_PROXY" in told[1]


SAYS_MUCH = """
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError("this view always fails")
    start_response("200 OK", [("Keep-Alive", "x")])
    return [b"ok"]
"""


def test_each_line_of_the_json_log_is_an_object(tmp_path: Path) -> None:
    with Server(tmp_path, SAYS_MUCH, "--log-format", "json", "--log-level", "debug") as server:
        with server.client() as client:
            assert client.get("/").status == 200
            assert client.get("/fails?\"{}", "X-Request-Id: id-1").status == 500
        server.wait_log("this view always fails")
        server.signal(signal.SIGUSR2)
        server.wait_log("SIGUSR2 has no meaning here")
    entries = [json.loads(line) for line in server.log.splitlines()]
    assert {"worker is ready", "stopping"} <= {entry["message"] for entry in entries}
    assert all(entry["time"] and entry["level"] for entry in entries)
    (failed,) = (entry for entry in entries if entry["message"] == "the request failed")
    assert failed.pop("traceback").endswith("RuntimeError: this view always fails\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", failed.pop("time"))
    assert failed == {
        "level": "error",
        "message": "the request failed",
        "method": "GET",
        "path": "/fails?\"{}",
        "request_id": "id-1",
        "error": "RuntimeError",
    }
    (dropped,) = (entry for entry in entries if "the server's own" in entry["message"])
    assert (dropped["level"], dropped["header"]) == ("warn", "keep-alive")


def test_each_line_of_the_logfmt_log_is_pairs(tmp_path: Path) -> None:
    with Server(tmp_path, SAYS_MUCH, "--log-format", "logfmt") as server:
        with server.client() as client:
            assert client.get("/").status == 200
            assert client.get("/fails").status == 500
        server.wait_log("this view always fails")
    assert all(re.match(r"time=\S+Z level=\w+ msg=", line) for line in server.log.splitlines())


def test_an_app_that_cannot_be_imported_is_an_object_of_the_json_log(tmp_path: Path) -> None:
    source = SAYS_MUCH.replace("import os", "import not_installed_here")
    with Canter(tmp_path, source, "--log-format", "json") as canter:
        assert canter.wait() != 0
    (entry,) = (json.loads(line) for line in canter.logged("^{.*cannot be imported"))
    assert entry["error"] == "ModuleNotFoundError" and "not_installed_here" in entry["traceback"]
