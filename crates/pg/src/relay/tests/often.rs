//! Unnamed statements that come often stand for shared ones, and no client can tell.

use super::driver::*;
use super::extended::{done, run};
use crate::relay::{Known, share_for, share_from};
use crate::wire::build;

/// As drivers send what they have not prepared.
fn asked(text: &str) -> Vec<u8> {
    [&parse("", text), &shown("")[..]].concat()
}

fn shown(name: &str) -> Vec<u8> {
    [&bind("", name), &describe('P', ""), &execute("")[..], SYNC].concat()
}

fn answer() -> Vec<u8> {
    [BOUND, build::NO_DATA, &cz("SELECT 1", b'I')].concat()
}

fn answered() -> Vec<u8> {
    [PARSED, &answer()].concat()
}

/// A client whose `text` is shared and is there, under this name.
fn shared(cut: Cut, text: &str) -> (Driver, String) {
    share_from(1);
    let mut d = Driver::new(cut);
    d.client(&asked(text));
    let ours = server_name(&d.to_server);
    d.sent(&[&parse(&ours, text), &shown(&ours)[..]].concat());
    d.server(&answered()).told(&answered()).released();
    (d, ours)
}

#[test]
fn c1_a_text_that_comes_again_and_again_is_prepared_once() {
    for cut in CUTS {
        share_from(3);
        let text = format!("select often, $1 {cut:?}");
        let mut d = Driver::new(cut);
        for _ in 0..2 {
            d.client(&asked(&text)).sent(&asked(&text));
            d.server(&answered()).told(&answered()).released();
        }
        d.client(&asked(&text));
        let ours = server_name(&d.to_server);
        d.sent(&[&parse(&ours, &text), &shown(&ours)[..]].concat());
        d.server(&answered()).told(&answered()).released();
        for _ in 0..2 {
            d.client(&asked(&text)).sent(&shown(&ours));
            d.server(&answer()).told(&answered()).released();
        }
        // Another server has to read it once, too.
        d.known = Known::new(std::rc::Rc::clone(&d.known.params), 200);
        d.client(&asked(&text))
            .sent(&[&parse(&ours, &text), &shown(&ours)[..]].concat());
        d.server(&answered()).told(&answered()).released();
    }
}

#[test]
fn c10_a_plan_that_is_refused_is_made_anew_and_nobody_is_told() {
    for cut in CUTS {
        let (mut d, ours) = shared(cut, "select * from often_stale");
        let stale = [e("0A000", "cached plan must not change"), z(b'I')].concat();
        d.client(&asked("select * from often_stale"))
            .sent(&shown(&ours));
        let anew = [
            close('S', &ours),
            parse(&ours, "select * from often_stale"),
            shown(&ours),
        ];
        d.server(&stale).told(PARSED).sent(&anew.concat());
        let all = [CLOSED, PARSED, &answer()].concat();
        d.server(&all).told(&answer()).released();
        // Also where the client does not ask for the shape: it has asked for the text of now.
        let blind = [parse("", "select * from often_blind"), run("")].concat();
        d.client(&blind);
        let ours = server_name(&d.to_server);
        d.server(&[PARSED, &done()].concat()).released();
        d.to_client.clear();
        d.to_server.clear();
        d.client(&blind).sent(&run(&ours));
        d.server(&stale).told(PARSED);
        d.server(&[CLOSED, PARSED, &done()].concat())
            .told(&done())
            .released();
    }
}

#[test]
fn c10_what_was_prepared_a_while_ago_is_read_anew() {
    for cut in CUTS {
        let text = "select often_old";
        let (mut d, ours) = shared(cut, text);
        share_for(std::time::Duration::ZERO);
        d.client(&asked(text))
            .sent(&[close('S', &ours), parse(&ours, text), shown(&ours)].concat());
        let anew = [CLOSED, &answered()[..]].concat();
        d.server(&anew).told(&answered()).released();
        share_for(std::time::Duration::MAX);
        d.client(&asked(text)).sent(&shown(&ours));
    }
}

#[test]
fn c10_what_comes_behind_waits_until_the_shared_one_is_bound() {
    for cut in CUTS {
        let text = "select often_behind";
        let (mut d, ours) = shared(cut, text);
        let stale = [e("0A000", "cached plan must not change"), z(b'I')].concat();
        d.client(&[asked(text), q("next")].concat())
            .sent(&shown(&ours));
        let anew = [
            close('S', &ours),
            parse(&ours, text),
            shown(&ours),
            q("next"),
        ];
        d.server(&stale).told(PARSED).sent(&anew.concat());
        d.server(&[CLOSED, PARSED, BOUND].concat()).told(BOUND);
    }
}

#[test]
fn c7_where_a_server_keeps_no_more_nobodys_statement_gives_way() {
    for cut in CUTS {
        share_from(1);
        let mut d = Driver::new(cut);
        d.known = Known::new(std::rc::Rc::clone(&d.known.params), 0);
        d.client(&asked("select often_full"))
            .sent(&asked("select often_full"));
    }
}

#[test]
fn c8_one_that_somebody_took_away_unseen_is_made_anew() {
    for cut in CUTS {
        let text = "select often_gone";
        let (mut d, ours) = shared(cut, text);
        d.client(&asked(text)).sent(&shown(&ours));
        let gone = [e("26000", "prepared statement does not exist"), z(b'I')].concat();
        let anew = [close('S', &ours), parse(&ours, text), shown(&ours)];
        d.server(&gone).told(PARSED).sent(&anew.concat());
        d.server(&[CLOSED, PARSED, &answer()].concat())
            .told(&answer())
            .released();
    }
}

