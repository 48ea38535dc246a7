"""Static files, media, and files that the app points to, under ``canter serve`` with nothing set up:
a Django project, its settings, and what lies on disk. Names begin with the letter of what they check
(F1 to F6 of the acceptance list: hostile paths, forms and ranges, Vary, age of forms, queries, media).

Leaves the rules of conditions and ranges to the tests of ``canter-http``.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness.operated import run_canter, until
from harness.raw import Client, Response
from harness.server import APPS, Server

pytest.importorskip("django")

CSS = "body { color: red; background: url(dot.png) }\n" * 40
BIG = bytes(range(256)) * 4096
# Of a length that is kept in memory and sent without being copied.
MIDDLE = BIG[1:30_001]


def fill(folder: Path) -> None:
    """The sources of a site's static files, and other files around them."""
    for name, content in {
        "sources/css/site.css": CSS.encode(),
        "sources/css/dot.png": b"\x89PNG not really",
        "sources/js/app.js": b"export const answer = 42;\n" * 40,
        "sources/fonts/a.woff2": b"0123456789" * 30,
        "sources/big.bin": BIG,
        "sources/middle.bin": MIDDLE,
        "sources/empty.txt": b"",
        "media/page.html": b"<script>alert(1)</script>",
        "media/photo.png": b"png",
        "media/drawing.svg": b"<svg/>",
        "private/doc.txt": b"0123456789abcdef" * 64,
        "private/résumé 1.pdf": b"%PDF",
        "downloads/tool.zip": b"PK",
        "root/robots.txt": b"User-agent: *\n",
        "root/index.html": b"home",
        "secret.txt": b"secret",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def collect(folder: Path, **settings: Any) -> None:
    subprocess.run(
        [sys.executable, str(APPS / "filesite.py")],
        cwd=folder,
        env={**os.environ, "SITE": json.dumps(settings)},
        check=True,
    )


def start(folder: Path, *flags: str, **settings: Any) -> Server:
    return Server(folder, "filesite", *flags, env={"SITE": json.dumps(settings)})


@pytest.fixture(scope="module")
def site(folder: Path) -> Path:
    """A folder with collected files."""
    fill(folder)
    collect(folder)
    return folder


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    flags = (
        "--static-map", "/downloads/=downloads", "--media", "auto",
        "--sendfile-root", "private", "--internal", "/protected/=private",
    )  # fmt: skip
    with start(site, *flags) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def hashed(site: Path) -> dict[str, str]:
    paths: dict[str, str] = json.loads((site / "collected/staticfiles.json").read_text())["paths"]
    return paths


def by_the_app(response: Response) -> bool:
    # The front's own pages are plain text.
    return response.text.startswith("django") or "text/html" in response["Content-Type"]


# --- no set-up


def test_a_file_is_answered_without_the_app(server: Server, client: Client) -> None:
    response = client.get("/static/css/site.css")
    assert (response.status, response.text) == (200, CSS)
    assert response["Content-Type"] == "text/css; charset=utf-8"
    assert response["Cache-Control"] == "max-age=60, public"
    assert response["Accept-Ranges"] == "bytes"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in response and "Last-Modified" in response


def test_the_app_stopped_is_no_reason_to_wait_for_a_file(server: Server, client: Client) -> None:
    worker = int(client.get("/pid").text)
    os.kill(worker, 19)
    try:
        assert client.get("/static/css/site.css").status == 200
    finally:
        os.kill(worker, 18)


def test_hashed_names_last_a_year(client: Client, hashed: dict[str, str]) -> None:
    name = hashed["css/site.css"]
    response = client.get(f"/static/{name}")
    assert response["Cache-Control"] == "max-age=31536000, public, immutable"
    assert re.search(r"\.([0-9a-f]{12})\.css$", name)[1] in response["ETag"]  # type: ignore[index]
    assert "immutable" not in client.get("/static/css/site.css")["Cache-Control"]


def test_what_is_no_file_is_the_apps(client: Client) -> None:
    assert client.get("/static/page/x").text == "django GET /static/page/x\n"
    assert by_the_app(client.get("/static/none.css"))
    assert client.get("/page/").text == "django GET /page/\n"
    assert client.get("/").text == "django GET /\n"


def test_files_new_after_the_start_are_found(site: Path, client: Client) -> None:
    assert client.get("/static/late.txt").status == 404
    (site / "collected/late.txt").write_text("late")
    assert client.get("/static/late.txt").text == "late"


def test_changed_and_deleted_files_are_noticed(site: Path, client: Client) -> None:
    path = site / "collected/changing.txt"
    path.write_text("one")
    first = client.get("/static/changing.txt")
    path.write_text("second")
    second = until(lambda: changed(client, "/static/changing.txt", first))
    assert second.text == "second" and second["ETag"] != first["ETag"]
    path.unlink()
    gone = until(lambda: changed(client, "/static/changing.txt", second))
    assert gone.status == 404


def changed(client: Client, path: str, before: Response) -> Response | None:
    now = client.get(path)
    return now if now.body != before.body else None


def test_a_folder_of_an_option_is_served_and_the_app_not_asked(client: Client) -> None:
    assert client.get("/downloads/tool.zip")["Content-Type"] == "application/zip"
    missing = client.get("/downloads/none")
    assert missing.status == 404 and not by_the_app(missing)


# --- F1: hostile paths


@pytest.mark.parametrize("path", [
    "/static/../secret.txt", "/static/..%2fsecret.txt", "/static/%2e%2e/secret.txt",
    "/static/%2E%2E%2Fsecret.txt", "/static/css/../../secret.txt", "/static/..%5csecret.txt",
    "/static/css/%2e/site.css", "/static//css/site.css", "/static/.hidden", "/static/.git/config",
    "/static/css/.env", "/static//etc/passwd", "/static/%2fetc/passwd",
    "/static/" + "a/" * 1500, "/static/" + "a" * 3000, "/static/a%0ab", "/static/a%7f",
    "/downloads/../secret.txt", "/media/..%2fsecret.txt", "/downloads/.env",
])  # fmt: skip
def test_f1_a_path_with_tricks_is_not_found(path: str, client: Client) -> None:
    response = client.get(path)
    assert response.status == 404 and not by_the_app(response), response


@pytest.mark.parametrize("path", ["/static/a%00b", "/static/%c0%ae%c0%ae/x", "/static/%zz"])
def test_f1_an_escape_that_is_none_is_refused(path: str, server: Server) -> None:
    with server.client() as client:
        assert client.get(path).status == 400


def test_f1_a_link_leads_nowhere_outside(site: Path, client: Client) -> None:
    for name, target in {
        "out": "../secret.txt",
        "out-absolute": str(site / "secret.txt"),
        "out-folder": "..",
        "in": "css/site.css",
        "in-absolute": str(site / "collected/css/site.css"),
    }.items():
        (site / "collected" / name).symlink_to(target)
    for path in ["out", "out-absolute", "out-folder/secret.txt"]:
        response = client.get(f"/static/{path}")
        assert response.status == 404 and "secret" not in response.text, path
    assert client.get("/static/in").text == client.get("/static/in-absolute").text == CSS


def test_f1_what_is_no_file_is_not_read(site: Path, client: Client) -> None:
    os.mkfifo(site / "collected/pipe")
    for path in ["pipe", "css", "css/", ""]:
        response = client.get(f"/static/{path}")
        assert response.status == 404 and "site.css" not in response.text, path


# --- F2: forms, conditions, ranges


@pytest.fixture(scope="module")
def forms(site: Path, server: Server) -> dict[str, bytes]:
    """A file with its three forms, told apart by what is in them."""
    path = site / "collected/forms.js"
    contents = {
        "": b"identity " * 50, "gzip": gzip.compress(b"x"), "br": b"br form", "zstd": b"zstd form, so",
    }  # fmt: skip
    for coding, content in contents.items():
        name = {"": "", "gzip": ".gz", "br": ".br", "zstd": ".zst"}[coding]
        path.with_name(path.name + name).write_bytes(content)
    return contents


@pytest.mark.parametrize(("accepted", "coding"), [
    ("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("zstd", "zstd"), ("deflate", ""),
    ("", ""), ("gzip;q=0", ""), ("*;q=0", ""), ("identity;q=0, gzip", "gzip"), ("*", "br"),
    ("br;q=0, *", "zstd"), ("gzip;q=1, br;q=0.1", "gzip"), ("identity, gzip;q=0.5", ""),
    ("identity;q=0", ""),
])  # fmt: skip
def test_f2_the_form_is_negotiated(
    accepted: str, coding: str, client: Client, forms: dict[str, bytes]
) -> None:
    response = client.get("/static/forms.js", f"Accept-Encoding: {accepted}")
    assert response.body == forms[coding]
    assert response.all("Content-Encoding") == ([coding] if coding else [])
    assert response["Content-Type"] == "text/javascript; charset=utf-8"


def test_f2_each_form_has_a_validator_of_its_own(client: Client, forms: dict[str, bytes]) -> None:
    accept = [f"Accept-Encoding: {coding}" for coding in forms]
    tags = [client.get("/static/forms.js", line)["ETag"] for line in accept]
    assert len(set(tags)) == 4 and all(tag.startswith('"') for tag in tags)
    for line, tag in zip(accept, tags, strict=True):
        assert client.get("/static/forms.js", line, f"If-None-Match: {tag}").status == 304
    assert client.get("/static/forms.js", accept[1], f"If-None-Match: {tags[0]}").status == 200


@pytest.mark.parametrize(("value", "parts"), [
    ("bytes=0-0", [(0, 1)]), ("bytes=-1", [(299, 1)]), ("bytes=5-9", [(5, 5)]),
    ("bytes=290-", [(290, 10)]), ("bytes=290-9999", [(290, 10)]), ("bytes=-9999", [(0, 300)]),
    ("bytes=0-4,2-9", [(0, 10)]), ("bytes=0-0,-1", [(0, 1), (299, 1)]),
    ("bytes=100-109, 0-9, 5-14", [(0, 15), (100, 10)]),
])  # fmt: skip
def test_f2_ranges_are_parts(value: str, parts: list[tuple[int, int]], client: Client) -> None:
    content = b"0123456789" * 30
    response = client.get("/static/fonts/a.woff2", f"Range: {value}")
    assert response.status == 206
    if len(parts) == 1:
        ((first, length),) = parts
        assert response["Content-Range"] == f"bytes {first}-{first + length - 1}/300"
        assert response.body == content[first : first + length]
        return
    kind = re.fullmatch("multipart/byteranges; boundary=([-a-z0-9]+)", response["Content-Type"])
    assert kind is not None and "Content-Range" not in response
    pieces = response.body.split(b"--" + kind[1].encode())
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n" and len(pieces) == len(parts) + 2
    for piece, (first, length) in zip(pieces[1:-1], parts, strict=True):
        fields, _end, body = piece.strip(b"\r\n").partition(b"\r\n\r\n")
        assert b"Content-Type: font/woff2" in fields
        assert f"Content-Range: bytes {first}-{first + length - 1}/300".encode() in fields
        assert body == content[first : first + length]


@pytest.mark.parametrize("value", ["bytes=300-", "bytes=300-400", "bytes=-0", "bytes=999-,400-"])
def test_f2_ranges_beyond_the_end_are_refused(value: str, client: Client) -> None:
    response = client.get("/static/fonts/a.woff2", f"Range: {value}")
    assert (response.status, response["Content-Range"]) == (416, "bytes */300")
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Cache-Control" not in response


@pytest.mark.parametrize("value", [
    "bytes=5-4", "bytes=x", "items=0-1", "bytes=", "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 34, 2)),
])  # fmt: skip
def test_f2_p19_ranges_that_are_none_or_too_many_are_ignored(value: str, client: Client) -> None:
    response = client.get("/static/fonts/a.woff2", f"Range: {value}")
    assert (response.status, len(response.body)) == (200, 300)


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-5", "bytes=5-", "bytes=0-0,-1"])
def test_f2_of_an_empty_file_no_part_is_asked_for(value: str, client: Client) -> None:
    response = client.get("/static/empty.txt", f"Range: {value}")
    assert (response.status, response.body) == (200, b"")
    assert response["Content-Length"] == "0" and "Content-Range" not in response


# 16 are answered, more are not; each repetition is one more range to look at.
@pytest.mark.parametrize("value", ["0-0", "0-", "-1", "0-299", "0-0,2-2,4-4", "9-5", "300-"])
@pytest.mark.parametrize("count", [17, 2000])
def test_p19_many_ranges_are_no_work(value: str, count: int, client: Client) -> None:
    field = f"Range: bytes={','.join([value] * count)}"[:8000].rstrip(",-")
    response = client.get("/static/fonts/a.woff2", field)
    assert (response.status, len(response.body)) == (200, 300)


def test_p19_ranges_that_overlap_are_sent_once(client: Client) -> None:
    response = client.get("/static/fonts/a.woff2", f"Range: bytes={','.join(['0-'] * 16)}")
    assert (response.status, response["Content-Range"]) == (206, "bytes 0-299/300")
    several = client.get("/static/fonts/a.woff2", "Range: bytes=0-99,50-149,200-250,240-299")
    assert several.status == 206 and len(several.body) < 600


def test_f2_if_range_compares_strongly(client: Client) -> None:
    whole = client.get("/static/fonts/a.woff2")
    etag, date = whole["ETag"], whole["Last-Modified"]
    for condition, status in [
        (etag, 206), (f"W/{etag}", 200), ('"other"', 200), ("Sat, 01 Jan 2000 00:00:00 GMT", 200),
    ]:  # fmt: skip
        lines = ("Range: bytes=0-0", f"If-Range: {condition}")
        assert client.get("/static/fonts/a.woff2", *lines).status == status, condition
    assert until(
        lambda: client.get("/static/fonts/a.woff2", "Range: bytes=0-0", f"If-Range: {date}").status
        == 206
    )


def test_f2_conditions_are_judged_in_order(client: Client) -> None:
    whole = client.get("/static/fonts/a.woff2")
    etag, date = whole["ETag"], whole["Last-Modified"]
    old = "Sat, 01 Jan 2000 00:00:00 GMT"
    for lines, status in [
        ([f"If-None-Match: {etag}"], 304),
        ([f"If-None-Match: W/{etag}"], 304),
        ([f'If-None-Match: "a", {etag}, "b"'], 304),
        (["If-None-Match: *"], 304),
        (['If-None-Match: "a"'], 200),
        ([f"If-Modified-Since: {date}"], 304),
        ([f"If-Modified-Since: {old}"], 200),
        (['If-None-Match: "a"', f"If-Modified-Since: {date}"], 200),
        ([f"If-Match: {etag}"], 200),
        (['If-Match: "a"'], 412),
        ([f"If-Match: W/{etag}"], 412),
        ([f"If-Unmodified-Since: {old}"], 412),
        ([f"If-Match: {etag}", f"If-Unmodified-Since: {old}"], 200),
        ([f"If-None-Match: {etag}", "Range: bytes=0-0"], 304),
        (['If-Match: "a"', "Range: bytes=0-0"], 412),
    ]:
        response = client.get("/static/fonts/a.woff2", *lines)
        assert response.status == status, lines
        if status == 304:
            assert response["ETag"] == etag and response["Access-Control-Allow-Origin"] == "*"
            assert "Content-Type" not in response and "Content-Length" not in response


@pytest.mark.parametrize("path", ["css/site.css", "middle.bin", "big.bin", "empty.txt"])
def test_f2_head_is_a_get_without_the_body(path: str, client: Client) -> None:
    of_get = client.get(f"/static/{path}")
    of_head = client.get(f"/static/{path}", method="HEAD")
    assert of_head.body == b"" and of_head.status == 200
    assert of_head["Content-Length"] == of_get["Content-Length"] == str(len(of_get.body))
    for response in (of_get, of_head):
        response.fields = [pair for pair in response.fields if pair[0].lower() != "date"]
    assert of_get.fields == of_head.fields


def test_f2_other_methods_are_not_allowed(server: Server, client: Client) -> None:
    response = client.get("/static/css/site.css", method="DELETE")
    assert (response.status, response["Allow"]) == (405, "GET, HEAD")
    with server.client() as other:
        assert other.post("/static/css/site.css", b"x").status == 405
    assert client.get("/static/page/x", method="DELETE").text.startswith("django DELETE")


def test_f2_a_large_file_is_whole(client: Client) -> None:
    assert client.get("/static/big.bin").body == BIG
    for _again in range(2):
        assert client.get("/static/middle.bin").body == MIDDLE
    several = client.get("/static/middle.bin", "Range: bytes=5-9,-10")
    assert MIDDLE[5:10] in several.body and MIDDLE[-10:] in several.body
    part = client.get("/static/big.bin", "Range: bytes=100000-900000")
    assert part.body == BIG[100000:900001]
    several = client.get("/static/big.bin", "Range: bytes=0-9,-10")
    assert BIG[:10] in several.body and BIG[-10:] in several.body


# --- F3, F4, F5


def test_f3_vary_is_there_whenever_a_form_is(client: Client, forms: dict[str, bytes]) -> None:
    for lines in ([], ["Accept-Encoding: gzip"], ["If-None-Match: *"], ["Range: bytes=9999-"]):
        assert client.get("/static/forms.js", *lines)["Vary"] == "Accept-Encoding", lines
    assert "Vary" not in client.get("/static/fonts/a.woff2")


def test_f4_a_form_older_than_its_source_is_not_sent(site: Path, client: Client) -> None:
    path = site / "collected/aged.js"
    path.write_bytes(b"new version " * 50)
    old = path.with_name("aged.js.gz")
    old.write_bytes(b"old")
    os.utime(old, (1e9, 1e9))
    response = client.get("/static/aged.js", "Accept-Encoding: gzip")
    assert response.body == path.read_bytes() and "Vary" not in response


def test_f5_a_query_is_no_other_file(client: Client) -> None:
    first = client.get("/static/css/site.css?v=1")
    assert first.body == client.get("/static/css/site.css?v=2").body == CSS.encode()


# --- F6: media


@pytest.mark.parametrize(("name", "is_active"), [
    ("page.html", True), ("drawing.svg", True), ("photo.png", False),
])  # fmt: skip
def test_f6_what_users_sent_cannot_act_for_the_site(
    name: str, is_active: bool, client: Client
) -> None:
    response = client.get(f"/media/{name}")
    assert response.status == 200 and response["X-Content-Type-Options"] == "nosniff"
    assert ("Content-Disposition" in response) == is_active
    assert ("Content-Security-Policy" in response) == is_active
    assert "immutable" not in response["Cache-Control"]
    assert "Access-Control-Allow-Origin" not in response
    assert client.get("/media/").status == 404


# --- files that change or go during a transfer


def slowly(server: Server, path: str) -> Client:
    """A client that has the head of a response and takes no more for now."""
    client = server.client()
    client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
    return client


def test_a_file_deleted_during_its_transfer_is_sent_whole(site: Path, server: Server) -> None:
    path = site / "collected/going.bin"
    path.write_bytes(BIG * 16)
    with slowly(server, "/static/going.bin") as client:
        response = client.head()
        path.unlink()
        assert b"".join(client.body(response)) == BIG * 16


def test_a_file_cut_during_its_transfer_ends_the_connection(site: Path, server: Server) -> None:
    path = site / "collected/cut.bin"
    path.write_bytes(BIG * 16)
    with slowly(server, "/static/cut.bin") as client:
        response = client.head()
        assert response["Content-Length"] == str(len(BIG) * 16)
        os.truncate(path, 1000)
        with pytest.raises(AssertionError):
            b"".join(client.body(response))
    with server.client() as client:
        # The next one gets what is there.
        found = until(lambda: shorter(client))
        assert len(found.body) == 1000


def shorter(client: Client) -> Response | None:
    response = client.get("/static/cut.bin", "Range: bytes=0-1999")
    return response if response["Content-Range"].endswith("/1000") else None


# --- files that the app points to


def test_x_sendfile_sends_what_the_app_points_to(site: Path, client: Client) -> None:
    path = f"/sendfile?path={site}/private/doc.txt"
    whole = client.get(path)
    content = b"0123456789abcdef" * 64
    assert (whole.status, whole.body) == (200, content)
    assert "X-Sendfile" not in whole and whole["X-Mine"] == "kept"
    assert whole["Content-Type"] == "application/pdf" and "ETag" in whole
    part = client.get(path, "Range: bytes=10-19")
    assert (part.status, part.body) == (206, content[10:20])
    assert part["X-Mine"] == "kept" and part["Content-Range"] == f"bytes 10-19/{len(content)}"
    same = client.get(path, f"If-None-Match: {whole['ETag']}")
    assert (same.status, same.body) == (304, b"")
    assert client.get(path, method="HEAD")["Content-Length"] == str(len(content))
    several = client.get(path, "Range: bytes=0-0,-1")
    assert several.status == 206 and b"Content-Type: application/pdf" in several.body


@pytest.mark.parametrize("name", ["caf\u00e9.txt", "\u65e5\u672c.txt", "a long plain name and \u0142.txt"])
def test_pointers_name_files_beyond_ascii(site: Path, client: Client, name: str) -> None:
    (site / "private" / name).write_text(name)
    response = client.get(f"/sendfile?path={site}/private/{quote(name)}")
    assert (response.status, response.body) == (200, name.encode())
    response = client.get(f"/accel?path=/protected/{quote(name)}")
    assert (response.status, response.body) == (200, name.encode())


def test_x_accel_redirect_sends_what_the_app_points_to(client: Client) -> None:
    response = client.get("/accel?path=/protected/r%25C3%25A9sum%25C3%25A9%25201.pdf")
    assert (response.status, response.body) == (200, b"%PDF")
    assert response["Content-Type"] == "application/pdf"
    assert not [name for name, _value in response.fields if name.lower().startswith("x-accel")]
    # The address itself is the app's.
    assert by_the_app(client.get("/protected/doc.txt"))


@pytest.mark.parametrize("path", [
    "/sendfile?path=/etc/passwd", "/sendfile?path={site}/private/../secret.txt",
    "/sendfile?path={site}/private/none", "/sendfile?path={site}/private", "/sendfile?path=doc.txt",
    "/accel?path=/protected/../secret.txt", "/accel?path=/protected/%252e%252e/secret.txt",
    "/accel?path=/other/doc.txt", "/accel?path=/protected//etc/passwd",
])  # fmt: skip
def test_pointing_outside_is_a_500_that_the_log_explains(
    path: str, site: Path, server: Server
) -> None:
    before = server.mark_log()
    with server.client() as client:
        response = client.get(path.format(site=site))
    assert response.status == 500 and "secret" not in response.text and "root:" not in response.text
    server.wait_log("the file that it points to cannot be sent", since=before)


def test_file_wrapper_gets_ranges_where_the_app_gives_a_validator(client: Client) -> None:
    content = b"0123456789abcdef" * 64
    for query, status in [("", 200), ("?etag=%22v1%22", 206), ("?etag=W/%22v1%22", 206)]:
        response = client.get(f"/handed{query}", "Range: bytes=4-7")
        assert response.status == status, query
        assert response.body == (content[4:8] if status == 206 else content)
    assert client.get("/handed?etag=%22v1%22", 'If-None-Match: "v1"').status == 304
    strong = ("Range: bytes=4-7", 'If-Range: "v1"')
    assert client.get("/handed?etag=%22v1%22", *strong).status == 206
    assert client.get("/handed?etag=W/%22v1%22", *strong).status == 200
    assert client.get("/handed?etag=%22v1%22", "Range: bytes=9999-").status == 416


# --- settings


def test_without_roots_the_words_are_left_to_a_proxy_in_front(site: Path) -> None:
    with start(site) as server, server.client() as client:
        response = client.get(f"/sendfile?path={site}/private/doc.txt")
        assert response["X-Sendfile"] == f"{site}/private/doc.txt"


def test_settings_of_whitenoise_are_heeded(tmp_path: Path) -> None:
    fill(tmp_path)
    collect(tmp_path)
    settings = {
        "WHITENOISE_ROOT": str(tmp_path / "root"),
        "WHITENOISE_INDEX_FILE": True,
        "WHITENOISE_MAX_AGE": 600,
        "WHITENOISE_ALLOW_ALL_ORIGINS": False,
        "WHITENOISE_MIMETYPES": {".css": "text/x-mine"},
        "WHITENOISE_CHARSET": "latin-1",
        "WHITENOISE_IMMUTABLE_FILE_TEST": r"/js/",
    }
    with start(tmp_path, **settings) as server, server.client() as client:
        style = client.get("/static/css/site.css")
        assert style["Content-Type"] == "text/x-mine; charset=latin-1"
        assert style["Cache-Control"] == "max-age=600, public"
        assert "Access-Control-Allow-Origin" not in style
        assert "immutable" in client.get("/static/js/app.js")["Cache-Control"]
        assert client.get("/robots.txt").body == b"User-agent: *\n"
        assert client.get("/").text == "home"
        moved = client.get("/index.html")
        assert (moved.status, moved["Location"]) == (302, "/")
        assert client.get("/page/").text.startswith("django")
        assert client.get("/", method="DELETE").text.startswith("django DELETE")


def test_whitenoise_in_the_middleware_works_and_may_be_dropped(tmp_path: Path) -> None:
    fill(tmp_path)
    collect(tmp_path)
    middleware = ["whitenoise.middleware.WhiteNoiseMiddleware"]
    with start(tmp_path, MIDDLEWARE=middleware) as server, server.client() as client:
        assert client.get("/static/css/site.css").text == CSS
        assert client.get("/page/").text.startswith("django")
        server.wait_log("may be dropped from MIDDLEWARE")
        assert len(server.logged("may be dropped from MIDDLEWARE")) == 1


def test_a_prefix_or_another_host_in_static_url_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    collect(tmp_path)
    settings = {"STATIC_URL": "https://cdn.example/app/assets/", "FORCE_SCRIPT_NAME": "/app"}
    with start(tmp_path, **settings) as server, server.client() as client:
        assert client.get("/assets/css/site.css").text == CSS
        assert client.get("/app/assets/css/site.css").text == CSS


def test_under_debug_the_sources_are_served_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "collected/css").mkdir(parents=True)
    (tmp_path / "collected/css/site.css").write_text("old copy")
    with start(tmp_path, DEBUG=True) as server, server.client() as client:
        style = client.get("/static/css/site.css")
        assert style.text == CSS and style["Cache-Control"] == "max-age=0, public"
        (tmp_path / "sources/css/site.css").write_text("edited")
        assert client.get("/static/css/site.css").text == "edited"
        assert client.get("/static/none.css").status == 404


def test_a_missing_folder_is_said_and_the_site_served(tmp_path: Path) -> None:
    fill(tmp_path)
    with start(tmp_path) as server, server.client() as client:
        server.wait_log("collectstatic")
        assert len(server.logged("collectstatic")) == 1
        assert client.get("/static/css/site.css").status == 404
        assert client.get("/page/").status == 200


def test_off_leaves_static_files_to_the_app(site: Path) -> None:
    with start(site, "--no-static") as server, server.client() as client:
        assert by_the_app(client.get("/static/css/site.css"))


def test_a_reload_reads_the_settings_anew(tmp_path: Path) -> None:
    fill(tmp_path)
    shutil.copy(APPS / "filesite.py", tmp_path / "mine.py")
    collect(tmp_path)
    env = {"SITE": "{}"}
    flags = ("--pythonpath", str(tmp_path))
    with Server(tmp_path, "mine", *flags, env=env) as server, server.client() as client:
        assert client.get("/static/css/site.css").status == 200
        source = (tmp_path / "mine.py").read_text()
        (tmp_path / "mine.py").write_text(source.replace('"static/"', '"assets/"'))
        server.signal(1)
        assert until(lambda: client.get("/assets/css/site.css").status == 200)


# --- compress


def test_compress_of_a_folder_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    done = run_canter("static", "compress", "nosuch", cwd=tmp_path)
    assert done.returncode == 5
    assert "cannot read the folder `nosuch`" in done.stderr
    assert "hint: name the folder that holds the collected files" in done.stderr


def test_compress_makes_every_form_and_serve_sends_it(tmp_path: Path) -> None:
    fill(tmp_path)
    collect(tmp_path)
    done = run_canter("static", "compress", "collected", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gzip" in done.stdout and "zstd" in done.stdout
    style = tmp_path / "collected/css/site.css"
    packed = style.with_name("site.css.gz")
    assert gzip.decompress(packed.read_bytes()) == CSS.encode()
    assert packed.stat().st_mtime_ns == style.stat().st_mtime_ns
    assert not list(tmp_path.glob("collected/**/*.png.*")), "images do not gain"
    again = run_canter("static", "compress", "collected", cwd=tmp_path)
    assert "were there already" in again.stdout and "became" not in again.stdout
    with start(tmp_path) as server, server.client() as client:
        for coding in ("gzip", "br", "zstd"):
            response = client.get("/static/css/site.css", f"Accept-Encoding: {coding}")
            assert response["Content-Encoding"] == coding
            assert len(response.body) < len(CSS) // 4
