"""Static files by other ways than plain HTTP/1.1, and what a site may have beside ``STATIC_ROOT``:
files of apps, fonts that other origins use, the log.

Leaves the rest, and the site itself, to ``test_static``.
"""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

import pytest
from harness.certificates import Authority
from harness.raw import Client
from harness.server import Server
from test_http2 import connect
from test_static import BIG, CSS, MIDDLE, client, fill, server, site, start

__all__ = ["client", "server", "site"]

pytest.importorskip("django")


# --- other ways to the front


def test_over_http_2_a_file_has_the_same_fields(site: Path) -> None:
    with start(site, "--http2", "plain") as server, server.client() as client:
        peer = connect(server)
        with peer.socket:
            for accept in ("", "gzip", "br", "zstd"):
                plain = client.get("/static/css/site.css", f"Accept-Encoding: {accept}")
                reply = peer.get("/static/css/site.css", accept_encoding=accept)
                assert (reply.status, reply.body) == (200, plain.body)
                skipped = ("date", "connection")
                expected = {name.lower(): value for name, value in plain.fields}
                found = {key: value for key, value in reply.headers.items() if key != ":status"}
                for name in skipped:
                    expected.pop(name, None)
                    found.pop(name, None)
                assert found == expected
            part = peer.get("/static/big.bin", range="bytes=1000-1999")
            assert (part.status, part.body) == (206, BIG[1000:2000])
            assert peer.get("/static/middle.bin").body == MIDDLE
            assert peer.get("/static/middle.bin", range="bytes=-7").body == MIDDLE[-7:]
            whole = peer.get("/static/big.bin")
            assert whole.body == BIG
            again = peer.get("/static/big.bin", if_none_match=whole.headers["etag"])
            assert (again.status, again.body) == (304, b"")


def test_over_tls_files_short_and_long_arrive_whole(site: Path, tmp_path: Path) -> None:
    pair = Authority("of the test").issue(tmp_path / "localhost", "localhost", is_server=True)
    flags = (f"--certfile={pair.chain}", f"--keyfile={pair.key}", "--hsts", "1h")
    with start(site, *flags) as server:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
        files = {"css/site.css": CSS.encode(), "middle.bin": MIDDLE, "big.bin": BIG, "js/app.js": None}
        for path, content in files.items():
            for _again in range(2):
                connection.request("GET", f"/static/{path}")
                response = connection.getresponse()
                body = response.read()
                assert response.status == 200 and (content is None or body == content)
                # Behind the fields of the file, as for any answer.
                assert response.headers.get_all("Strict-Transport-Security") == ["max-age=3600"]
        connection.request("GET", "/static/big.bin", headers={"Range": "bytes=-5"})
        assert connection.getresponse().read() == BIG[-5:]


def test_a_file_answered_again_and_again_differs_in_nothing_but_the_date(client: Client) -> None:
    first = client.get("/static/css/site.css")
    for lines in ((), ("Connection: close",)):
        response = client.get("/static/css/site.css", *lines)
        kept = [field for field in response.fields if field[0] not in ("Date", "Connection")]
        assert kept == [field for field in first.fields if field[0] != "Date"]
        assert response.body == first.body


def test_the_log_counts_what_was_sent(server: Server, client: Client) -> None:
    client.get("/static/css/site.css?logged")
    assert f" 200 {len(CSS)} " in server.access_line("site.css.logged")


# --- leftovers of what a site may have


def test_a_file_of_the_site_goes_before_that_of_an_app(tmp_path: Path) -> None:
    fill(tmp_path)
    app = tmp_path / "shop" / "static"
    for name in ("css/site.css", "css/shop.css"):
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(f"of the app: {name}")
    (tmp_path / "shop" / "__init__.py").touch()
    apps = ["django.contrib.staticfiles", "shop"]
    with start(tmp_path, "--pythonpath", ".", INSTALLED_APPS=apps, DEBUG=True) as server:
        with server.client() as client:
            assert client.get("/static/css/site.css").text == CSS
            assert client.get("/static/css/shop.css").text == "of the app: css/shop.css"
            # Seen at once, in either place.
            (app / "css/shop.css").write_text("changed")
            assert client.get("/static/css/shop.css").text == "changed"
            (tmp_path / "sources/css/shop.css").write_text("of the site")
            assert client.get("/static/css/shop.css").text == "of the site"


def test_fonts_are_open_to_other_origins_also_as_parts_and_304(client: Client) -> None:
    whole = client.get("/static/fonts/a.woff2", "Origin: https://other.example")
    answers = [
        client.get("/static/fonts/a.woff2", "Range: bytes=0-0"),
        client.get("/static/fonts/a.woff2", "Range: bytes=99999-"),
        client.get("/static/fonts/a.woff2", f"If-None-Match: {whole['ETag']}"),
    ]
    assert [answer.status for answer in answers] == [206, 416, 304]
    for answer in (whole, *answers):
        assert answer["Access-Control-Allow-Origin"] == "*"
