//! Statements that are prepared before there is a server.

use std::num::NonZeroUsize;

use super::driver::*;

fn in_pool(number: usize) -> Driver {
    let mut d = Driver::new(Cut::Whole);
    d.relay.served_by(NonZeroUsize::new(number));
    d
}

fn prepare(name: &str, text: &str) -> Vec<u8> {
    [parse(name, text), SYNC.to_vec()].concat()
}

fn ready() -> Vec<u8> {
    [PARSED, &z(b'I')].concat()
}

/// One client of pool 1 that has this statement from a server; the name there.
fn proven(text: &str) -> (Driver, String) {
    let mut d = in_pool(1);
    d.client(&prepare("s", text));
    let name = server_name(&std::mem::take(&mut d.to_server));
    d.server(&ready()).told(&ready()).released();
    (d, name)
}

#[test]
fn c1_a_statement_that_a_server_has_taken_is_prepared_without_one() {
    let (_first, name) = proven("select early");
    let mut d = in_pool(1);
    d.client(&prepare("mine", "select early"));
    d.told(&ready()).sent(b"").released();
    assert_eq!(d.leases, 0);
    // Where it is used, it is put in.
    d.client(&[bind("", "mine"), execute(""), SYNC.to_vec()].concat());
    let run = [bind("", &name), execute(""), SYNC.to_vec()].concat();
    d.sent(&[parse(&name, "select early"), run].concat());
    let done = [BOUND, &cz("SELECT 1", b'I')].concat();
    d.server(&[PARSED, &done].concat()).told(&done).released();
}

#[test]
fn c1_a_server_is_asked_whenever_it_may_say_something_else() {
    let (_first, _) = proven("select asked");
    let asks = |d: &mut Driver, bytes: &[u8]| {
        let before = d.leases;
        d.client(bytes);
        assert_eq!(d.leases, before + 1, "{}", show(bytes));
    };
    // Another pool, another text, no name, a description to be given, no end yet.
    asks(&mut in_pool(2), &prepare("s", "select asked"));
    asks(&mut in_pool(0), &prepare("s", "select asked"));
    asks(&mut in_pool(1), &prepare("s", "select asked otherwise"));
    asks(&mut in_pool(1), &prepare("", "select asked"));
    let described = [
        parse("s", "select asked"),
        describe('S', "s"),
        SYNC.to_vec(),
    ]
    .concat();
    asks(&mut in_pool(1), &described);
    asks(&mut in_pool(1), &parse("s", "select asked"));
    // A name that is taken.
    let (mut d, _) = proven("select taken");
    asks(&mut d, &prepare("s", "select asked"));
    // In a transaction there is a server.
    let mut d = in_pool(1);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.to_client.clear();
    d.client(&prepare("s", "select asked"));
    assert!(!d.to_server.is_empty());
}

#[test]
fn c4_a_parse_that_failed_proves_nothing() {
    let mut d = in_pool(1);
    let failed = [e("42P01", "no table"), z(b'I')].concat();
    for _ in 0..2 {
        d.client(&prepare("s", "select from nothing"));
        assert!(!std::mem::take(&mut d.to_server).is_empty());
        d.server(&failed).told(&failed).released();
    }
}

#[test]
fn c4_a_statement_that_is_refused_after_all_is_refused_where_it_is_used() {
    let (_first, name) = proven("select dropped");
    let mut d = in_pool(1);
    d.client(&prepare("s", "select dropped")).told(&ready());
    let run = |name: &str| [bind("", name), execute(""), SYNC.to_vec()].concat();
    let failed = [e("42P01", "no table"), z(b'I')].concat();
    for _ in 0..2 {
        d.client(&run("s"));
        d.sent(&[parse(&name, "select dropped"), run(&name)].concat());
        d.server(&failed).told(&failed).released();
    }
}

#[test]
fn c8_d6_what_a_portal_takes_is_known_though_an_earlier_answer_comes_before_its_execute() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&[&parse("a", "select 1"), SYNC].concat());
        d.server(&[PARSED, &z(b'I')].concat()).released();
        assert!(d.known.prepared.names().any(|(_, is_ready)| is_ready));
        let steps = [parse("", "deallocate a"), bind("", "")].concat();
        d.client(&[q("select 2"), steps].concat());
        d.server(&cz("SELECT 1", b'I'));
        d.client(&[&execute(""), SYNC].concat());
        let answer = [PARSED, PARSED, BOUND, &cz("DEALLOCATE", b'I')].concat();
        d.server(&answer).released();
        assert!(!d.known.prepared.names().any(|(_, is_ready)| is_ready));
    }
}

#[test]
fn c8_an_error_of_an_earlier_segment_leaves_what_a_portal_of_the_next_one_takes() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        for (name, text) in [("a", "select 1"), ("b", "select 2")] {
            d.client(&[&parse(name, text), SYNC].concat());
            d.server(&ready()).released();
        }
        let ready_ones = |d: &Driver| d.known.prepared.names().filter(|(_, is)| *is).count();
        assert_eq!(ready_ones(&d), 2);
        let bound = |text| [parse("", text), bind("", "")].concat();
        let failing = [parse("", "selec"), bound("deallocate a"), execute("")].concat();
        d.client(&[&failing, SYNC, &bound("deallocate b")].concat());
        d.server(&[e("42601", "syntax"), z(b'I')].concat());
        d.client(&[&execute(""), SYNC].concat());
        let answer = [PARSED, PARSED, BOUND, &cz("DEALLOCATE", b'I')].concat();
        d.server(&answer).released();
        // That of the first one is there still, and prepared anew where it is used.
        assert_eq!(ready_ones(&d), 0, "{cut:?}");
        assert!(d.relay.statement(b"a").is_some());
        assert!(d.relay.statement(b"b").is_none());
    }
}

#[test]
fn d6_portals_that_reset_are_forgotten_though_their_client_always_sends_ahead() {
    for cut in CUTS {
        let mut d = Driver::with(cut, &[("search_path", "a")], false);
        let resets = |number: usize| {
            let portal = format!("p{number}");
            let steps = [parse("", "reset search_path"), bind(&portal, "")].concat();
            [&steps, &execute(&portal), SYNC].concat()
        };
        d.client(&resets(0));
        // What is put back: closed, prepared, bound, run, closed, and closed once more.
        let back = [CLOSED, PARSED, BOUND, &c("SET"), CLOSED, CLOSED].concat();
        let answer = [PARSED, BOUND, &c("RESET"), &back, &z(b'I')].concat();
        for number in 1..50 {
            d.client(&resets(number)).server(&answer);
            assert!(d.broken.is_none(), "{:?}", d.broken);
            assert!(d.relay.takers.len() <= 2, "{}", d.relay.takers.len());
        }
    }
}
