//! Settings, pins and the questions about them.

use super::driver::*;
use crate::relay::Lost;
use crate::wire::SqlError;

pub(super) fn probe(d: &mut Driver, rows: &[&[&str]]) {
    let mut answer = message(b'T', b"\0\0");
    for row_of in rows {
        answer.extend(row(row_of));
    }
    answer.extend(cz("SELECT", b'I'));
    d.to_client.clear();
    d.server(&answer).told(b"");
}

#[test]
fn d2_a_setting_is_asked_for_and_follows_the_client() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("SET lock_timeout = 1000"))
            .server(&cz("SET", b'I'))
            .held();
        d.to_server.drain(..q("SET lock_timeout = 1000").len());
        let sql = d.sql();
        assert!(
            sql.contains("current_setting('lock_timeout',true)"),
            "{sql}"
        );
        probe(&mut d, &[&["s", "lock_timeout", "1s"]]);
        d.released();
        assert_eq!(d.relay.label().get("lock_timeout"), Some("1s"));
        // The next server has another label.
        d.known.label = crate::relay::Label::new([("work_mem", "1MB")]);
        d.client(&q("select 1"));
        assert_eq!(
            d.sql(),
            "RESET \"work_mem\";SELECT pg_catalog.set_config('lock_timeout','1s',false);"
        );
        // The client's own query waits until its settings are there.
        d.server(&cz("RESET", b'I')).sent(&q("select 1")).told(b"");
        d.server(&cz("SELECT 1", b'I')).released();
    }
}

#[test]
fn d2_settings_the_server_refuses_are_an_error_of_the_statement() {
    for cut in CUTS {
        let mut d = Driver::with(cut, &[("role", "nobody")], false);
        d.known.label = crate::relay::Label::empty();
        d.client(&q("select 1"));
        assert_eq!(d.sql(), "SET ROLE \"nobody\";");
        d.server(&[e("22023", "no such role"), z(b'I')].concat());
        assert!(d.relay.refusal().is_some());
        d.leased = false;
        d.relay.detach();
        d.client(b"S")
            .told(&[e("22023", "no such role"), z(b'I')].concat());
        assert!(d.known.label.is_empty());
    }
}

#[test]
fn d5_a_setting_that_was_rolled_back_is_gone() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&q("set role x")).server(&cz("SET", b'T')).held();
        d.client(&q("rollback"))
            .server(&cz("ROLLBACK", b'I'))
            .held();
        probe(
            &mut d,
            &[
                &["s", "role", "none"],
                &["s", "session_authorization", "app"],
            ],
        );
        d.released();
        assert!(d.relay.label().is_empty());
    }
}

#[test]
fn d4_a_local_setting_is_nothing_to_ask_about() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.client(&q("SET LOCAL lock_timeout = 1"))
        .server(&cz("SET", b'T'));
    d.client(&q("commit"))
        .server(&cz("COMMIT", b'I'))
        .released();
}

#[test]
fn d6_reset_gives_the_client_its_own_start_back() {
    for cut in CUTS {
        let mut d = Driver::with(cut, &[("timezone", "Europe/Paris")], false);
        let put_back = "RESET timezone\n;SET \"timezone\" TO 'Europe/Paris'";
        d.client(&[q("RESET timezone"), q("select 1")].concat())
            .sent(&[q(put_back), q("select 1")].concat());
        d.server(&[c("RESET"), cz("SET", b'I'), cz("SELECT 1", b'I')].concat());
        d.told(&[cz("RESET", b'I'), cz("SELECT 1", b'I')].concat());
        assert!(d.sql().contains("current_setting('timezone',true)"));
        // What forgets all for itself is undone behind it.
        let mut d = Driver::with(cut, &[("timezone", "Europe/Paris")], false);
        d.client(&[q("DISCARD ALL"), q("select 1")].concat())
            .sent(&q("DISCARD ALL"));
        let reported = message(b'S', b"TimeZone\0UTC\0");
        d.server(&[c("DISCARD ALL"), reported.clone(), z(b'I')].concat());
        let sql = d.sql();
        let put_back = "pg_catalog.set_config('timezone','Europe/Paris',false)";
        assert!(sql.contains(put_back), "{sql}");
        d.to_client.clear();
        let back = message(b'S', b"TimeZone\0Europe/Paris\0");
        d.server(&[row(&["x"]), c("SELECT 1"), back.clone(), z(b'I')].concat());
        d.told(&back);
        let sent = std::mem::take(&mut d.to_server);
        assert!(show(&sent).contains("current_setting"), "{}", show(&sent));
        // What waited goes on behind the question.
        assert!(sent.ends_with(&q("select 1")));
    }
}

