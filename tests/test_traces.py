"""A request as a part of a trace: what it came with (W3C Trace Context), what the app and the log are
told, and what a collector hears by OTLP. Ids are those of the acceptance list (D observability).
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import shop
from harness.collector import Collector, attributes
from harness.operated import PATIENCE, run_canter, until, waiting
from harness.server import JSON_LOG, Server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"

APP = """
import json
import time


def application(environ, start_response):
    query = environ["QUERY_STRING"]
    if query == "slow":
        time.sleep(0.5)
    if query == "hang":
        open("waits", "w").close()
        time.sleep(60)
    status = "500 Broken" if query == "fail" else "200 OK"
    start_response(status, [("Content-Type", "application/json")])
    names = ("HTTP_TRACEPARENT", "HTTP_TRACESTATE")
    return [json.dumps({name: environ.get(name) for name in names}).encode()]
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def ask(server: Server, path: str = "/", **headers: str) -> dict[str, Any]:
    """What the app was told."""
    status, _fields, text = shop.get(server, path, **headers)
    assert status in (200, 500)
    told: dict[str, Any] = json.loads(text)
    return told


def logged(server: Server, number: int = -1) -> dict[str, Any]:
    """A line of the access log in JSON."""
    line: dict[str, Any] = json.loads(server.access_lines()[number])
    return line


# --- without a collector


def test_d8_without_a_collector_a_trace_passes_through_and_is_in_the_log(tmp_path: Path) -> None:
    with Server(tmp_path, APP, *JSON_LOG) as server:
        told = ask(server, Traceparent=PARENT, Tracestate="a=1")
        assert told == {"HTTP_TRACEPARENT": PARENT, "HTTP_TRACESTATE": "a=1"}
        until(lambda: server.access_lines(), PATIENCE, "the line")
        assert (logged(server)["trace_id"], logged(server)["span_id"]) == (TRACE, CALLER)
        # Nobody begins a trace that nobody keeps.
        assert ask(server)["HTTP_TRACEPARENT"] is None
        for wrong in ("nonsense", PARENT.upper(), f"00-{'0' * 32}-{CALLER}-01"):
            ask(server, Traceparent=wrong)
        until(lambda: len(server.access_lines()) == 5, PATIENCE, "the lines")
        assert all("trace_id" not in logged(server, number) for number in range(1, 5))


def test_d8_an_address_that_cannot_be_one_is_said_at_the_start(tmp_path: Path) -> None:
    done = run_canter("serve", "app", "--otlp-endpoint", "http://127.0.0.1:4317", cwd=tmp_path)
    assert done.returncode == 2 and "HTTP is at 4318" in done.stderr


# --- with one


