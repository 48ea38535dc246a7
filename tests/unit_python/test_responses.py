"""Owns the rows about `start_response`, bodies and `close()` (PEP 3333)."""

from __future__ import annotations

import sys
import threading
from wsgiref.validate import validator

import pytest
from worker_harness import LIMIT, Request, serving

TEXT = [("Content-Type", "text/plain")]


class Body:
    """An iterable that counts its closings."""

    def __init__(self, chunks, fail=False):
        self.chunks = iter(chunks)
        self.closed = 0
        self.closing = threading.Event()
        self.fail = fail

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        self.closed += 1
        self.closing.set()
        if self.fail:
            raise ValueError("close failed")


def returning(result, status="200 OK", headers=TEXT):
    def app(environ, start_response):
        start_response(status, list(headers))
        return result() if callable(result) else result

    return app


class Django:
    """Shaped like Django's HttpResponse: all there, but neither list nor tuple."""

    streaming = False

    def __iter__(self):
        return iter([b"a", b"b"])


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ([b"hello"], b"hello"),
        ((b"a", b"b", b"c"), b"abc"),
        ([], b""),
        ([b""], b""),
        ([b"", b"x", b""], b"x"),
        (Django, b"ab"),
        ({b"one": 1}, b"one"),
    ],
)
def test_a_body_that_is_all_there_is_one_record(result, body):
    with serving(returning(result)) as worker:
        answer = worker.get()
    assert (answer.kinds, answer.body, answer.status) == (["Response"], body, 200)
    assert answer.fields == [(b"Content-Type", b"text/plain")]


def test_each_chunk_of_a_generator_goes_out_at_once():
    taken = threading.Semaphore(0)

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        for chunk in (b"one", b"", b"two"):
            yield chunk
            # Reached only by asking for the next chunk: the one before must be out by then.
            assert taken.acquire(timeout=LIMIT) if chunk else True

    with serving(app) as worker:
        number = worker.offer(Request())
        for expected in (b"one", b"two"):
            record = worker.record(number)
            assert (record["body"], record["last"]) == (expected, False)
            taken.release()
        last = worker.record(number)
        assert (last["kind"], last["body"], last["last"]) == ("Chunk", b"", True)


def test_a_generator_may_call_start_response_late():
    def app(environ, start_response):
        yield b""
        start_response("201 Created", TEXT)
        yield b"late"

    with serving(app) as worker:
        answer = worker.get()
    assert (answer.status, answer.reason, answer.body) == (201, b"Created", b"late")


def test_an_empty_generator_sends_its_head():
    with serving(returning(lambda: iter(()), "204 No Content", [])) as worker:
        answer = worker.get()
    assert (answer.status, answer.kinds, answer.body) == (204, ["Response"], b"")


def test_write_sends_before_the_iterable():
    def app(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"one ")
        write(b"two ")
        return [b"three"]

    with serving(app) as worker:
        answer = worker.get()
    assert answer.body == b"one two three" and answer.kinds == ["Response", "Chunk", "Chunk"]


@pytest.mark.parametrize(
    ("size", "streamed"), [(262_144, False), (262_144, True), (3_000_000, True)]
)
def test_a_long_body_is_cut_into_records_and_waits_for_room(size, streamed):
    body = bytes(range(256)) * (size // 256)
    with serving(returning(lambda: iter([body]) if streamed else [body])) as worker:
        answer = worker.get()
    assert answer.body == body and len(answer.kinds) > 1
    declared = dict(answer.fields).get(b"Content-Length")
    assert declared == (None if streamed else str(len(body)).encode())


def test_a_large_body_that_is_whole_becomes_a_file():
    body = bytes(range(256)) * 10_000
    with serving(returning([body])) as worker:
        answer = worker.get()
    assert answer.kinds == ["File"]
    assert answer.body == body


def test_a_long_body_keeps_the_length_the_app_declared():
    headers = [("content-length", "300000")]
    with serving(returning([b"x" * 300_000], headers=headers)) as worker:
        assert worker.get().fields == [(b"content-length", b"300000")]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200 OK", (200, b"OK")),
        ("404 Nicht gefunden", (404, b"Nicht gefunden")),
        ("418 I'm a (tea) pot", (418, b"I'm a (tea) pot")),
        ("299 ", (299, b"")),
        ("200", (200, b"")),
        ("999 \xe9", (999, b"\xe9")),
    ],
)
def test_status_and_reason_are_kept(status, expected):
    with serving(returning([b""], status)) as worker:
        answer = worker.get()
    assert (answer.status, answer.reason) == expected


