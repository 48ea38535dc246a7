//! Statements that clients share: whose they are, and when they are gone.

use super::driver::*;

fn prepared(d: &mut Driver, text: &str) -> String {
    d.client(&[parse("s", text), SYNC.to_vec()].concat());
    let name = server_name(&std::mem::take(&mut d.to_server));
    let done = [PARSED, &z(b'I')].concat();
    d.server(&done).told(&done).released();
    name
}

fn run(name: &str) -> Vec<u8> {
    [bind("", name), execute(""), SYNC.to_vec()].concat()
}

fn done() -> Vec<u8> {
    [BOUND, &cz("SELECT 1", b'I')].concat()
}

#[test]
fn c5_a_statement_that_went_away_unseen_is_prepared_anew() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let ours = prepared(&mut d, "select c5");
        d.client(&run("s")).sent(&run(&ours));
        d.server(&[e("26000", "gone"), z(b'I')].concat()).told(b"");
        let anew = [close('S', &ours), parse(&ours, "select c5"), run(&ours)].concat();
        d.sent(&anew);
        d.server(&[CLOSED, PARSED, &done()].concat())
            .told(&done())
            .released();
        // In a transaction the client is told; the next one finds it.
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&run("s"));
        d.to_server.clear();
        d.to_client.clear();
        d.server(&[e("26000", "gone"), z(b'E')].concat())
            .told(&[e("26000", "gone"), z(b'E')].concat());
        d.client(&q("rollback")).server(&cz("ROLLBACK", b'I'));
        d.to_server.clear();
        d.client(&run("s"))
            .sent(&[parse(&ours, "select c5"), run(&ours)].concat());
    }
}

#[test]
fn c5_a_name_of_ours_is_nobodys() {
    for text in [
        "DEALLOCATE canter_1",
        "deallocate prepare CANTER_1; select 1",
        "PREPARE canter_1 AS SELECT 1",
        "EXECUTE \"canter_1\"",
        "EXPLAIN EXECUTE canter_1",
        "CREATE TABLE t AS EXECUTE canter_1",
    ] {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q(text));
        let sql = d.sql();
        assert!(sql.starts_with("DEALLOCATE \"canter_?canter_"), "{sql}");
        let refused = [e("26000", "x"), z(b'I')].concat();
        d.server(&refused).told(&refused).released();
    }
    let mut d = Driver::new(Cut::Whole);
    let text = "PREPARE p AS SELECT * FROM canter_1";
    d.client(&q(text)).sent(&q(text));
}

/// The name that a server with these parameters is given for this text.
fn named_with(d: &mut Driver, params: &[(&str, &str)], text: &str) -> String {
    d.known.params = crate::relay::Params::new(params.iter().copied());
    d.known.prepared.clear();
    d.to_server.clear();
    let own = params.iter().map(|(_, value)| *value).collect::<String>();
    d.client(&[parse(&own, text), SYNC.to_vec()].concat());
    let name = server_name(&std::mem::take(&mut d.to_server));
    d.server(&[PARSED, &z(b'I')].concat()).released();
    d.to_client.clear();
    name
}

#[test]
fn c1_clients_whose_settings_read_a_text_otherwise_share_no_statement() {
    const TEXT: &str = "select timestamptz '2024-01-01 00:00'";
    let mut d = Driver::new(Cut::Whole);
    let base = [("TimeZone", "UTC"), ("DateStyle", "ISO, MDY")];
    let ours = named_with(&mut d, &base, TEXT);
    for (name, value) in [
        ("TimeZone", "Asia/Tokyo"),
        ("DateStyle", "ISO, DMY"),
        ("IntervalStyle", "sql_standard"),
        ("standard_conforming_strings", "off"),
        ("client_encoding", "LATIN1"),
    ] {
        let other = [&base[..], &[(name, value)]].concat();
        assert_ne!(named_with(&mut d, &other, TEXT), ours, "{name}");
    }
    let same = [&base[..], &[("application_name", "x")]].concat();
    assert_eq!(named_with(&mut d, &same, TEXT), ours);
}

#[test]
fn c1_a_local_setting_reads_apart_until_its_transaction_is_over() {
    const TEXT: &str = "select date '01/02/2024'";
    let base = [("TimeZone", "UTC")];
    let mut d = Driver::new(Cut::Whole);
    let ours = named_with(&mut d, &base, TEXT);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    let local = q("SET LOCAL datestyle = 'SQL, DMY'");
    let steps = [parse("s", TEXT), SYNC.to_vec()].concat();
    d.to_server.clear();
    d.client(&[local, steps.clone()].concat());
    let sent = std::mem::take(&mut d.to_server);
    let at = sent.windows(7).position(|part| part == b"canter_").unwrap();
    assert_ne!(server_name(&sent[at..]), ours);
    d.server(&[cz("SET", b'T'), [PARSED, &z(b'T')].concat()].concat());
    d.client(&q("commit"))
        .server(&cz("COMMIT", b'I'))
        .released();
    let after = [&base[..], &[("application_name", "x")]].concat();
    assert_eq!(named_with(&mut d, &after, TEXT), ours);
}

#[test]
fn c1_a_statement_is_prepared_for_others_as_they_would_read_it() {
    const TEXT: &str = "select time '01:00'";
    let base = [("TimeZone", "UTC")];
    let mut d = Driver::new(Cut::Whole);
    let ours = named_with(&mut d, &base, TEXT);
    d.client(&[parse("s", TEXT), SYNC.to_vec()].concat());
    d.server(&[PARSED, &z(b'I')].concat());
    // The client's time zone is another one now, and so is its server.
    d.known.params = crate::relay::Params::new([("TimeZone", "Asia/Tokyo")]);
    d.known.prepared.clear();
    d.to_server.clear();
    d.client(&run("s"));
    let sent = std::mem::take(&mut d.to_server);
    assert_ne!(server_name(&sent), ours);
    assert!(show(&sent).contains(TEXT.split('\'').next().unwrap()));
}