def test_d8_a_request_of_the_demo_site_is_told_with_its_parts_and_its_dearest_lines(
    tmp_path: Path, collector: Collector
) -> None:
    site = shop.copy(tmp_path, (5, 10, 20))
    flags = ("--otlp-endpoint", f"{collector.url}/base/", "--otlp-sample", "1", "--name", "shop")
    header = {"CANTER_OTLP_HEADER": "x-api-key=hush hush"}
    with Server(site, "", *flags, *JSON_LOG, env=header) as server:
        query = "/api/orders/?secret=hunter2"
        assert shop.get(server, query, Traceparent=PARENT, User_Agent="an agent")[0] == 200
        span = collector.request(lambda span: span.trace_id.hex() == TRACE)
        until(lambda: server.access_lines(), PATIENCE, "the line")
        assert logged(server)["span_id"] == span.span_id.hex() != CALLER
        assert "hush" not in server.log
    assert (span.parent_span_id.hex(), span.name) == (CALLER, "GET /api/orders/")
    found = attributes(span)
    assert found["http.route"] == "/api/orders/" and found["http.response.status_code"] == 200
    assert found["url.path"] == "/api/orders/" and found["canter.request.id"] == logged(server)["request_id"]
    assert (found["server.address"], found["server.port"]) == ("127.0.0.1", server.port)
    assert found["user_agent.original"] == "an agent" and found["url.scheme"] == "http"
    assert found["canter.queries"] > 5 and found["canter.phase.sql_ms"] > 0
    wall_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    phases = sum(value for name, value in found.items() if name.startswith("canter.phase."))
    assert abs(wall_ms - phases) < 1
    parts = [part for part in collector.spans() if part.parent_span_id == span.span_id]
    assert {"queue", "app", "write"} == {part.name for part in parts}
    for part in parts:
        assert part.trace_id == span.trace_id and part.span_id != span.span_id
        assert span.start_time_unix_nano <= part.start_time_unix_nano
        assert part.start_time_unix_nano < part.end_time_unix_nano <= span.end_time_unix_nano
    event = max((attributes(event) for event in span.events), key=lambda it: it["canter.count"])
    assert event["canter.count"] > 5 and event["db.query.text"].startswith("SELECT")
    assert event["code.file.path"].endswith("views.py") and event["code.line.number"] > 0
    path, fields, message = collector.told[0]
    assert (path, fields["x-api-key"]) == ("/v1/traces", "hush hush")
    resource = attributes(message.resource_spans[0].resource)
    assert resource["service.name"] == "shop" and resource["service.instance.id"]
    assert "hunter2" not in str(collector.told)
    # The metrics came at the end.
    metrics = collector.metrics()
    durations = metrics["http.server.request.duration"].histogram
    (point,) = [one for one in durations.data_points if attributes(one).get("http.route") == "/api/orders/"]
    assert (point.count, sum(point.bucket_counts)) == (1, 1)
    labels = attributes(point)
    assert (labels["http.response.status_code"], labels["url.scheme"]) == (200, "http")
    assert "error.type" not in labels
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1 and 60.0 in point.explicit_bounds
    assert abs(point.sum - wall_ms / 1000) < 0.001
    assert durations.aggregation_temporality == 2 and metrics["http.server.request.duration"].unit == "s"
    queries = metrics["canter.request.queries"].sum
    assert queries.is_monotonic and found["canter.queries"] in [one.as_int for one in queries.data_points]
    assert {"canter.requests.queued", "canter.process.memory", "canter.request.phase"} <= set(metrics)


def test_d8_of_the_others_what_failed_or_was_slow_is_told_alone(
    tmp_path: Path, collector: Collector
) -> None:
    flags = ("--otlp-endpoint", collector.url, "--otlp-sample", "0", "--threads", "1")
    with Server(tmp_path, APP, *flags) as server:
        for _ in range(40):
            ask(server)
        ask(server, "/?fail")
        ask(server, "/?slow")
        failed = collector.request(lambda span: attributes(span)["canter.kept"] == "failed")
        slow = collector.request(lambda span: attributes(span)["canter.phase.app_ms"] > 400)
        assert attributes(slow)["canter.kept"] == "slow" and slow.status.code == 0
        assert failed.status.code == 2 and attributes(failed)["error.type"] == "500"
        # A stranger cannot ask for more, and a trace that begins here has no parent.
        ask(server, Traceparent=PARENT)
    told = [span for span in collector.spans() if span.kind == 2]
    # One in twenty may be called slow.
    assert len(told) < 20 and not failed.parent_span_id
    assert not [one for one in told if attributes(one)["canter.kept"] == "sampled"]


def test_d8_the_app_gets_the_trace_with_this_request_as_its_parent(
    tmp_path: Path, collector: Collector
) -> None:
    flags = ("--otlp-endpoint", collector.url, "--otlp-sample", "1")
    trusted = ("--forwarded-allow-ips", "127.0.0.1")
    with Server(tmp_path, APP, *flags, *trusted) as server:
        for given, state in ((PARENT, "a=1"), (None, None), ("nonsense", "b=2")):
            fields = {"Traceparent": given, "Tracestate": state}
            told = ask(server, **{name: value for name, value in fields.items() if value})
            version, trace, parent, _flags = told["HTTP_TRACEPARENT"].split("-")
            assert version == "00" and (trace == TRACE) == (given == PARENT)
            # What is not understood is not passed on (section 3.3.1.4 of the specification).
            assert told["HTTP_TRACESTATE"] == (state if given == PARENT else None)
            span = collector.request(lambda span, parent=parent: span.span_id.hex() == parent)
            assert span.trace_id.hex() == trace
        # What the proxy in front does not keep is not kept by chance.
        assert ask(server, Traceparent=PARENT[:-1] + "0")["HTTP_TRACEPARENT"].endswith("-00")


