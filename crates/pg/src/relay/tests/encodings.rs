//! Settings, reports and texts in another encoding than UTF-8.

use super::driver::*;
use super::state::probe;

#[test]
fn d2_settings_are_asked_for_and_set_in_ascii_whatever_the_encoding() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("SET client_encoding TO latin1; SET search_path TO x"));
        let reported = message(b'S', b"client_encoding\0LATIN1\0");
        d.to_server.clear();
        d.server(&[c("SET"), c("SET"), reported, z(b'I')].concat());
        let sql = d.sql();
        assert!(sql.contains("convert_to(v,'UTF8'),'hex')"), "{sql}");
        let hex = |text: &str| {
            text.bytes()
                .map(|b| format!("{b:02x}"))
                .collect::<Vec<_>>()
                .concat()
        };
        probe(
            &mut d,
            &[
                &["s", &hex("client_encoding"), &hex("LATIN1")],
                &["s", &hex("search_path"), &hex("schéma")],
            ],
        );
        d.released();
        assert_eq!(d.relay.label().get("search_path"), Some("schéma"));
        d.known.label = crate::relay::Label::new([("größe.x", "1"), ("role", "chef")]);
        d.client(&q("select 1"));
        let text = |text: &str| {
            format!(
                "pg_catalog.convert_from(pg_catalog.decode('{}','hex'),'UTF8')",
                hex(text)
            )
        };
        let (custom, path) = (text("größe.x"), text("schéma"));
        assert_eq!(
            d.sql(),
            format!(
                "RESET role;SELECT pg_catalog.set_config({custom},NULL,false) IS NULL;\
                 SELECT pg_catalog.set_config('client_encoding','LATIN1',false),\
                 pg_catalog.set_config('search_path',{path},false) IS NULL;"
            )
        );
    }
}

#[test]
fn d2_a_report_that_is_not_utf8_is_passed_on_and_told_to_nobody_else() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("SET client_encoding TO latin1"));
        let encoding = message(b'S', b"client_encoding\0LATIN1\0");
        // As UTF-8 it would be another name.
        for name in [&b"chef\xe9"[..], b"\xc3\xa9"] {
            let role = [b"session_authorization\0", name, b"\0"].concat();
            let role = message(b'S', &role);
            d.to_client.clear();
            d.server(&[encoding.clone(), role.clone()].concat());
            d.told(&[encoding.clone(), role].concat());
            assert_eq!(d.known.params.get("session_authorization"), None);
        }
        assert_eq!(d.broken, None);
    }
    let mut d = Driver::new(Cut::Whole);
    let params = [
        ("client_encoding", "LATIN1"),
        ("session_authorization", "chefé"),
    ];
    d.known.params = crate::relay::Params::new(params);
    d.client(&q("x"))
        .told(&message(b'S', b"client_encoding\0LATIN1\0"));
}

#[test]
fn d2_a_setting_whose_name_only_the_server_can_read_pins() {
    for cut in CUTS {
        for latin1 in [true, false] {
            let mut d = Driver::new(cut);
            if latin1 {
                let params = [("client_encoding", "LATIN1")];
                d.known.params = crate::relay::Params::new(params);
                d.relay.params = std::rc::Rc::clone(&d.known.params);
            }
            d.client(&message(b'Q', b"SET my.gr\xc3\xb6 = 1\0"));
            d.server(&cz("SET", b'I'));
            d.server(&cz("SELECT 0", b'I'));
            assert_eq!(d.leased, latin1);
            let reason = d.relay.pin_reason();
            assert_eq!(reason.is_some_and(|text| text.contains("encoding")), latin1);
        }
    }
}

#[test]
fn d2_a_backslash_that_is_half_a_character_ends_no_string() {
    // In SJIS the second byte of this character is a backslash; the server sees none.
    let text = b"SELECT E'\x95\x5c', lower('x'); LISTEN c; --'\0";
    for (encoding, asks) in [("SJIS", true), ("EUC_JP", false)] {
        let mut d = Driver::new(Cut::Whole);
        d.known.params = crate::relay::Params::new([("client_encoding", encoding)]);
        d.relay.params = std::rc::Rc::clone(&d.known.params);
        d.client(&message(b'Q', text)).to_server.clear();
        d.server(&cz("X", b'I'));
        assert_eq!(show(&d.to_server).contains("pg_listening_channels"), asks);
    }
}
