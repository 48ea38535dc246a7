"""Owns the rows about apps that misbehave: each costs its own request and nothing else."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
from worker_harness import Request, serving


def raising(error):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/good":
            start_response("200 OK", [])
            return [b"good"]
        raise error

    return app


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("boom"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        MemoryError(),
        Unprintable(),
        ValueError("\udc80"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_view_that_raises_is_a_500_with_its_traceback_in_the_log(error, capfd):
    with serving(raising(error)) as worker:
        answer = worker.get(target=b"/a\x1b?b", id=b"req-77")
        assert answer.status == 500 and b"Internal Server Error" in answer.body
        assert b"boom" not in answer.body
        assert worker.get(path=b"/good").body == b"good"
    log = capfd.readouterr().err
    assert "GET /a\\u{1b}?b failed (request req-77)" in log
    assert "Traceback (most recent call last)" in log and "raise error" in log


def test_p20_what_an_exception_says_forges_no_line_of_the_log(capfd):
    words = "a\ncanter: GET /forged\x1b]0;mine\x07\x85"
    with serving(raising(ValueError(words))) as worker:
        assert worker.get().status == 500
    log = capfd.readouterr().err
    assert "\n    canter: GET /forged\\u{1b}]0;mine\\u{7}\\u{85}\n" in log
    assert not any(letter in log for letter in "\x1b\x07\x85")


def test_debug_shows_the_traceback_to_the_client():
    with serving(raising(ValueError("boom")), debug=True) as worker:
        answer = worker.get()
    assert b"ValueError: boom" in answer.body
    assert (b"Content-Type", b"text/plain; charset=utf-8") in answer.fields


def test_a_failure_after_the_head_breaks_the_connection(capfd):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("late")

    with serving(app) as worker:
        assert worker.get().kinds == ["Response", "Abort"]
    assert "failed after its response had begun" in capfd.readouterr().err


class BadIter:
    def __iter__(self):
        raise RuntimeError("bad iter")


class BadStreaming:
    @property
    def streaming(self):
        raise RuntimeError("bad property")

    def __len__(self):
        raise RuntimeError("bad len")

    def __iter__(self):
        return iter([b"fine"])


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (None, "must return an iterable of bytes, not NoneType"),
        (7, "must return an iterable of bytes, not int"),
        (b"bytes", "returned bytes"),
        ("text", "must be bytes, not str"),
        (["text"], "must be bytes, not str"),
        ([b"a", "b"], "must be bytes, not str"),
        ([bytearray(b"a")], "must be bytes, not bytearray"),
        ([None], "must be bytes, not NoneType"),
        (iter(["text"]), "must be bytes, not str"),
        (BadIter(), "bad iter"),
    ],
)
def test_a_wrong_result_is_a_500_with_a_clear_sentence(result, sentence, capfd):
    def app(environ, start_response):
        start_response("200 OK", [])
        return result

    with serving(app) as worker:
        assert worker.get().status == 500
    assert sentence in capfd.readouterr().err


def test_a_property_that_fails_is_no_reason_to_fail():
    def app(environ, start_response):
        start_response("200 OK", [])
        return BadStreaming()

    with serving(app) as worker:
        assert worker.get().body == b"fine"


@pytest.mark.parametrize("result", [[b"x"], [], iter([b"x"]), iter([])])
def test_a_body_without_start_response_is_a_500(result, capfd):
    with serving(lambda environ, start_response: result) as worker:
        assert worker.get().status == 500
    assert "never called start_response()" in capfd.readouterr().err


def test_an_app_that_takes_no_arguments_is_a_500():
    with serving(lambda: []) as worker:
        assert worker.get().status == 500


def test_endless_recursion_is_a_500():
    def app(environ, start_response):
        return app(environ, start_response)

    with serving(app) as worker:
        assert worker.get().status == 500
        assert worker.get().status == 500


def test_nothing_is_kept_of_a_request():
    kept = []

    class Failure(Exception):
        pass

    def app(environ, start_response):
        error = Failure()
        kept.append(weakref.ref(error))
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/raise":
            raise error
        return [b"x"]

    with serving(app) as worker:
        before = sys.getrefcount(b"x")
        for _ in range(300):
            worker.get(Request(path=b"/raise"))
            worker.get(Request(body=b"y"))
        assert abs(sys.getrefcount(b"x") - before) < 100
    gc.collect()
    assert [ref() for ref in kept] == [None] * 600