#[test]
fn d3_a_setting_named_by_a_parameter_is_carried_and_never_seen_by_another_client() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let bound = b"\0\0\0\0\0\x02\0\0\0\x08My.Thing\0\0\0\x0242\0\0";
        let all = [
            parse("", "SELECT set_config($1, $2, false)"),
            message(b'B', bound),
        ]
        .concat();
        d.client(&[all, execute(""), SYNC.to_vec()].concat()).held();
        d.to_server.clear();
        d.server(&[PARSED, BOUND, &cz("SELECT 1", b'I')].concat());
        let sql = d.sql();
        assert!(sql.contains("current_setting('my.thing',true)"), "{sql}");
        assert!(sql.contains("pg_settings"), "{sql}");
        probe(&mut d, &[&["s", "my.thing", "42"]]);
        d.released();
        assert_eq!(d.relay.label().get("my.thing"), Some("42"));
        // The same client finds its server as it left it.
        d.client(&q("x"))
            .sent(&q("x"))
            .server(&cz("X", b'I'))
            .released();
        // Another one gets it clean of what nobody can list.
        let mut other = Driver::new(cut);
        other.known = d.known;
        other.client(&q("y"));
        assert_eq!(other.sql(), "RESET ALL;");
        other
            .server(&cz("RESET", b'I'))
            .sent(&q("y"))
            .server(&cz("Y", b'I'))
            .released();
        other.to_client.clear();
        other.client(&q("y")).sent(&q("y"));
    }
}

#[test]
fn d3_what_a_statement_prepared_in_sql_sets_is_asked_for_when_it_is_executed() {
    for (prepares, executes, asked) in [
        (
            "PREPARE p(text) AS SELECT set_config('app.tenant',$1,false)",
            "EXECUTE p('7')",
            "current_setting('app.tenant',true)",
        ),
        (
            "PREPARE p(text,text) AS SELECT set_config($1,$2,false)",
            "EXECUTE p('app.tenant','7')",
            "current_setting('app.tenant',true)",
        ),
        (
            "PREPARE p AS SELECT pg_advisory_lock(1)",
            "EXPLAIN ANALYZE EXECUTE p",
            "pg_locks",
        ),
        (
            "PREPARE p AS SELECT mine()",
            "CREATE TABLE t AS EXECUTE p",
            "pg_locks",
        ),
        (
            "DO $$BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END$$",
            "EXECUTE p",
            "source OPERATOR(pg_catalog.=) 'session'",
        ),
    ] {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q(prepares)).server(&cz("PREPARE", b'I')).held();
        probe(&mut d, &[&["p", "SQL PREPARE", "true"]]);
        d.held();
        d.to_server.clear();
        d.client(&q(executes)).sent(&q(executes));
        d.server(&cz("SELECT 1", b'I')).held();
        let sql = d.sql();
        assert!(sql.contains(asked), "{executes}: {sql}");
        // Nothing of it is remembered when they are gone.
        probe(&mut d, &[&["p", "SQL PREPARE", "true"]]);
        d.client(&q("DEALLOCATE p"));
        d.server(&cz("DEALLOCATE", b'I'));
        probe(&mut d, &[]);
        d.released();
        d.to_server.clear();
        d.client(&q("EXECUTE p")).sent(&q("EXECUTE p"));
        d.server(&[e("26000", "x"), z(b'I')].concat())
            .sent(b"")
            .released();
    }
}

#[test]
fn d1_what_the_server_reports_is_asked_for_whoever_set_it() {
    for cut in CUTS {
        let mut d = Driver::with(cut, &[("timezone", "UTC")], false);
        d.client(&q("INSERT INTO t VALUES (1)"));
        d.to_server.clear();
        let reported = message(b'S', b"TimeZone\0Asia/Tokyo\0");
        d.server(&[reported, cz("INSERT 0 1", b'I')].concat())
            .held();
        let sql = d.sql();
        assert!(
            sql.contains("'timezone'") && sql.contains("'session'"),
            "{sql}"
        );
        probe(&mut d, &[&["s", "timezone", "Asia/Tokyo"]]);
        d.released();
        assert_eq!(d.relay.label().get("timezone"), Some("Asia/Tokyo"));
    }
}

#[test]
fn d2_a_custom_setting_that_is_empty_is_set() {
    for (text, tag, there) in [
        ("SET app.tenant = ''", "s", Some("")),
        ("RESET app.tenant", "g", None),
        ("SELECT mine('app.tenant')", "g", None),
    ] {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q(text)).server(&cz("X", b'I'));
        probe(&mut d, &[&[tag, "app.tenant", ""]]);
        d.released();
        assert_eq!(d.relay.label().get("app.tenant"), there, "{text}");
    }
}

