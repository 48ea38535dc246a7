//! COPY from the client, with what it says ahead of the data's end: a server ignores a `Sync` then,
//! and answers it if the COPY has failed by the time it is read.

use super::driver::*;
use crate::wire::build;

fn begun() -> Vec<u8> {
    message(b'G', b"\0\0\0")
}

fn data(words: &str) -> Vec<u8> {
    message(b'd', words.as_bytes())
}

#[test]
fn b7_a_sync_amid_the_data_is_answered_if_the_copy_has_failed_before_it() {
    let steps = [parse("", "copy t from stdin"), bind("", ""), execute("")].concat();
    let copies = [PARSED, BOUND, &begun()].concat();
    let failed = e("22P02", "bad data");
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&steps).server(&copies).to_server.clear();
        // It is not known here yet that it failed.
        let rest = [&data("bad"), SYNC].concat();
        d.client(&rest).sent(&rest);
        d.server(&[failed.clone(), z(b'I')].concat());
        d.told(&[copies.clone(), failed.clone(), z(b'I')].concat());
        d.doubt_ends();

        // One that was carried out has ignored it.
        let mut d = Driver::new(cut);
        d.client(&steps).server(&copies).to_server.clear();
        let rest = [&data("good"), SYNC, &message(b'c', b""), SYNC].concat();
        d.client(&rest).sent(&rest);
        d.server(&cz("COPY 1", b'I'));
        d.told(&[copies.clone(), cz("COPY 1", b'I')].concat());
        d.released();
        assert_eq!(d.closed, 0);
    }
}

#[test]
fn b7_what_is_asked_after_a_failed_copy_is_told_from_the_answer_to_a_sync() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let text = q("set lock_timeout = 1; copy t from stdin");
        d.client(&[&text, SYNC].concat()).to_server.clear();
        d.server(&[c("SET"), begun(), e("57014", "cancelled"), z(b'I')].concat());
        // Whether the Sync was ignored is not known: the next answer says it.
        d.sent(&[&close('S', "canter_start"), SYNC].concat());
        d.to_client.clear();
        d.server(&z(b'I')).told(&z(b'I')).sent(b"").held();
        d.server(&[CLOSED, &z(b'I')].concat()).told(b"");
        let sql = d.sql();
        assert!(sql.contains("'lock_timeout'"), "{sql}");
        d.server(&[row(&["s", "lock_timeout", "1ms"]), cz("SELECT 1", b'I')].concat());
        d.told(b"").released();
        assert_eq!(d.relay.label().get("lock_timeout"), Some("1ms"));
        assert_eq!(d.closed, 0, "all of its answers are known");
    }
}

#[test]
fn b10_nothing_of_ours_comes_amid_a_message_of_the_server() {
    let heard = message(b'A', b"\0\0\0\x01channel\0payload\0");
    for at in 5..heard.len() {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.to_client.clear();
        d.server(&heard[..at]);
        d.client(&close('S', "a")).server(&heard[at..]);
        d.told(&[&heard[..], CLOSED].concat());
    }
}

#[test]
fn b7_nothing_of_ours_goes_amid_data_that_a_failed_copy_leaves() {
    let data = data("many rows");
    for at in 5..data.len() {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q("set lock_timeout = 1; copy t from stdin"));
        d.server(&[c("SET"), begun()].concat()).to_server.clear();
        d.client(&data[..at]).sent(&data[..at]);
        d.server(&[e("57014", "cancelled"), z(b'I')].concat())
            .sent(b"");
        d.client(&data[at..]);
        let sent = std::mem::take(&mut d.to_server);
        assert!(sent.starts_with(&data[at..]), "{}", show(&sent));
        assert_eq!(sent[data.len() - at], b'Q', "the question follows");
    }
}

#[test]
fn b7_a_copy_that_is_lost_with_a_sync_amid_its_data_is_over_with_the_next_one() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let steps = [parse("", "copy t from stdin"), bind("", ""), execute("")].concat();
        d.client(&[&steps, SYNC].concat());
        d.server(&[PARSED, BOUND, &begun()].concat())
            .to_client
            .clear();
        d.client(&data("1"));
        let gone = crate::wire::SqlError::error("08006", "gone");
        assert_eq!(d.lose(&gone), crate::relay::Lost::Lives);
        d.told(&e("08006", "gone"));
        d.client(&[&message(b'c', b""), SYNC].concat())
            .told(&z(b'I'));
        d.client(&q("select 1")).sent(&q("select 1"));
    }
}

#[test]
fn b7_a_request_behind_a_copy_that_may_have_failed_ends_the_session() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let steps = [parse("", "copy t from stdin"), bind("", ""), execute("")].concat();
        d.client(&steps).server(&[PARSED, BOUND, &begun()].concat());
        d.client(&[&data("1"), SYNC].concat());
        d.server(&e("57014", "cancelled"));
        d.client(&q("select 1"));
        assert_eq!(d.fatal.as_ref().map(|fatal| fatal.code), Some(*b"08P01"));
        let mut d = Driver::new(cut);
        d.client(&steps).server(&[PARSED, BOUND, &begun()].concat());
        d.client(&q("select 1"));
        assert_eq!(d.fatal.as_ref().map(|fatal| fatal.code), Some(*b"08P01"));
    }
}

#[test]
fn b7_a_function_call_behind_steps_waits_for_what_they_come_to() {
    let call = message(b'F', b"\0\0\0\x01\0\0\0\0\0\0");
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&[parse("", "bad"), call.clone(), SYNC.to_vec()].concat());
        d.sent(&[&parse("", "bad"), build::FLUSH].concat());
        // PostgreSQL ignores it up to the Sync.
        d.server(&e("42601", "bad")).sent(SYNC);
        d.server(&z(b'I'))
            .told(&[e("42601", "bad"), z(b'I')].concat());
        d.released();
    }
}

#[test]
fn b7_who_may_wait_for_a_sync_that_a_lost_server_had_not_answered_is_closed() {
    let steps = [parse("", "copy t from stdin"), bind("", ""), execute("")].concat();
    let gone = crate::wire::SqlError::error("08006", "gone");
    for cut in CUTS {
        for behind in [&b""[..], SYNC] {
            // The Sync went ahead of what made the COPY fail: its answer is on the way, or never comes.
            let mut d = Driver::new(cut);
            d.client(&[&steps, SYNC].concat());
            d.server(&[PARSED, BOUND, &begun(), &e("57014", "cancelled")].concat());
            d.client(&[&message(b'c', b""), behind].concat());
            let lost = d.lose(&gone);
            let ends = matches!(&lost, crate::relay::Lost::Ends(error) if error.fatal);
            assert!(ends, "{lost:?}");
        }
    }
}

#[test]
fn b7_a_copy_whose_sync_went_ahead_keeps_its_server_up_to_the_sync_behind_its_data() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let steps = [parse("", "copy t from stdin"), bind("", ""), execute("")].concat();
        d.client(&[&steps, SYNC].concat());
        d.server(&[PARSED, BOUND, &message(b'G', b"\0\0\0")].concat());
        d.client(&[message(b'd', b"1\n"), message(b'c', b"")].concat());
        // Nothing of it is committed yet.
        d.server(&c("COPY 1")).held();
        d.to_server.clear();
        d.client(SYNC).sent(SYNC);
        d.server(&z(b'I')).released();
    }
}
