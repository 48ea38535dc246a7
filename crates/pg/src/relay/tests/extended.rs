//! Prepared statements and the extended protocol.

use super::driver::*;
use crate::relay::Lost;
use crate::wire::{SqlError, build};

pub(super) fn prepared(d: &mut Driver, text: &str) -> String {
    d.client(&[parse("s", text), SYNC.to_vec()].concat());
    let name = server_name(&std::mem::take(&mut d.to_server));
    let done = [PARSED, &z(b'I')].concat();
    d.server(&done).told(&done).released();
    name
}

pub(super) fn run(name: &str) -> Vec<u8> {
    [bind("", name), execute(""), SYNC.to_vec()].concat()
}

/// As libpq does it: the shape of the result is asked for each time.
fn shown(name: &str) -> Vec<u8> {
    [
        bind("", name),
        describe('P', ""),
        execute(""),
        SYNC.to_vec(),
    ]
    .concat()
}

fn done_shown() -> Vec<u8> {
    [BOUND, build::NO_DATA, &cz("SELECT 1", b'I')].concat()
}

pub(super) fn done() -> Vec<u8> {
    [BOUND, &cz("SELECT 1", b'I')].concat()
}

#[test]
fn b2_b3_the_server_stays_from_the_first_message_to_the_answer_of_the_sync() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&[parse("", "x"), build::FLUSH.to_vec()].concat());
        d.sent(&[parse("", "x"), build::FLUSH.to_vec()].concat());
        d.server(PARSED).told(PARSED).held();
        d.client(SYNC)
            .sent(SYNC)
            .server(&z(b'I'))
            .told(&z(b'I'))
            .released();
        // A Sync alone needs no server.
        d.client(SYNC).told(&z(b'I')).sent(b"").released();
    }
}

#[test]
fn b3_an_error_skips_to_its_own_sync_only() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let one = [parse("", "x"), bind("", ""), execute(""), SYNC.to_vec()].concat();
        d.client(&[one.clone(), one.clone()].concat());
        d.server(&[PARSED.to_vec(), e("22012", "x"), z(b'I')].concat())
            .held();
        let rest = [PARSED, &done()].concat();
        d.to_client.clear();
        d.server(&rest).told(&rest).released();
    }
}

#[test]
fn b4_a_suspended_portal_keeps_its_server() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&[parse("", "x"), bind("p", ""), execute("p"), SYNC.to_vec()].concat());
        let suspended = message(b's', b"");
        d.to_client.clear();
        let first = [PARSED, BOUND, &row(&["1"]), &suspended, &z(b'T')].concat();
        d.server(&first).told(&first).held();
        d.client(&[execute("p"), SYNC.to_vec()].concat());
        d.server(&[row(&["2"]), c("SELECT 1"), z(b'T')].concat())
            .held();
        assert_eq!(d.leases, 1);
    }
}

#[test]
fn c2_c3_a_statement_gets_our_name_and_is_prepared_where_it_is_used() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = prepared(&mut d, "select c2");
        d.client(&run("s"))
            .sent(&run(&ours))
            .server(&done())
            .told(&done())
            .released();
        // Another server: Parse is put in, its answer is not seen.
        d.known.prepared.clear();
        d.client(&run("s"))
            .sent(&[parse(&ours, "select c2"), run(&ours)].concat());
        d.server(&[PARSED, &done()].concat())
            .told(&done())
            .released();
        // Another client with the same text: answered here, in order.
        d.client(
            &[
                bind("", "s"),
                parse("t", "select c2"),
                describe('S', "t"),
                SYNC.to_vec(),
            ]
            .concat(),
        );
        d.sent(&[bind("", &ours), describe('S', &ours), SYNC.to_vec()].concat());
        d.server(&[BOUND, build::NO_PARAMETERS, build::NO_DATA, &z(b'I')].concat());
        d.told(
            &[
                BOUND,
                PARSED,
                build::NO_PARAMETERS,
                build::NO_DATA,
                &z(b'I'),
            ]
            .concat(),
        );
    }
}

#[test]
fn c4_a_parse_that_failed_is_remembered_nowhere() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        for _ in 0..2 {
            d.client(&[parse("s", "bad c4"), SYNC.to_vec()].concat());
            assert!(!d.to_server.is_empty(), "it is asked again");
            d.to_server.clear();
            d.server(&[e("42601", "x"), z(b'I')].concat()).released();
        }
        // Skipped after an earlier error of the same segment.
        d.client(&[parse("", "bad"), parse("s", "good c4"), SYNC.to_vec()].concat());
        d.server(&[e("42601", "x"), z(b'I')].concat()).released();
        d.to_server.clear();
        d.client(&[parse("s", "good c4"), SYNC.to_vec()].concat());
        assert!(show(&d.to_server).contains("good c4"));
    }
}

