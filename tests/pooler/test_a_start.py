"""Owns A1 to A7 and A10 to A12: how a connection starts, from the first byte to ReadyForQuery.

Leaves who may come in (A8) and how the server is reached (A9) to ``test_a_login``.
"""

from __future__ import annotations

import struct
from typing import Any

import psycopg
import pytest
from harness import pgwire
from harness.operated import until
from harness.pgwire import code_of, kinds


@pytest.mark.parametrize("wishes", ["S", "G", "SG", "GS"])
def test_a1_ssl_and_gss_requests_are_answered_with_one_byte_each_in_any_order(
    single: Any, wishes: str
) -> None:
    client = single.stranger()
    for wish in wishes:
        client.send(pgwire.ssl_request() if wish == "S" else pgwire.gss_request())
        assert client.read(1) == b"N"
    assert client.start(user="site", database=single.dbname)[-1].kind == "Z"
    assert client.value("SELECT 1") == "1"


def test_a1_the_first_packet_may_come_byte_by_byte(single: Any) -> None:
    client = single.stranger()
    client.trickle(pgwire.ssl_request())
    assert client.read(1) == b"N"
    client.trickle(pgwire.startup(user="site", database=single.dbname))
    assert client.greeted()[-1].kind == "Z"


@pytest.mark.pooled
def test_a2_direct_tls_without_a_certificate_closes_and_does_not_hang(single: Any) -> None:
    client = single.stranger()
    # The head of a TLS 1.2 record with a ClientHello.
    client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    assert code_of(client.rest()) in ("", "08P01")


def test_a2_a_goodbye_before_the_first_packet_is_answered_with_nothing(single: Any) -> None:
    # node-postgres sends it when it is told to end before it is connected, and hears no error then.
    client = single.stranger()
    hello = pgwire.startup(user="site", database=single.dbname)
    client.send(pgwire.message(b"X", b"") + hello)
    assert client.rest() == []


def unknown_options(message: pgwire.Message) -> tuple[int, list[bytes]]:
    version, count = struct.unpack_from("!ii", message.body)
    names = message.body[8:].split(b"\0")[:-1]
    assert len(names) == count
    return version, names


def test_a3_a_newer_minor_version_and_unknown_options_are_negotiated(single: Any) -> None:
    client = single.stranger()
    extra = {"_pq_.test_protocol_negotiation": "1", "_pq_.other": "x"}
    found = client.start((3, 9999), user="site", database=single.dbname, **extra)
    negotiate = [one for one in found if one.kind == "v"]
    assert len(negotiate) == 1
    version, names = unknown_options(negotiate[0])
    assert version in (0, 2, 3 << 16, 3 << 16 | 2)
    assert sorted(names) == [b"_pq_.other", b"_pq_.test_protocol_negotiation"]
    assert client.value("SELECT 1") == "1"


def test_a3_an_unknown_option_at_3_0_is_named(single: Any) -> None:
    client = single.stranger()
    found = client.start(user="site", database=single.dbname, **{"_pq_.thing": "1"})
    negotiate = [one for one in found if one.kind == "v"]
    assert len(negotiate) == 1
    assert unknown_options(negotiate[0])[1] == [b"_pq_.thing"]
    # Before anything about authentication, as PostgreSQL does.
    assert found[0].kind == "v"
    assert found[-1].kind == "Z"


@pytest.mark.parametrize("version", [(4, 0), (1234, 9), (32767, 32767)])
def test_a3_another_major_version_is_fatal(single: Any, version: tuple[int, int]) -> None:
    client = single.stranger()
    found = client.start(version, user="site", database=single.dbname)
    assert [one.kind for one in found] == ["E"]
    assert found[0].fields["S"] == "FATAL"
    assert found[0].code == "0A000"


def test_a4_protocol_3_2_works_and_its_key_cancels(single: Any) -> None:
    client = single.stranger()
    found = client.start((3, 2), user="site", database=single.dbname)
    assert found[-1].kind == "Z"
    assert 4 <= len(client.key[1]) <= 256
    client.send(pgwire.query("SELECT pg_sleep(60)"))
    single.running("pg_sleep")
    with single.stranger() as canceller:
        canceller.send(pgwire.cancel_request(*client.key))
        assert canceller.rest() == []
    assert code_of(client.until("Z")) == "57014"


