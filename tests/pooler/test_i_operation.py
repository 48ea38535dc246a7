"""Owns I1 to I5: the console, restart, and bytes from either side that no honest program sends.

Leaves deaths at random points to ``test_deaths``.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from harness import pgwire
from harness.operated import until
from harness.pgwire import Closed, Fake, FakeServer, Message, code_of, kinds

pytestmark = pytest.mark.pooled

I32 = struct.Struct("!i")

HOSTILE_STARTS: dict[str, bytes] = {
    "nothing": b"",
    "one byte": b"\0",
    "half a length": b"\0\0",
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100,
    "no terminator": I32.pack(12) + I32.pack(3 << 16) + b"user",
    "only a terminator": pgwire.untyped(3 << 16, b"\0"),
    "no user": pgwire.startup(database="x"),
    "a name without a value": pgwire.untyped(3 << 16, b"user\0"),
    "not text": pgwire.untyped(3 << 16, b"user\0\xff\xfe\0\xff\0\xfe\0\0"),
    "an empty user": pgwire.startup(user=""),
    "after the terminator": pgwire.untyped(3 << 16, b"user\0site\0\0junk\0junk\0\0"),
    "endless ssl": pgwire.ssl_request() * 50,
    "a short cancel": I32.pack(8) + I32.pack(pgwire.CANCEL_REQUEST),
    "a long cancel": pgwire.cancel_request(1, b"x" * 5000),
    "a registration of rubbish": pgwire.untyped(0x43414E54, b"\xff" * 200),
    "an unknown target": pgwire.startup(user="site", options="-c canter.target=nonsense"),
    "many parameters": pgwire.startup(user="site", **{f"p{n}": "x" for n in range(700)}),
    "backslashes": pgwire.startup(user="site", options="\\" * 5000),
    "open option": pgwire.startup(user="site", options="-c"),
}

HOSTILE_MESSAGES: dict[str, bytes] = {
    "length 0": b"Q" + I32.pack(0),
    "length 3": b"Q" + I32.pack(3),
    "length -1": b"Q" + I32.pack(-1),
    "length min": b"Q" + I32.pack(-(2**31)),
    "length max": b"Q" + I32.pack(2**31 - 1) + b"SELECT 1\0",
    "unknown kind": pgwire.message(b"~", b"x"),
    "kind of a server": pgwire.message(b"Z", b"I"),
    "zero kind": b"\0\0\0\0\4",
    "query without end": pgwire.message(b"Q", b"SELECT 1"),
    "empty query body": pgwire.message(b"Q", b""),
    "query with a zero inside": pgwire.message(b"Q", b"SELECT 1\0SELECT 2\0"),
    "empty parse": pgwire.message(b"P", b""),
    "parse without types": pgwire.message(b"P", b"s\0SELECT 1\0"),
    "parse with a lie": pgwire.message(b"P", b"s\0SELECT 1\0" + struct.pack("!h", 30000)),
    "parse with less than none": pgwire.message(b"P", b"s\0SELECT 1\0" + struct.pack("!h", -1)),
    "empty bind": pgwire.message(b"B", b""),
    "bind without end": pgwire.message(b"B", b"\0s"),
    "bind with a lie": pgwire.message(b"B", b"\0s\0" + struct.pack("!hhi", 0, 1, 2**31 - 1)),
    "empty describe": pgwire.message(b"D", b""),
    "describe of what": pgwire.message(b"D", b"Xs\0"),
    "empty close": pgwire.message(b"C", b""),
    "close without end": pgwire.message(b"C", b"Ss"),
    "execute without end": pgwire.message(b"E", b"p"),
    "sync with a body": pgwire.message(b"S", b"body"),
    "password now": pgwire.password("x"),
    "copy data now": pgwire.copy_data(b"x"),
    "copy done now": pgwire.copy_done(),
    "function call of nothing": pgwire.message(b"F", b""),
    "not text": pgwire.query(b"SELECT '\xff\xfe\xfd'"),
    "startup again": pgwire.startup(user="postgres"),
}


def honest_value(client: pgwire.Client, wanted: str) -> None:
    """The value of a query comes from an honest server, if need be at the second try: the liar
    closes its end when it has lied, and who was given that connection in the same moment hears so
    (class 08), once, for there is only one such connection."""
    found = client.ask("SELECT 1")
    if code_of(found)[:2] == "08":
        assert kinds(found) == "EZ", found
        found = client.ask("SELECT 1")
    assert kinds(found) == "TDCZ", found
    assert [one.values for one in found if one.kind == "D"] == [[wanted.encode()]]


def still_serves(way: Any) -> None:
    """The process is the same, nothing is left open, another client is served."""
    assert way.process.poll() is None
    with way.raw() as client:
        assert client.value("SELECT 1") in ("1", "true")
    if way.dbname != "fake":
        way.settled()
        assert len(way.backends()) <= 2


@pytest.mark.parametrize("name", HOSTILE_STARTS)
def test_i4_hostile_first_bytes_are_refused_or_wait_and_harm_nobody(
    pooler: Any, name: str
) -> None:
    for tcp in (False, True):
        client = pooler.raw_tcp() if tcp else pooler.stranger()
        try:
            client.send(HOSTILE_STARTS[name])
            client.socket.shutdown(1)
            client.rest()
        except (OSError, Closed):
            pass  # Closed while it was being sent: refused.
        client.close()
    still_serves(pooler)


@pytest.mark.parametrize("name", HOSTILE_MESSAGES)
def test_i4_hostile_messages_end_in_an_error_or_a_closed_connection(
    pooler: Any, name: str
) -> None:
    client = pooler.raw()
    client.ask("CREATE TABLE i4 (n int)")
    client.ask("BEGIN; INSERT INTO i4 VALUES (1)")
    other = pooler.raw()
    try:
        client.send(HOSTILE_MESSAGES[name], pgwire.sync())
        client.socket.shutdown(1)
        found = client.rest()
        assert all(one.kind in "ENZSTDCI123tn" for one in found), found
    except OSError:
        pass
    client.close()
    assert other.value("SELECT count(*) FROM i4") == "0"
    still_serves(pooler)


def test_i4_random_bytes_after_login(pooler: Any) -> None:
    chance = random.Random(4)
    for _ in range(150):
        with pooler.raw() as client:
            kind = chance.choice(b"QPBDECHSFdcfXp~\0").to_bytes(1, "big")
            body = chance.randbytes(chance.randrange(64))
            length = chance.choice([len(body) + 4, chance.randrange(-5, 100), len(body) + 4])
            try:
                client.send(kind, I32.pack(length), body, pgwire.sync())
                client.socket.shutdown(1)
                client.rest()
            except (OSError, Closed, ValueError, struct.error):
                pass
    still_serves(pooler)


def replies_of_a_liar() -> dict[str, bytes]:
    p = pgwire
    row = p.row_description("x")
    return {
        "length 0": b"D" + I32.pack(0),
        "length 3": row + b"D" + I32.pack(3),
        "length -1": row + b"D" + I32.pack(-1),
        "length max": row + b"D" + I32.pack(2**31 - 1) + b"x" * 100,
        "unknown kind": p.message(b"~", b"x") + p.ready(),
        "kind of a client": p.message(b"Q", b"SELECT 1\0") + p.ready(),
        "ready without status": p.command_complete("SELECT 1") + p.message(b"Z", b""),
        "ready with rubbish": p.command_complete("SELECT 1") + p.message(b"Z", b"?"),
        "ready too long": p.command_complete("SELECT 1") + p.message(b"Z", b"IIII"),
        "ready twice": p.one_row() + p.ready(),
        "ready thrice and rows": p.one_row() + p.one_row() + p.one_row(),
        "empty error": p.message(b"E", b"") + p.ready(),
        "error without end": p.message(b"E", b"SERROR") + p.ready(),
        "error without code": p.message(b"E", b"SERROR\0Mx\0\0") + p.ready(),
        "error with a short code": p.message(b"E", b"SERROR\0C1\0Mx\0\0") + p.ready(),
        "empty notice": p.message(b"N", b"") + p.one_row(),
        "parameter without end": p.message(b"S", b"TimeZone") + p.one_row(),
        "empty parameter": p.message(b"S", b"") + p.one_row(),
        "notification of rubbish": p.message(b"A", b"\0") + p.one_row(),
        "empty tag": p.message(b"C", b"") + p.ready(),
        "authentication again": p.authentication(3) + p.ready(),
        "key again": p.backend_key(9, b"xxxx") + p.one_row(),
        "copy in that nobody asked for": p.message(b"G", b"\0\0\0") + p.ready(),
        "copy both": p.message(b"W", b"\0\0\0") + p.ready(),
        "parse complete that nobody asked for": p.message(b"1") + p.one_row(),
        "random": random.Random(1).randbytes(500),
        "nothing": b"",
    }


@pytest.mark.parametrize("name", replies_of_a_liar())
@pytest.mark.parametrize("asked", ["simple", "extended", "named"])
def test_i4_a_server_that_lies_harms_one_client_at_most(
    start: Any, name: str, asked: str
) -> None:
    lie = replies_of_a_liar()[name]

    def script(fake: Fake) -> None:
        fake.welcome()

        def answer(message: Message) -> bytes | None:
            if message.kind == "Q" and b"lie" not in message.body:
                return pgwire.one_row(b"true")
            if message.kind in "QS":
                fake.send(lie)
                return None
            return b""

        fake.serve(answer)

    p = pgwire
    with FakeServer(script) as fake:
        way = start(connections=1, url=fake.url(), dbname="fake")
        client, other = way.raw(), way.raw()
        if asked == "simple":
            client.send(p.query("lie"))
        else:
            client.send(p.extended("lie", name="" if asked == "extended" else "n"), p.sync())
        try:
            client.socket.shutdown(1)
            client.rest()
        except (OSError, ValueError, struct.error):
            pass
        # Not one byte of it is what the next client gets.
        honest_value(other, "true")
        still_serves(way)


def logins_of_a_liar() -> dict[str, Callable[[Fake], None]]:
    p = pgwire
    sent: dict[str, bytes] = {
        "nothing": b"",
        "half a message": b"R\0\0",
        "rubbish": b"HTTP/1.1 400 Bad Request\r\n\r\n",
        "length max": b"R" + I32.pack(2**31 - 1) + b"x" * 50,
        "length 0": b"R" + I32.pack(0),
        "short authentication": p.message(b"R", b"\0"),
        "unknown authentication": p.authentication(99),
        "gss": p.authentication(7),
        "md5 without salt": p.authentication(5),
        "sasl without mechanisms": p.authentication(10, b"\0"),
        "sasl with unknown ones": p.authentication(10, b"MAGIC\0\0"),
        "sasl out of order": p.authentication(12, b"v=AAAA"),
        "key too short": p.authentication() + p.message(b"K", b"\0") + p.ready(),
        "key of 300 bytes": p.authentication() + p.backend_key(1, b"x" * 300) + p.ready(),
        "ready with rubbish": p.authentication() + p.message(b"Z", b""),
        "ready in a transaction": p.authentication() + p.ready(b"T"),
        "an error": p.error("28000", "go away", "FATAL"),
        "an error without a code": p.message(b"E", b"SFATAL\0Mx\0\0"),
        "an empty error": p.message(b"E", b""),
        "endless parameters": p.authentication()
        + b"".join(p.parameter_status(f"p{n}", "x" * 1000) for n in range(3000)),
        "rows": p.one_row(),
        "negotiation of rubbish": p.message(b"v", b"\xff") + p.GREETING,
    }

    def says(data: bytes) -> Callable[[Fake], None]:
        def script(fake: Fake) -> None:
            fake.receive_startup()
            fake.send(data)

        return script

    return {name: says(data) for name, data in sent.items()}


@pytest.mark.parametrize("name", logins_of_a_liar())
def test_i4_a_server_that_lies_at_login_is_an_error_in_words(start: Any, name: str) -> None:
    scripts = [logins_of_a_liar()[name]]

    def script(fake: Fake) -> None:
        scripts[0](fake)

    flags = ("--db-wait-timeout", "1s")
    with FakeServer(script) as fake:
        way = start(*flags, connections=1, url=fake.url(), dbname="fake")
        client = way.stranger()
        found = client.start(user="site", database="fake")
        if found and found[-1].kind == "Z":
            found = client.ask("SELECT 1")
        assert name == "key of 300 bytes" or code_of(found), found
        scripts[0] = pgwire.answers(b"true")

        def works() -> bool:
            again = way.stranger()
            met = again.start(user="site", database="fake")
            return bool(met) and met[-1].kind == "Z" and again.ask("SELECT 1")[-1].kind == "Z"

        until(works, what="the server that has become honest")
        assert way.process.poll() is None


@pytest.mark.parametrize("bits", ["authentication", "parameters", "key", "ready"])
def test_i4_a_server_that_dies_within_its_login(start: Any, bits: str) -> None:
    ends = {"authentication": 9, "parameters": 200, "key": len(pgwire.GREETING) - 7, "ready": -1}
    cut = ends[bits] if ends[bits] > 0 else len(pgwire.GREETING) - 1

    def script(fake: Fake) -> None:
        fake.receive_startup()
        fake.send(pgwire.GREETING[:cut])

    with FakeServer(script) as fake:
        way = start("--db-wait-timeout", "1s", connections=1, url=fake.url(), dbname="fake")
        client = way.stranger()
        found = client.start(user="site", database="fake")
        if found and found[-1].kind == "Z":
            found = client.ask("SELECT 1")
        assert code_of(found)[:2] in ("08", "57", "53"), found


def test_i5_what_a_client_sets_does_not_reach_our_own_queries(single: Any) -> None:
    """Functions of the same name in a schema that the client puts first."""
    admin = single.raw()
    admin.ask(
        "CREATE SCHEMA trap;"
        "CREATE FUNCTION trap.current_setting(text, boolean) RETURNS text LANGUAGE sql AS"
        " $$SELECT 'trapped'$$;"
        "CREATE FUNCTION trap.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS"
        " $$SELECT 'trapped'$$;"
        "CREATE FUNCTION trap.pg_backend_pid() RETURNS int LANGUAGE sql AS $$SELECT 1$$;"
        "CREATE VIEW trap.pg_settings AS SELECT 'work_mem'::text AS name, '1'::text AS setting"
    )
    client, other = single.raw(search_path="trap, pg_catalog"), single.raw()
    client.ask("SET work_mem = '3MB'")
    client.ask("DO $$BEGIN PERFORM pg_catalog.set_config('geqo', 'off', false); END$$")
    assert other.value("SHOW work_mem") == "4MB"
    assert other.value("SHOW geqo") == "on"
    assert client.value("SHOW work_mem") == "3MB"
    assert client.value("SHOW geqo") == "off"