#[test]
fn c4_a_parse_put_in_and_skipped_is_put_in_again() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = prepared(&mut d, "select c4b");
        d.known.prepared.clear();
        d.client(
            &[
                parse("", "bad"),
                bind("", "s"),
                SYNC.to_vec(),
                bind("", "s"),
            ]
            .concat(),
        );
        // The second segment waits: whether the Parse of the first was skipped is not known.
        d.sent(
            &[
                parse("", "bad"),
                parse(&ours, "select c4b"),
                bind("", &ours),
                SYNC.to_vec(),
            ]
            .concat(),
        );
        d.server(&[e("42601", "x"), z(b'I')].concat());
        d.sent(&[parse(&ours, "select c4b"), bind("", &ours)].concat());
    }
}

#[test]
fn c5_a_name_that_is_taken_is_refused_like_postgresql_does() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = prepared(&mut d, "select c5");
        d.client(&[parse("s", "other"), SYNC.to_vec()].concat());
        d.sent(&[parse(&ours, "other"), SYNC.to_vec()].concat());
        d.server(
            &[
                e(
                    "42P05",
                    &format!("prepared statement \"{ours}\" already exists"),
                ),
                z(b'I'),
            ]
            .concat(),
        );
        d.told(
            &[
                e("42P05", "prepared statement \"s\" already exists"),
                z(b'I'),
            ]
            .concat(),
        );
        d.client(&run("s")).sent(&run(&ours));
    }
}

#[test]
fn c5_an_unknown_name_goes_to_the_server_but_never_one_of_ours() {
    let mut d = Driver::new(Cut::Whole);
    let ours = prepared(&mut d, "select c5b");
    d.client(&run("nobody")).sent(&run("nobody"));
    d.server(&[e("26000", "x"), z(b'I')].concat()).released();
    let nobodys = format!("canter_?{ours}");
    let refused = |name: &str, words: &str| {
        let words = words.replace('%', name);
        [e("26000", &words), z(b'I')].concat()
    };
    d.to_client.clear();
    // The words are about the name that the client gave.
    d.client(&run(&ours)).sent(&run(&nobodys));
    d.server(&refused(
        &nobodys,
        "prepared statement \"%\" does not exist",
    ));
    d.told(&refused(&ours, "prepared statement \"%\" does not exist"));
    d.client(&[describe('S', &ours), SYNC.to_vec()].concat());
    d.sent(&[describe('S', &nobodys), SYNC.to_vec()].concat());
}

#[test]
fn c5_errors_tell_a_statement_by_the_clients_name() {
    let mut d = Driver::new(Cut::Whole);
    let ours = prepared(&mut d, "select c5c, $1");
    d.to_client.clear();
    let refused = |name: &str| {
        let words = format!("bind message supplies 0 parameters, but \"{name}\" requires 1");
        [e("08P01", &words), z(b'I')].concat()
    };
    d.client(&run("s"))
        .server(&refused(&ours))
        .told(&refused("s"));
    d.client(&run(""));
    let words = "prepared statement \"canter_?\" does not exist";
    d.server(&[e("26000", words), z(b'I')].concat());
    let words = "unnamed prepared statement does not exist";
    d.told(&[e("26000", words), z(b'I')].concat());
}

#[test]
fn c7_the_oldest_statements_are_closed_between_transactions() {
    let mut d = Driver::new(Cut::Whole);
    d.known = crate::relay::Known::new(std::rc::Rc::clone(&d.known.params), 2);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    let mut names = Vec::new();
    for n in 0..4 {
        d.to_server.clear();
        d.client(
            &[
                parse(&format!("s{n}"), &format!("select c7 {n}")),
                SYNC.to_vec(),
            ]
            .concat(),
        );
        names.push(server_name(&d.to_server));
        d.server(&[PARSED, &z(b'T')].concat());
    }
    d.client(&run("s0"))
        .server(&[BOUND, &cz("SELECT 1", b'T')].concat());
    d.to_server.clear();
    d.client(&q("commit"))
        .sent(&q("commit"))
        .server(&cz("COMMIT", b'I'))
        .held();
    d.sent(&[close('S', &names[1]), close('S', &names[2]), SYNC.to_vec()].concat());
    d.to_client.clear();
    d.server(&[CLOSED, CLOSED, &z(b'I')].concat())
        .told(b"")
        .released();
    assert_eq!(d.known.prepared.len(), 2);
}

