"""Owns the rows about environ and `wsgi.input` (PEP 3333, "environ Variables")."""

from __future__ import annotations

import os
import tempfile
from typing import Any
from wsgiref.validate import validator

import canter
import pytest
from worker_harness import Request, serving

FORM = Request(
    method=b"POST",
    target=b"/a%20b?c=d",
    path=b"/a b",
    query=b"c=d",
    https=True,
    server_port=443,
    fields=[
        (b"Host", b"example.org"),
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"4"),
        (b"X-Some-Thing", b"yes"),
    ],
    body=b"body",
)


def environ_of(request: Request, **settings: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def app(environ, start_response):
        assert type(environ) is dict
        seen.update(environ)
        seen["body"] = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return []

    with serving(app, **settings) as worker:
        assert worker.get(request).status == 200
    return seen


def test_every_key_of_a_form_post_is_there():
    environ = environ_of(FORM)
    rows = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "RAW_URI": "/a%20b?c=d",
        "REQUEST_URI": "/a%20b?c=d",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": f"canter/{canter.__version__}",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "example.org",
        "HTTP_X_SOME_THING": "yes",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "4",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "canter.request_id": "req-1",
        "body": b"body",
    }
    assert {key: environ.get(key) for key in rows} == rows
    extra = set(environ) - set(rows)
    assert extra == {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints"}


def test_nothing_of_the_process_environment_is_in_environ(monkeypatch):
    monkeypatch.setenv("HTTP_SECRET", "x")
    assert not set(os.environ) & set(environ_of(FORM))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"path": "/ü".encode()}, {"PATH_INFO": "/Ã¼"}),
        ({"path": b"/\xff"}, {"PATH_INFO": "/\xff"}),
        ({"version": 0}, {"SERVER_PROTOCOL": "HTTP/1.0"}),
        ({"server": b"", "server_port": 0}, {"SERVER_NAME": "localhost", "SERVER_PORT": "80"}),
        ({"server_port": 0, "https": True}, {"SERVER_PORT": "443", "wsgi.url_scheme": "https"}),
        ({"client": b"", "client_port": 0}, {"REMOTE_ADDR": "", "REMOTE_PORT": ""}),
        ({"fields": [(b"x-a", b"1"), (b"x-a", b"2")]}, {"HTTP_X_A": "1,2"}),
        ({"fields": [(b"cookie", b"a=1"), (b"cookie", b"b=2")]}, {"HTTP_COOKIE": "a=1; b=2"}),
        ({"fields": [(b"x-u", b"\xe9")]}, {"HTTP_X_U": "\xe9"}),
        ({"fields": [(b"content-length", b"0")]}, {"CONTENT_LENGTH": "0"}),
        ({"fields": [(b"content-type", b"")]}, {"CONTENT_TYPE": ""}),
        ({"body": b"abc"}, {"CONTENT_LENGTH": "3"}),
        ({"method": b"PROPFIND"}, {"REQUEST_METHOD": "PROPFIND"}),
    ],
)
def test_a_fact_of_the_request_becomes_its_key(facts, expected):
    environ = environ_of(Request(**facts))
    assert {key: environ.get(key) for key in expected} == expected


def test_a_field_with_an_underscore_cannot_pass_for_one_with_a_dash():
    environ = environ_of(Request(fields=[(b"x_user", b"root")]))
    assert "HTTP_X_USER" not in environ


def test_without_body_or_declaration_there_is_no_content_length():
    environ = environ_of(Request())
    assert "CONTENT_LENGTH" not in environ and "CONTENT_TYPE" not in environ


def test_more_names_than_are_remembered_still_arrive():
    fields = [(b"x-%d" % n, b"%d" % n) for n in range(1000)]
    environ = environ_of(Request(fields=fields))
    assert [environ[f"HTTP_X_{n}"] for n in range(1000)] == [str(n) for n in range(1000)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"/shop", ("/shop", "")), (b"/shop/a", ("/shop", "/a")), (b"/shopping", ("", "/shopping"))],
)
def test_an_app_below_a_path_gets_script_name(path, expected):
    environ = environ_of(Request(path=path, target=path), script_name="/shop")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected


def test_changes_of_one_request_do_not_show_in_the_next():
    seen = []

    def app(environ, start_response):
        seen.append("mine" in environ or environ.get("SCRIPT_NAME"))
        environ["mine"] = environ["SCRIPT_NAME"] = "changed"
        start_response("200 OK", [])
        return []

    with serving(app) as worker:
        worker.get()
        worker.get()
    assert seen == ["", ""]


LINES = b"one\ntwo\nthree"


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda body: body.read(), LINES),
        (lambda body: body.read(-1), LINES),
        (lambda body: (body.read(5), body.read(), body.read()), (b"one\nt", b"wo\nthree", b"")),
        (lambda body: (body.readline(), body.readline(2)), (b"one\n", b"tw")),
        (lambda body: list(body), [b"one\n", b"two\n", b"three"]),
        (lambda body: body.readlines(), [b"one\n", b"two\n", b"three"]),
        (lambda body: body.readlines(5), [b"one\n", b"two\n"]),
        (lambda body: (body.read(), body.seek(4), body.read(3)), (LINES, 4, b"two")),
    ],
)
def test_input_reads_like_a_file(read, expected, spooled):
    seen = []

    def app(environ, start_response):
        seen.append(read(environ["wsgi.input"]))
        start_response("200 OK", [])
        return []

    with serving(app) as worker:
        request = Request(method=b"POST", body=LINES)
        assert worker.get(spool(request) if spooled else request).status == 200
    assert seen == [expected]


def spool(request: Request) -> Request:
    """The same request with its body in a file, as the front spools it."""
    with tempfile.TemporaryFile() as file:
        file.write(request.body)
        file.flush()
        # Its position is the end, as after the front's own writing.
        spooled = (os.dup(file.fileno()), len(request.body))
        return Request(method=request.method, fields=request.fields, file=spooled)


def test_an_empty_body_reads_as_empty_for_ever():
    def app(environ, start_response):
        body = environ["wsgi.input"]
        reads = [body.read(), body.read(10), body.readline(), *body]
        start_response("200 OK", [])
        return reads

    with serving(app) as worker:
        assert worker.get().body == b""


def test_files_of_bodies_stay_in_order_also_past_a_reclaimed_request():
    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    def before(worker):
        for slot, body in enumerate([b"first", b"second", b"third"]):
            worker.offer(spool(Request(method=b"POST", body=body)), slot)
        assert worker.front.reclaim(1)

    with serving(app, before) as worker:
        assert worker.answer(1).body == b"first"
        assert worker.answer(3).body == b"third"
        assert worker.front.is_free(1)


def test_the_validator_of_the_standard_library_finds_no_fault():
    @validator
    def app(environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body, b"!"]

    with serving(app) as worker:
        assert worker.get(FORM).body == b"body!"
        assert worker.get(spool(FORM)).body == b"body!"
        assert worker.get().body == b"!"
