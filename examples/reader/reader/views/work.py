"""Pages that are hard on a server: one waits, two stream, one computes.

Each takes its size from the query string, within bounds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.views.decorators.http import require_safe

from reader import upstream_client
from reader.params import number, whole_number

MOST_SECONDS = 10.0
MOST_CHUNKS = 200
MOST_PRIMES_BELOW = 500_000
_ROWS = "<!-- rows -->"


@require_safe
def slow(request: HttpRequest) -> HttpResponse:
    """Waits for a slow HTTP API, as a page that calls a payment or search service does."""
    asked = "delay" in request.GET
    delay_seconds = number(request, "delay", 1.0, MOST_SECONDS) if asked else None
    try:
        answer = upstream_client.ask(delay_seconds)
    except upstream_client.UpstreamError as error:
        context = {"reason": str(error)}
        return render(request, "reader/slow_down.html", context, status=error.status)
    return render(request, "reader/slow.html", {"answer": answer})


@require_safe
def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A page that arrives row by row."""
    rows = whole_number(request, "rows", 20, MOST_CHUNKS)
    delay_seconds = number(request, "delay", 0.2, MOST_SECONDS)
    head, _, foot = render_to_string("reader/stream.html", request=request).partition(_ROWS)
    return StreamingHttpResponse(_page(head, foot, rows, delay_seconds))


def _page(head: str, foot: str, rows: int, delay_seconds: float) -> Iterator[str]:
    yield head
    for row in range(1, rows + 1):
        time.sleep(delay_seconds)
        yield format_html("<li>Row {} of {}</li>\n", row, rows)
    yield foot


@require_safe
def events(request: HttpRequest) -> StreamingHttpResponse:
    """Counts in server-sent events, then says "done" so that the browser does not reconnect."""
    count = whole_number(request, "count", 10, MOST_CHUNKS)
    delay_seconds = number(request, "delay", 1.0, MOST_SECONDS)
    return StreamingHttpResponse(
        _ticks(count, delay_seconds),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


def _ticks(count: int, delay_seconds: float) -> Iterator[str]:
    for tick in range(1, count + 1):
        yield f"id: {tick}\ndata: {tick} of {count}\n\n"
        time.sleep(delay_seconds)
    yield "event: done\ndata: that was all\n\n"


@require_safe
def events_page(request: HttpRequest) -> HttpResponse:
    """A page that shows the events as they come."""
    return render(request, "reader/events.html")


@require_safe
def compute(request: HttpRequest) -> HttpResponse:
    """Keeps one core busy; the time it took is in the Server-Timing header."""
    below = whole_number(request, "n", 20_000, MOST_PRIMES_BELOW)
    begin = time.perf_counter()
    context = {"below": below, "count": count_primes(below), "most": MOST_PRIMES_BELOW}
    spent_ms = (time.perf_counter() - begin) * 1000
    response = render(request, "reader/compute.html", context)
    response["Server-Timing"] = f"primes;dur={spent_ms:.1f}"
    return response


def count_primes(below: int) -> int:
    """Counts by trial division: slow on purpose, in pure Python, with no memory to speak of."""
    count = 1 if below > 2 else 0
    for candidate in range(3, below, 2):
        divisor = 3
        while divisor * divisor <= candidate and candidate % divisor:
            divisor += 2
        count += divisor * divisor > candidate
    return count
