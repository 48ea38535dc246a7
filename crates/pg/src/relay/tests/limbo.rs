//! The extended protocol in a transaction whose server is gone: what a client prepares and closes
//! then is so when the transaction is over.

use super::driver::*;
use crate::relay::Lost;
use crate::wire::SqlError;

const REFUSED: &str = "25P02";

/// A client with `a` prepared and a transaction that is lost; it knows.
fn lost(cut: Cut, text: &str) -> Driver {
    let mut d = Driver::new(cut);
    d.client(&[parse("a", text), SYNC.to_vec()].concat());
    d.server(&[PARSED, &z(b'I')].concat());
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.client(&q("select 1"));
    assert_eq!(d.lose(&SqlError::error("08006", "gone")), Lost::Lives);
    d.to_server.clear();
    d.to_client.clear();
    d
}

/// Its answers: their types, with the code of an error.
fn told(d: &mut Driver) -> String {
    let mut told = String::new();
    let bytes = std::mem::take(&mut d.to_client);
    let mut rest = &bytes[..];
    while let Some(frame) = crate::wire::frame::Frame::decode(rest).unwrap() {
        told.push(char::from(frame.tag));
        if frame.tag == b'E' {
            told.push_str(SqlError::decode(frame.body_of(rest).unwrap()).code_str());
        }
        rest = &rest[frame.total()..];
    }
    told
}

fn rolls_back(d: &mut Driver) {
    d.client(&q("rollback"));
    assert_eq!(told(d), "CZ");
}

#[test]
fn c6_a_name_that_is_closed_in_a_lost_transaction_can_be_given_anew() {
    for cut in CUTS {
        let mut d = lost(cut, "select limbo one");
        d.client(&[close('S', "a"), SYNC.to_vec()].concat());
        assert_eq!(told(&mut d), "3Z");
        rolls_back(&mut d);
        assert!(d.relay.statement(b"a").is_none());
        d.client(&[parse("a", "select limbo two"), SYNC.to_vec()].concat());
        assert!(show(&d.to_server).contains("select limbo two"));
    }
}

#[test]
fn e5_the_end_of_a_lost_transaction_that_is_prepared_by_name_keeps_it() {
    for cut in CUTS {
        let mut d = lost(cut, "select limbo three");
        let steps = [parse("end", "rollback"), bind("", "end"), execute("")].concat();
        d.client(&[&steps, SYNC].concat());
        assert_eq!(told(&mut d), "12CZ");
        d.client(&[bind("", "end"), execute(""), SYNC.to_vec()].concat());
        let ours = server_name(&d.to_server);
        let steps = [bind("", &ours), execute("")].concat();
        d.sent(&[parse(&ours, "rollback"), steps, SYNC.to_vec()].concat());
    }
}

#[test]
fn c5_a_name_that_is_taken_is_so_in_a_lost_transaction() {
    for cut in CUTS {
        let mut d = lost(cut, "select limbo four");
        d.client(&[parse("a", "rollback"), bind("", "a"), SYNC.to_vec()].concat());
        assert_eq!(told(&mut d), "E42P05Z");
        rolls_back(&mut d);
        assert!(d.relay.statement(b"a").is_some());
    }
}

#[test]
fn c11_the_unnamed_statement_of_a_lost_transaction_is_the_last_one() {
    for cut in CUTS {
        let mut d = lost(cut, "select limbo five");
        let end = [
            parse("", "commit"),
            SYNC.to_vec(),
            bind("", ""),
            execute(""),
        ];
        d.client(&[&end.concat(), SYNC].concat());
        assert_eq!(told(&mut d), "1Z2CZ");
        let mut d = lost(cut, "select limbo five");
        d.client(&[&parse("", "select 2"), SYNC, &bind("", ""), SYNC].concat());
        assert_eq!(told(&mut d), format!("E{REFUSED}ZE{REFUSED}Z"));
        rolls_back(&mut d);
        d.client(&[&bind("", ""), SYNC].concat());
        // PostgreSQL has none, either.
        d.sent(&[&bind("", "canter_?"), SYNC].concat());
    }
}

#[test]
fn e5_nobody_tells_the_shape_of_rows_in_a_lost_transaction() {
    for cut in CUTS {
        let mut d = lost(cut, "select limbo six");
        d.client(&[&describe('S', "a"), SYNC].concat());
        assert_eq!(told(&mut d), format!("E{REFUSED}Z"));
        let end = [parse("", "rollback"), describe('S', "")].concat();
        d.client(&[&end, SYNC].concat());
        assert_eq!(told(&mut d), "1tnZ");
        d.client(&[&execute(""), SYNC].concat());
        assert_eq!(told(&mut d), format!("E{REFUSED}Z"));
    }
}
