"""Owns the answers of one client that another must not hear: a server that says something late.

Leaves clients that leave and servers that die to ``test_e_leaving`` and ``test_deaths``, and each
way back to the pool by itself to the crate's own tests.
"""

from __future__ import annotations

from typing import Any

import pytest
from harness import pgwire as p
from harness.pgwire import Fake, FakeServer, Message, code_of, kinds, status_of

pytestmark = pytest.mark.pooled

COPY = "COPY t FROM STDIN"
STEPS = p.parse(COPY) + p.bind() + p.execute()
BEGINS = p.message(b"G", b"\0\0\0")
DATA = p.copy_data(b"bad\n")
FAILS = BEGINS + p.error("57014", "canceling statement due to user request") + p.ready()


@pytest.mark.parametrize("reads_late", [True, False], ids=["late", "ignored"])
@pytest.mark.parametrize("end", [b"", p.copy_done()], ids=["data", "whole"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_b7_nobody_hears_the_readiness_that_another_s_failed_copy_is_owed(
    start: Any, protocol: str, end: bytes, reads_late: bool
) -> None:
    """PostgreSQL ignores a Sync that it reads within a COPY, and answers one that it reads after the
    COPY has failed. One that reads it late says its ReadyForQuery when something else was asked.
    """
    if protocol == "simple":
        sent, answer = p.query(COPY) + p.sync() + DATA + end, FAILS
    else:
        sent = STEPS + p.sync() + DATA + end + p.sync()
        answer = p.message(b"1") + p.message(b"2") + FAILS

    def script(fake: Fake) -> None:
        fake.welcome()
        heard, late = "", b""

        def say(asked: Message) -> bytes:
            nonlocal heard, late
            heard += asked.kind
            if asked.kind == "S" and heard.count("S") == sent.count(p.sync()):
                late = p.ready() if reads_late else b""
                return answer
            if asked.kind == "S" and heard.count("S") > sent.count(p.sync()):
                return p.ready()
            if asked.kind == "C":
                said, late = late + p.message(b"3"), b""
                return said
            if asked.kind != "Q" or COPY.encode() in asked.body:
                return b""
            mark = asked.body.rstrip(b"\0").rpartition(b" ")[2]
            said, late = late + p.one_row(mark), b""
            return said

        fake.serve(say)

    with FakeServer(script) as fake:
        way = start(connections=1, url=fake.url(), dbname="fake")
        first, following = way.raw(), way.raw()
        assert following.value("SELECT zero") == "zero"
        servers = len(fake.connections)
        first.send(sent)
        heard = first.until("Z")
        assert (code_of(heard), status_of(heard)) == ("57014", "I")
        if reads_late:
            assert kinds(first.until("Z")) == "Z"
        for client, name in ((following, "one"), (first, "two"), (following, "three")):
            found = client.ask(f"SELECT {name}")
            assert kinds(found) == "TDCZ", found
            assert found[1].values == [name.encode()]
        assert len(fake.connections) == servers
        assert "was not through with its client" not in way.log
