//! Segments that arrive in one piece, before a server that says nothing until `Sync` or `Flush`:
//! whatever waits for an answer inside of one would wait for ever.

use super::driver::*;
use super::extended;
use crate::relay::Label;
use crate::relay::Lost;
use crate::wire::build;

/// What runs the text of a `Parse` without a name.
fn run(text: &str) -> Vec<u8> {
    [
        parse("", text),
        bind("", ""),
        describe('P', ""),
        execute(""),
    ]
    .concat()
}

fn ran(tag: &str) -> Vec<u8> {
    [PARSED, BOUND, build::NO_DATA, &c(tag)].concat()
}

fn zoned(cut: Cut) -> Driver {
    Driver::with(cut, &[("timezone", "Europe/Paris")], false)
}

const BACK: &str = "SELECT CASE WHEN NOT EXISTS(SELECT 1 FROM pg_catalog.pg_settings \
    WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) 'timezone' AND source OPERATOR(pg_catalog.=) 'session') \
    THEN pg_catalog.set_config('timezone','Europe/Paris',false) END";

/// Steps of ours that run these texts, and their answers.
fn of_ours(texts: &[&str]) -> (Vec<u8>, Vec<u8>) {
    const NAME: &str = "canter_start";
    let (mut steps, mut answers) = (Vec::new(), Vec::new());
    for text in texts {
        steps.extend([close('S', NAME), parse(NAME, text)].concat());
        steps.extend([bind(NAME, NAME), execute(NAME), close('P', NAME)].concat());
        let tag = c(text.split(' ').next().unwrap());
        answers.extend([CLOSED, PARSED, BOUND, &tag, CLOSED].concat());
    }
    steps.extend(close('S', NAME));
    answers.extend(CLOSED);
    (steps, answers)
}

const SETS: &str = "SET \"timezone\" TO 'Europe/Paris'";

/// The steps by which the start-up values of `zoned` are put back, and their answers.
fn back() -> (Vec<u8>, Vec<u8>) {
    of_ours(&[SETS])
}

fn within_transaction() -> (Vec<u8>, Vec<u8>) {
    of_ours(&["BEGIN", SETS, "COMMIT"])
}

#[test]
fn d6_b3_start_values_stand_behind_each_reset_of_a_segment() {
    let (steps, answers) = back();
    for cut in CUTS {
        for text in ["RESET ALL", "RESET timezone", "SET timezone TO DEFAULT"] {
            let mut d = zoned(cut);
            d.client(&[run(text), run("one"), SYNC.to_vec()].concat());
            d.sent(&[&run(text), &steps, &run("one"), SYNC].concat());
            d.server(&[ran("RESET"), answers.clone(), ran("ONE"), z(b'I')].concat());
            d.told(&[ran("RESET"), ran("ONE"), z(b'I')].concat());
            assert!(d.sql().starts_with("SELECT 's',"), "{text}");
            // What is skipped is not put back.
            let mut d = zoned(cut);
            d.client(&[run("fail"), run(text), SYNC.to_vec()].concat());
            d.sent(&[&run("fail"), &run(text), &steps, SYNC].concat());
            let failed = [e("22012", "x"), z(b'I')].concat();
            d.server(&failed).told(&failed);
        }
    }
}

#[test]
fn d6_b3_start_values_stand_behind_discard_all_and_are_kept_if_what_follows_fails() {
    // In a transaction of their own: it has committed, and what follows may be rolled back.
    let (steps, answers) = within_transaction();
    let done = ran("DISCARD ALL");
    for cut in CUTS {
        let mut d = zoned(cut);
        d.client(&[run("DISCARD ALL"), run("fail"), SYNC.to_vec()].concat());
        d.sent(&[&run("DISCARD ALL"), &steps, &run("fail"), SYNC].concat());
        let failed = [e("22012", "x"), z(b'I')].concat();
        d.server(&[&done, &answers, &failed[..]].concat());
        d.told(&[done.clone(), failed].concat());
        assert!(d.sql().starts_with("SELECT 's',"));
        // By the simple protocol it has to stand alone.
        let mut d = zoned(cut);
        d.client(&q("DISCARD ALL")).sent(&q("DISCARD ALL"));
        d.server(&cz("DISCARD ALL", b'I'));
        assert_eq!(d.sql(), BACK);
    }
    // All that it takes.
    let start = [("role", "web"), ("timezone", "Europe/Paris")];
    let mut d = Driver::with(Cut::Whole, &start, false);
    d.client(&[run("DISCARD ALL"), SYNC.to_vec()].concat());
    let sent = show(&d.to_server);
    let at = |text: &str| sent.find(text).unwrap_or_else(|| panic!("{text}: {sent}"));
    let order = ["DISCARD", "BEGIN", "Paris", "SET ROLE", "COMMIT"].map(at);
    assert!(order.is_sorted(), "{sent}");
    // Bound and not run, it has taken nothing.
    let mut d = Driver::with(Cut::Whole, &start, false);
    let bound = [parse("", "DISCARD ALL"), bind("", ""), SYNC.to_vec()].concat();
    d.client(&bound).sent(&bound);
    d.server(&[PARSED, BOUND, &z(b'I')].concat());
    assert!(d.sql().starts_with("SELECT 's',"));
}

