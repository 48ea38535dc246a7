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
    for (portal, text) in [
        ("", "select * from c10_jdbc"),
        ("C_1", "select * from c10_fetches"),
    ] {
        for cut in CUTS {
            let mut d = pooled(cut);
            let steps =
                |name| [bind(portal, name), describe('P', portal), execute(portal)].concat();
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

/// Another client of the same pool, at a new server, which prepares the same text under this name.
fn joins(cut: Cut, text: &str, ours: &str, name: &str) -> Driver {
    let mut d = pooled(cut);
    d.client(&[parse(name, text), SYNC.to_vec()].concat());
    if d.leased {
        d.sent(&[parse(ours, text), SYNC.to_vec()].concat());
        d.server(&[PARSED, &z(b'I')].concat());
    }
    d.told(&[PARSED, &z(b'I')].concat()).released();
    d
}

/// It runs its statement, and its server has that from then on.
fn runs_first(b: &mut Driver) {
    b.client(&run("b"));
    if std::mem::take(&mut b.to_server).starts_with(b"P") {
        b.server(PARSED);
    }
    b.server(&[BOUND, &cz("SELECT 1", b'I')].concat())
        .released();
}

/// The server of one client serves another one next.
fn serves_next(from: &mut Driver, to: &mut Driver) {
    std::mem::swap(&mut from.known, &mut to.known);
}

/// How the second client hears of the shape before the first one gets its server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hears {
    Nothing,
    Statement,
    Portal,
}

#[test]
fn c10_each_client_has_rows_of_the_shape_it_was_told_whoever_prepared_the_statement_there() {
    let refused = [
        e("0A000", "cached plan must not change result type"),
        z(b'I'),
    ]
    .concat();
    for (at, cut) in CUTS.into_iter().enumerate() {
        for hears in [Hears::Nothing, Hears::Statement, Hears::Portal] {
            let text = &format!("select * from c10_joins_{at}_{hears:?}");
            let (mut a, ours) = told(cut, text, &[("a", 23)]);
            // The schema changes unseen, and another server has the statement of another client.
            let mut b = joins(cut, text, &ours, "b");
            b.client(&[describe('S', "nobody"), SYNC.to_vec()].concat());
            b.server(&[e("26000", "x"), z(b'I')].concat()).released();
            b.to_server.clear();
            b.to_client.clear();
            let new = shape(&[("a", 25)]);
            let done = [BOUND, &cz("SELECT 1", b'I')].concat();
            let steps = |name| match hears {
                Hears::Nothing => run(name),
                Hears::Statement => [&describe('S', name), SYNC].concat(),
                Hears::Portal => [&bind("", name), &describe('P', ""), &execute(""), SYNC].concat(),
            };
            let answer = match hears {
                Hears::Nothing => done.clone(),
                Hears::Statement => [build::NO_PARAMETERS, &new, &z(b'I')].concat(),
                Hears::Portal => [BOUND, &new, &cz("SELECT 1", b'I')].concat(),
            };
            b.client(&steps("b"));
            if b.to_server.starts_with(b"P") {
                b.sent(&[parse(&ours, text), steps(&ours)].concat());
                b.server(PARSED);
            } else {
                b.sent(&steps(&ours));
            }
            b.server(&answer).told(&answer).released();
            serves_next(&mut b, &mut a);
            a.client(&run("a"));
            if hears == Hears::Nothing {
                a.sent(&[&describe('S', &ours), build::FLUSH].concat());
                a.server(&[build::NO_PARAMETERS, &new].concat());
            }
            a.sent(&run("canter_?shape")).told(b"");
            a.server(&[e("26000", "x"), z(b'I')].concat());
            a.told(&refused).released();
            // The one that was told the new shape reads by that, here and elsewhere.
            serves_next(&mut a, &mut b);
            b.client(&run("b")).sent(&run(&ours));
            b.server(&done).told(&done).released();
            another_server(&mut b);
            b.client(&run("b"));
            if hears == Hears::Nothing {
                b.sent(&[parse(&ours, text), run(&ours)].concat());
            } else {
                b.sent(&asked(&ours, text));
                b.server(&[PARSED, build::NO_PARAMETERS, &new].concat());
                b.sent(&run(&ours));
            }
        }
    }
}

#[test]
fn c10_a_server_whose_shape_is_older_than_what_was_told_prepares_the_statement_anew() {
    let text = "select * from c10_older";
    for cut in CUTS {
        let mut b = pooled(cut);
        b.client(&[&parse("b", text), &describe('S', "b"), SYNC].concat());
        let ours = server_name(&b.to_server);
        b.to_server.clear();
        let old = [PARSED, build::NO_PARAMETERS, &shape(&[("a", 23)]), &z(b'I')].concat();
        b.server(&old).told(&old).released();
        let fresh = Known::new(std::rc::Rc::clone(&b.known.params), 200);
        let first = std::mem::replace(&mut b.known, fresh);
        // It asks again, elsewhere, behind the change.
        b.client(&[&describe('S', "b"), SYNC].concat());
        b.sent(&[&parse(&ours, text), &describe('S', &ours), SYNC].concat());
        let new = [build::NO_PARAMETERS, &shape(&[("a", 25)])].concat();
        b.server(&[PARSED, &new, &z(b'I')].concat());
        b.told(&[&new[..], &z(b'I')].concat()).released();
        b.known = first;
        b.client(&run("b"));
        b.sent(&[close('S', &ours), asked(&ours, text)].concat());
        b.server(&[CLOSED, PARSED, &new].concat()).sent(&run(&ours));
        let done = [BOUND, &cz("SELECT 1", b'I')].concat();
        b.server(&done).told(&done).released();
        b.client(&run("b")).sent(&run(&ours));
    }
}

#[test]
fn c10_a_shape_that_cannot_be_asked_for_is_asked_for_once_more() {
    for (code, closes) in [("26000", false), ("0A000", true)] {
        for (at, cut) in CUTS.into_iter().enumerate() {
            let text = &format!("select * from c10_gone_{code}_{at}");
            let (mut a, ours) = told(cut, text, &[("a", 23)]);
            let mut b = joins(cut, text, &ours, "b");
            let done = [BOUND, &cz("SELECT 1", b'I')].concat();
            runs_first(&mut b);
            serves_next(&mut b, &mut a);
            a.client(&run("a"));
            a.sent(&[&describe('S', &ours), build::FLUSH].concat());
            // What nobody saw took it away there, or made it stale.
            a.server(&e(code, "x"))
                .sent(SYNC)
                .server(&z(b'I'))
                .told(b"");
            let close = if closes {
                close('S', &ours)
            } else {
                Vec::new()
            };
            a.sent(&[close.clone(), asked(&ours, text)].concat());
            let found = [PARSED, build::NO_PARAMETERS, &shape(&[("a", 23)])].concat();
            let closed = if closes { CLOSED } else { b"" };
            a.server(&[closed, &found].concat()).sent(&run(&ours));
            a.server(&done).told(&done).released();
        }
    }
}

#[test]
fn c10_an_error_to_the_question_for_a_shape_is_learned_from_where_it_is_told() {
    let text = "select * from c10_learned";
    for cut in CUTS {
        let (mut a, ours) = told(cut, text, &[("a", 23)]);
        let mut b = joins(cut, text, &ours, "b");
        runs_first(&mut b);
        serves_next(&mut b, &mut a);
        // In a transaction that is over with the error.
        a.client(&q("begin")).sent(&q("begin"));
        a.server(&cz("BEGIN", b'T')).told(&cz("BEGIN", b'T'));
        a.client(&run("a"));
        a.sent(&[&describe('S', &ours), build::FLUSH].concat());
        a.server(&e("26000", "x")).sent(SYNC).server(&z(b'E'));
        a.told(&[e("26000", "x"), z(b'E')].concat());
        a.client(&q("rollback")).sent(&q("rollback"));
        a.server(&cz("ROLLBACK", b'I')).released();
        a.client(&run("a")).sent(&asked(&ours, text));
    }
}

#[test]
fn c10_where_a_read_ends_does_not_decide_whether_the_shape_is_told_with_the_portal() {
    let long = "x".repeat(20_000);
    let bound = |name: &str| message(b'B', format!("\0{name}\0\0\0\0\0{long}\0\0").as_bytes());
    let texts = ["select * from c10_short", "select * from c10_long"];
    for cut in [Cut::Whole, Cut::Bytes, Cut::Random(1)] {
        for (text, bind) in [
            (
                texts[0],
                Box::new(|name: &str| bind("", name)) as Box<dyn Fn(&str) -> Vec<u8>>,
            ),
            (texts[1], Box::new(bound)),
        ] {
            for differs in [false, true] {
                let (mut d, ours) = told(cut, text, &[("a", 23)]);
                if differs {
                    d.client(&run("a"));
                    d.to_server.clear();
                    d.server(&[PARSED, build::NO_PARAMETERS, &shape(&[("a", 25)])].concat());
                    d.server(&[e("26000", "x"), z(b'I')].concat()).released();
                    d.to_server.clear();
                    d.to_client.clear();
                }
                // The rest comes when all of this was read.
                d.client(&bind("a"));
                let rest = |of| [&describe('P', of), &execute(of), SYNC].concat();
                d.client(&rest(""));
                let sent = [bind(&ours), rest("")].concat();
                let sent = if differs {
                    sent
                } else {
                    [parse(&ours, text), sent].concat()
                };
                d.sent(&sent);
            }
        }
    }
}

#[test]
fn c10_a_question_behind_a_step_that_is_stale_holds_nobody() {
    let texts = ["select * from c10_first", "select * from c10_behind"];
    for cut in CUTS {
        let (mut d, first) = told(cut, texts[0], &[("a", 23)]);
        d.client(&run("a")).sent(&asked(&first, texts[0]));
        let answer = [BOUND, &cz("SELECT 1", b'I')].concat();
        d.server(&[PARSED, build::NO_PARAMETERS, &shape(&[("a", 23)])].concat());
        d.sent(&run(&first))
            .server(&answer)
            .told(&answer)
            .released();
        // Told by yet another server, and there is no word of it on this one.
        let other = Known::new(std::rc::Rc::clone(&d.known.params), 200);
        let this = std::mem::replace(&mut d.known, other);
        d.client(&[&parse("b", texts[1]), &describe('S', "b"), SYNC].concat());
        let second = server_name(&d.to_server);
        d.to_server.clear();
        let answer = [PARSED, build::NO_PARAMETERS, &shape(&[("a", 23)]), &z(b'I')].concat();
        d.server(&answer).told(&answer).released();
        d.known = this;
        let steps = |name: &str| [bind("", name), execute("")].concat();
        d.client(&[steps("a"), steps("b"), SYNC.to_vec()].concat());
        d.sent(&[steps(&first), asked(&second, texts[1])].concat());
        // Something that nobody saw has taken the first away.
        d.server(&e("26000", "x")).sent(SYNC);
        let failed = [e("26000", "x"), z(b'I')].concat();
        d.server(&z(b'I')).told(&failed).released();
    }
}

#[test]
fn c10_a_description_that_an_error_may_skip_tells_nobody_a_shape() {
    let text = "select * from c10_skipped";
    for cut in CUTS {
        let (mut d, ours) = told(cut, text, &[("a", 23)]);
        d.client(&[&parse("c", text), &bind("", "c"), SYNC].concat());
        let answer = [PARSED, BOUND, &z(b'I')].concat();
        d.to_server.clear();
        d.server(&answer).told(&answer).released();
        let fails = [&parse("", "bad"), &describe('S', "a"), SYNC].concat();
        d.client(&[fails, run("a")].concat());
        let described = describe('S', &ours);
        d.sent(
            &[
                &parse("", "bad"),
                &described,
                SYNC,
                &described,
                build::FLUSH,
            ]
            .concat(),
        );
        let failed = [e("42601", "x"), z(b'I')].concat();
        d.server(&failed).told(&failed);
        d.server(&[build::NO_PARAMETERS, &shape(&[("a", 25)])].concat());
        d.sent(&run("canter_?shape"));
    }
}

#[test]
fn c10_a_long_bind_of_who_asks_with_each_portal_is_held_once_on_a_server() {
    let long = "x".repeat(20_000);
    for (at, (portal, with_statement)) in [("", false), ("", true), ("p", false), ("p", true)]
        .into_iter()
        .enumerate()
    {
        let text = &format!("select * from c10_held_{at}");
        let bound = |name: &str| {
            let body = format!("{portal}\0{name}\0\0\0\0\0{long}\0\0");
            message(b'B', body.as_bytes())
        };
        let asks = [describe('P', portal), execute(portal), SYNC.to_vec()].concat();
        let mut d = pooled(Cut::Whole);
        let question = [&describe('S', "a"), SYNC].concat();
        let steps = if with_statement {
            question
        } else {
            [bound("a"), asks.clone()].concat()
        };
        d.client(&[parse("a", text), steps].concat());
        let ours = server_name(&d.to_server);
        let told = if with_statement {
            [PARSED, build::NO_PARAMETERS, &shape(&[("a", 23)]), &z(b'I')].concat()
        } else {
            [PARSED, BOUND, &shape(&[("a", 23)]), &cz("SELECT 1", b'I')].concat()
        };
        d.server(&told).told(&told).released().to_server.clear();
        another_server(&mut d);
        // Who was told by portals alone goes by the last of them.
        let here = if with_statement { 23 } else { 25 };
        for is_held in [true, false, false] {
            let whole = bound("a");
            let (begin, end) = whole.split_at(10_000);
            d.client(begin);
            if is_held {
                d.sent(&parse(&ours, text));
            } else {
                let passes = &bound(&ours)[..begin.len() + ours.len() - 1];
                d.sent(passes);
            }
            d.client(&[end, &asks].concat()).to_server.clear();
            let parsed = if is_held { PARSED } else { b"" };
            let answer = [BOUND, &shape(&[("a", here)]), &cz("SELECT 1", b'I')].concat();
            d.server(&[parsed, &answer].concat());
            d.told(&answer).released();
        }
    }
}

#[test]
fn c10_the_shape_of_as_many_columns_as_there_may_be_is_remembered() {
    let name = "n".repeat(63);
    let mut wide = vec![(&*name, 23); 1664];
    for (cut, is_same) in [
        (Cut::Whole, true),
        (Cut::Whole, false),
        (Cut::Random(1), true),
    ] {
        let text = &format!("select * from c10_wide_{is_same}_{cut:?}");
        wide[1663].1 = 23;
        let (mut d, ours) = told(cut, text, &wide);
        d.client(&run("a")).sent(&asked(&ours, text));
        wide[1663].1 = if is_same { 23 } else { 25 };
        d.server(&[PARSED, build::NO_PARAMETERS, &shape(&wide)].concat());
        d.sent(&run(if is_same { &ours } else { "canter_?shape" }));
    }
}
