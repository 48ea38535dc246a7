"""Owns an OpenTelemetry collector that a test asks what it was told: OTLP over HTTP, read with the
official messages of ``opentelemetry-proto``.

Leaves what is to be told to the tests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.operated import PATIENCE, until

MESSAGES = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}
SERVER = 2
"""The kind of span that stands for a request."""


class Collector:
    """A collector at a port of its own; ``answers`` is the status of what follows, once it may
    ``go_on``.
    """

    def __init__(self) -> None:
        self.answers = 200
        self.go_on = threading.Event()
        self.go_on.set()
        self.told: list[tuple[str, dict[str, str], Any]] = []
        """Path, fields and message of everything that came."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                path = self.path.removeprefix("/base")
                assert self.headers["Content-Type"] == "application/x-protobuf"
                message = MESSAGES[path].FromString(body)
                fields = {name.lower(): value for name, value in self.headers.items()}
                collector.told.append((path, fields, message))
                collector.go_on.wait(PATIENCE)
                self.send_response(collector.answers)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_words: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_error: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def spans(self) -> list[Any]:
        """Every span it was told and took or refused."""
        messages = [message for path, _fields, message in self.told if path == "/v1/traces"]
        scopes = [scope for one in messages for told in one.resource_spans for scope in told.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    def request(self, wanted: Callable[[Any], bool]) -> Any:
        """The span of a request, once it is told."""

        def found() -> Any:
            return next((span for span in self.spans() if span.kind == SERVER and wanted(span)), None)

        return until(found, PATIENCE, "the span of a request")

    def metrics(self) -> dict[str, Any]:
        """What it was told last of each metric."""
        messages = [message for path, _fields, message in self.told if path == "/v1/metrics"]
        scopes = [scope for one in messages for told in one.resource_metrics for scope in told.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}


def attributes(told: Any) -> dict[str, Any]:
    """Names and values of the attributes of something."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in told.attributes}
