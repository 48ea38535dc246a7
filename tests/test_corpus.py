"""Replays every row of ``corpus/h1`` against a running server: whole, byte by byte and cut at
random. The bytes and the answers are in the corpus; the same rows run in memory in
``canter-http``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import corpus
import pytest
from corpus import Row
from harness.raw import Client, Ended, head
from harness.server import Server

LONGEST_BYTEWISE = 700
"""Longer rows are about sizes; a system call for each of their bytes would take too long."""

NEXT = head("GET", "/")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("corpus")
    with Server(folder, "yes", "--max-body", str(corpus.MAX_BODY)) as server:
        yield server


def ways(row: Row) -> Iterator[tuple[str, Callable[[Client], object]]]:
    """How to send it."""
    yield "whole", lambda client: client.send_pieces(iter([row.raw]))
    if len(row.raw) <= LONGEST_BYTEWISE:
        yield "byte by byte", lambda client: client.send_bytewise(row.raw)
    yield "cut at random", lambda client: client.send_cut(row.raw, seed=1)
    yield "cut at other places", lambda client: client.send_cut(row.raw, seed=2)


@pytest.mark.parametrize("row", corpus.rows(), ids=lambda row: row.id)
def test_a_row_is_answered_as_listed_however_it_is_cut(server: Server, row: Row) -> None:
    for way, send in ways(row):
        with server.client() as client:
            send(client)
            check(row, way, client)


def check(row: Row, way: str, client: Client) -> None:
    """The answers in order, then the end."""
    where = f"{row.id}, {way}: {row.raw[:200]!r}"
    closes = False
    wanted = list(row.answers)
    # Nothing follows the head of the answer to this one, were it a refusal.
    method = "HEAD" if row.raw.startswith(b"HEAD ") else "GET"
    while any(not answer.optional for answer in wanted):
        response = client.head()
        while wanted[0].optional and wanted[0].status != response.status:
            wanted.pop(0)
        answer = wanted.pop(0)
        assert response.status == answer.status, where
        for _piece in client.body(response, method):
            pass
        method = "GET"
        if "X-Body-Length" in response:
            assert response["X-Body-Length"] == (answer.detail or "0"), where
        closes = response.closes
    if row.end == "close":
        assert closes and client.is_closed(), where
    elif row.end == "keep":
        assert not closes and client.is_quiet(), where
        assert client.send(NEXT).response().status == 200, where
    else:
        check_waiting(client, where)


def check_waiting(client: Client, where: str) -> None:
    """The server waits for the rest; when that will never come it says 400 or nothing."""
    assert client.is_quiet(), where
    client.half_close()
    try:
        response = client.head()
    except Ended:
        return
    assert (response.status, response.closes) == (400, True), where