def test_headers_keep_their_order_their_case_and_latin_1():
    headers = [("X-B", "1"), ("x-a", "\xe9"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]
    with serving(returning([b""], headers=headers)) as worker:
        fields = worker.get().fields
    assert fields == [(name.encode(), value.encode("latin-1")) for name, value in headers]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("100 Continue", []),
        ("199 x", []),
        ("20 OK", []),
        ("2000 OK", []),
        ("OK", []),
        ("", []),
        ("200 a\r\nX: y", []),
        ("200 a\0", []),
        ("200 \ud800", []),
        (200, []),
        (b"200 OK", []),
        (None, []),
        ("200 OK", None),
        ("200 OK", {"A": "b"}),
        ("200 OK", (("A", "b"),)),
        ("200 OK", ["A: b"]),
        ("200 OK", [("A",)]),
        ("200 OK", [("A", "b", "c")]),
        ("200 OK", [["A", "b"]]),
        ("200 OK", [(b"A", b"b")]),
        ("200 OK", [("A", 1)]),
        ("200 OK", [("", "b")]),
        ("200 OK", [("A b", "c")]),
        ("200 OK", [("A:", "c")]),
        ("200 OK", [("A\n", "c")]),
        ("200 OK", [("\xc4", "c")]),
        ("200 OK", [("A", "b\r\nX: y")]),
        ("200 OK", [("A", "b\n c")]),
        ("200 OK", [("A", "b\0")]),
        ("200 OK", [("A", "\u20ac")]),
        ("200 OK", [("A", "\udc80")]),
        ("200 OK", [("A", "x" * 70_000)]),
        ("200 OK", [("A", "x" * 60_000)] * 3),
        ("200 OK", [("A", "")] * 70_000),
    ],
)
def test_a_wrong_status_or_header_is_a_500_and_the_worker_lives(status, headers, capfd):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/good":
            start_response("200 OK", [])
        else:
            start_response(status, headers)
        return [b"body"]

    with serving(app) as worker:
        answer = worker.get()
        assert (answer.status, answer.kinds) == (500, ["Response"])
        assert worker.get(path=b"/good").status == 200
    assert "start_response(status, headers)" in capfd.readouterr().err


def test_hop_by_hop_headers_are_dropped_and_said_once(capfd):
    headers = [("Proxy-Authenticate", "x"), ("Transfer-Encoding", "chunked"), ("A", "b")]
    with serving(returning([b"x"], headers=headers)) as worker:
        assert worker.get().fields == [(b"A", b"b")]
        assert worker.get().fields == [(b"A", b"b")]
    assert capfd.readouterr().err.count("header proxy-authenticate") == 1


def test_start_response_takes_keywords_as_wsgiref_and_gunicorn_call_them():
    def app(environ, start_response):
        start_response(status="200 OK", headers=TEXT)
        try:
            raise ValueError("wrong")
        except ValueError:
            start_response(headers=TEXT, status="500 Sorry", exc_info=sys.exc_info())
        return [b"sorry"]

    with serving(app) as worker:
        answer = worker.get()
    assert (answer.status, answer.reason, answer.body) == (500, b"Sorry", b"sorry")


def test_exc_info_replaces_a_head_that_is_not_sent():
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        try:
            raise ValueError("wrong")
        except ValueError:
            start_response("500 Sorry", TEXT, sys.exc_info())
        return [b"sorry"]

    with serving(app) as worker:
        answer = worker.get()
    assert (answer.status, answer.reason, answer.body) == (500, b"Sorry", b"sorry")


def test_exc_info_after_the_head_was_sent_raises_it_again(capfd):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"part"
        try:
            raise KeyError("the cause")
        except KeyError:
            start_response("500 Sorry", TEXT, sys.exc_info())
        yield b"never"

    with serving(app) as worker:
        answer = worker.get()
    assert answer.kinds == ["Response", "Abort"] and answer.body == b"part"
    assert "KeyError: 'the cause'" in capfd.readouterr().err


def test_start_response_twice_is_an_error():
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        start_response("200 OK", TEXT)
        return []

    with serving(app) as worker:
        assert worker.get().status == 500


def test_start_response_is_of_no_use_after_the_response():
    kept = []

    def app(environ, start_response):
        kept.append((start_response, start_response("200 OK", TEXT)))
        return [b"x"]

    with serving(app) as worker:
        worker.get()
        start_response, write = kept[0]
        with pytest.raises(RuntimeError, match="has ended"):
            start_response("200 OK", TEXT)
        with pytest.raises(RuntimeError, match="has ended"):
            write(b"more")
        assert worker.get().body == b"x"


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("chunks", [[b"a"], [b"a", b"b"], [], ["text"], [None]])
def test_close_is_called_once_whatever_happens(chunks, fail, capfd):
    body = Body(chunks, fail)
    with serving(returning(body)) as worker:
        worker.get()
        assert body.closing.wait(LIMIT)
        assert worker.get(method=b"HEAD").status == 200 or chunks
    assert body.closed == 2
    assert ("close failed" in capfd.readouterr().err) == fail


def test_what_close_does_keeps_no_client_waiting():
    go_on = threading.Event()

    class Slow(list):
        def close(self):
            assert go_on.wait(LIMIT)

    def before(worker):
        worker.offer(Request())
        assert not worker.front.fall_asleep()

    with serving(returning(Slow([b"x"])), before) as worker:
        assert worker.front.is_woken_within(LIMIT / 2)
        assert worker.answer(1).body == b"x"
        go_on.set()


def test_close_is_called_when_the_client_has_left():
    stopped = threading.Event()

    class Endless(Body):
        def __next__(self):
            return b"x" * 1000

    body = Endless([])
    with serving(returning(body)) as worker:
        number = worker.offer(Request())
        worker.record(number)
        worker.front.cancel(0)
        answer = worker.answer(number)
        assert answer.kinds[-1] == "Abort"
        assert body.closing.wait(LIMIT)
        stopped.set()
    assert body.closed == 1


def test_a_client_that_left_frees_a_thread_that_waits_for_room():
    body = Body(b"x" * 100_000 for _ in range(10_000))
    with serving(returning(body)) as worker:
        number = worker.offer(Request())
        record = worker.record(number)
        worker.front.cancel(0)
        while not record["last"]:
            record = worker.record(number)
        assert body.closing.wait(LIMIT)


def test_the_validator_of_the_standard_library_finds_no_fault():
    @validator
    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"a")
        return iter([b"b", b"c"])

    with serving(app) as worker:
        assert worker.get().body == b"abc"
