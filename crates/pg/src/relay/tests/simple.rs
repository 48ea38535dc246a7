//! The simple protocol, COPY, errors, leaving.

use super::driver::*;
use crate::relay::Leaving;
use crate::relay::Lost;
use crate::wire::{SqlError, build};

#[test]
fn b1_a_query_takes_a_server_and_gives_it_back_when_idle() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("select 1")).held().sent(&q("select 1"));
        let answer = [message(b'T', b"\0\0"), row(&["1"]), cz("SELECT 1", b'I')].concat();
        d.server(&answer).told(&answer).released();
        d.client(&q("")).sent(&q("")).held();
        let empty = [build::EMPTY_QUERY.to_vec(), z(b'I')].concat();
        d.server(&empty).told(&empty).released();
        let two = [c("SELECT 1"), c("SELECT 1"), e("22012", "x"), z(b'I')].concat();
        d.client(&q("select 1; select 2; select 1/0"))
            .server(&two)
            .told(&two)
            .released();
        assert_eq!(d.leases, 3);
    }
}

#[test]
fn b11_b12_only_the_status_byte_tells_whether_a_transaction_is_open() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        for (text, tag, status, held) in [
            ("begin", "BEGIN", b'T', true),
            ("commit and chain", "COMMIT", b'T', true),
            ("select 1/0", "", b'E', true),
            ("rollback and chain", "ROLLBACK", b'T', true),
            ("commit", "ROLLBACK", b'I', false),
            (
                "prepare transaction 'x'",
                "PREPARE TRANSACTION",
                b'I',
                false,
            ),
        ] {
            d.client(&q(text)).sent(&q(text));
            d.server(&if tag.is_empty() {
                e("22012", "x")
            } else {
                c(tag)
            });
            d.held().server(&z(status));
            assert_eq!(d.leased, held, "{text}");
        }
    }
}

#[test]
fn b3_the_server_stays_until_every_pipelined_query_is_answered() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&[q("a"), q("b"), q("c")].concat());
        d.sent(&[q("a"), q("b"), q("c")].concat());
        d.server(&cz("A", b'I'))
            .held()
            .server(&cz("B", b'I'))
            .held();
        d.server(&cz("C", b'I')).released();
        assert_eq!(d.leases, 1);
    }
}

#[test]
fn b10_notices_and_parameters_pass_at_any_point() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let notice = message(b'N', b"SNOTICE\0Mhi\0\0");
        let parameter = message(b'S', b"TimeZone\0Asia/Tokyo\0");
        let told = [&notice[..], &parameter, &message(b'A', b"\0\0\0\x01c\0p\0")].concat();
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.told(&cz("BEGIN", b'T'));
        d.server(&told).told(&told).held();
        assert_eq!(d.known.params.get("TimeZone"), Some("Asia/Tokyo"));
        d.client(&q("x"))
            .server(&[notice.clone(), cz("X", b'T')].concat());
        d.told(&[notice, cz("X", b'T')].concat());
    }
}

#[test]
fn b6_a_function_call_is_answered_like_a_query() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let call = message(b'F', b"\0\0\0\x01\0\0\0\0\0\0");
        let answer = message(b'V', b"\xff\xff\xff\xff");
        d.client(&call)
            .sent(&call)
            .server(&answer)
            .told(&answer)
            .held();
        d.server(&z(b'I')).told(&z(b'I'));
        // What it did is not to be seen from outside.
        assert!(d.sql().contains("pg_settings"));
        d.server(&cz("SELECT 0", b'I')).released();
    }
}

#[test]
fn b7_copy_in_with_syncs_that_the_server_ignores() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("copy t from stdin"))
            .server(&message(b'G', b"\0\0\0"));
        let data = [message(b'd', b"1\n"), message(b'd', b"2\n")].concat();
        d.sent(&q("copy t from stdin")).client(&data).sent(&data);
        let end = [SYNC, &message(b'c', b"")].concat();
        d.client(&end).sent(&end);
        d.server(&cz("COPY 2", b'I')).released();
        assert!(d.relay.is_settled());
        // In the extended protocol the Sync before the data is lost, the one after it counts.
        let head = [
            parse("", "copy t from stdin"),
            bind("", ""),
            execute(""),
            SYNC.to_vec(),
        ];
        d.client(&head.concat()).sent(&head.concat());
        d.server(&[PARSED, BOUND, &message(b'G', b"\0\0\0")].concat());
        d.client(&[&data[..], &message(b'c', b""), SYNC].concat());
        d.server(&c("COPY 2")).held().server(&z(b'I')).released();
    }
}