#[test]
fn c8_deallocate_takes_the_name_from_this_client_only() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        prepared(&mut d, "select c8");
        let leases = d.leases;
        d.client(&q("DEALLOCATE s"))
            .told(&cz("DEALLOCATE", b'I'))
            .sent(b"");
        prepared(&mut d, "select c8 again");
        d.client(&q("DEALLOCATE ALL"))
            .told(&cz("DEALLOCATE ALL", b'I'))
            .sent(b"");
        assert_eq!(d.leases, leases + 1);
        // A name nobody knows is the server's to refuse.
        d.client(&q("DEALLOCATE s")).sent(&q("DEALLOCATE s"));
    }
}

#[test]
fn c8_deallocate_finds_the_name_beside_those_of_sql() {
    let mut d = Driver::new(Cut::Whole);
    prepared(&mut d, "select c8");
    d.client(&q("BEGIN")).server(&cz("BEGIN", b'T'));
    d.client(&q("PREPARE p AS SELECT 1"));
    d.server(&cz("PREPARE", b'T')).held();
    d.to_client.clear();
    d.to_server.clear();
    d.client(&q("DEALLOCATE s")).sent(b"");
    d.told(&cz("DEALLOCATE", b'T'));
    for text in ["DEALLOCATE s", "DEALLOCATE p"] {
        d.client(&q(text)).sent(&q(text));
        d.server(&cz("DEALLOCATE", b'T')).to_client.clear();
    }
}

#[test]
fn c8_deallocate_by_the_extended_protocol_names_the_statement_on_the_server() {
    for cut in CUTS {
        for named in ["", "d"] {
            let mut d = Driver::new(cut);
            let ours = prepared(&mut d, "select c8 extended");
            d.client(&[parse(named, "DEALLOCATE s"), SYNC.to_vec()].concat());
            let theirs = match named {
                "" => String::new(),
                _ => server_name(&d.to_server),
            };
            d.sent(&[parse(&theirs, "DEALLOCATE s"), SYNC.to_vec()].concat());
            let parsed = [PARSED, &z(b'I')].concat();
            d.server(&parsed).told(&parsed).released();
            // Parsed is not run, and neither is bound.
            d.client(&run("s")).sent(&run(&ours)).server(&done());
            d.told(&done());
            let on_server = parse("", &format!("DEALLOCATE {ours}"));
            let bound = [on_server.clone(), bind("", ""), SYNC.to_vec()].concat();
            d.client(&[bind("", named), SYNC.to_vec()].concat());
            d.sent(&bound).server(&[PARSED, BOUND, &z(b'I')].concat());
            d.told(&[BOUND, &z(b'I')].concat()).released();
            d.client(&run("s")).sent(&run(&ours)).server(&done());
            d.told(&done());
            // Nor when it failed.
            d.client(&run(named));
            let all = [on_server, bind("", ""), execute(""), SYNC.to_vec()].concat();
            d.sent(&all);
            let failed = [BOUND, &e("57014", "x"), &z(b'I')].concat();
            d.server(&[PARSED, &failed].concat()).told(&failed);
            let anew = [close('S', &ours), parse(&ours, "select c8 extended")].concat();
            d.client(&run("s")).sent(&[&anew[..], &run(&ours)].concat());
            d.server(&[CLOSED, PARSED, &done()].concat()).told(&done());
            d.client(&run(named)).sent(&all);
            let gone = [BOUND, &cz("DEALLOCATE", b'I')].concat();
            d.server(&[PARSED, &gone].concat()).told(&gone).released();
            d.client(&run("s")).sent(&run("s"));
            d.server(&[e("26000", "x"), z(b'I')].concat())
                .to_client
                .clear();
            d.client(&[parse("s", "select c8 extended"), SYNC.to_vec()].concat());
            d.sent(&[&anew[..], SYNC].concat());
        }
    }
}

#[test]
fn c8_discard_all_clears_this_client_and_this_server() {
    let mut d = Driver::new(Cut::Whole);
    prepared(&mut d, "select c8 discard");
    d.client(&q("DISCARD ALL")).server(&cz("DISCARD ALL", b'I'));
    assert_eq!(d.known.prepared.len(), 0);
}

