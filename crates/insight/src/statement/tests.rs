//! Owns the rows that say what a statement looks like without its values. C8 of the privacy list:
//! no value of any dialect comes out.

use super::*;

fn text(sql: &str, dialect: Dialect) -> String {
    strip(sql.as_bytes(), dialect).text
}

#[test]
fn c8_values_go_and_the_rest_stays_readable() {
    use Dialect::{Mysql, Oracle, Postgres, Sqlite, Unknown};
    let rows = [
        (
            Postgres,
            "SELECT \"a\".\"id\", 'x''y' FROM \"a\" WHERE \"a\".\"id\" = 5",
            "SELECT a.id, ? FROM a WHERE a.id = ?",
        ),
        (
            Sqlite,
            "select * from t where n = -1.5e-3 and h=0xff",
            "select * from t where n = -? and h = ?",
        ),
        (
            Postgres,
            "SELECT E'it\\'s' , $$do$$, $tag$ a $$ b $tag$, $1",
            "SELECT ?, ?, ?, ?",
        ),
        (
            Mysql,
            "SELECT `a b`, \"secret\", 'it\\'s' # more\n FROM t",
            "SELECT \"a b\", ?, ? FROM t",
        ),
        (
            Oracle,
            "SELECT q'[it's]', :name, nq'!x!' FROM dual",
            "SELECT ?, ?, ? FROM dual",
        ),
        (Unknown, "SELECT 'a\\' OR 'secret' FROM t", "SELECT ?"),
        (
            Postgres,
            "SELECT /* a /* b */ 'c' */ 1 -- 'd'\n, data #>> '{a}' FROM t",
            "SELECT ?, data #>> ? FROM t",
        ),
        (
            Sqlite,
            "SELECT a FROM t WHERE id IN (%s, %s, %s) AND b = %(name)s",
            "SELECT a FROM t WHERE id IN (?) AND b = ?",
        ),
        (
            Postgres,
            "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3, 'z') RETURNING id",
            "INSERT INTO t(a, b) VALUES(?) RETURNING id",
        ),
        (
            Postgres,
            "SELECT coalesce(NULL, 5, a, 7), now()::date",
            "SELECT coalesce(NULL, ?, a, ?), now()::date",
        ),
        (
            Postgres,
            "SELECT count(*) AS \"n\" FROM t LIMIT 20 OFFSET 40",
            "SELECT count(*) AS n FROM t LIMIT ? OFFSET ?",
        ),
        (
            Postgres,
            "SELECT U&'d\\0061t', X'ff', B'01', 1_000",
            "SELECT ?, ?, ?, ?",
        ),
        (Postgres, "SELECT 'never ends", "SELECT ?"),
        (
            Postgres,
            "a LIKE 'x%%' AND b %% 2 = 1",
            "a LIKE ? AND b % ? = ?",
        ),
    ];
    for (dialect, sql, expected) in rows {
        assert_eq!(text(sql, dialect), expected, "{sql}");
    }
}

#[test]
fn c8_any_bytes_give_a_result_and_no_secret_comes_out() {
    let mut state = 7_u64;
    let pieces: [&[u8]; 17] = [
        b"'", b"\\", b"$$", b"$a$", b"--", b"/*", b"*/", b"\n", b"(", b")", b",", b"?", b"E'",
        b"%s", b"q'[", b"\xff", b" 1 ",
    ];
    for _ in 0..20_000 {
        let mut sql = b"SELECT ".to_vec();
        for _ in 0..12 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            sql.extend_from_slice(pieces[(state >> 33) as usize % pieces.len()]);
        }
        for dialect in [
            Dialect::Postgres,
            Dialect::Mysql,
            Dialect::Sqlite,
            Dialect::Oracle,
            Dialect::Unknown,
        ] {
            let statement = strip(&sql, dialect);
            assert!(!statement.text.contains('1'), "{sql:?}: {}", statement.text);
            assert!(!statement.text.contains(char::is_control));
        }
    }
}

#[test]
fn fingerprints_ignore_values_space_case_and_the_length_of_lists() {
    let of = |sql: &str| strip(sql.as_bytes(), Dialect::Postgres).fingerprint;
    assert_eq!(
        of("select A from t where id=1"),
        of("SELECT a  FROM t /* x */ WHERE id = 'b'")
    );
    assert_eq!(
        of("SELECT a FROM t WHERE id IN (1)"),
        of("SELECT a FROM t WHERE id IN (1, 2, 3)")
    );
    assert_eq!(
        of("INSERT INTO t VALUES (1)"),
        of("INSERT INTO t VALUES (1), (2)")
    );
    assert_ne!(of("SELECT a FROM t"), of("SELECT b FROM t"));
    assert_ne!(of("SELECT f(a, 1)"), of("SELECT f(1, a)"));
}

#[test]
fn c4_the_names_of_savepoints_are_values() {
    let rows = [
        ("SAVEPOINT \"s140_x7\"", "SAVEPOINT ?"),
        ("savepoint s140_x7", "savepoint ?"),
        ("RELEASE SAVEPOINT \"s140_x7\"", "RELEASE SAVEPOINT ?"),
        ("RELEASE \"s140_x7\"", "RELEASE ?"),
        (
            "ROLLBACK TO SAVEPOINT \"s140_x7\"",
            "ROLLBACK TO SAVEPOINT ?",
        ),
        ("ROLLBACK WORK TO s140_x7", "ROLLBACK WORK TO ?"),
        ("ROLLBACK", "ROLLBACK"),
        (
            "SELECT savepoint, release FROM t",
            "SELECT savepoint, release FROM t",
        ),
        ("SELECT a FROM \"release\"", "SELECT a FROM release"),
    ];
    for (sql, expected) in rows {
        assert_eq!(text(sql, Dialect::Postgres), expected);
        let other = sql.replace("_x7", "_x8");
        let of = |sql: &str| strip(sql.as_bytes(), Dialect::Sqlite).fingerprint;
        assert_eq!(of(sql), of(&other), "{sql}");
    }
    for dialect in [Dialect::Mysql, Dialect::Unknown] {
        assert_eq!(
            text("ROLLBACK TO SAVEPOINT `s1_x2`", dialect),
            "ROLLBACK TO SAVEPOINT ?"
        );
    }
}

