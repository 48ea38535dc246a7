"""The demo site under ``canter serve``, used as a visitor would: links, forms with CSRF, cookies,
files, streams, the admin; on SQLite, and on PostgreSQL through the pool. A copy of the site with a
database of its own; ``examples/reader`` has tests of the views themselves.
"""

from __future__ import annotations

import hashlib
import html
import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.operated import PATIENCE
from harness.pooler import url_of
from harness.raw import head
from harness.server import Server

if TYPE_CHECKING:
    from harness.postgres import Postgres

READER = Path(__file__).resolve().parent.parent / "examples" / "reader"
SIZE = 20 << 20


@pytest.fixture(scope="module")
def upstream(site: Path) -> Iterator[str]:
    """The slow API; its address."""
    program = [sys.executable, "upstream.py", "--port", "0", "--delay", "0.1"]
    process = subprocess.Popen(program, cwd=site, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def variables(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What names the database of the site, if anything does."""
    if request.param == "sqlite":
        yield {}
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as name:
        yield {"DATABASE_URL": url_of(postgres, name)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Path:
    """A copy of the demo site, filled."""
    folder = tmp_path_factory.mktemp("demo") / "reader"
    shutil.copytree(READER, folder, ignore=shutil.ignore_patterns("var", "__pycache__"))
    env = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    filling = [sys.executable, "manage.py", "setup_demo"]
    subprocess.run(filling, cwd=folder, env=env | variables, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def server(site: Path, upstream: str, variables: dict[str, str]) -> Iterator[Server]:
    env = {"READER_UPSTREAM_URL": upstream, **variables}
    # No app is named: manage.py is there.
    with Server(site, "", "--workers", "2", env=env) as server:
        yield server


@dataclass
class Page:
    status: int
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Visitor:
    """A browser without a screen: cookies, redirects, forms with their hidden token."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies), urllib.request.ProxyHandler({})
        )

    def open(self, path: str, data: bytes | None = None, **headers: str) -> Page:
        url = urllib.parse.urljoin(self.url, path)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data, names)
        try:
            with self.opener.open(request, timeout=2 * PATIENCE) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            response, body = error, error.read()
        fields = {name.lower(): value for name, value in response.headers.items()}
        return Page(response.status or 0, response.url, fields, body)

    def submit(self, path: str, **fields: str) -> Page:
        """Fill in the form of a page."""
        values = {"csrfmiddlewaretoken": self.token(path), **fields}
        return self.open(path, urllib.parse.urlencode(values).encode())

    def token(self, path: str) -> str:
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.open(path).text)
        assert found is not None, f"no form on {path}"
        return found[1]

    def send_file(self, path: str, name: str, content: bytes) -> Page:
        mark = uuid.uuid4().hex.encode()
        token = self.token(path).encode()
        body = b"".join([
            b"--%b\r\nContent-Disposition: form-data; " % mark,
            b'name="csrfmiddlewaretoken"\r\n\r\n%b\r\n' % token,
            b'--%b\r\nContent-Disposition: form-data; name="file"; ' % mark,
            b'filename="%b"\r\nContent-Type: application/octet-stream\r\n\r\n' % name.encode(),
            content, b"\r\n--%b--\r\n" % mark,
        ])  # fmt: skip
        return self.open(path, body, Content_Type=f"multipart/form-data; boundary={mark.decode()}")

    def log_in(self) -> Visitor:
        page = self.submit("/admin/login/?next=/admin/", username="admin", password="admin")
        assert page.url.endswith("/admin/") and "Site administration" in page.text
        return self


@pytest.fixture
def visitor(server: Server) -> Visitor:
    return Visitor(server)


def test_the_project_beside_manage_py_is_found(server: Server, visitor: Visitor) -> None:
    assert visitor.open("/hello/").text == "Hello, world!\n"
    assert server.logged("reader_site.wsgi")


def test_a_site_on_postgresql_asks_through_the_pool(
    server: Server, visitor: Visitor, variables: dict[str, str]
) -> None:
    assert visitor.open("/api/orders/").status == 200
    assert bool(server.logged("through the pool")) == bool(variables)


def test_every_link_of_the_home_page_leads_somewhere(visitor: Visitor) -> None:
    home = visitor.open("/")
    assert home.status == 200 and home.headers["content-type"].startswith("text/html")
    links = {html.unescape(link) for link in re.findall(r'href="(/[^"#]*)', home.text)}
    assert len(links) > 12
    for link in sorted(links):
        link = link.replace("/stream/", "/stream/?rows=2&delay=0")
        page = visitor.open(link)
        assert page.status == 200, link


def test_the_list_leads_to_pages_with_text(visitor: Visitor) -> None:
    links = re.findall(r'href="(/topics/[^"]+)"', visitor.open("/topics/").text)
    assert len(links) > 50
    page = visitor.open("/topics/try/")
    assert "except" in page.text and "/topics/try/" in links
    assert visitor.open("/topics/no-such-topic/").status == 404


def test_search_marks_what_it_finds(visitor: Visitor) -> None:
    page = visitor.open("/search/?q=context+manager")
    assert page.status == 200 and "<mark>" in page.text
    assert "&lt;script&gt;" in visitor.open("/search/?q=%3Cscript%3E").text


