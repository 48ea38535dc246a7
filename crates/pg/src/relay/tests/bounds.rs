//! What one client can make the pooler keep is bounded.

use super::driver::*;
use crate::relay::{Known, long, takers};
use crate::wire::build;

#[test]
fn c12_a_client_that_keeps_too_much_prepared_is_ended() {
    let text = format!("select '{}'", "x".repeat(12 << 20));
    let mut d = Driver::new(Cut::Whole);
    let mut prepare = |name: &str, then: &[u8]| {
        d.client(&[&parse(name, &text), then, SYNC].concat());
        if let Some(fatal) = d.fatal.take() {
            return Some(fatal);
        }
        let first = if d.to_server.len() > 12 << 20 {
            PARSED
        } else {
            b""
        };
        d.to_server.clear();
        d.server(&[first, &z(b'I')].concat()).released();
        None
    };
    // Those that are closed again do not count.
    for _ in 0..25 {
        assert_eq!(prepare("s", &close('S', "s")), None);
    }
    let kept = (0..25).map(|number| prepare(&number.to_string(), b""));
    let refused: Vec<_> = kept.skip(10).flatten().take(1).collect();
    assert_eq!(refused.first().map(|fatal| fatal.code), Some(*b"53200"));
}

#[test]
fn c12_what_was_refused_was_not_prepared() {
    let text = "x".repeat(12 << 20);
    let mut d = Driver::new(Cut::Whole);
    for number in 0..64 {
        let last = format!("select {number} {text}");
        d.client(&[&parse(&number.to_string(), &last), SYNC].concat());
        if d.fatal.is_some() {
            // Another client of that server, for which the text is as new.
            let params = std::rc::Rc::clone(&d.known.params);
            let mut next = Driver::new(Cut::Whole);
            next.known = std::mem::replace(&mut d.known, Known::new(params, 200));
            drop(d);
            next.client(&[&parse("s", &last), SYNC].concat());
            let ours = server_name(&next.to_server);
            next.sent(&[&parse(&ours, &last), SYNC].concat());
            return;
        }
        d.to_server.clear();
        d.server(&[PARSED, &z(b'I')].concat()).released();
        d.to_client.clear();
    }
    panic!("never refused");
}

#[test]
fn d6_very_many_portals_that_reset_are_not_all_followed() {
    let mut d = Driver::with(Cut::Whole, &[("timezone", "Europe/Paris")], false);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.client(&[parse("r", "RESET timezone"), SYNC.to_vec()].concat());
    d.server(&[PARSED, &z(b'T')].concat());
    for number in 0..2 * takers::MOST {
        d.client(&bind(&format!("p{number}"), "r"));
    }
    assert_eq!(d.relay.takers.len(), takers::MOST);
    d.client(&[execute("p2000"), SYNC.to_vec()].concat());
    let bound = BOUND.repeat(2 * takers::MOST);
    d.to_server.clear();
    d.server(&[&bound, &cz("RESET", b'T')[..]].concat());
    // It is put back behind the answer then.
    let sql = d.sql();
    assert!(
        sql.contains("set_config('timezone','Europe/Paris'"),
        "{sql}"
    );
}

#[test]
fn c11_unnamed_statements_that_replace_each_other_are_not_all_kept() {
    const EACH: usize = 1 << 20;
    let all = 3 * long::MOST_REPLACED / EACH;
    let mut d = Driver::new(Cut::Whole);
    let text = "x".repeat(EACH);
    for _ in 0..all {
        d.client(&parse("", &text));
    }
    d.client(SYNC);
    let mut answered = 0;
    while answered < all {
        assert!(d.relay.owed.texts() <= long::MOST_REPLACED);
        // The server keeps its answers until it is asked for them.
        let sent = std::mem::take(&mut d.to_server);
        assert!(sent.ends_with(build::FLUSH) || sent.ends_with(SYNC));
        let parsed = sent.len() / EACH;
        answered += parsed;
        d.server(&PARSED.repeat(parsed));
    }
    d.server(&z(b'I')).released();
    d.told(&[PARSED.repeat(all), z(b'I')].concat());
}