@pytest.mark.skipif(psycopg.pq.version() < 180000, reason="libpq asks for 3.2 from 18 on")
@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
def test_a4_libpq_speaks_the_newest_protocol(single: Any, version: str) -> None:
    host, port = single.tcp
    words = {"host": host, "port": port, "user": "site", "dbname": single.dbname}
    with psycopg.connect(**words, max_protocol_version=version, autocommit=True) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        single.running("pg_sleep")
        connection.cancel_safe()
        result = None
        while more := connection.pgconn.get_result():
            result = more
        assert result is not None and b"canceling" in result.error_message


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ("-c work_mem=3MB", "work_mem", "3MB"),
        ("--work-mem=3MB", "work_mem", "3MB"),
        ("-cwork_mem=3MB", "work_mem", "3MB"),
        (r"-c app.word=a\ b", "app.word", "a b"),
        (r"-c app.word=a\\b", "app.word", r"a\b"),
        ("-c app.word=1 -c app.word=2", "app.word", "2"),
        ("  --app.word=x   -c   geqo=off ", "geqo", "off"),
    ],
)
def test_a5_settings_inside_options_are_applied(
    single: Any, options: str, name: str, value: str
) -> None:
    client = single.raw(options=options)
    other = single.raw()
    for _ in range(2):
        assert client.value(f"SELECT current_setting('{name}')") == value
        assert other.value(f"SELECT current_setting('{name}', true)") != value


@pytest.mark.parametrize("via", ["direct", "options"])
def test_a5_a_setting_is_handled_alike_given_directly_and_in_options(
    single: Any, via: str
) -> None:
    words = {"statement_timeout": "1234ms", "application_name": "me", "DateStyle": "SQL, DMY"}
    if via == "options":
        joined = " ".join(f"-c {k}={v.replace(' ', chr(92) + ' ')}" for k, v in words.items())
        words = {"options": joined}
    client = single.raw(**words)
    assert client.value("SHOW statement_timeout") == "1234ms"
    assert client.value("SHOW application_name") == "me"
    assert client.value("SHOW datestyle") == "SQL, DMY"
    assert client.params["application_name"] == "me"
    assert client.params["DateStyle"] == "SQL, DMY"


def test_a5_the_order_of_day_and_month_of_a_role_and_of_a_database_counts(
    start: Any, postgres: Any, database: str
) -> None:
    postgres.rows(f'ALTER DATABASE "{database}" SET datestyle = \'ISO, DMY\'')
    client = start(connections=1).raw()
    assert client.value("SHOW datestyle") == "ISO, DMY"
    assert client.params["DateStyle"] == "ISO, DMY"
    assert client.value("SELECT extract(month FROM '01/02/2024'::date)") == "2"


def test_a5_a_startup_packet_of_nearly_10000_bytes_works(single: Any) -> None:
    client = single.raw(**{"app.long": "x" * 9_800})
    assert client.value("SELECT length(current_setting('app.long'))") == "9800"


@pytest.mark.parametrize("length", [10_005, 2**31 - 1, -1, 0, 7, -(2**31)])
def test_a5_a_startup_packet_of_a_wrong_length_is_refused_at_once(
    single: Any, length: int
) -> None:
    client = single.stranger()
    client.send(struct.pack("!ii", length, 3 << 16))
    found = client.rest()
    assert all(one.kind == "E" for one in found), found
    assert single.raw().value("SELECT 1") == "1"


