"""Owns one request over HTTP/2 without TLS, and the events of its answer.

Leaves rules of frames and streams to the tests that send their own.
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.operated import until


def events_of(server: Any, path: str) -> list[Any]:
    """What h2 makes of the answer, in order."""
    h2 = pytest.importorskip("h2.connection")
    events = pytest.importorskip("h2.events")
    connection = h2.H2Connection()
    connection.initiate_connection()
    names = ("method", "GET"), ("path", path), ("scheme", "http"), ("authority", "a")
    connection.send_headers(1, [(f":{name}", value) for name, value in names], end_stream=True)
    found: list[Any] = []
    with server.client() as client:
        client.send(connection.data_to_send())

        def arrived() -> bool:
            found.extend(connection.receive_data(client.socket.recv(65536)))
            return any(isinstance(event, events.StreamEnded) for event in found)

        until(arrived)
    return found


def hinted(server: Any, path: str) -> list[tuple[bytes, bytes]]:
    """The fields of the answer's early hints, which come ahead of its head."""
    events = pytest.importorskip("h2.events")
    found = events_of(server, path)
    kinds = [type(event) for event in found]
    at = kinds.index(events.InformationalResponseReceived)
    assert at < kinds.index(events.ResponseReceived)
    return [(bytes(name), bytes(value)) for name, value in found[at].headers]
