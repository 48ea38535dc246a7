"""Owns the origin of the conformance suite as a WSGI app: a test's script of answers comes by PUT to
``/config/ID``, is played at ``/test/ID``, and what the app has seen is read at ``/state/ID``.

Leaves what is asked and expected to the suite (http-tests/cache-tests). Early hints are given through
``wsgi.early_hints``. What WSGI has no word for is not played: 102, and a connection that closes in the
middle of nowhere, in whose place the app fails.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Any]
Fields = list[tuple[str, str]]

DATES = {"date", "expires", "last-modified", "if-modified-since", "if-unmodified-since"}
PLACES = {"location", "content-location"}
LEGACY_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

SCRIPTS: dict[str, list[dict[str, Any]]] = {}
SEEN: dict[str, list[dict[str, Any]]] = {}
LOCK = threading.Lock()


class Disconnected(Exception):
    """In place of closing the connection."""


def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answer one of the three addresses."""
    _empty, kind, test, *_rest = (environ["PATH_INFO"] + "///").split("/")
    if kind == "config":
        return take(environ, start_response, test)
    if kind == "state":
        with LOCK:
            state = json.dumps(SEEN[test]) if test in SEEN else None
        if state is None:
            return plain(start_response, "404 Not Found", "nothing is known of it")
        return plain(start_response, "200 OK", state)
    if kind == "test":
        return play(environ, start_response, test)
    return plain(start_response, "404 Not Found", "no such address")


def plain(start_response: Start, status: str, text: str) -> Iterable[bytes]:
    """A short answer."""
    start_response(status, [("Content-Type", "text/plain")])
    return [text.encode()]


def take(environ: Environ, start_response: Start, test: str) -> Iterable[bytes]:
    """Keep the script of a test."""
    if environ["REQUEST_METHOD"] != "PUT":
        return plain(start_response, "405 Method Not Allowed", "a script is put")
    script = json.loads(environ["wsgi.input"].read())
    with LOCK:
        if test in SCRIPTS:
            return plain(start_response, "409 Conflict", "there is one already")
        SCRIPTS[test] = script
    return plain(start_response, "201 Created", "OK")


def play(environ: Environ, start_response: Start, test: str) -> Iterable[bytes]:
    """Answer as the script says, and remember what was asked."""
    script = SCRIPTS.get(test)
    if script is None:
        return plain(start_response, "409 Conflict", "there is no script for it")
    asked = {
        key[5:].lower().replace("_", "-"): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            asked[key.lower().replace("_", "-")] = environ[key]
    number = int(asked["req-num"]) if asked.get("req-num", "").isdigit() else None
    with LOCK:
        count = len(SEEN.get(test, [])) + 1
    at = number or count
    if at > len(script):
        return plain(start_response, "409 Conflict", f"the script has no answer {at}")
    step = script[at - 1]
    if "response_pause" in step:
        time.sleep(step["response_pause"])
    status, reason = chosen_status(step, script[at - 2] if at > 1 else {}, asked)
    fields, saved = chosen_fields(environ, step, count, number)
    with LOCK:
        seen = SEEN.setdefault(test, [])
        seen.append(
            {
                "request_num": number,
                "request_method": environ["REQUEST_METHOD"],
                "request_headers": asked,
                "response_headers": saved,
            }
        )
        numbers = " ".join(str(one["request_num"]) for one in seen)
    fields.append(("Request-Numbers", numbers))
    if step.get("disconnect"):
        raise Disconnected(test)
    for interim, *hints in step.get("interim_responses", ()):
        if interim == 103:
            environ["wsgi.early_hints"]([tuple(pair) for pair in hints[0]] if hints else [])
    start_response(f"{status} {reason}", fields)
    if status in (204, 304):
        return []
    body = (step.get("response_body") or test).encode()
    # The suite's own origin writes more than it has declared; whoever reads it takes the declared
    # part for the content (RFC 9112, section 6.3).
    declared = [int(value) for name, value in fields if name.lower() == "content-length"]
    return [body[: declared[0]] if declared else body]


def chosen_status(
    step: dict[str, Any], before: dict[str, Any], asked: dict[str, str]
) -> tuple[int, str]:
    """The scripted status, or 304 where the suite waits for a validation of the answer before."""
    if not str(step.get("expected_type", "")).endswith("validated"):
        status, reason = step.get("response_status") or (200, "OK")
        return int(status), str(reason)
    had = {name.lower(): value for name, value, *_ in before.get("response_headers", ())}
    for validator, condition in (
        ("last-modified", "if-modified-since"),
        ("etag", "if-none-match"),
    ):
        known = had.get(validator)
        if isinstance(known, int):
            known = before.get("_dates", {}).get(validator)
        if known and asked.get(condition) == known:
            return 304, "Not Modified"
    return 999, "304 Not Generated"


def chosen_fields(
    environ: Environ, step: dict[str, Any], count: int, number: int | None
) -> tuple[Fields, list[tuple[str, Any]]]:
    """The fields to send, and those that the suite compares with what arrives."""
    now = time.time()
    here = environ.get("RAW_URI") or environ["PATH_INFO"] + (
        "?" + environ["QUERY_STRING"] if environ.get("QUERY_STRING") else ""
    )
    fields: Fields = [
        ("Server-Base-Url", here),
        ("Server-Request-Count", str(count)),
        ("Client-Request-Count", "NaN" if number is None else str(number)),
        ("Server-Now", str(int(now * 1000))),
    ]
    saved: dict[str, Any] = {}
    for name, value, *rest in step.get("response_headers", ()):
        text = written(name.lower(), value, step, here, now)
        if isinstance(value, int):
            step.setdefault("_dates", {})[name.lower()] = text
        fields.append((name, text))
        if not rest or rest[0] is True:
            every = [old for key, old in fields if key.lower() == name.lower()]
            saved[name] = every if len(every) > 1 else text
    if not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", "text/plain"))
    return fields, list(saved.items())


def written(name: str, value: Any, step: dict[str, Any], here: str, now: float) -> str:
    """A date that is given in seconds from now, a place below this one, or the text itself."""
    if name in DATES and isinstance(value, int):
        if name in step.get("rfc850date", ()):
            time_then = time.gmtime(now + value)
            day = LEGACY_DAYS[time_then.tm_wday]
            return time.strftime(f"{day}, %d-%b-%y %H:%M:%S GMT", time_then)
        return formatdate(now + value, usegmt=True)
    if name in PLACES and step.get("magic_locations"):
        return f"{here}/{value}" if value else here
    return str(value)