#[test]
fn b7_a_sync_that_a_failed_copy_left_unread_is_answered_to_the_client() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        let head = [
            parse("", "copy t from stdin"),
            bind("", ""),
            execute(""),
            SYNC.to_vec(),
        ];
        // A trigger before the statement raises: the Sync is no data.
        let answer = [
            PARSED,
            BOUND,
            &message(b'G', b"\0\0\0"),
            &e("P0001", "x"),
            &z(b'I'),
        ]
        .concat();
        d.client(&head.concat()).sent(&head.concat());
        d.server(&answer).told(&answer).doubt_ends();
        assert!(d.broken.is_none());
        // It was read as data, and the client sends another.
        let failed = &answer[..answer.len() - z(b'I').len()];
        d.client(&head.concat());
        d.server(failed).told(failed).held();
        d.client(SYNC).server(&z(b'I')).told(&z(b'I')).doubt_ends();
    }
}

#[test]
fn b7_copy_in_that_fails_ignores_the_rest_of_the_data() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("copy t from stdin"))
            .server(&message(b'G', b"\0\0\0"));
        d.client(&message(b'd', b"1\n"));
        d.server(&[e("22P02", "x"), z(b'I')].concat()).released();
        d.to_server.clear();
        d.client(&[message(b'd', b"2\n"), message(b'c', b"")].concat())
            .sent(b"")
            .released();
        d.client(&q("x")).sent(&q("x"));
    }
}

#[test]
fn b7_a_server_whose_copy_failed_with_a_sync_ahead_serves_nobody_else_before_all_is_known() {
    for cut in CUTS {
        // PostgreSQL ignores a Sync that it reads in a COPY, and answers one that it reads after the
        // error: which of the two this was, nobody sees.
        let copy = [parse("", "copy t from stdin"), bind("", ""), execute("")].concat();
        let data = message(b'd', b"bad\n");
        let begun = [PARSED, BOUND, &message(b'G', b"\0\0\0")].concat();
        let failed = [e("22P02", "x"), z(b'I')].concat();
        let mut d = Driver::new(cut);
        d.client(&[&q("copy t from stdin")[..], &data, SYNC].concat());
        d.server(&message(b'G', b"\0\0\0"))
            .server(&failed)
            .doubt_ends();
        let mut d = Driver::new(cut);
        let done = message(b'c', b"");
        d.client(&[&copy[..], &data, SYNC, &done, SYNC].concat());
        d.server(&begun).server(&failed).doubt_ends();
        // Nor is it known whose answers follow.
        let mut d = Driver::new(cut);
        let next = [&data[..], SYNC, &q("select 1")].concat();
        d.client(&[&q("copy t from stdin")[..], &next].concat());
        d.server(&message(b'G', b"\0\0\0")).server(&failed);
        assert!(d.broken.is_some(), "{cut:?}");
        // As many as the client sent behind it, whichever of them it was: libpq, which pipelines,
        // sends one at the end of the data and one of its own.
        let mut d = Driver::new(cut);
        let ready = z(b'I');
        d.client(&[&copy[..], SYNC, &data, &done, SYNC, SYNC].concat());
        d.server(&begun).server(&failed).server(&ready);
        assert!(d.broken.is_none(), "{cut:?}");
        d.told(&[&begun[..], &failed, &ready].concat()).doubt_ends();
        // The answer to a step says that there is none left between it and the failure.
        let steps = [parse("", "x"), bind("", ""), execute("")].concat();
        let answered = [PARSED, BOUND, &cz("SELECT 0", b'I')].concat();
        let sent = [&copy[..], SYNC, &data, &done, SYNC, &steps, SYNC].concat();
        for unread in [&[][..], &ready] {
            let mut d = Driver::new(cut);
            d.client(&sent);
            d.server(&begun)
                .server(&failed)
                .server(unread)
                .server(&answered);
            assert!(d.broken.is_none(), "{cut:?}");
            d.told(&[&begun[..], &failed, unread, &answered].concat())
                .released();
            assert_eq!(d.closed, 0, "{cut:?}");
        }
        // Requests amid the Syncs may have been answered, or not: the answers to what is behind the
        // COPY cannot be told from theirs, so nobody hears them from this server.
        let sleeps = [parse("", "select pg_sleep(2)"), bind("", ""), execute("")].concat();
        let mut d = Driver::new(cut);
        d.client(&[&copy[..], SYNC, &sleeps, SYNC, &done, SYNC, &steps, SYNC].concat());
        d.server(&begun).server(&failed).server(&answered);
        assert!(d.broken.is_some(), "{cut:?}");
        // One that was done has read all of them.
        let mut d = Driver::new(cut);
        d.client(&[&copy[..], SYNC, &message(b'd', b"1\n"), &done, SYNC].concat());
        d.server(&begun).server(&cz("COPY 1", b'I')).released();
        d.client(&q("fail")).server(&failed).released();
        assert_eq!(d.closed, 0, "{cut:?}");
    }
}

