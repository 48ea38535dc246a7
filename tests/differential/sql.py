"""Random SQL, read by Canter's scanner and executed by a real PostgreSQL.

Owns one claim: where the server accepts a text, the scanner counted as many statements as the server ran, and flagged each kind of
session state that the server holds afterwards. Leaves single rules to `corpus/sql`.

    cargo build -p canter-pg --example scan_sql
    python tests/differential/sql.py 'host=/tmp dbname=postgres user=postgres' [rounds] [seed]

Needs psycopg 3 and a database that may be written to; it leaves nothing behind.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg import pq

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# Each is a value that SQL takes where an expression may stand; the state hides in some of them.
VALUES = [
    "1", "'x'", "''", "''''", "E'\\''", "e'a\\\\'", "'a'\n'b'", "E'a'\n 'b\\''", "E'a' -- '\n\n'b\\'';'", "$$;$$", "$q$ $$ ' ; $q$", "$é$'$é$", "N'n'", "B'01'", "X'1f'",
    "U&'\\0041;'", "U&'!0041' UESCAPE '!'", "1e5", "1.e0", ".5", "1.5e-3", "(1)", "ARRAY[1,2]", "(ARRAY['a;','b'])[1]", "date '2020-01-01'", "'a'::text", "3 */* ; */ 4", "3 +-- ;\n 4",
    "CASE WHEN true THEN 1 ELSE 2 END", "1 AS \"a;b\"", "1 AS \"q\"\"\"", "1 AS end", "1 AS case", "1 AS é", "1 a$b$", "2 AS temp", "'set_config(''zz.a'',''1'',false)'",
    "set_config('zz.a','1',false)", "set_config('zz.a','1',true)", "pg_catalog.set_config('zz.' || 'a', '1', false)", '"set_config"(\'zz.a\', set_config(\'zz.b\',\'t\',true), false)',
    "set_config(E'zz.a', $$1$$, 't')", "set_config('zz.a', concat('a','b',true), false)", "set_config(setting_name => 'zz.a', new_value => '1', is_local => false)",
    "pg_advisory_lock(1)", "pg_try_advisory_lock(1,2)", "pg_advisory_xact_lock(3)", "pg_advisory_unlock_all()", 'U&"set\\005fconfig"(\'zz.a\',\'1\',false)', "'\\'", "'\\\\'", "'\\';'", "x'\\'",
]
STATEMENTS = [
    "SET zz.a = 1", "SET SESSION zz.a TO 'x;'", "SET LOCAL zz.a = 1", "RESET zz.a", "SET \"zz\".\"a\" = '1'", "SET TIME ZONE 'UTC'", "LISTEN zz", "UNLISTEN *", "DEALLOCATE ALL", "CLOSE ALL",
    "PREPARE zz AS SELECT 1", "EXECUTE zz", "DECLARE zz CURSOR WITH HOLD FOR SELECT 1", "DECLARE \"zz;\" NO SCROLL CURSOR WITH /* ; */ HOLD FOR VALUES (1)", "CREATE TEMP TABLE zz (a int)",
    "CREATE TABLE pg_temp.zy (a int)", "SELECT 1 AS a INTO TEMPORARY zx", "CREATE OR REPLACE TEMP VIEW zv AS SELECT 1", "DISCARD TEMP", "RESET ALL", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a",
    "CREATE OR REPLACE FUNCTION pg_temp.zf() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END", "DO $$BEGIN PERFORM set_config('zz.a','1',false); END$$", "",
    "EXPLAIN ANALYZE SELECT set_config('zz.a','1',false)", "UPDATE pg_settings SET setting = '7min' WHERE name = 'statement_timeout'", "/* a /* ; */ b */ SELECT 1", "-- ;\nSELECT 1",
]
BLANKS = [" ", "\n", "\t", " /* ; ' */ ", " -- ' ;\n", "\r\n", "/**/"]
JUNK = ["'", '"', "$$", "$q$", "/*", "*/", "--", "\n", ";", "(", ")", "\\", "E'", "U&'", " AS ", ".", ",", "::text", "é", " "]

STATE = """SELECT coalesce(current_setting('zz.a', true), '') <> '' OR current_setting('statement_timeout') <> '0',
    EXISTS (SELECT FROM pg_cursors WHERE is_holdable), EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'v')),
    EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), EXISTS (SELECT FROM pg_prepared_statements), EXISTS (SELECT pg_listening_channels())"""
KINDS = ["SETTINGS", "HOLD", "TEMP", "ADVISORY", "PREPARE", "LISTEN"]


def make(rng: random.Random) -> str:
    """A few statements, most of them right, with blanks and comments in odd places."""
    parts = []
    for _ in range(rng.randint(1, 4)):
        if rng.random() < 0.6:
            values = (",").join(rng.choice(BLANKS) + rng.choice(VALUES) + rng.choice(BLANKS) for _ in range(rng.randint(1, 4)))
            parts.append("SELECT" + values)
        else:
            parts.append(rng.choice(STATEMENTS))
    text = rng.choice([";", " ; ", ";;", ";--'\n"]).join(parts) + rng.choice(["", ";", "\n"])
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(JUNK) + text[at + rng.randint(0, 1) :]
    return text.replace("\0", "")


def main() -> int:
    """Compare until the rounds are over or the two disagree."""
    conninfo, rounds, seed = sys.argv[1], int((sys.argv[2:] or ["5000"])[0]), int((sys.argv[3:] or ["1"])[0])
    rng = random.Random(seed)
    scanner = subprocess.Popen([TARGET / "debug/examples/scan_sql"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert scanner.stdin is not None and scanner.stdout is not None
    conn = psycopg.connect(conninfo, autocommit=True).pgconn
    accepted = wrong = 0
    for number in range(rounds):
        conforming = number % 3 != 0
        conn.exec_(b"SET standard_conforming_strings = " + (b"on" if conforming else b"off"))
        text = make(rng).encode()
        scanner.stdin.write(("" if conforming else "-") + text.hex() + "\n")
        scanner.stdin.flush()
        statements, *seen = scanner.stdout.readline().split()
        conn.send_query(text)
        count, failed = 0, False
        while (result := conn.get_result()) is not None:
            failed |= result.status == pq.ExecStatus.FATAL_ERROR
            count += result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
        if conn.transaction_status != pq.TransactionStatus.IDLE:
            conn.exec_(b"COMMIT")
        state = conn.exec_(STATE.encode())
        held = [kind for at, kind in enumerate(KINDS) if state.get_value(0, at) == b"t"]
        missed = [kind for kind in held if not any(flag.startswith(kind) for flag in seen)]
        if not failed:
            accepted += 1
        if missed or (not failed and count != int(statements)):
            wrong += 1
            print(f"{'on' if conforming else 'off'} {text!r}\n  server: {count} statements, {held}\n  scanner: {statements} {seen}")
        for clean in (b"CLOSE ALL", b"UNLISTEN *", b"SELECT pg_advisory_unlock_all()", b"DEALLOCATE ALL", b"DISCARD TEMP", b"RESET ALL", b"SELECT set_config('zz.a', '', false)"):
            conn.exec_(clean)
    print(f"{rounds} texts, {accepted} of them accepted by the server, {wrong} read differently")
    scanner.stdin.close()
    scanner.wait()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