#[test]
fn d6_reset_gives_a_client_its_start_up_role_back() {
    for text in ["RESET ROLE", "DISCARD ALL"] {
        let mut d = Driver::with(Cut::Whole, &[("role", "web")], false);
        d.client(&q(text));
        if text == "RESET ROLE" {
            assert_eq!(d.sql(), "RESET ROLE\n;SET ROLE \"web\"");
            d.server(&[c("RESET"), cz("SET", b'I')].concat());
        } else {
            d.sent(&q(text)).server(&cz(text, b'I'));
            assert_eq!(
                d.sql(),
                "SELECT pg_catalog.set_config('role','web',false) \
                 WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.=) 'none'"
            );
            d.server(&cz("SELECT 1", b'I')).held();
        }
        assert!(d.sql().contains("current_setting('role',true)"));
        probe(&mut d, &[&["s", "role", "web"]]);
        assert_eq!(d.relay.label().get("role"), Some("web"));
    }
    let mut d = Driver::with(Cut::Whole, &[("role", "web")], false);
    d.client(&q("RESET ALL")).sent(&q("RESET ALL"));
    d.server(&cz("RESET", b'I'));
    assert!(d.sql().starts_with("SELECT 's',name,setting"));
}

#[test]
fn d7_settings_that_a_time_out_of_somebody_cancels_are_set_again() {
    let cancelled = [
        e("57014", "canceling statement due to statement timeout"),
        z(b'I'),
    ]
    .concat();
    let mut d = Driver::new(Cut::Whole);
    d.known.label = crate::relay::Label::new([("statement_timeout", "1ms")]);
    d.client(&q("x")).sent(&q("RESET \"statement_timeout\";"));
    d.server(&cancelled)
        .sent(&q("RESET \"statement_timeout\";"));
    d.server(&cz("RESET", b'I')).sent(&q("x")).told(b"");
    // Without one it was a cancel, and the client's own statement is over.
    let mut d = Driver::new(Cut::Whole);
    d.known.label = crate::relay::Label::new([("work_mem", "1MB")]);
    d.client(&q("x")).server(&cancelled);
    assert!(d.relay.refusal().is_some());
    // What a RESET took is put back in the end.
    let mut d = Driver::with(Cut::Whole, &[("timezone", "UTC")], false);
    d.client(&q("DISCARD ALL"));
    d.to_server.clear();
    d.server(&cz("DISCARD ALL", b'I'));
    let restores = std::mem::take(&mut d.to_server);
    d.server(&cancelled).sent(&restores);
}

fn ends(d: &mut Driver) {
    let error = SqlError::fatal("08006", "gone");
    let Lost::Ends(error) = d.lose(&error) else {
        panic!("the session lives on without its state");
    };
    assert!(error.fatal);
    assert_eq!(error.code_str(), "57P01");
}

#[test]
fn e5_a_session_whose_state_dies_with_its_server_ends() {
    for cut in CUTS {
        let pinned = |text: &str, word: &str| {
            let mut d = Driver::new(cut);
            d.client(&q(text)).server(&cz("X", b'I'));
            probe(&mut d, &[&["p", word, "true"]]);
            d.held();
            d
        };
        ends(&mut pinned("LISTEN c", "LISTEN"));
        let mut d = pinned("SELECT pg_advisory_lock(1)", "advisory lock");
        // A request under way is answered with the same words.
        d.client(&q("select 1"));
        d.to_client.clear();
        ends(&mut d);
        d.told(b"");
        // What was answered, and is about to be asked for.
        let mut d = Driver::new(cut);
        d.client(&q("SET ROLE x")).server(&cz("SET", b'I')).held();
        ends(&mut d);
        // The same with the next request under way: nothing was asked yet.
        let mut d = Driver::new(cut);
        d.client(&[q("SET ROLE x"), q("select 1")].concat());
        d.server(&cz("SET", b'I'));
        ends(&mut d);
        // A lock outlives its transaction.
        let mut d = Driver::new(cut);
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&q("SELECT pg_advisory_lock(1)"))
            .server(&cz("X", b'T'));
        ends(&mut d);
    }
}