#[test]
fn c10_a_stale_plan_is_closed_before_the_next_use() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = prepared(&mut d, "select * from c10");
        let stale = [e("0A000", "cached plan must not change"), z(b'I')].concat();
        let anew = [
            close('S', &ours),
            parse(&ours, "select * from c10"),
            run(&ours),
        ]
        .concat();
        // In a transaction the client is told, and it is closed before the next use.
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        let failed = [e("0A000", "cached plan must not change"), z(b'E')].concat();
        d.client(&run("s")).server(&failed);
        d.client(&q("rollback")).server(&cz("ROLLBACK", b'I'));
        d.released().to_client.clear();
        d.to_server.clear();
        d.client(&run("s")).sent(&anew);
        d.server(&[CLOSED, PARSED, &done()].concat())
            .told(&done())
            .released();
        // Outside of one it is run again, and what follows waits for it.
        let anew = [
            close('S', &ours),
            parse(&ours, "select * from c10"),
            shown(&ours),
        ]
        .concat();
        d.client(&shown("s")).sent(&shown(&ours));
        d.server(&stale[..stale.len() - 6]).told(b"");
        d.client(&q("next")).sent(b"").held();
        d.server(&stale[stale.len() - 6..]);
        d.told(b"").sent(&[&anew[..], &q("next")].concat());
        d.server(&[CLOSED, PARSED, &done_shown(), &cz("NEXT", b'I')].concat())
            .told(&[done_shown(), cz("NEXT", b'I')].concat())
            .released();
        // Once: what is wrong with it then is the client's to know.
        d.client(&shown("s")).server(&stale);
        d.sent(&[shown(&ours), anew.clone()].concat());
        let gone = [e("42703", "column does not exist"), z(b'I')].concat();
        d.server(&[CLOSED, &gone].concat()).told(&gone).released();
    }
}

#[test]
fn c10_who_does_not_ask_for_the_new_shape_is_told_that_it_changed() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = prepared(&mut d, "select * from c10 unasked");
        let stale = [e("0A000", "cached plan must not change"), z(b'I')].concat();
        // asyncpg and pgjdbc ask once, and read what comes by that.
        d.client(&run("s")).sent(&run(&ours));
        d.server(&stale).told(&stale).released();
        // The shape of the one behind it does not tell that of this one.
        let mut d = Driver::new(cut);
        prepared(&mut d, "select * from c10 behind");
        d.client(&[bind("", "s"), execute(""), shown("s")].concat())
            .server(&stale);
        d.told(&stale).released();
    }
}

#[test]
fn c10_after_a_change_of_schema_a_new_parse_is_read_anew() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let before = prepared(&mut d, "select c10 schema");
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&q("alter table c10 add x int"));
        d.server(&cz("ALTER TABLE", b'T')).to_server.clear();
        d.client(&[parse("inside", "select c10 schema"), SYNC.to_vec()].concat());
        let inside = server_name(&std::mem::take(&mut d.to_server));
        d.server(&[PARSED, &z(b'T')].concat());
        // What was true inside may not be true after it.
        d.client(&q("rollback")).server(&cz("ROLLBACK", b'I'));
        d.released().to_server.clear();
        d.client(&[parse("after", "select c10 schema"), SYNC.to_vec()].concat());
        let after = server_name(&std::mem::take(&mut d.to_server));
        let done = [PARSED, &z(b'I')].concat();
        d.to_client.clear();
        d.server(&done).told(&done).released();
        assert!(before != inside && before != after && inside != after);
        // Names given before keep what they have; without a change there is nothing to read.
        d.client(&run("s"))
            .sent(&run(&before))
            .server(&self::done());
        d.to_client.clear();
        d.client(&[parse("again", "select c10 schema"), SYNC.to_vec()].concat());
        d.sent(SYNC).server(&z(b'I')).told(&done).released();
    }
}

#[test]
fn c10_a_stale_plan_tells_of_a_change_by_others() {
    let mut d = Driver::new(Cut::Whole);
    let before = prepared(&mut d, "select c10 others");
    let stale = [e("0A000", "cached plan must not change"), z(b'E')].concat();
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.client(&run("s")).server(&stale);
    d.client(&q("rollback")).server(&cz("ROLLBACK", b'I'));
    d.released().to_server.clear();
    d.client(&[parse("t", "select c10 others"), SYNC.to_vec()].concat());
    assert_ne!(server_name(&d.to_server), before);
}

#[test]
fn c10_temporary_tables_cost_nobody_else_a_parse() {
    let mut d = Driver::new(Cut::Whole);
    let before = prepared(&mut d, "select c10 temp");
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.client(&q("create temp table x ()"));
    d.server(&cz("CREATE TABLE", b'T')).to_server.clear();
    d.client(&[parse("mine", "select c10 temp"), SYNC.to_vec()].concat());
    assert_ne!(server_name(&d.to_server), before);
    let other = Driver::new(Cut::Whole);
    let (known, mut other) = (d.known, other);
    other.known = known;
    other.known.status = crate::wire::TxStatus::Idle;
    other.client(&[parse("s", "select c10 temp"), SYNC.to_vec()].concat());
    other.sent(SYNC);
}