#[test]
fn what_a_statement_is_for_is_seen() {
    let of = |sql: &str| {
        let traits = strip(sql.as_bytes(), Dialect::Postgres).traits;
        assert!(!traits.volatile, "{sql}");
        Traits {
            keyed: false,
            ..traits
        }
    };
    let plain = Traits {
        reads: true,
        ..Traits::default()
    };
    assert_eq!(of("SELECT a FROM t WHERE id = 5 LIMIT 21"), plain);
    assert_eq!(of("SELECT a FROM t WHERE p = 5 ORDER BY x LIMIT 3"), plain);
    // The last one before a moment is no page.
    assert_eq!(
        of("SELECT a FROM t WHERE at < %s ORDER BY at DESC LIMIT 1"),
        plain
    );
    assert!(of("SELECT pg_try_advisory_lock(%s)").locks);
    assert_eq!(
        of("SELECT a FROM t WHERE d -> 'a' = 1 ORDER BY x LIMIT 3"),
        plain
    );
    assert_eq!(
        of("SELECT a FROM t LIMIT 5 OFFSET 5"),
        Traits {
            pages: true,
            ..plain
        }
    );
    assert_eq!(
        of("SELECT a FROM t WHERE id > 5 ORDER BY id LIMIT 5"),
        Traits {
            pages: true,
            ..plain
        }
    );
    assert_eq!(
        of("SELECT a FROM t WHERE id IN (1, 2)"),
        Traits {
            batches: true,
            ..plain
        }
    );
    assert_eq!(of("SELECT a FROM t WHERE id IN (1)"), plain);
    assert_eq!(
        of("SELECT a FROM t WHERE id = ANY(%s)"),
        Traits {
            batches: true,
            ..plain
        }
    );
    assert_eq!(
        of("SELECT a FROM t FOR UPDATE SKIP LOCKED"),
        Traits {
            locks: true,
            ..plain
        }
    );
    let writes = Traits {
        writes: true,
        ..Traits::default()
    };
    assert_eq!(of("UPDATE t SET a = 1 WHERE id = 5"), writes);
    assert_eq!(of("WITH x AS (SELECT 1) DELETE FROM t"), writes);
    assert_eq!(of("WITH x AS (SELECT 1) SELECT * FROM x"), plain);
    assert_eq!(
        of("INSERT INTO t VALUES (1), (2)"),
        Traits {
            batches: true,
            ..writes
        }
    );
    assert_eq!(of("SAVEPOINT s1"), Traits::default());
    for bits in 0..128 {
        assert_eq!(Traits::from_bits(bits).to_bits(), bits);
    }
}

#[test]
fn c3_the_values_that_something_must_be_equal_to_are_known_by_their_number() {
    let rows: [(&str, &[u16]); 9] = [
        (
            "SELECT a FROM t WHERE order_id = %s AND s IN (%s, %s)",
            &[0],
        ),
        ("SELECT a FROM t WHERE s IN (%s, %s) AND t.\"o\" = %s", &[2]),
        (
            "SELECT a FROM t WHERE at < %s AND s = %s ORDER BY at LIMIT 9",
            &[1],
        ),
        ("SELECT a FROM t WHERE a >= %s AND b <> %s AND c != %s", &[]),
        ("SELECT a FROM t WHERE id = ANY(%s)", &[]),
        ("SELECT a FROM t WHERE id = (%s)", &[]),
        ("SELECT a FROM t JOIN u ON t.id = u.id WHERE u.k = 5", &[]),
        (
            "SELECT a FROM t WHERE a = $1 AND b = :b AND c = ?",
            &[0, 1, 2],
        ),
        ("SELECT a FROM t WHERE lower(a) = lower(%s)", &[]),
    ];
    for (sql, keys) in rows {
        let found = strip(sql.as_bytes(), Dialect::Postgres);
        assert_eq!(found.keys, keys, "{sql}");
        assert_eq!(found.traits.keyed, !keys.is_empty(), "{sql}");
    }
    let many = format!(
        "SELECT a FROM t WHERE a = %s{}",
        " OR a = %s".repeat(100_000)
    );
    assert!(strip(many.as_bytes(), Dialect::Postgres).keys.len() <= 16);
}

#[test]
fn c2_functions_that_answer_differently_each_time_are_known() {
    let of = |sql: &str| strip(sql.as_bytes(), Dialect::Postgres).traits.volatile;
    for sql in [
        "SELECT nextval('s')",
        "SELECT a FROM t ORDER BY RANDOM() LIMIT 3",
        "select rand ()",
        "SELECT pg_catalog.gen_random_uuid()",
    ] {
        assert!(of(sql), "{sql}");
    }
    for sql in [
        "SELECT random FROM t",
        "SELECT \"nextval\" FROM t",
        "SELECT randoms()",
        "SELECT 'random()'",
    ] {
        assert!(!of(sql), "{sql}");
    }
}