def test_d8_a_collector_that_is_away_is_told_when_it_is_back(tmp_path: Path, collector: Collector) -> None:
    collector.answers = 503
    flags = ("--otlp-endpoint", collector.url, "--otlp-sample", "1")
    with Server(tmp_path, APP, *flags) as server:
        ask(server, Traceparent=PARENT)
        server.wait_log("the collector is not reached")
        before = len(collector.told)
        collector.answers = 200
        until(lambda: len(collector.told) > before, PATIENCE, "the same again")
        assert collector.told[-1][2] == collector.told[0][2]
        server.wait_log("the collector takes what it is told again")
        assert server.log.count("the collector is not reached") == 1


def test_d8_a_collector_that_is_not_there_costs_nothing_but_a_line(tmp_path: Path) -> None:
    with Collector() as gone:
        url = gone.url
    with Server(tmp_path, APP, "--otlp-endpoint", url, "--otlp-sample", "1") as server:
        for _ in range(50):
            ask(server)
        server.wait_log("the collector is not reached")
        ask(server)
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0


def lost(server: Server) -> int:
    """The requests that the collector was not told of, as the log has it."""
    told = server.logged("could not be told to the collector")
    return sum(int(line.rpartition("requests=")[2].split()[0]) for line in told)


def test_d8_at_the_end_a_collector_that_is_back_is_told_all_that_was_kept(
    tmp_path: Path, collector: Collector
) -> None:
    collector.answers = 503
    flags = ("--otlp-endpoint", collector.url, "--otlp-sample", "1")
    with Server(tmp_path, APP, *flags) as server:
        parents = [ask(server)["HTTP_TRACEPARENT"]]
        server.wait_log("the collector is not reached")
        parents += [ask(server)["HTTP_TRACEPARENT"] for _ in range(3)]
        collector.answers = 200
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    assert {parent.split("-")[2] for parent in parents} <= {span.span_id.hex() for span in collector.spans()}
    assert lost(server) == 0


def test_d8_what_cannot_be_told_at_the_end_is_counted_in_the_log(tmp_path: Path, collector: Collector) -> None:
    collector.answers = 503
    flags = ("--otlp-endpoint", collector.url, "--otlp-sample", "1")
    with Server(tmp_path, APP, *flags) as server:
        ask(server)
        server.wait_log("the collector is not reached")
        for _ in range(4):
            ask(server)
        server.signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    assert lost(server) == 5


@pytest.mark.parametrize("answers", [True, False])
def test_d8_an_answer_of_the_collector_is_waited_for_at_the_end(
    tmp_path: Path, collector: Collector, answers: bool
) -> None:
    collector.go_on.clear()
    flags = ("--otlp-endpoint", collector.url, "--otlp-sample", "1")
    with Server(tmp_path, APP, *flags) as server:
        ask(server)
        collector.request(lambda _span: True)
        server.signal(signal.SIGTERM)
        server.wait_log("stopping")
        if answers:
            collector.go_on.set()
        assert server.wait(PATIENCE) == 0
    # It is not told twice, and one that never answers is not waited for.
    assert len([span for span in collector.spans() if span.kind == 2]) == 1
    assert lost(server) == (0 if answers else 1)


def test_d8_a_request_that_takes_all_the_time_to_finish_leaves_some_to_tell_of_the_others(
    tmp_path: Path, collector: Collector
) -> None:
    flags = ("--otlp-endpoint", collector.url, "--otlp-sample", "1", "--graceful-timeout", "1s")
    collector.answers = 503
    with Server(tmp_path, APP, *flags) as server, waiting(server, "GET /?hang HTTP/1.1"):
        ask(server)
        server.wait_log("the collector is not reached")
        before = len(collector.told)
        collector.answers = 200
        server.signal(signal.SIGTERM)
        server.wait(PATIENCE)
    assert [path for path, *_ in collector.told[before:]].count("/v1/traces") + lost(server) == 1
