"""The access log and the id of a request, from outside: each form, and what nobody may forge."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from harness.raw import head
from harness.server import Server

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
            r"request_id=[0-9a-f]{32} .*status=200 bytes=5 duration_ms=\d+\.\d+",
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
    with Server(tmp_path, "web", "--access-log-format", "json") as server:
        with server.client() as client:
            identity = client.get("/path?q=1", AGENT, REFERER)["X-Request-Id"]
            client.get("/bare", method="HEAD")
        facts = json.loads(server.access_line("path"))
        bare = json.loads(server.access_line("bare"))
    took = facts.pop("duration_ms")
    assert 0 < took < 5000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts.pop("time"))
    assert facts == {
        "client": "127.0.0.1",
        "method": "GET",
        "target": "/path?q=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 5,
        "referer": "http://a/",
        "user_agent": "test/1",
        "request_id": identity,
    }
    assert (bare["method"], bare["bytes"]) == ("HEAD", 0)


@pytest.mark.parametrize("form", ["common", "combined", "json", "logfmt"])
def test_nothing_a_client_sends_can_forge_a_line(tmp_path: Path, form: str) -> None:
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


def test_an_id_is_made_for_every_request_and_shown_to_app_and_client(tmp_path: Path) -> None:
    with Server(tmp_path, "web") as server, server.client() as client:
        ids = set()
        for _ in range(3):
            response = client.get("/environ")
            ids.add(identity := response["X-Request-Id"])
            assert re.fullmatch("[0-9a-f]{32}", identity)
            assert json.loads(response.text)["HTTP_X_REQUEST_ID"] == identity
    assert len(ids) == 3


@pytest.mark.parametrize("trusted", [True, False])
def test_an_id_from_a_proxy_is_kept_when_it_is_harmless(tmp_path: Path, trusted: bool) -> None:
    flags = ("--forwarded-allow-ips", "127.0.0.1") if trusted else ()
    with Server(tmp_path, "web", *flags) as server, server.client() as client:
        response = client.get("/environ", "X-Request-Id: from-the-proxy.1")
        seen = json.loads(response.text)["HTTP_X_REQUEST_ID"]
        assert seen == response["X-Request-Id"]
        assert (seen == "from-the-proxy.1") == trusted
        for bad in ('a"b', "a b", "x" * 300, "\xff", ""):
            response = client.get("/environ", f"X-Request-Id: {bad}")
            assert re.fullmatch("[0-9a-f]{32}", response["X-Request-Id"])


def test_the_log_of_an_error_has_method_path_id_and_traceback(tmp_path: Path) -> None:
    with Server(tmp_path, "web") as server:
        with server.client() as client:
            response = client.get("/fails?%0aforged=1")
            assert response.status == 500
            identity = response["X-Request-Id"]
            assert client.get().status == 200
        line = server.wait_log(re.escape(identity))
        assert "GET" in line and "/fails" in line
        server.wait_log("this view always fails")
        server.wait_log("Traceback")
        assert not server.logged("^forged")


def test_no_access_log_means_no_line(tmp_path: Path) -> None:
    with Server(tmp_path, "web", "--no-access-log") as server, server.client() as client:
        assert client.send(head("GET", "/")).response().status == 200
    assert (tmp_path / "stdout").read_text() == ""