#[test]
fn b8_a_row_passes_in_pieces_without_being_gathered() {
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("x"));
    d.server(b"D\x3f\xff\xff\xff").told(b"D\x3f\xff\xff\xff");
    d.server(&[7; 100]).told(&[7; 100]);
    assert!(!d.relay.is_settled());
    // The client is in the middle of a message: nothing can be said to it.
    assert_eq!(d.lose(&SqlError::error("08006", "gone")), Lost::Cut);
}

#[test]
fn b8_a_query_that_is_too_long_passes_unread_and_is_asked_about() {
    let mut d = Driver::new(Cut::Whole);
    let text = format!("select '{}'", "x".repeat(super::super::GATHER));
    let long = q(&text);
    d.client(&long[..100]).sent(&long[..100]);
    d.client(&long[100..]).sent(&long[100..]);
    d.server(&cz("SELECT 1", b'I'));
    assert!(d.sql().contains("pg_listening_channels"));
}

#[test]
fn e5_a_dead_server_is_an_error_and_the_session_lives() {
    for cut in CUTS {
        let gone = SqlError::fatal("57P01", "gone");
        let error = e("57P01", "gone");
        let mut d = Driver::new(cut);
        d.client(&[q("a"), q("b")].concat());
        assert_eq!(d.lose(&gone), Lost::Lives);
        d.told(&[error.clone(), z(b'I'), error.clone(), z(b'I')].concat());
        d.client(&[parse("", "x"), bind("", ""), execute("")].concat());
        d.server(PARSED).told(PARSED);
        assert_eq!(d.lose(&gone), Lost::Lives);
        d.told(&error);
        d.client(&bind("", "")).client(SYNC).told(&z(b'I'));
        d.client(&q("x")).sent(&q("x"));
    }
}

#[test]
fn e5_b7_a_copy_whose_server_dies_at_its_end_is_one_error() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("copy t from stdin"));
        d.server(&message(b'G', b"\0\0\0")).to_client.clear();
        d.client(&[message(b'd', b"1\n"), message(b'c', b"")].concat());
        assert_eq!(d.lose(&SqlError::error("57P01", "gone")), Lost::Lives);
        d.told(&[e("57P01", "gone"), z(b'I')].concat());
    }
}

#[test]
fn e5_a_lost_transaction_is_ended_in_any_words() {
    for (text, done) in [
        ("/* route=/x */ ROLLBACK", true),
        ("ROLLBACK AND NO CHAIN", true),
        ("-- done\nCOMMIT ;", true),
        ("end work", true),
        ("ROLLBACK TO a", false),
        ("COMMIT PREPARED 'x'", false),
        ("ROLLBACK AND CHAIN", false),
    ] {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q("begin")).server(&cz("BEGIN", b'T'));
        d.lose(&SqlError::error("57P01", "gone"));
        d.client(&q("x")).to_client.clear();
        d.client(&q(text));
        let told = std::mem::take(&mut d.to_client);
        let expected = if done { cz("ROLLBACK", b'I') } else { z(b'E') };
        assert!(told.ends_with(&expected), "{text}: {}", show(&told));
    }
    // What stands behind its end is not run, and the client is free of it.
    let mut d = Driver::new(Cut::Whole);
    d.client(&q("begin")).server(&cz("BEGIN", b'T'));
    d.lose(&SqlError::error("57P01", "gone"));
    d.client(&q("ROLLBACK; BEGIN"));
    let told = std::mem::take(&mut d.to_client);
    assert!(show(&told).contains("25P02") && told.ends_with(&z(b'I')));
    d.to_server.clear();
    d.client(&q("x")).sent(&q("x"));
}