def test_a_visitor_logs_in_to_the_admin_and_out(visitor: Visitor) -> None:
    page = visitor.open("/admin/")
    assert "/admin/login/" in page.url
    visitor.log_in()
    assert "Select comment to change" in visitor.open("/admin/reader/comment/").text
    assert visitor.open("/admin/reader/order/").status == 200
    token = visitor.token("/admin/")
    out = visitor.open("/admin/logout/", f"csrfmiddlewaretoken={token}".encode())
    assert out.status == 200
    assert "/admin/login/" in visitor.open("/admin/").url


def test_a_wrong_password_and_a_missing_token_are_refused(visitor: Visitor) -> None:
    page = visitor.submit("/admin/login/", username="admin", password="wrong")
    assert "errornote" in page.text
    forged = visitor.open("/admin/login/", b"username=admin&password=admin")
    assert forged.status == 403


def test_a_comment_is_posted_and_seen(visitor: Visitor) -> None:
    words = f"Said in a test: {uuid.uuid4().hex}, caf\u00e9 <b>"
    page = visitor.submit("/topics/try/", name="Visitor", text=words)
    # The redirect after the POST was followed.
    assert page.status == 200 and html.escape(words) in page.text
    assert visitor.submit("/topics/try/", name="", text="").status == 422


def test_a_large_file_is_sent_and_fetched_again(server: Server, visitor: Visitor) -> None:
    content = hashlib.shake_128(b"a large file").digest(SIZE)
    visitor.log_in()
    page = visitor.send_file("/files/", "large.bin", content)
    assert page.status == 200 and "large.bin" in page.text
    found = re.search(r'<a href="(/files/\d+/)">large\.bin', page.text)
    assert found is not None
    fetched = visitor.open(found[1])
    assert fetched.headers["content-length"] == str(SIZE)
    assert "attachment" in fetched.headers["content-disposition"]
    assert hashlib.sha256(fetched.body).digest() == hashlib.sha256(content).digest()
    # Whoever is not logged in may fetch it, too, and not delete it.
    stranger = Visitor(server)
    assert stranger.open(found[1]).body == content
    token = stranger.token("/topics/try/")
    refused = stranger.open(f"{found[1]}delete/", f"csrfmiddlewaretoken={token}".encode())
    assert refused.status == 403


def test_a_stream_is_whole(visitor: Visitor) -> None:
    page = visitor.open("/stream/?rows=50&delay=0")
    assert page.status == 200 and page.text.rstrip().endswith("</html>")
    assert re.findall(r"Row (\d+) of 50", page.text) == [str(row) for row in range(1, 51)]


def test_an_event_arrives_while_the_view_still_sleeps(server: Server) -> None:
    with server.client() as client:
        client.send(head("GET", "/events/?count=1&delay=3", "Host: localhost"))
        response = client.head()
        assert response["Content-Type"].startswith("text/event-stream")
        arriving = client.body(response)
        assert b"data: 1 of 1" in next(arriving)
        # The end comes three seconds later.
        assert client.is_quiet()
        assert b"event: done" in b"".join(arriving)


@pytest.mark.parametrize("query", ["", "?fixed=1", "?page=2"])
def test_the_orders_api_answers(visitor: Visitor, query: str) -> None:
    answer = json.loads(visitor.open(f"/api/orders/{query}", Accept="application/json").text)
    assert answer["count"] == 300 and len(answer["results"]) == 20
    assert all(order["lines"] for order in answer["results"])


def test_pages_that_wait_for_the_slow_api_wait_together(visitor: Visitor, server: Server) -> None:
    visitors = [Visitor(server) for _ in range(20)]
    begin = time.monotonic()
    with ThreadPoolExecutor(len(visitors)) as pool:
        pages = list(pool.map(lambda visitor: visitor.open("/slow/?delay=1"), visitors))
    took = time.monotonic() - begin
    assert {page.status for page in pages} == {200}
    # One after the other in two workers it would be 10 seconds.
    assert took < 9, took


def test_static_files_and_not_found_pages_are_served(visitor: Visitor) -> None:
    found = re.search(r'href="(/static/[^"]+\.css)"', visitor.open("/").text)
    assert found is not None
    style = visitor.open(found[1])
    assert style.status == 200 and style.headers["content-type"].startswith("text/css")
    again = visitor.open(found[1], If_Modified_Since=style.headers["last-modified"])
    assert (again.status, again.body) == (304, b"")
    assert visitor.open("/no/such/page/").status == 404


def test_django_sees_the_address_the_visitor_asked(server: Server) -> None:
    with server.client() as client:
        response = client.get("/topics", f"Host: localhost:{server.port}")
        assert (response.status, response["Location"]) == (301, "/topics/")
        assert client.get("/hello/", "Host: evil.example").status == 400
        assert client.get("/hello/", "Host: localhost").status == 200


def test_the_list_of_topics_is_kept_for_visitors_without_a_session(server: Server) -> None:
    host = f"Host: localhost:{server.port}"
    with server.client() as client:
        first = client.get("/topics/", host)
        second = client.get("/topics/", host, "Cookie: _ga=1")
        assert first.status == 200 and first.body == second.body
        assert second["Cache-Status"].startswith("canter; hit;")
        with_session = client.get("/topics/", host, "Cookie: sessionid=1")
        assert "detail=session-cookie" in with_session["Cache-Status"]