def test_a6_parameters_that_no_pooler_knows_are_applied_for_this_client_alone(
    single: Any,
) -> None:
    client = single.raw(extra_float_digits="0", search_path="pg_catalog", **{"app.tenant": "7"})
    other = single.raw()
    for _ in range(2):
        assert client.value("SHOW extra_float_digits") == "0"
        assert client.value("SHOW search_path") == "pg_catalog"
        assert client.value("SHOW app.tenant") == "7"
        assert other.value("SHOW extra_float_digits") == "1"
        assert other.value("SHOW search_path") == '"$user", public'
        assert other.value("SELECT current_setting('app.tenant', true)") in (None, "")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"no_such_setting": "1"}, "42704"),
        ({"work_mem": "plenty"}, "22023"),
        ({"shared_buffers": "1GB"}, "55P02"),
        ({"options": "-c no_such_setting=1"}, "42704"),
        ({"client_encoding": "KLINGON"}, "22023"),
    ],
)
def test_a6_a_wrong_parameter_is_fatal_with_the_servers_words(
    single: Any, params: dict[str, str], code: str
) -> None:
    client = single.stranger()
    found = client.start(user="site", database=single.dbname, **params)
    assert found[-1].kind == "E"
    assert found[-1].code == code
    assert found[-1].fields["S"] == "FATAL"
    assert single.raw().value("SELECT 1") == "1"


def test_a7_every_reported_parameter_is_there_with_this_clients_values(single: Any) -> None:
    given = {"application_name": "web", "TimeZone": "Asia/Tokyo", "client_encoding": "LATIN1"}
    with pgwire.Client(
        str(single.postgres.folder / f".s.PGSQL.{single.postgres.port}")
    ) as direct:
        direct.start(user="site", database=single.dbname, **given)
        expected = direct.params
    for _ in range(2):
        client = single.stranger()
        found = client.start(user="site", database=single.dbname, **given)
        assert client.params == expected
        order = "".join(one.kind for one in found)
        assert order.strip("S") == "R" + "S" * len(expected) + "KZ"
        assert order[0] == "R"
        assert client.value("SHOW timezone") == "Asia/Tokyo"


def test_a7_two_clients_have_different_keys(single: Any) -> None:
    assert single.raw().key != single.raw().key


@pytest.mark.pooled
def test_a10_replication_is_refused_in_words(single: Any) -> None:
    for value in ("database", "true", "1"):
        client = single.stranger()
        found = client.start(user="site", database=single.dbname, replication=value)
        assert code_of(found) == "0A000"
    assert single.raw(replication="false").value("SELECT 1") == "1"


def test_a11_what_the_server_says_at_login_reaches_the_client(start: Any) -> None:
    way = start(connections=1)
    if not hasattr(way, "pid"):
        pytest.skip("there is no pooler")
    url = f"postgresql://site@127.0.0.1:{way.postgres.port}/no_such_database"
    lost = start(connections=1, url=url, dbname="no_such_database")
    with pytest.raises(psycopg.OperationalError, match='database "no_such_database" does not') as e:
        lost.connect()
    assert e.value.sqlstate in (None, "3D000")
    client = lost.stranger()
    found = client.start(user="site", database="no_such_database")
    assert found[-1].code == "3D000"


@pytest.mark.pooled
def test_a11_a_pooler_that_stops_says_so(start: Any) -> None:
    way = start(connections=1)
    idle, busy = way.raw(), way.raw()
    busy.ask("BEGIN")
    busy.ask("SELECT 1")
    way.process.terminate()
    assert code_of(idle.rest()) == "57P01"
    # A transaction may end first.
    answer = busy.ask("COMMIT")
    assert kinds(answer) == "CZ"
    assert code_of(busy.rest()) == "57P01"
    assert way.process.wait(15) == 0


@pytest.mark.pooled
def test_a12_too_many_connections_at_the_server_make_clients_wait_and_not_fail(
    start: Any, postgres: Any, database: str
) -> None:
    with postgres.role("LOGIN CONNECTION LIMIT 2") as role:
        url = f"postgresql://{role}@127.0.0.1:{postgres.port}/{database}"
        way = start(connections=8, url=url)
        clients = [way.connect(user=role) for _ in range(8)]
        from harness.operated import together

        def work(client: psycopg.Connection[Any]) -> list[int]:
            return [client.execute("SELECT %s", [n]).fetchone()[0] for n in range(10)]

        found = together([lambda client=client: work(client) for client in clients])
        assert found == [list(range(10))] * 8
        assert len(way.backends()) <= 2
        for client in clients:
            client.close()
        way.stop()
        until(lambda: not way.backends(), what="the pooler's connections to end")