#[test]
fn e5_a_transaction_that_was_lost_refuses_everything_until_it_is_ended() {
    for cut in CUTS {
        for ends in [true, false] {
            let mut d = Driver::new(cut);
            d.client(&q("begin"))
                .server(&cz("BEGIN", b'T'))
                .told(&cz("BEGIN", b'T'));
            assert_eq!(d.lose(&SqlError::fatal("57P01", "gone")), Lost::Lives);
            d.told(b"");
            d.client(&q("x"))
                .told(&[e("57P01", "gone"), z(b'E')].concat());
            d.client(&q("x"));
            assert!(show(&std::mem::take(&mut d.to_client)).contains("25P02"));
            d.client(&[parse("", "x"), bind("", ""), SYNC.to_vec()].concat());
            assert!(d.to_client.ends_with(&z(b'E')));
            d.to_client.clear();
            if ends {
                d.client(&q(" commit work; ")).told(&cz("ROLLBACK", b'I'));
            } else {
                let all = [
                    parse("", "ROLLBACK"),
                    bind("", ""),
                    describe('P', ""),
                    execute(""),
                ];
                d.client(&all.concat()).client(SYNC);
                let done = [PARSED, BOUND, build::NO_DATA, &cz("ROLLBACK", b'I')].concat();
                d.told(&done);
            }
            d.sent(b"");
            d.client(&q("x")).sent(&q("x"));
        }
    }
}

#[test]
fn e1_e2_e3_whatever_a_client_left_is_ended_before_the_server_goes_back() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.client(&q("begin"))
            .server(&cz("BEGIN", b'T'))
            .sent(&q("begin"));
        d.client(b"X\0\0\0\x04");
        assert!(d.left);
        assert_eq!(d.leave(), Leaving::Wait);
        d.sent(&q("ROLLBACK")).server(&cz("ROLLBACK", b'I'));
        assert_eq!(d.leave(), Leaving::Clean);

        let mut d = Driver::new(cut);
        d.client(&[parse("", "copy t from stdin"), bind("", ""), execute("")].concat());
        d.server(&[PARSED, BOUND, &message(b'G', b"\0\0\0")].concat());
        d.to_server.clear();
        assert_eq!(d.leave(), Leaving::Wait);
        let fail = message(b'f', b"the client left\0");
        d.sent(&[&fail[..], SYNC].concat());
        d.server(&[e("57014", "x"), z(b'I')].concat());
        assert_eq!(d.leave(), Leaving::Clean);

        // It left before the server asked for data, with its Sync already there: that one is
        // ignored, whichever side ends it.
        let copy = [parse("", "copy t from stdin"), bind("", ""), execute("")].concat();
        // A cancel may have come before it was read, which is not to be seen: the server is closed.
        for (ahead, end, clean) in [
            (q("copy t from stdin"), fail.clone(), Leaving::Clean),
            (
                [&copy[..], SYNC].concat(),
                [&fail[..], SYNC].concat(),
                Leaving::Close,
            ),
            (copy.clone(), [&fail[..], SYNC].concat(), Leaving::Close),
        ] {
            let mut d = Driver::new(cut);
            let is_query = ahead[0] == b'Q';
            d.client(&[&ahead[..], &message(b'd', b"1\n")].concat());
            assert_eq!(d.leave(), Leaving::Wait);
            d.to_server.clear();
            if !is_query {
                d.server(&[PARSED, BOUND].concat());
            }
            d.server(&message(b'G', b"\0\0\0")).sent(&end);
            let (relay, mut io) = d.io();
            let failed = [e("57014", "x"), z(b'I')].concat();
            assert_eq!(relay.server_sent(&failed, &mut io), Ok(failed.len()));
            assert_eq!(d.leave(), clean);
        }

        // Half a message went to the server: nothing can follow it.
        let mut d = Driver::new(Cut::Whole);
        d.client(&q("copy t from stdin"))
            .server(&message(b'G', b"\0\0\0"));
        d.client(b"d\0\0\0\x64abc");
        assert_eq!(d.leave(), Leaving::Close);
    }
}