/// The name of a statement that is prepared while a local setting stands.
fn apart(d: &mut Driver, text: &str) -> String {
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.client(&q("SET LOCAL datestyle = 'SQL, DMY'"))
        .server(&cz("SET", b'T'));
    d.to_server.clear();
    d.client(&[parse("s", text), SYNC.to_vec()].concat());
    let sent = std::mem::take(&mut d.to_server);
    assert_eq!(sent[0], b'P', "{}", show(&sent));
    d.server(&[PARSED, &z(b'T')].concat());
    d.client(&q("commit")).server(&cz("COMMIT", b'I'));
    d.released();
    server_name(&sent)
}

#[test]
fn c1_settings_of_a_client_that_is_gone_are_nobodys() {
    const TEXT: &str = "select date '03/04/2024'";
    let mut d = Driver::new(Cut::Whole);
    let first = apart(&mut d, TEXT);
    // Another client, where the memory of the first one was.
    d.relay = Driver::new(Cut::Whole).relay;
    assert_ne!(apart(&mut d, TEXT), first);
}

#[test]
fn c1_a_statement_is_read_anew_once_for_each_change_of_settings() {
    let mut d = Driver::new(Cut::Whole);
    let ours = prepared(&mut d, "select date '05/06/2024'");
    d.known.prepared.clear();
    let set = |d: &mut Driver, text: &str| {
        d.client(&q(text)).server(&cz("SET", b'T'));
        d.to_server.clear();
        d.client(&run("s"));
        let sent = std::mem::take(&mut d.to_server);
        let open = [BOUND, &cz("SELECT 1", b'T')].concat();
        d.server(&[PARSED, &open].concat());
        let name = server_name(&sent);
        for _ in 0..3 {
            d.client(&run("s")).sent(&run(&name)).server(&open);
        }
        name
    };
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    let first = set(&mut d, "SET LOCAL datestyle = 'SQL, DMY'");
    d.known.prepared.clear();
    let second = set(&mut d, "ROLLBACK TO a");
    assert!(first != ours && second != first);
}

#[test]
fn c5_a_name_of_ours_is_nobodys_in_the_extended_protocol_too() {
    const NOBODYS: &str = "DEALLOCATE \"canter_?canter_\"";
    let refused = |first: &[&[u8]]| [&first.concat()[..], &e("26000", "x"), &z(b'I')].concat();
    for text in [
        "EXECUTE canter_1('9')",
        "PREPARE canter_1 AS SELECT 1",
        "EXPLAIN EXECUTE canter_1",
        "CREATE TABLE t AS EXECUTE canter_1",
    ] {
        let mut d = Driver::new(Cut::Whole);
        let of = |text: &str| [parse("", text), run("")].concat();
        d.client(&of(text)).sent(&of(NOBODYS));
        let answer = refused(&[PARSED, BOUND]);
        d.server(&answer).told(&answer).released();
        // On another server it is the same.
        d.client(&run("")).sent(&of(NOBODYS));

        let mut d = Driver::new(Cut::Whole);
        d.client(&[parse("s", text), run("s")].concat());
        let ours = server_name(&d.to_server);
        d.sent(&[parse(&ours, NOBODYS), run(&ours)].concat());
    }
    for name in ["", "s"] {
        let mut d = Driver::new(Cut::Whole);
        let text = "DEALLOCATE canter_1";
        d.client(&[parse(name, text), run(name)].concat());
        let ours = if name.is_empty() {
            String::new()
        } else {
            server_name(&d.to_server)
        };
        let nobodys = "DEALLOCATE \"canter_?canter_1\"";
        d.sent(&[parse(&ours, text), parse("", nobodys), run("")].concat());
        let answer = refused(&[PARSED, BOUND]);
        d.server(&refused(&[PARSED, PARSED, BOUND])).told(&answer);
        d.released();
    }
}

#[test]
fn c1_clients_whose_own_settings_read_a_text_otherwise_share_no_statement() {
    const TEXT: &str = "select $1 = null, '{NULL}'::text[], '1,5'::money, '<a/>'::xml";
    let named = |start: &[(&str, &str)]| {
        let mut d = Driver::with(Cut::Whole, start, false);
        let name = prepared(&mut d, TEXT);
        (d, name)
    };
    let (_first, plain) = named(&[]);
    let mut kept = Vec::new();
    for (name, value) in [
        ("transform_null_equals", "on"),
        ("timezone_abbreviations", "Australia"),
        ("array_nulls", "off"),
        ("lc_monetary", "de_DE.utf8"),
        ("xmloption", "document"),
        ("backslash_quote", "off"),
        ("search_path", "other"),
    ] {
        let (d, other) = named(&[(name, value)]);
        assert_ne!(other, plain, "{name}");
        assert_eq!(named(&[(name, value)]).1, other, "{name}");
        kept.push(d);
    }
    assert_eq!(named(&[("work_mem", "8MB")]).1, plain);
}

#[test]
fn c1_a_local_xml_option_reads_apart() {
    for text in [
        "SET LOCAL xmloption = document",
        "SET LOCAL XML OPTION DOCUMENT",
    ] {
        let mut d = Driver::new(Cut::Whole);
        let ours = prepared(&mut d, "select '<x/>'::xml");
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.client(&q(text)).server(&cz("SET", b'T'));
        d.to_server.clear();
        d.client(&[parse("t", "select '<x/>'::xml"), SYNC.to_vec()].concat());
        assert!(
            !d.to_server.is_empty() && server_name(&d.to_server) != ours,
            "{text}"
        );
    }
}