#[test]
fn e5_a_session_that_lost_only_what_its_client_is_told_of_lives() {
    let gone = SqlError::error("57P01", "gone");
    // A setting that was never set.
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SET ROLE x"));
    assert_eq!(d.lose(&gone), Lost::Lives);
    d.told(&[e("57P01", "gone"), z(b'I')].concat());
    // One that went with its transaction.
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.client(&q("SET ROLE x")).server(&cz("SET", b'T'));
    assert_eq!(d.lose(&gone), Lost::Lives);
    // A sequence: `currval` is an error then.
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SELECT nextval('s')"))
        .server(&cz("X", b'I'))
        .held();
    assert_eq!(d.lose(&gone), Lost::Lives);
}

#[test]
fn d9_d14_the_protocol_ends_a_tie_as_sql_does() {
    for (tie, word, closes) in [
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "cursor with hold",
            close('P', "c"),
        ),
        ("PREPARE p AS SELECT 1", "SQL PREPARE", close('S', "p")),
    ] {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q(tie)).server(&cz("X", b'I'));
        probe(&mut d, &[&["p", word, "true"]]);
        d.held().to_server.clear();
        let all = [closes, SYNC.to_vec()].concat();
        d.client(&all).sent(&all);
        d.server(&[CLOSED, &z(b'I')].concat()).held();
        assert!(d.sql().contains(word));
        probe(&mut d, &[&["p", word, "false"]]);
        d.released();
    }
}

#[test]
fn d9_d10_d14_a_session_is_pinned_until_the_server_says_otherwise() {
    for cut in CUTS {
        for (text, word) in [
            (
                "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                "cursor with hold",
            ),
            ("SELECT pg_advisory_lock(1)", "advisory lock"),
            ("CREATE TEMP TABLE t (a int)", "temporary table"),
            ("LISTEN c", "LISTEN"),
            ("PREPARE p AS SELECT 1", "SQL PREPARE"),
        ] {
            let mut d = Driver::new(cut);
            d.client(&q(text)).server(&cz("X", b'I')).held();
            probe(&mut d, &[&["p", word, "true"]]);
            d.held();
            assert!(d.relay.is_pinned(&d.known));
            assert_eq!(d.relay.pin_reason(), Some(format!("{word}: {text}")));
            // A statement that touches nothing asks nothing, and stays.
            d.to_server.clear();
            d.client(&q("select 1"))
                .sent(&q("select 1"))
                .server(&cz("X", b'I'))
                .held();
            d.client(&q("DISCARD ALL")).server(&cz("DISCARD ALL", b'I'));
            probe(&mut d, &[&["p", word, "false"]]);
            d.released();
            assert_eq!(d.relay.pin_reason(), None);
        }
    }
}

#[test]
fn d7_a_question_that_is_cancelled_is_asked_again() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SET statement_timeout = 1"));
    d.to_server.clear();
    d.server(&cz("SET", b'I'));
    let question = std::mem::take(&mut d.to_server);
    let cancelled = [
        e("57014", "canceling statement due to statement timeout"),
        z(b'I'),
    ]
    .concat();
    d.to_client.clear();
    d.server(&cancelled).sent(&question).told(b"").held();
    // Half of an answer is none.
    let half = [
        message(b'T', b"\0\0"),
        row(&["s", "statement_timeout", "9"]),
    ]
    .concat();
    d.server(&half).server(&cancelled).sent(&question).told(b"");
    probe(&mut d, &[&["s", "statement_timeout", "1ms"]]);
    d.released();
    assert_eq!(d.relay.label().get("statement_timeout"), Some("1ms"));
}

#[test]
fn d7_a_question_that_is_always_cancelled_pins() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SET statement_timeout = 1"))
        .server(&cz("SET", b'I'));
    let cancelled = [
        e("57014", "canceling statement due to statement timeout"),
        z(b'I'),
    ]
    .concat();
    let mut asked = 0;
    while !d.to_server.is_empty() {
        d.to_server.clear();
        d.server(&cancelled);
        asked += 1;
        assert!(asked < 100, "it is asked for ever");
    }
    d.held();
    assert!(d.relay.pin_reason().is_some());
}

#[test]
fn d10_a_lock_that_was_not_got_does_not_pin() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SELECT pg_try_advisory_lock(1)"))
        .server(&cz("X", b'I'))
        .held();
    probe(&mut d, &[&["p", "advisory lock", "false"]]);
    d.released();
}

#[test]
fn d11_a_pinned_session_hears_its_notifications() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("LISTEN c")).server(&cz("LISTEN", b'I'));
        probe(&mut d, &[&["p", "LISTEN", "true"]]);
        let heard = message(b'A', b"\0\0\0\x01c\0hi\0");
        d.held().server(&heard).told(&heard).held();
    }
}

