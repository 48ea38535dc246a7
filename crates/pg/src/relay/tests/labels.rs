//! Settings that a server does not take at once, what stands behind a RESET, and texts too long to be
//! read.

use super::driver::*;
use super::state::probe;
use crate::wire::SqlError;

/// Whether the server refused for what an earlier client did there; `None` when it did not refuse.
fn spoilt(d: &Driver) -> Option<bool> {
    d.relay.refusal().map(|refusal| refusal.is_spoilt)
}

#[test]
fn d2_settings_for_superusers_are_set_in_the_role_that_may() {
    let refused = [e("42501", "permission denied"), z(b'I')].concat();
    let label = |d: &Driver| d.known.label.iter().count();
    let of = |role: &str| crate::relay::Label::new([("role", role), ("log_planner_stats", "on")]);
    for cut in CUTS {
        // Of the login role, and left on the server by somebody else of the same role.
        let mut d = Driver::with(cut, &[("role", "web")], false);
        d.known.label = of("web");
        d.client(&q("x"));
        assert_eq!(d.sql(), "RESET \"log_planner_stats\";");
        d.server(&refused);
        assert_eq!(d.sql(), "RESET role;RESET ALL;SET ROLE \"web\";");
        d.server(&cz("SET", b'I')).sent(&q("x")).told(b"");
        assert_eq!(label(&d), 1);
        d.server(&cz("X", b'I')).released();
        // Of the role that the client has taken.
        let start = [("role", "boss"), ("log_planner_stats", "on")];
        let mut d = Driver::with(cut, &start, false);
        d.known.label = crate::relay::Label::empty();
        let set = "SELECT pg_catalog.set_config('log_planner_stats','on',false);";
        d.client(&q("x"));
        assert_eq!(d.sql(), format!("{set}SET ROLE \"boss\";"));
        d.server(&refused);
        assert_eq!(d.sql(), format!("RESET ALL;{set}SET ROLE \"boss\";"));
        d.server(&refused);
        assert_eq!(d.sql(), format!("RESET ALL;SET ROLE \"boss\";{set}"));
        d.server(&cz("SET", b'I')).sent(&q("x")).told(b"");
        assert_eq!(label(&d), 2);
        // Nobody's.
        let mut d = Driver::with(cut, &start, false);
        d.known.label = crate::relay::Label::empty();
        d.client(&q("x"));
        for _ in 0..3 {
            d.server(&refused);
        }
        assert_eq!(spoilt(&d), Some(false));
    }
}

#[test]
fn d2_settings_that_a_used_server_cannot_take_are_for_another_one() {
    let error = |detail: Option<&str>| {
        let mut error = SqlError::error("22023", "invalid value");
        error.detail = detail.map(Into::into);
        let mut out = Vec::new();
        error.encode(&mut out);
        [out, z(b'I')].concat()
    };
    let used = error(Some("cannot be changed"));
    for (name, is_used, answer, is_spoilt) in [
        ("temp_buffers", true, &used, true),
        ("temp_buffers", false, &used, false),
        ("temp_buffers", true, &error(None), false),
        ("work_mem", true, &used, false),
    ] {
        let mut d = Driver::with(Cut::Whole, &[], false);
        if is_used {
            d.client(&q("x")).server(&cz("X", b'I')).released();
        }
        let mut other = Driver::with(Cut::Whole, &[(name, "1")], false);
        other.known = d.known;
        other.client(&q("y")).server(answer);
        assert_eq!(spoilt(&other), Some(is_spoilt), "{name} {is_used}");
    }
}

#[test]
fn d6_start_values_are_put_back_without_a_snapshot() {
    let start = [("search_path", "a, \"B\""), ("timezone", "UTC")];
    let mut d = Driver::with(Cut::Whole, &start, false);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.to_server.clear();
    d.client(&q("RESET ALL;"));
    let path = "SET \"search_path\" TO 'a','B'";
    assert_eq!(
        d.sql(),
        format!("RESET ALL; {path};SET \"timezone\" TO 'UTC';")
    );
    d.server(&[c("RESET"), c("SET"), cz("SET", b'T')].concat());
    d.sent(b"").held();
}

#[test]
fn d6_what_was_inserted_is_counted_once_however_its_answer_is_cut() {
    for cut in CUTS {
        let mut d = Driver::with(cut, &[("timezone", "Europe/Paris")], false);
        let answer = [c("DEALLOCATE ALL"), c("RESET"), cz("SELECT 1", b'I')].concat();
        d.client(&q("deallocate all; reset timezone; select 1"));
        let with_ours = [
            c("DEALLOCATE ALL"),
            c("RESET"),
            c("SET"),
            cz("SELECT 1", b'I'),
        ];
        d.server(&with_ours.concat()).told(&answer);
    }
}

#[test]
fn d12_a_statement_that_is_too_long_to_be_kept_ties_by_its_words_once_it_is_run() {
    let long = "x".repeat(crate::relay::GATHER_PARSE);
    let row = |text: &str, ties: bool| {
        let sent = parse("", &format!("{text} '{long}'"));
        let mut d = Driver::new(Cut::Whole);
        // Whatever the last piece is: the middle of the text, the end of the message.
        let (first, rest) = sent.split_at(sent.len() / 2);
        for piece in [first, rest, SYNC] {
            d.client(piece);
        }
        d.server(&[PARSED, &z(b'I')].concat()).held();
        assert!(!d.relay.is_pinned_to_wait());
        d.to_server.clear();
        d.client(&[bind("", ""), execute(""), SYNC.to_vec()].concat());
        d.server(&[BOUND, &cz("X", b'I')].concat());
        d.to_server.clear();
        probe(&mut d, &[]);
        assert_eq!(d.relay.is_pinned(&d.known), ties, "{text}");
        assert_eq!(d.leased, ties, "{text}");
    };
    row("load", true);
    row("select nextval('s'),", true);
    row("select setseed(0.5),", true);
    row("select", false);
}

#[test]
fn d12_a_text_that_is_too_long_to_be_read_ties_by_its_words() {
    let long = "x".repeat(1 << 20);
    for cut in [Cut::Random(1), Cut::Random(2)] {
        let mut d = Driver::with(cut, &[("timezone", "Europe/Paris")], false);
        let text = format!("select '{long}'; reset all");
        d.client(&[q(&text), q("next")].concat()).sent(&q(&text));
        d.server(&[c("SELECT 1"), cz("RESET", b'I')].concat());
        assert!(d.sql().contains("set_config('timezone','Europe/Paris'"));
        for (text, ties) in [
            ("LOAD 'x'", true),
            ("select setseed(0.5)", true),
            ("one", false),
        ] {
            let mut d = Driver::new(cut);
            d.client(&q(&format!("select '{long}'; {text}")));
            d.server(&[c("SELECT 1"), cz("X", b'I')].concat());
            d.to_server.clear();
            probe(&mut d, &[]);
            assert_eq!(d.leased, ties, "{text}");
            assert_eq!(d.relay.is_pinned(&d.known), ties, "{text}");
        }
    }
}