#[test]
fn c5_mistakes_are_told_as_of_a_statement_without_a_name() {
    share_from(1);
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let wrong = [e("42601", "syntax error"), z(b'I')].concat();
        d.client(&asked("select wrong wrong wrong"))
            .server(&wrong)
            .told(&wrong)
            .released();
        // There is none then.
        d.to_server.clear();
        d.client(&run("")).sent(&run("canter_?"));
        d.server(&wrong).released();
        let (mut d, ours) = shared(cut, "select often_words, $1");
        let refused = |name: &str| {
            let words = format!("bind message supplies 0 parameters, but \"{name}\" requires 1");
            [e("08P01", &words), z(b'I')].concat()
        };
        // Also where it is prepared anew: the first time it might have been for that.
        d.client(&asked("select often_words, $1"))
            .server(&refused(&ours))
            .told(PARSED);
        d.server(&[CLOSED, PARSED, &refused(&ours)].concat())
            .told(&refused(""));
    }
}

#[test]
fn c11_what_the_shared_one_cannot_do_the_clients_own_does() {
    for cut in CUTS {
        let text = "select often_own";
        let unnamed = parse("", text);
        // Bound in a later segment, or described: it is sent as the client has sent it.
        let (mut d, _) = shared(cut, text);
        d.client(&[&unnamed[..], SYNC].concat()).sent(SYNC);
        d.server(&z(b'I'))
            .told(&[PARSED, &z(b'I')].concat())
            .released();
        d.client(&run(""))
            .sent(&[unnamed.clone(), run("")].concat());
        d.server(&[PARSED, &done()].concat())
            .told(&done())
            .released();
        let (mut d, _) = shared(cut, text);
        d.client(&[&unnamed, &describe('S', ""), &bind("", "")[..], SYNC].concat());
        d.sent(&[&unnamed, &describe('S', ""), &bind("", "")[..], SYNC].concat());
        let described = [build::NO_PARAMETERS, build::NO_DATA, BOUND, &z(b'I')].concat();
        d.server(&[PARSED, &described].concat())
            .told(&[PARSED, &described].concat())
            .released();
        // In a transaction nothing could be sent again.
        let (mut d, _) = shared(cut, text);
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.to_server.clear();
        d.client(&asked(text)).sent(&asked(text));
        // A Bind that is too long to be kept.
        let (mut d, _) = shared(cut, text);
        let long = message(
            b'B',
            &[
                &b"\0\0\0\0\0\x01\0\0\x80\0"[..],
                &vec![b'x'; 0x8000],
                b"\0\0",
            ]
            .concat(),
        );
        d.client(&[&unnamed, &long[..], SYNC].concat());
        d.sent(&[&unnamed, &long[..], SYNC].concat());
        // A simple query takes it away.
        let (mut d, _) = shared(cut, text);
        d.client(&[&unnamed[..], SYNC].concat()).server(&z(b'I'));
        d.client(&q("x")).server(&cz("X", b'I'));
        d.to_server.clear();
        d.client(&run("")).sent(&run("canter_?"));
    }
}

#[test]
fn c11_the_clients_next_statement_is_not_the_shared_one() {
    for cut in CUTS {
        let (mut d, ours) = shared(cut, "select often_next");
        let both = [
            parse("", "select often_next"),
            parse("", "select another"),
            run(""),
        ];
        d.client(&both.concat());
        d.sent(&[parse("", "select another"), run("")].concat());
        d.server(&[PARSED, &done()].concat())
            .told(&[PARSED, PARSED, &done()].concat())
            .released();
        // Bound twice in one segment.
        let twice =
            |name: &str| [bind("", name), execute(""), bind("", name), execute("")].concat();
        d.client(&[&parse("", "select often_next"), &twice("")[..], SYNC].concat());
        d.sent(&[&twice(&ours), SYNC].concat());
    }
}

#[test]
fn c1_what_says_when_it_is_read_is_read_for_each_that_asks() {
    let text = "select a from b where c > 'today'";
    for cut in CUTS {
        share_from(1);
        let mut d = Driver::new(cut);
        d.relay.served_by(Some(std::num::NonZeroUsize::MIN));
        for _ in 0..3 {
            d.client(&asked(text)).sent(&asked(text));
            d.server(&answered()).told(&answered()).released();
        }
        // Under a name it is its client's alone, and read anew where it is given another one.
        let mut names = Vec::new();
        for name in ["a", "b"] {
            d.client(&[&parse(name, text), SYNC].concat());
            names.push(server_name(&d.to_server));
            d.sent(&[&parse(&names[names.len() - 1], text), SYNC].concat());
            let done = [PARSED, &z(b'I')].concat();
            d.server(&done).told(&done).released();
        }
        assert_ne!(names[0], names[1]);
        d.client(&run("a")).sent(&run(&names[0]));
        d.server(&done()).told(&done()).released();
        // Another server has it read by its name.
        d.known = Known::new(std::rc::Rc::clone(&d.known.params), 200);
        d.client(&run("a"))
            .sent(&[parse(&names[0], text), run(&names[0])].concat());
    }
}