#[test]
fn c10_a_segment_without_its_sync_is_run_again_too() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = prepared(&mut d, "select * from c10_flush");
        let steps = |name: &str| {
            [
                bind("", name),
                describe('P', ""),
                execute(""),
                message(b'H', b""),
            ]
            .concat()
        };
        d.client(&steps("s")).sent(&steps(&ours));
        d.server(&e("0A000", "x")).sent(SYNC).told(b"");
        d.server(&z(b'I'));
        let anew = [close('S', &ours), parse(&ours, "select * from c10_flush")].concat();
        d.sent(&[anew, steps(&ours)].concat());
        d.server(&[CLOSED, PARSED, BOUND, build::NO_DATA, &c("X")].concat())
            .told(&[BOUND, build::NO_DATA, &c("X")].concat())
            .held();
        d.client(SYNC).sent(SYNC);
        d.server(&z(b'I')).told(&z(b'I')).released();
        // After the first answer it is too late.
        d.client(&steps("s")).sent(&steps(&ours));
        d.server(BOUND).told(BOUND);
        d.client(&bind("p", "s")).sent(&bind("p", &ours));
        let first = [build::NO_DATA, &c("X")].concat();
        d.server(&first).told(&first);
        d.server(&e("0A000", "x")).told(&e("0A000", "x")).sent(b"");
        d.client(SYNC).server(&z(b'I')).released();
        // A server that dies meanwhile is an error of the segment.
        d.client(&run("s"))
            .server(&[CLOSED, PARSED, &done()].concat())
            .released();
        d.to_server.clear();
        d.to_client.clear();
        d.client(&shown("s")).server(&e("0A000", "x"));
        assert_eq!(d.lose(&SqlError::error("08006", "gone")), Lost::Lives);
        d.told(&[e("08006", "gone"), z(b'I')].concat());
    }
}

#[test]
fn b3_c11_a_simple_query_ends_a_segment_without_sync() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let open = [parse("", "one"), describe('S', ""), message(b'H', b"")].concat();
        let answer = [PARSED, build::NO_PARAMETERS, build::NO_DATA].concat();
        d.client(&open).server(&answer).told(&answer).held();
        d.client(&q("two")).server(&cz("TWO", b'I')).released();
        d.to_server.clear();
        d.client(&run("")).sent(&run("canter_?"));
        // An error before it: the server ignores it, too.
        let mut d = Driver::new(cut);
        d.client(&[open, q("two")].concat());
        d.server(&e("42601", "x")).held();
        assert!(!d.relay.may_release(&d.known));
        d.client(SYNC).server(&z(b'I')).released();
    }
}

#[test]
fn c11_an_unnamed_statement_is_parsed_again_on_another_server() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let unnamed = parse("", "select c11");
        d.client(&[&unnamed[..], SYNC].concat())
            .server(&[PARSED, &z(b'I')].concat())
            .released();
        d.to_server.clear();
        d.to_client.clear();
        d.client(&run(""))
            .sent(&[unnamed.clone(), run("")].concat());
        d.server(&[PARSED, &done()].concat())
            .told(&done())
            .released();
        // A simple query takes it away, as in PostgreSQL.
        d.client(&q("x")).server(&cz("X", b'I'));
        d.to_server.clear();
        // Whatever somebody else left under no name on the server is not for this client.
        d.client(&run("")).sent(&run("canter_?"));
    }
}

#[test]
fn c12_names_texts_and_binds_longer_than_a_buffer() {
    let name = "n".repeat(40_000);
    let text = format!("select '{}'", "t".repeat(100_000));
    for cut in [Cut::Whole, Cut::Random(7)] {
        let mut d = Driver::new(cut);
        d.client(&[parse(&name, &text), SYNC.to_vec()].concat());
        let ours = server_name(&d.to_server);
        d.sent(&[parse(&ours, &text), SYNC.to_vec()].concat());
        d.server(&[PARSED, &z(b'I')].concat()).released();
        let parameters = format!("{}\0{name}\0{}", "p".repeat(9_000), "v".repeat(200_000));
        d.client(&message(b'B', parameters.as_bytes()));
        let expected = format!("{}\0{ours}\0{}", "p".repeat(9_000), "v".repeat(200_000));
        d.sent(&message(b'B', expected.as_bytes()));
    }
}