#[test]
fn d8_what_a_client_leaves_is_discarded() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("CREATE TEMP TABLE t (a int)"))
        .server(&cz("CREATE TABLE", b'I'));
    probe(&mut d, &[&["p", "temporary table", "true"]]);
    d.to_server.clear();
    assert_eq!(d.leave(), crate::relay::Leaving::Wait);
    assert_eq!(d.sql(), "DISCARD ALL");
    d.server(&cz("DISCARD ALL", b'I'));
    assert_eq!(d.leave(), crate::relay::Leaving::Clean);
}

#[test]
fn d12_nextval_keeps_its_server_until_it_is_forgotten() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SELECT nextval('s')"))
        .server(&cz("X", b'I'))
        .held();
    assert!(d.relay.is_softly_pinned(&d.known));
    d.to_server.clear();
    d.to_client.clear();
    let (relay, mut io) = d.io();
    relay.forget_sequences(&mut io);
    d.sent(&q("DISCARD SEQUENCES"));
    // What the client sends meanwhile waits for that.
    d.client(&q("one")).sent(b"");
    d.server(&cz("DISCARD SEQUENCES", b'I'));
    d.sent(&q("one")).server(&cz("ONE", b'I')).released();
    d.told(&cz("ONE", b'I'));

    // With more than that it is pinned for good.
    d.client(&q("LOAD 'x'; SELECT nextval('s')"))
        .server(&cz("X", b'I'))
        .held();
    assert!(!d.relay.is_softly_pinned(&d.known));
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SELECT nextval('s')"))
        .server(&cz("X", b'I'))
        .held();
    d.client(&q("SELECT currval('s')"))
        .server(&cz("X", b'I'))
        .held();
    d.client(&q("DISCARD SEQUENCES"))
        .server(&cz("DISCARD SEQUENCES", b'I'))
        .released();
}

#[test]
fn d12_what_nobody_can_be_asked_about_stays_until_discard_all() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("LOAD 'x'")).server(&cz("LOAD", b'I')).held();
    d.client(&q("select 1")).server(&cz("X", b'I')).held();
    d.to_server.clear();
    d.client(&q("DISCARD ALL")).server(&cz("DISCARD ALL", b'I'));
    d.server(&cz("SELECT", b'I')).released();
}

#[test]
fn a_question_that_fails_keeps_the_server() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SET statement_timeout = 1"))
        .server(&cz("SET", b'I'));
    d.server(&[e("53200", "out of memory"), z(b'I')].concat());
    d.held();
    assert!(d.relay.is_pinned(&d.known));
}

#[test]
fn a7_parameters_of_another_server_are_told() {
    let mut d = Driver::new(Cut::Whole);
    d.known.params = crate::relay::Params::new([("TimeZone", "UTC"), ("server_version", "17.0")]);
    d.client(&q("x"))
        .told(&message(b'S', b"server_version\x0017.0\0"));
}

#[test]
fn d6_statements_behind_a_reset_find_the_clients_own_start() {
    for cut in CUTS {
        let mut d = Driver::with(cut, &[("timezone", "Europe/Paris")], false);
        let (head, tail) = (
            "/* é */ select 0; RESET timezone;",
            " select now(); nonsense",
        );
        let put_back = " SET \"timezone\" TO 'Europe/Paris';";
        d.client(&q(&format!("{head}{tail}")));
        d.sent(&q(&format!("{head}{put_back}{tail}")));
        let of = |value: &str| [message(b'T', b"\0\0"), row(&[value]), c("SELECT 1")].concat();
        d.server(&[of("0"), c("RESET"), c("SET"), of("now")].concat());
        d.told(&[of("0"), c("RESET"), of("now")].concat());
        // Characters are counted, from 1.
        let sent = format!("{head}{put_back} select now(); ").chars().count() + 1;
        let meant = format!("{head} select now(); ").chars().count() + 1;
        let error = |at: usize| {
            let fields = format!("SERROR\0VERROR\0C42601\0Mx\0P{at}\0\0");
            [message(b'E', fields.as_bytes()), z(b'I')].concat()
        };
        d.server(&error(sent)).told(&error(meant));
        // All is asked for: what was rolled back is not known.
        assert!(d.sql().contains("current_setting('timezone',true)"));
        d.server(&cz("SELECT 0", b'I')).released();
        // Nothing to put back: the text is its own.
        let mut d = Driver::with(cut, &[("timezone", "Europe/Paris")], false);
        let text = "RESET lock_timeout; select 1";
        d.client(&q(text)).sent(&q(text));
    }
}
