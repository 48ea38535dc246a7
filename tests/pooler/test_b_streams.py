"""Owns B7 to B9: COPY, messages larger than any buffer, and who waits for whom.

Leaves ordinary queries to ``test_b_flow`` and clients that leave meanwhile to ``test_e_leaving``.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import pytest
from harness import pgwire
from harness.pgwire import code_of, kinds, status_of

MIB = 1 << 20


def test_b7_copy_in_by_both_protocols(single: Any) -> None:
    client, other, p = single.raw(), single.raw(), pgwire
    client.ask("CREATE TABLE b7 (n int)")
    client.send(p.query("COPY b7 FROM STDIN"))
    assert client.until("G")[-1].kind == "G"
    client.send(*[p.copy_data(b"%d\n" % n) for n in range(1000)], p.copy_done())
    answer = client.until("Z")
    assert (answer[0].tag, status_of(answer)) == ("COPY 1000", "I")
    client.send(p.parse("COPY b7 FROM STDIN"), p.bind(), p.execute(), p.flush())
    assert kinds(client.until("G")) == "12G"
    # Sync and Flush while the server copies in are ignored by it: no ReadyForQuery for this one.
    client.send(p.copy_data(b"1\n2\n"), p.sync(), p.flush(), p.copy_data(b"3\n"))
    client.send(p.copy_done(), p.sync())
    assert kinds(client.until("Z")) == "CZ"
    assert client.value("SELECT count(*) FROM b7") == "1003"
    assert other.value("SELECT count(*) FROM b7") == "1003"


def test_b7_copy_in_that_was_sent_at_once_with_its_data(single: Any) -> None:
    client, p = single.raw(), pgwire
    client.ask("CREATE TABLE b7 (n int)")
    client.send(p.query("COPY b7 FROM STDIN"), p.copy_data(b"1\n"), p.copy_done())
    assert kinds(client.until("Z")) == "GCZ"
    client.send(
        p.parse("COPY b7 FROM STDIN"), p.bind(), p.execute(), p.copy_data(b"1\n"), p.copy_done()
    )
    client.send(p.sync(), p.query("SELECT count(*) FROM b7"))
    assert kinds(client.until("Z")) == "12GCZ"
    assert kinds(client.until("Z")) == "TDCZ"
    assert single.raw().value("SELECT count(*) FROM b7") == "2"


@pytest.mark.parametrize("at_once", [False, True])
def test_b7_a_copy_that_fails_in_a_pipeline(single: Any, at_once: bool) -> None:
    # As libpq's pipeline does it: a Sync behind the COPY, which the server ignores, one at the end of
    # the data, and one of the pipeline's own.
    client, other, p = single.raw(), single.raw(), pgwire
    client.ask("CREATE TABLE b7 (n int)")
    copy = (p.parse("COPY b7 FROM STDIN"), p.bind(), p.execute(), p.sync())
    data = (p.copy_data(b"bad\n"), p.copy_done(), p.sync(), p.sync())
    if at_once:
        client.send(*copy, *data)
    else:
        client.send(*copy)
        assert kinds(client.until("G")) == "12G"
        client.send(*data)
    answer = client.until("Z")
    assert (code_of(answer), kinds(answer)) == ("22P02", "12GEZ" if at_once else "EZ")
    assert kinds(client.until("Z")) == "Z"
    assert client.value("SELECT count(*) FROM b7") == "0"
    assert other.value("SELECT count(*) FROM b7") == "0"


@pytest.mark.parametrize("at_once", [False, True])
def test_b7_two_copies_in_one_query(single: Any, at_once: bool) -> None:
    client, p = single.raw(), pgwire
    client.ask("CREATE TABLE b7 (n int)")
    data = (p.copy_data(b"1\n"), p.copy_done())
    sql = p.query("COPY b7 FROM STDIN; COPY b7 FROM STDIN")
    if at_once:
        client.send(sql, *data, *data)
    else:
        client.send(sql)
        assert kinds(client.until("G")) == "G"
        client.send(*data)
        assert kinds(client.until("G")) == "CG"
        # Ignored by the server, which would not answer it.
        client.send(p.sync(), *data)
    assert kinds(client.until("Z"))[-2:] == "CZ"
    assert client.value("SELECT count(*) FROM b7") == "2"


def test_b7_copy_out_by_both_protocols(single: Any) -> None:
    client, p = single.raw(), pgwire
    sql = "COPY (SELECT generate_series(1, 3)) TO STDOUT"
    assert kinds(client.ask(sql)) == "HdddcCZ"
    client.send(p.parse(sql), p.bind(), p.execute(), p.sync())
    assert kinds(client.until("Z")) == "12HdddcCZ"
    assert kinds(client.ask(f"{sql}; SELECT 1")) == "HdddcCTDCZ"


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("end", ["done", "fail"])
def test_b7_an_error_in_copy_in_leaves_both_sides_in_step(
    single: Any, protocol: str, end: str
) -> None:
    client, other, p = single.raw(), single.raw(), pgwire
    client.ask("CREATE TABLE b7 (n int)")
    last = p.copy_done() if end == "done" else p.copy_fail("no more")
    rest = [p.copy_data(b"oops\n"), p.copy_data(b"1\n" * 5000), p.copy_data(b"2\n" * 5000), last]
    if protocol == "simple":
        client.send(p.query("COPY b7 FROM STDIN"), *rest)
    else:
        start = [p.parse("COPY b7 FROM STDIN"), p.bind(), p.execute()]
        client.send(*start, *rest, p.sync())
    answer = client.until("Z")
    assert code_of(answer) in ("22P02", "57014")
    assert status_of(answer) == "I"
    for one in (client, other):
        assert one.value("SELECT count(*) FROM b7") == "0"
    assert single.raw().value("SELECT 1") == "1"


def test_b7_an_error_comes_before_the_end_of_the_data(single: Any) -> None:
    client, p = single.raw(), pgwire
    client.ask("CREATE TABLE b7 (n int)")
    client.send(p.query("COPY b7 FROM STDIN"))
    client.until("G")
    client.send(p.copy_data(b"oops\n" + b"1\n" * 50_000))
    assert code_of(client.until("Z")) == "22P02"
    # What a client sends before it has seen the error is thrown away.
    client.send(p.copy_data(b"1\n"), p.copy_data(b"2\n"), p.copy_done())
    assert client.value("SELECT count(*) FROM b7") == "0"
    assert single.raw().value("SELECT 1") == "1"


def test_b7_copy_through_psycopg(single: Any) -> None:
    connection = single.connect(autocommit=False)
    connection.execute("CREATE TABLE b7 (n int, t text)")
    with connection.cursor().copy("COPY b7 FROM STDIN") as copy:
        for n in range(2000):
            copy.write_row((n, "é" * 50))
    connection.commit()
    with connection.cursor().copy("COPY b7 TO STDOUT") as copy:
        assert len(list(copy.rows())) == 2000
    connection.rollback()
    with pytest.raises(ZeroDivisionError), connection.cursor().copy("COPY b7 FROM STDIN"):
        raise ZeroDivisionError
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM b7").fetchone() == (2000,)


@pytest.mark.parametrize("size", [1 << 10, 8191, 16379, 16384, 65531, 65536, 5 * MIB])
def test_b8_a_message_of_any_size_passes_both_ways(single: Any, size: int) -> None:
    client = single.raw()
    value = b"x" * size
    client.send(pgwire.extended("SELECT $1::text", value), pgwire.sync())
    answer = client.until("Z")
    assert next(one for one in answer if one.kind == "D").values == [value]
    client.send(pgwire.query(b"SELECT '" + value + b"'"))
    assert client.until("Z")[1].values == [value]


@pytest.mark.pooled
def test_b8_a_row_of_128_mib_streams_in_bounded_memory(single: Any) -> None:
    client = single.raw()
    client.ask("SELECT 1")
    before = single.memory()
    client.send(pgwire.query("SELECT repeat('x', 128 << 20)"))
    client.until("T")
    head = client.read(5)
    length = struct.unpack("!i", head[1:])[0] - 4
    most, left = 0, length
    while left:
        part = client.read(min(left, MIB))
        left -= len(part)
        most = max(most, single.memory())
    assert length == (128 << 20) + 6
    assert kinds(client.until("Z")) == "CZ"
    assert most - before < 8 * MIB
    assert single.memory() - before < 2 * MIB


@pytest.mark.pooled
def test_b8_a_parameter_of_64_mib_streams_in_bounded_memory(single: Any) -> None:
    client = single.raw()
    client.ask("SELECT 1")
    before = single.memory()
    most = 0
    value = b"x" * MIB
    client.ask("CREATE TABLE b8 (t text)")
    client.send(pgwire.query("COPY b8 FROM STDIN"))
    client.until("G")
    client.send(b"d" + struct.pack("!i", 4 + 64 * MIB))
    for _ in range(64):
        client.send(value[:-1] + b"\n")
        most = max(most, single.memory())
    client.send(pgwire.copy_done())
    assert kinds(client.until("Z")) == "CZ"
    assert client.value("SELECT sum(length(t)) FROM b8") == str(64 * (MIB - 1))
    assert most - before < 8 * MIB


@pytest.mark.pooled
def test_b8_an_unnamed_statement_of_64_mib_streams_in_bounded_memory(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.ask("SELECT 1")
    before = single.memory()
    most = 0
    head, tail = b"\0SELECT $1::int + length('", b"')\0\0\0"
    client.send(b"P" + struct.pack("!i", 4 + len(head) + 64 * MIB + len(tail)) + head)
    for _ in range(64):
        client.send(b"x" * MIB)
        most = max(most, single.memory())
    client.send(tail + pgwire.sync())
    assert kinds(client.until("Z")) == "1Z"
    # Prepared and not yet run, it has its server to itself.
    for step in (pgwire.bind("", [b"1"]), pgwire.execute(), pgwire.sync()):
        client.send(step)
    answer = client.until("Z")
    assert [one.values for one in answer if one.kind == "D"] == [[str(64 * MIB + 1).encode()]]
    assert most - before < 8 * MIB
    assert other.value("SELECT 1") == "1"
    # With a name it would have to be kept.
    client.send(pgwire.parse(b"SELECT '" + b"x" * (17 * MIB) + b"'", "s"), pgwire.sync())
    refused = client.until("Z")
    assert code_of(refused) == "54000"
    assert "17 MiB" in refused[0].fields["D"]
    assert "without a name" in refused[0].fields["H"]
    assert client.value("SELECT 1") == "1"


@pytest.mark.pooled
def test_b9_a_client_that_does_not_read_stops_the_server_and_not_the_others(pooler: Any) -> None:
    slow, other = pooler.raw(), pooler.raw()
    before = pooler.memory()
    slow.send(pgwire.query("SELECT repeat('x', 1000) FROM generate_series(1, 200000)"))
    pid = pooler.running("generate_series")

    def waits_to_write() -> bool:
        sql = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
        return pooler.postgres.value(sql, pid) == "ClientWrite"

    from harness.operated import until

    until(waits_to_write, what="the server to wait for the client")
    assert other.value("SELECT 1") == "1"
    assert pooler.memory() - before < 4 * MIB
    rows = sum(one.kind == "D" for one in slow.until("Z"))
    assert rows == 200_000


def test_b9_a_client_that_writes_without_reading_is_not_locked(single: Any) -> None:
    """A pipeline whose answers fill every buffer on the way while requests are still coming."""
    client = single.raw()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one = pgwire.extended("SELECT repeat($1, 100)", b"y" * 400)
    count = 400
    sent = threading.Thread(target=client.send, args=[(one + pgwire.sync()) * count])
    sent.start()
    answers = [client.until("Z") for _ in range(count)]
    sent.join(15)
    assert not sent.is_alive()
    assert all(len(answer[3].values[0]) == 40_000 for answer in answers)


def test_b9_nothing_is_read_until_everything_is_written(single: Any) -> None:
    """Within what the buffers of both sockets hold, as libpq's pipeline does."""
    client = single.raw()
    batch = [pgwire.extended("SELECT $1::text", b"z" * 1000) for _ in range(100)]
    client.send(*batch, pgwire.sync())
    answer = client.until("Z")
    assert sum(one.kind == "D" for one in answer) == 100