#[test]
fn d6_b3_start_values_stand_behind_a_named_reset() {
    let (steps, answers) = back();
    for cut in CUTS {
        let mut d = zoned(cut);
        d.client(&[parse("r", "RESET timezone"), SYNC.to_vec()].concat());
        let ours = server_name(&std::mem::take(&mut d.to_server));
        let prepared = [PARSED, &z(b'I')].concat();
        d.server(&prepared).told(&prepared).released();
        let run = |name: &str| [bind("p", name), execute("p")].concat();
        d.client(&[run("r"), SYNC.to_vec()].concat());
        d.sent(&[&run(&ours), &steps, SYNC].concat());
        d.server(&[BOUND, &c("RESET"), &answers, &z(b'I')].concat());
        d.told(&[BOUND, &cz("RESET", b'I')].concat());
    }
}

#[test]
fn d6_a_reset_that_was_only_parsed_undoes_no_setting() {
    for cut in CUTS {
        let mut d = zoned(cut);
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.to_server.clear();
        let parsed = [parse("", "RESET timezone"), SYNC.to_vec()].concat();
        d.client(&parsed).sent(&parsed);
        d.server(&[PARSED, &z(b'T')].concat()).sent(b"").held();
        // Executed at last, it is undone at once, each time.
        let (steps, answers) = back();
        let bound = [bind("", ""), execute("")].concat();
        for _ in 0..2 {
            d.client(&[&bound, SYNC].concat());
            d.sent(&[&bound, &steps, SYNC].concat());
            d.server(&[BOUND, &c("RESET"), &answers, &z(b'T')].concat());
            d.sent(b"");
        }
        // Bound and not executed, it is not known what became of it.
        d.client(&[bind("", ""), SYNC.to_vec()].concat());
        d.to_server.clear();
        d.server(&[BOUND, &z(b'T')].concat());
        assert_eq!(d.sql(), BACK);
    }
}

#[test]
fn d2_a_setting_of_an_unnamed_statement_is_asked_for_each_time_it_is_bound() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("LISTEN c")).server(&cz("LISTEN", b'I'));
        let pinned = [row(&["p", "LISTEN", "true"]), cz("SELECT 1", b'I')].concat();
        d.server(&pinned).held().to_server.clear();
        let parsed = [parse("", "SET lock_timeout = 1"), SYNC.to_vec()].concat();
        d.client(&parsed).sent(&parsed);
        d.server(&[PARSED, &z(b'I')].concat()).sent(b"").held();
        // Our question took the unnamed statement of the server away.
        for put_in in [&b""[..], PARSED] {
            d.client(&[bind("", ""), execute(""), SYNC.to_vec()].concat());
            d.to_server.clear();
            d.server(&[put_in, BOUND, &cz("SET", b'I')].concat());
            let sql = d.sql();
            assert!(sql.contains("'lock_timeout'"), "{sql}");
            let answer = [row(&["s", "lock_timeout", "1ms"]), cz("SELECT 1", b'I')].concat();
            d.server(&answer).held();
        }
        assert_eq!(d.relay.label().get("lock_timeout"), Some("1ms"));
    }
}

#[test]
fn c8_deallocate_behind_steps_without_a_sync_asks_for_their_answers() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let steps = [parse("", "x"), bind("", "")].concat();
        d.client(&[steps.clone(), q("DEALLOCATE ALL")].concat());
        d.sent(&[&steps, build::FLUSH].concat());
        d.server(&[PARSED, BOUND].concat());
        d.told(&[PARSED, BOUND, &c("DEALLOCATE ALL")].concat());
        // The end of the segment is the server's to know.
        d.sent(SYNC).server(&z(b'I')).told(&z(b'I')).released();
    }
}