#[test]
fn g4_a_wait_that_failed_is_an_error_of_the_statement() {
    for cut in CUTS {
        let mut d = Driver::new(cut);
        d.relay.refuse(SqlError::error("53300", "full"));
        d.client(&q("x"))
            .told(&[e("53300", "full"), z(b'I')].concat())
            .released();
        d.relay.refuse(SqlError::error("53300", "full"));
        d.client(&[parse("", "x"), bind("", ""), execute("")].concat());
        d.told(&e("53300", "full"));
        d.client(SYNC).told(&z(b'I')).sent(b"").released();
        d.client(&q("x")).sent(&q("x"));
    }
}

#[test]
fn b13_a_begin_waits_for_the_first_statement() {
    for cut in CUTS {
        let mut d = Driver::with(cut, &[], true);
        d.client(&q("begin"))
            .told(&cz("BEGIN", b'T'))
            .sent(b"")
            .released();
        d.client(&q("select 1"))
            .sent(&[q("begin"), q("select 1")].concat());
        d.server(&cz("BEGIN", b'T'))
            .told(b"")
            .server(&cz("SELECT 1", b'T'));
        d.told(&cz("SELECT 1", b'T')).held();
        d.client(&q("commit"))
            .sent(&q("commit"))
            .server(&cz("COMMIT", b'I'))
            .released();
        d.told(&cz("COMMIT", b'I'));
        // Nothing happened between: nothing is sent.
        for (end, tag) in [("COMMIT", "COMMIT"), ("rollback;", "ROLLBACK")] {
            d.client(&q("START TRANSACTION READ ONLY"));
            d.told(&cz("START TRANSACTION", b'T'));
            d.client(&q(end)).told(&cz(tag, b'I')).sent(b"").released();
        }
        // A nested BEGIN gets the server's own warning.
        d.client(&q("begin")).told(&cz("BEGIN", b'T'));
        d.client(&q("begin"))
            .sent(&[q("begin"), q("begin")].concat());
        d.server(&cz("BEGIN", b'T'));
        d.server(&cz("BEGIN", b'T')).told(&cz("BEGIN", b'T'));
    }
}

#[test]
fn b13_a_begin_that_may_fail_or_is_not_alone_does_not_wait() {
    for text in [
        "begin isolation level serializable",
        "begin read write",
        "begin; select 1",
        "begin isolation level nonsense",
        "beginning",
    ] {
        let mut d = Driver::with(Cut::Whole, &[], true);
        d.client(&q(text)).sent(&q(text)).held();
    }
}

#[test]
fn a_server_that_answers_what_nobody_asked_is_not_believed() {
    for bytes in [
        z(b'I'),
        row(&["x"]),
        PARSED.to_vec(),
        message(b'Z', b"X"),
        message(b'R', b"\0\0\0\0"),
        b"D\0\0\0\x01".to_vec(),
    ] {
        let mut d = Driver::new(Cut::Whole);
        d.client(&q("begin"))
            .server(&cz("BEGIN", b'T'))
            .server(&bytes);
        assert!(d.broken.is_some(), "{}", show(&bytes));
    }
}

#[test]
fn i4_a_client_that_breaks_the_protocol_is_told_and_closed() {
    for bytes in [
        &b"q\0\0\0\x04"[..],
        b"Q\0\0\0\x03",
        b"Q\0\0\0\x06xx",
        b"Q\0\0\0\x07x\0\0",
        b"\0\0\0\0\0",
        b"p\0\0\0\x05\0",
    ] {
        let mut d = Driver::new(Cut::Whole);
        d.client(bytes).client(b"xxxxxxxxxxxxxxxxx");
        assert_eq!(d.fatal.map(|e| e.code), Some(*b"08P01"), "{}", show(bytes));
    }
}
