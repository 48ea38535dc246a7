"""Owns D6 in pipelines, in transactions and in very long texts: what RESET gives back, and when.

Leaves RESET by itself and among others to ``test_d_state``.
"""

from __future__ import annotations

from typing import Any

import pytest
from harness import pgwire
from harness.pgwire import code_of


@pytest.mark.parametrize("sql", ["RESET timezone", "RESET ALL", "SET timezone TO DEFAULT"])
def test_d6_start_values_are_back_at_once_in_a_pipeline(single: Any, sql: str) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo", search_path='"A b", public'), single.raw()

    def shown(*before: str) -> list[bytes | None]:
        client.send(*map(pgwire.extended, (*before, "SHOW timezone", "SHOW search_path")))
        client.send(pgwire.sync())
        answer = client.until("Z")
        assert code_of(answer) == ""
        return [m.values[0] for m in answer if m.kind == "D"]

    start = [b"Asia/Tokyo", b'"A b", public']
    assert shown("SET timezone = 'Europe/Rome'", sql) == start
    assert shown() == start
    assert other.value("SHOW timezone") == "UTC"
    # With what undoes it, all is undone.
    client.ask("SET timezone = 'Europe/Oslo'")
    rows = shown("BEGIN", "SAVEPOINT a", sql, "ROLLBACK TO a", "COMMIT")
    assert rows == [b"Europe/Oslo", start[1]]
    assert shown() == rows


def test_d6_start_values_are_back_behind_discard_all_in_a_pipeline(single: Any) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo", search_path="pg_catalog"), single.raw()

    def asked(*texts: str) -> tuple[str, list[bytes | None]]:
        client.send(*map(pgwire.extended, texts), pgwire.sync())
        answer = client.until("Z")
        return code_of(answer), [m.values[0] for m in answer if m.kind == "D"]

    shown, start = ("SHOW timezone", "SHOW search_path"), [b"Asia/Tokyo", b"pg_catalog"]
    assert asked("SET timezone = 'Europe/Rome'") == ("", [])
    # It has committed: an error behind it takes nothing back.
    assert asked("DISCARD ALL", *shown, "SELECT 1/0") == ("22012", start)
    assert asked(*shown) == ("", start)
    assert other.value("SHOW timezone") == "UTC"
    # What may run in no transaction may stand behind it, but it not behind others.
    assert asked("DISCARD ALL", "DISCARD ALL", *shown) == ("", start)
    assert asked("SET timezone = 'Europe/Rome'", "DISCARD ALL") == ("25001", [])
    assert asked(*shown) == ("", start)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("sql", ["RESET timezone", "RESET ALL", "RESET search_path", "RESET ROLE"])
def test_d6_what_is_put_back_takes_no_snapshot(single: Any, sql: str, extended: bool) -> None:
    single.postgres.admin.execute("GRANT guest TO site")
    words = {"TimeZone": "Asia/Tokyo", "search_path": "pg_catalog, public", "role": "guest"}
    client = single.raw(**words)

    def ask(text: str) -> None:
        if extended:
            client.send(pgwire.extended(text), pgwire.sync())
        else:
            client.send(pgwire.query(text))
        assert code_of(client.until("Z")) == ""

    client.ask("SET timezone = 'Europe/Rome'; SET search_path = x")
    for text in ("BEGIN", sql, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "COMMIT"):
        ask(text)
    if sql != "RESET search_path" and sql != "RESET ROLE":
        assert client.value("SHOW timezone") == "Asia/Tokyo"
    if sql in ("RESET search_path", "RESET ALL"):
        assert client.value("SHOW search_path") == "pg_catalog, public"
    assert client.value("SELECT current_user") == "guest"


@pytest.mark.pooled
def test_d6_a_reset_in_a_very_long_text(single: Any) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo"), single.raw()
    client.ask("SET timezone = 'Europe/Rome'")
    assert code_of(client.ask(f"SELECT '{'x' * (1 << 20)}'; RESET ALL")) == ""
    for _ in range(2):
        assert client.value("SHOW timezone") == "Asia/Tokyo"
        assert other.value("SHOW timezone") == "UTC"
