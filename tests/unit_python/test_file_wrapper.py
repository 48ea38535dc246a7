"""Owns the rows about `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

from __future__ import annotations

import gzip
import io
import os
import tempfile

import pytest
from worker_harness import serving

CONTENT = b"0123456789" * 1000


class Outer:
    """Shaped like Django's File: hands out the read of the file inside."""

    def __init__(self, file):
        self.file = file

    read = property(lambda self: self.file.read)

    def close(self):
        self.file.close()


def wrapping(make, headers=()):
    files = []

    def app(environ, start_response):
        start_response("200 OK", list(headers))
        files.append(make())
        return environ["wsgi.file_wrapper"](files[-1], 4096)

    return app, files


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def at(file, offset):
    file.seek(offset)
    return file


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        (lambda path: open(path, "rb"), CONTENT),
        (lambda path: open(path, "rb", buffering=0), CONTENT),
        (lambda path: open(path, "r+b"), CONTENT),
        (lambda path: at(open(path, "rb"), 9_000), CONTENT[9_000:]),
        (lambda path: at(open(path, "rb"), 90_000), b""),
        (lambda path: Outer(open(path, "rb")), CONTENT),
    ],
)
def test_a_regular_file_is_sent_by_its_descriptor(path, opened, expected):
    app, files = wrapping(lambda: opened(path))
    with serving(app) as worker:
        answer = worker.get()
        assert (answer.kinds, answer.body) == (["File"], expected)
        worker.get()
    assert getattr(files[0], "file", files[0]).closed


def test_a_temporary_file_is_sent_by_its_descriptor():
    def make():
        file = tempfile.NamedTemporaryFile()
        file.write(CONTENT)
        file.flush()
        return at(file, 0)

    app, _ = wrapping(make)
    with serving(app) as worker:
        answer = worker.get()
    assert (answer.kinds, answer.body) == (["File"], CONTENT)


def test_no_more_is_sent_than_the_app_has_declared(path):
    app, _ = wrapping(lambda: open(path, "rb"), [("Content-Length", "10")])
    with serving(app) as worker:
        assert worker.get().body == CONTENT[:10]


def pipe():
    read, write = os.pipe()
    os.write(write, b"piped")
    os.close(write)
    return open(read, "rb")


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        (lambda path: io.BytesIO(CONTENT), CONTENT),
        (lambda path: gzip.open(_zipped(path), "rb"), CONTENT),
        (lambda path: pipe(), b"piped"),
    ],
)
def test_anything_else_is_read_by_the_worker(path, opened, expected):
    app, files = wrapping(lambda: opened(path))
    with serving(app) as worker:
        answer = worker.get()
        assert answer.body == expected and "File" not in answer.kinds
        worker.get()
    assert files[0].closed


def _zipped(path):
    zipped = path.with_suffix(".gz")
    zipped.write_bytes(gzip.compress(CONTENT))
    return zipped


def test_a_file_without_start_response_is_a_500(path):
    def app(environ, start_response):
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with serving(app) as worker:
        assert worker.get().status == 500


def test_close_of_the_file_like_object_is_called_even_if_replaced(path):
    # Django's FileResponse puts its own close() on the file before it wraps it.
    called = []

    def make():
        file = open(path, "rb")
        file.close = lambda: called.append(1)
        return file

    app, _ = wrapping(make)
    with serving(app) as worker:
        worker.get()
        worker.get()
    assert called == [1, 1]
