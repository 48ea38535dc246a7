//! Statements whose result has another shape on a server than their client was told by another one.

use super::driver::*;
use crate::relay::Known;
use crate::wire::build;

/// A `RowDescription` of columns of these types.
fn shape(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = (columns.len() as u16).to_be_bytes().to_vec();
    for (name, kind) in columns {
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0; 7]);
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&[0xff; 8]);
    }
    message(b'T', &body)
}

/// A client that was told this shape of `a`, and the name of that on servers. The next server is
/// another one.
fn told(cut: Cut, text: &str, columns: &[(&str, u32)]) -> (Driver, String) {
    let mut d = pooled(cut);
    d.client(&[&parse("a", text), &describe('S', "a"), SYNC].concat());
    let ours = server_name(&d.to_server);
    d.sent(&[&parse(&ours, text), &describe('S', &ours), SYNC].concat());
    let answer = [PARSED, build::NO_PARAMETERS, &shape(columns), &z(b'I')].concat();
    d.server(&answer).told(&answer).released();
    another_server(&mut d);
    (d, ours)
}

fn pooled(cut: Cut) -> Driver {
    let mut d = Driver::new(cut);
    d.relay.served_by(Some(std::num::NonZeroUsize::MIN));
    d
}

fn another_server(d: &mut Driver) {
    d.known = Known::new(std::rc::Rc::clone(&d.known.params), 200);
}

fn run(name: &str) -> Vec<u8> {
    [&bind("", name), &execute(""), SYNC].concat()
}

/// What asks a server that did not have it for its shape.
fn asked(ours: &str, text: &str) -> Vec<u8> {
    let steps = [parse(ours, text), describe('S', ours)];
    [&steps.concat(), build::FLUSH].concat()
}

#[test]
fn c10_rows_of_another_shape_than_was_told_are_refused_as_by_postgresql() {
    let text = "select * from c10_shape";
    let refused = [
        e("0A000", "cached plan must not change result type"),
        z(b'I'),
    ]
    .concat();
    for cut in CUTS {
        for columns in [&[("a", 25)][..], &[("b", 23)], &[("a", 23), ("b", 23)], &[]] {
            let (mut d, ours) = told(cut, text, &[("a", 23)]);
            for asks in [true, false] {
                d.client(&run("a"));
                if asks {
                    d.sent(&asked(&ours, text));
                    d.server(&[PARSED, build::NO_PARAMETERS, &shape(columns)].concat());
                }
                d.sent(&run("canter_?shape")).told(b"");
                d.server(&[e("26000", "x"), z(b'I')].concat());
                d.told(&refused).released();
            }
            // Closed and prepared anew it is another one, and has the shape that is told then.
            let anew = [close('S', "a"), parse("a", text), describe('S', "a")].concat();
            d.client(&[&anew, SYNC].concat());
            let renewed = server_name(&d.to_server);
            assert_ne!(renewed, ours);
            d.to_server.clear();
            d.to_client.clear();
            d.server(&[PARSED, build::NO_PARAMETERS, &shape(columns), &z(b'I')].concat());
            d.client(&run("a")).sent(&run(&renewed));
        }
    }
}

#[test]
fn c10_a_server_with_the_shape_that_was_told_is_asked_once() {
    let text = "select * from c10_same";
    for cut in CUTS {
        let (mut d, ours) = told(cut, text, &[("a", 23)]);
        let done = [BOUND, &cz("SELECT 1", b'I')].concat();
        d.client(&run("a")).sent(&asked(&ours, text));
        d.server(&[PARSED, build::NO_PARAMETERS, &shape(&[("a", 23)])].concat());
        d.sent(&run(&ours)).server(&done).told(&done).released();
        d.client(&run("a")).sent(&run(&ours));
        d.server(&done).told(&done).released();
    }
}

#[test]
fn c10_who_is_told_the_shape_with_each_portal_does_not_wait_for_it() {
    let text = "select * from c10_portal";
    let (mut d, ours) = told(Cut::Whole, text, &[("a", 23)]);
    let steps = |name| [&bind("", name), &describe('P', ""), &execute(""), SYNC].concat();
    d.client(&steps("a"));
    d.sent(&[parse(&ours, text), steps(&ours)].concat());
}

#[test]
fn c10_an_error_before_the_shape_is_known_leaves_it_to_be_asked() {
    let text = "select * from c10_error";
    for cut in CUTS {
        let (mut d, ours) = told(cut, text, &[("a", 23)]);
        d.client(&[parse("", "bad"), run("a")].concat());
        let sent = [parse("", "bad"), asked(&ours, text)].concat();
        d.sent(&sent);
        let failed = [e("42601", "x"), z(b'I')].concat();
        d.server(&failed[..failed.len() - 6]);
        d.sent(SYNC).server(&z(b'I')).told(&failed).released();
        d.client(&run("a")).sent(&asked(&ours, text));
    }
}

#[test]
fn c10_a_shape_that_was_told_with_a_portal_counts_as_well() {
    let text = "select * from c10_jdbc";
    for cut in CUTS {
        let mut d = pooled(cut);
        let steps = |name| [bind("", name), describe('P', ""), execute("")].concat();
        d.client(&[&parse("a", text), &steps("a"), SYNC].concat());
        let ours = server_name(&d.to_server);
        d.to_server.clear();
        let told = [PARSED, BOUND, &shape(&[("a", 23)])].concat();
        let answer = [told, cz("SELECT 1", b'I')].concat();
        d.server(&answer).told(&answer).released();
        another_server(&mut d);
        d.client(&run("a")).sent(&asked(&ours, text));
        d.server(&[PARSED, build::NO_PARAMETERS, &shape(&[("a", 25)])].concat());
        d.sent(&run("canter_?shape"));
    }
}

#[test]
fn c10_the_shape_in_another_database_is_no_concern() {
    let text = "select * from c10_elsewhere";
    let (_first, ours) = told(Cut::Whole, text, &[("a", 23)]);
    let mut d = Driver::new(Cut::Whole);
    d.relay.served_by(std::num::NonZeroUsize::new(2));
    d.client(&[parse("a", text), SYNC.to_vec()].concat());
    d.sent(&[parse(&ours, text), SYNC.to_vec()].concat());
    d.server(&[PARSED, &z(b'I')].concat()).released();
    another_server(&mut d);
    d.client(&run("a"));
    d.sent(&[parse(&ours, text), run(&ours)].concat());
}