#[test]
fn c8_names_given_after_deallocate_all_in_one_segment_are_kept() {
    for cut in CUTS {
        for (text, tag) in [
            ("DEALLOCATE ALL", "DEALLOCATE ALL"),
            ("DISCARD ALL", "DISCARD ALL"),
        ] {
            let mut d = Driver::new(cut);
            let seven = format!("SELECT 7 -- {text} {cut:?}");
            d.client(&[parse("before", &seven), SYNC.to_vec()].concat());
            d.server(&[PARSED, &z(b'I')].concat()).released();
            d.to_server.clear();
            d.to_client.clear();
            let use_it = |name: &str| [bind("", name), execute(""), SYNC.to_vec()].concat();
            d.client(&[run(text), parse("s1", &seven), use_it("s1")].concat());
            // Which names there are is known when it was carried out.
            d.sent(&[&run(text), build::FLUSH].concat());
            d.server(&ran(tag));
            let ours = server_name(&d.to_server);
            d.sent(&[parse(&ours, &seven), use_it(&ours)].concat());
            let done = [BOUND, &cz("SELECT 1", b'I')].concat();
            d.server(&[PARSED, &done].concat());
            d.told(&[&ran(tag), PARSED, &done].concat());
            assert!(d.relay.statement(b"before").is_none());
            assert!(d.relay.statement(b"s1").is_some());
            assert_eq!(d.known.prepared.len(), 1);
        }
    }
}

#[test]
fn c8_names_given_right_after_a_discard_all_are_kept() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let steps = [parse("s", "select after discard"), SYNC.to_vec()].concat();
        d.client(&[q("DISCARD ALL"), steps].concat())
            .sent(&q("DISCARD ALL"));
        d.server(&cz("DISCARD ALL", b'I'));
        let sent = std::mem::take(&mut d.to_server);
        assert!(
            show(&sent).contains("select after discard"),
            "{}",
            show(&sent)
        );
        assert_eq!(d.known.prepared.len(), 1);
        assert!(d.relay.statement(b"s").is_some());
    }
}

/// A client with this text under the name `a`; the name on the server.
fn named(d: &mut Driver, text: &str) -> String {
    d.client(&[parse("a", text), SYNC.to_vec()].concat());
    let name = server_name(&std::mem::take(&mut d.to_server));
    d.server(&[PARSED, &z(b'I')].concat()).released();
    d.to_client.clear();
    name
}

fn failed() -> Vec<u8> {
    [e("42601", "syntax error"), z(b'I')].concat()
}

#[test]
fn c4_an_error_gives_a_name_back_that_was_closed_and_given_anew_after_it() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let old = named(&mut d, "select c4 old");
        let steps = [
            parse("", "bad"),
            close('S', "a"),
            parse("a", "select c4 new"),
        ]
        .concat();
        d.client(&[steps, SYNC.to_vec()].concat());
        d.server(&failed()).told(&failed()).released();
        d.to_server.clear();
        let use_it = |name: &str| [bind("", name), execute(""), SYNC.to_vec()].concat();
        d.client(&use_it("a")).sent(&use_it(&old));
    }
}

#[test]
fn c4_a_failed_parse_is_not_brought_back_by_the_close_after_it() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&[parse("a", "bad c4"), close('S', "a"), SYNC.to_vec()].concat());
        d.server(&failed()).told(&failed()).released();
        d.to_server.clear();
        assert!(d.relay.statement(b"a").is_none());
        d.client(&[parse("a", "select c4 good"), SYNC.to_vec()].concat());
        assert!(show(&d.to_server).contains("select c4 good"));
    }
}

#[test]
fn c4_a_server_that_dies_gives_names_back_in_the_same_order() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        named(&mut d, "select c4 lost");
        let steps = [
            bind("", "a"),
            close('S', "a"),
            parse("a", "select c4 other"),
        ]
        .concat();
        d.client(&[steps, SYNC.to_vec()].concat());
        assert_eq!(
            d.lose(&crate::wire::SqlError::error("08006", "gone")),
            Lost::Lives
        );
        let kept = d.relay.statement(b"a").map(|kept| kept.text().to_vec());
        assert_eq!(kept.as_deref(), Some(&b"select c4 lost"[..]));
    }
}

#[test]
fn c10_a_stale_statement_whose_renewal_was_skipped_is_still_stale() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = named(&mut d, "select c10 skipped");
        let use_it = |name: &str| [bind("", name), execute(""), SYNC.to_vec()].concat();
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        let stale = [e("0A000", "cached plan must not change"), z(b'E')].concat();
        d.client(&use_it("a")).server(&stale);
        d.client(&q("rollback")).server(&cz("ROLLBACK", b'I'));
        d.to_server.clear();
        d.client(&[parse("", "bad"), use_it("a")].concat());
        d.server(&failed()).to_server.clear();
        let anew = [
            close('S', &ours),
            parse(&ours, "select c10 skipped"),
            use_it(&ours),
        ]
        .concat();
        d.client(&use_it("a")).sent(&anew);
    }
}

