//! What statements prepared in SQL may touch, when it is not known yet that they are there.

use super::driver::*;
use super::state::probe;

const PREPARED: &[&[&str]] = &[&["p", "SQL PREPARE", "true"]];
const NONE: &[&[&str]] = &[&["p", "SQL PREPARE", "false"]];
const ALL_SETTINGS: &str = "source OPERATOR(pg_catalog.=) 'session'";

/// What `q` does is not known: all settings are asked for once it has run.
fn execute_asks_for_all(d: &mut Driver) {
    d.client(&q("EXECUTE q"));
    d.to_server.clear();
    d.server(&cz("SELECT 1", b'I'));
    assert!(d.sql().contains(ALL_SETTINGS));
}

#[test]
fn d3_a_question_asked_before_a_prepare_does_not_answer_for_it() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("SET work_mem='64MB'; LISTEN c"));
    d.server(&cz("SET", b'I'));
    d.client(&q("PREPARE q AS SELECT set_config('app.tenant','7',false)"));
    probe(&mut d, NONE);
    d.server(&cz("PREPARE", b'I'));
    d.client(&q("EXECUTE q"));
    probe(&mut d, PREPARED);
    d.to_server.clear();
    d.server(&cz("SELECT 1", b'I'));
    let sql = d.sql();
    assert!(sql.contains("current_setting('app.tenant',true)"), "{sql}");
}

#[test]
fn d3_what_is_executed_while_the_server_is_asked_is_asked_for() {
    for between in ["", "PREPARE p AS SELECT 1"] {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q("SELECT mine()")).server(&cz("SELECT 1", b'I'));
        d.client(&q(between)).client(&q("EXECUTE q"));
        probe(&mut d, PREPARED);
        d.to_server.clear();
        d.server(&[cz("X", b'I'), cz("SELECT 1", b'I')].concat());
        let sql = d.sql();
        assert!(sql.contains(ALL_SETTINGS), "{between}: {sql}");
    }
}

#[test]
fn d3_a_statement_too_long_to_be_read_may_prepare_any_other() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("PREPARE p AS SELECT 1"))
        .server(&cz("PREPARE", b'I'));
    probe(&mut d, PREPARED);
    let long = "PREPARE q AS SELECT mine() --".to_owned() + &"x".repeat(17 << 20);
    let all = [parse("", &long), bind("", ""), execute(""), SYNC.to_vec()];
    d.client(&all.concat());
    d.server(&[PARSED, BOUND, &cz("PREPARE", b'I')].concat());
    probe(&mut d, PREPARED);
    execute_asks_for_all(&mut d);
}

#[test]
fn d3_a_text_that_only_the_server_can_read_may_prepare_any_other() {
    // In such an encoding the server answers in hexadecimal digits.
    let prepared: &[&[&str]] = &[&["p", "53514c2050524550415245", "74727565"]];
    let mut d = Driver::new(Cut::Whole);
    d.known.params = crate::relay::Params::new([("client_encoding", "SJIS")]);
    d.client(&q("PREPARE p AS SELECT 1"))
        .server(&cz("PREPARE", b'I'));
    probe(&mut d, prepared);
    let hides = b"SELECT E'\x83\\'; PREPARE q AS SELECT mine() --'\0";
    d.client(&message(b'Q', hides)).server(&cz("X", b'I'));
    probe(&mut d, prepared);
    execute_asks_for_all(&mut d);
}

#[test]
fn d6_only_what_stands_in_the_text_is_taken_as_put_back() {
    let start = [("lock_timeout", "1s"), ("timezone", "Europe/Paris")];
    let mut d = Driver::with(Cut::Whole, &start, false);
    let reset = [parse("", "RESET timezone"), bind("", "")];
    d.client(&[&reset.concat()[..], b"H\0\0\0\x04"].concat());
    d.server(&[PARSED, BOUND].concat());
    d.to_server.clear();
    d.client(&q("RESET lock_timeout; select 1"));
    let lock = "SET \"lock_timeout\" TO '1s'";
    assert_eq!(d.sql(), format!("RESET lock_timeout; {lock}; select 1"));
    d.server(&[c("RESET"), c("SET"), cz("SELECT 1", b'I')].concat());
    let sql = d.sql();
    assert!(
        sql.contains("set_config('timezone','Europe/Paris',false)"),
        "{sql}"
    );
    assert!(!sql.contains("lock_timeout"), "{sql}");
}

#[test]
fn c9_a_close_right_behind_a_prepare_takes_its_statement_away() {
    let mut d = Driver::new(Cut::Whole);
    let prepare = q("PREPARE p AS SELECT 1");
    d.client(&prepare).sent(&prepare);
    // The server is just being asked.
    d.server(&cz("PREPARE", b'I')).told(&cz("PREPARE", b'I'));
    d.to_server.clear();
    let closes = [close('S', "p"), SYNC.to_vec()].concat();
    d.client(&closes).sent(&closes);
    probe(&mut d, PREPARED);
    let closed = [CLOSED, &z(b'I')].concat();
    d.server(&closed).told(&closed);
    probe(&mut d, NONE);
    d.released();
}

#[test]
fn d3_what_sql_prepared_is_asked_for_when_the_protocol_runs_it() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("PREPARE p AS SELECT set_config('app.tenant','7',false)"));
    d.server(&cz("PREPARE", b'I'));
    probe(&mut d, PREPARED);
    d.to_server.clear();
    let runs = [bind("", "p"), execute(""), SYNC.to_vec()].concat();
    d.client(&runs).sent(&runs);
    d.server(&[BOUND, &cz("SELECT 1", b'I')].concat());
    let sql = d.sql();
    assert!(sql.contains("current_setting('app.tenant',true)"), "{sql}");
}