#[test]
fn c5_a_name_that_is_taken_is_refused_when_its_statement_is_stale_too() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = named(&mut d, "select c5 stale");
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        let stale = [e("0A000", "cached plan must not change"), z(b'E')].concat();
        d.client(&[bind("", "a"), SYNC.to_vec()].concat())
            .server(&stale);
        d.client(&q("rollback")).server(&cz("ROLLBACK", b'I'));
        d.to_server.clear();
        d.client(&[parse("a", "other"), SYNC.to_vec()].concat());
        let renewed = [close('S', &ours), parse(&ours, "select c5 stale")].concat();
        d.sent(&[renewed, parse(&ours, "other"), SYNC.to_vec()].concat());
    }
}

#[test]
fn c8_a_deallocate_that_was_skipped_takes_no_name_away() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = named(&mut d, "select c8 skipped");
        d.client(&[parse("", "bad"), run("DEALLOCATE a"), SYNC.to_vec()].concat());
        d.server(&failed()).told(&failed()).released();
        d.to_server.clear();
        let use_it = |name: &str| [bind("", name), execute(""), SYNC.to_vec()].concat();
        let anew = [
            close('S', &ours),
            parse(&ours, "select c8 skipped"),
            use_it(&ours),
        ]
        .concat();
        d.client(&use_it("a")).sent(&anew);
    }
}

#[test]
fn b3_more_steps_than_may_be_owed_get_their_answers_without_a_sync() {
    let mut d = Driver::new(Cut::Whole);
    let text = "select b3 many";
    let one = [parse("", "x"), bind("", "")].concat();
    let names: Vec<u8> = (0..20_000)
        .flat_map(|n| parse(&format!("n{n}"), text))
        .collect();
    d.client(&[one, names].concat());
    assert!(d.to_server.ends_with(build::FLUSH));
    assert_eq!(
        d.to_server
            .windows(5)
            .filter(|five| *five == build::FLUSH)
            .count(),
        1
    );
    d.server(&[PARSED, BOUND, PARSED].concat());
    assert_eq!(d.to_client.len(), 5 * 20_002);
    assert!(d.known.label.is_empty() && Label::same(&d.known.label, d.relay.label()));
}

#[test]
fn c8_a_portal_that_deallocates_finds_nothing_when_the_name_is_gone() {
    let mut d = Driver::new(Cut::Whole);
    let ours = extended::prepared(&mut d, "select c8 portal");
    d.client(&q("begin"))
        .server(&cz("BEGIN", b'T'))
        .to_server
        .clear();
    d.client(&[parse("", "DEALLOCATE s"), bind("p", ""), SYNC.to_vec()].concat());
    d.server(&[PARSED, PARSED, BOUND, &z(b'T')].concat());
    d.to_server.clear();
    d.client(&[close('S', "s"), execute("p"), SYNC.to_vec()].concat());
    d.sent(&[close('S', &ours), execute("p"), SYNC.to_vec()].concat());
}

#[test]
fn c4_a_pipelined_rollback_ends_the_failed_transaction_before_the_next_parse() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = extended::prepared(&mut d, "select c4 rollback");
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&q("fail"))
            .server(&[e("22012", "x"), z(b'E')].concat());
        d.to_client.clear();
        d.to_server.clear();
        let rollback = [parse("", "rollback"), bind("", ""), execute("")].concat();
        d.client(&[&rollback[..], &parse("t", "select c4 rollback"), SYNC].concat());
        // Whether the transaction has failed is the server's to say.
        let anew = [close('S', &ours), parse(&ours, "select c4 rollback")].concat();
        d.sent(&[&rollback[..], &anew, SYNC].concat());
        d.server(&[PARSED, BOUND, &c("ROLLBACK"), CLOSED, PARSED, &z(b'I')].concat());
        d.told(&[PARSED, BOUND, &c("ROLLBACK"), PARSED, &z(b'I')].concat())
            .released();
        d.client(&extended::run("t"))
            .sent(&extended::run(&ours))
            .server(&extended::done());
        // And without it, it says so.
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&q("fail"))
            .server(&[e("22012", "x"), z(b'E')].concat());
        d.to_client.clear();
        d.to_server.clear();
        d.client(&[parse("u", "select c4 rollback"), SYNC.to_vec()].concat());
        d.sent(&[&anew[..], SYNC].concat());
        let refused = [e("25P02", "x"), z(b'E')].concat();
        d.server(&[CLOSED, &refused].concat()).told(&refused);
    }
}

#[test]
fn c12_a_statement_too_long_to_be_kept_passes_and_has_its_server_until_it_was_used() {
    let text = format!("select '{}'", "t".repeat(crate::relay::GATHER_PARSE));
    let long = parse("", &text);
    let (head, tail) = long.split_at(100);
    let mut d = Driver::new(Cut::Whole);
    d.client(&head[..5]).sent(b"").released();
    d.client(&head[5..]).sent(head).client(tail).sent(tail);
    d.client(SYNC)
        .sent(SYNC)
        .server(&[PARSED, &z(b'I')].concat());
    // No other server could be given it.
    d.told(&[PARSED, &z(b'I')].concat()).held();
    assert!(d.relay.pin_reason().is_some());
    d.client(&extended::run(""))
        .sent(&extended::run(""))
        .server(&extended::done())
        .held();
    // Run, it may have touched anything.
    assert!(d.sql().contains("pg_listening_channels"));
    d.server(&cz("SELECT 0", b'I')).released();
    d.client(&extended::run(""))
        .sent(&extended::run("canter_?"));
    // One that fails is none.
    let mut d = Driver::new(Cut::Whole);
    d.client(&[&long[..], SYNC].concat());
    d.server(&[e("42601", "x"), z(b'I')].concat()).released();
    // Another statement takes its place.
    d.client(&[&long[..], SYNC].concat());
    d.server(&[PARSED, &z(b'I')].concat()).held();
    d.client(&q("one")).server(&cz("ONE", b'I')).released();
    // One with a name is refused, since it is to be found on every server.
    let mut d = Driver::new(Cut::Whole);
    d.client(&[&parse("s", &text)[..], SYNC].concat());
    assert!(show(&d.to_client).contains("54000"));
    d.sent(b"").released();
}

#[test]
fn c6_close_succeeds_whatever_it_names_and_is_local() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        extended::prepared(&mut d, "select c6");
        let leases = d.leases;
        d.client(
            &[
                close('S', "s"),
                close('S', "x"),
                close('P', "s"),
                SYNC.to_vec(),
            ]
            .concat(),
        );
        d.told(&[CLOSED, CLOSED, CLOSED, &z(b'I')].concat())
            .sent(b"");
        assert_eq!(d.leases, leases);
        // In a segment with an error before it, it did not happen.
        let ours = extended::prepared(&mut d, "select c6 again");
        d.client(&[bind("", "s"), close('S', "s"), SYNC.to_vec()].concat());
        d.server(&[e("22023", "x"), z(b'I')].concat());
        d.to_server.clear();
        d.client(&extended::run("s")).sent(&extended::run(&ours));
        // The portal of the same name is another thing.
        d.server(&extended::done());
        d.client(&[close('P', "s"), SYNC.to_vec()].concat());
        d.client(&extended::run("s"));
    }
}

#[test]
fn c8_a_portal_of_the_same_name_is_not_the_one_that_was_skipped() {
    let mut d = Driver::new(Cut::Whole);
    extended::prepared(&mut d, "select c8 skipped");
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    let other = [parse("", "rollback"), bind("p", ""), SYNC.to_vec()].concat();
    d.client(&other);
    d.server(&[PARSED, BOUND, &z(b'T')].concat());
    let skipped = [parse("", "bad"), parse("", "DEALLOCATE s"), bind("p", "")].concat();
    d.client(&[&skipped[..], SYNC].concat());
    d.server(&[e("42601", "x"), z(b'E')].concat());
    d.client(&[execute("p"), SYNC.to_vec()].concat());
    d.server(&cz("ROLLBACK", b'I')).released();
    // The name is there still.
    d.to_server.clear();
    d.client(&extended::run("s"));
    assert!(
        show(&d.to_server).contains("canter_"),
        "{}",
        show(&d.to_server)
    );
}

#[test]
fn c8_a_name_behind_a_text_that_takes_all_away_twice_waits_for_both() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let text = q("deallocate all; deallocate all");
        let named = [parse("s", "one"), SYNC.to_vec()].concat();
        d.client(&[&text, &named[..]].concat()).sent(&text);
        d.server(&c("DEALLOCATE ALL")).sent(b"");
        d.server(&cz("DEALLOCATE ALL", b'I'));
        assert!(show(&d.to_server).contains("one"), "{cut:?}");
        d.server(&[PARSED, &z(b'I')].concat()).released();
        assert!(d.relay.statement(b"s").is_some());
    }
}
