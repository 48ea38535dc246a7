//! Every way in which a server goes from one client to the next, with something still under way on
//! it: whoever gets it must never hear what another one is owed, nor finish another one's message.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::timeout;

use super::house::{Client, House, Made, run};
use super::script::{Event, Scripted, any, done, failed, ready};
use crate::replica::Rules;
use crate::session::Activity;
use crate::settings::Settings;
use crate::wire::{SqlError, TxStatus, build};

/// A notice that nobody asked for. One who gets a server in the midst of it reads nonsense.
fn notice() -> Vec<u8> {
    let mut out = Vec::new();
    SqlError::error("00000", "by the way").encode_notice(&mut out);
    out
}

/// How much of it a server has said.
const SOME: usize = 3;

/// One server connection for all clients, so that each gets what the one before has left.
fn one() -> Settings {
    Settings {
        connections: Some(1),
        ..Settings::default()
    }
}

fn unsettled(house: &House) -> u64 {
    house.pooler.stats().pools[0].unsettled
}

fn copy_begins() -> Vec<u8> {
    any(b'G', b"\0\0\0")
}

/// Messages of a client that copies in with its `Sync` ahead of the data, what the server answers
/// when the COPY fails, and how many `Sync` it has got by then.
fn copies() -> Vec<(Vec<u8>, Vec<u8>, usize)> {
    let steps = [
        any(b'P', b"\0copy t from stdin\0\0\0"),
        any(b'B', b"\0\0\0\0\0\0\0\0"),
        any(b'E', b"\0\0\0\0\0"),
    ];
    let (steps, data) = (steps.concat(), any(b'd', b"bad\n"));
    let failure = [copy_begins(), failed("57014"), ready(TxStatus::Idle)].concat();
    let prepared = [build::PARSE_COMPLETE, build::BIND_COMPLETE, &failure].concat();
    let simple = Made::query_bytes("copy t from stdin");
    vec![
        ([&simple, build::SYNC, &data].concat(), failure, 1),
        (
            [&steps, build::SYNC, &data, build::SYNC].concat(),
            prepared.clone(),
            2,
        ),
        (
            [&steps, build::SYNC, &data, &any(b'c', b""), build::SYNC].concat(),
            prepared,
            2,
        ),
    ]
}

#[test]
fn b7_nobody_hears_the_readiness_that_a_failed_copy_of_another_is_owed() {
    for (row, (sent, answer, syncs)) in copies().into_iter().enumerate() {
        run(async move {
            let servers = Scripted::new(move |mut wire, number| {
                let answer = answer.clone();
                async move {
                    if number > 1 {
                        return None;
                    }
                    for _ in 0..syncs {
                        wire.hear_up_to(b'S').await?;
                    }
                    wire.say(&answer).await?;
                    // It failed before the first Sync was read: that one is answered, too.
                    wire.answers_late().await
                }
            });
            let house = House::before(one(), servers.target());
            let mut first = house.client(&[]).await;
            let mut next = house.client(&[]).await;
            first.send(&sent).await;
            assert_eq!(first.answer().await, "57014 I", "row {row}");
            assert_eq!(first.answer().await, " I", "row {row}");
            assert_eq!(next.query("one").await, "SELECT I", "row {row}");
            assert_eq!(next.query("two").await, "SELECT I", "row {row}");
            assert_eq!(servers.connects.get(), 1, "all that it had to say is known");
            assert_eq!(unsettled(&house), 0);
        });
    }
}

#[test]
fn b7_nor_when_its_client_is_gone() {
    run(async {
        let servers = Scripted::new(|mut wire, number| async move {
            if number > 1 {
                return wire.serve("SELECT").await;
            }
            wire.hear_up_to(b'S').await?;
            wire.say(&copy_begins()).await?;
            // The pooler ends the COPY, and cancels it at the same time.
            wire.hear_up_to(b'f').await?;
            wire.say(&[failed("57014"), ready(TxStatus::Idle)].concat())
                .await?;
            wire.answers_late().await
        });
        let house = House::before(one(), servers.target());
        let mut first = house.client(&[]).await;
        let mut next = house.client(&[]).await;
        let copy = Made::query_bytes("copy t from stdin");
        first.send(&[&copy, build::SYNC].concat()).await;
        let begun = first.next().await;
        assert!(begun.is_some_and(|(tag, _)| tag == b'G'));
        drop(first);
        assert_eq!(next.query("one").await, "SELECT I");
        assert_eq!(servers.connects.get(), 2);
        assert_eq!(unsettled(&house), 0);
    });
}

/// Whether its greeting has this in it.
fn is_told(client: &Client, words: &[u8]) -> bool {
    let greeting = client.greeting.windows(words.len());
    greeting.into_iter().any(|part| part == words)
}

/// The next one is served by another server, and this was counted.
async fn is_closed(house: &House, servers: &Scripted) {
    let mut next = house.client(&[]).await;
    assert_eq!(next.query("one").await, "SELECT I");
    assert_eq!(servers.connects.get(), 2);
    assert_eq!(unsettled(house), 1);
}

#[test]
fn e1_a_server_that_is_in_the_midst_of_a_message_when_its_client_is_gone_is_closed() {
    run(async {
        let servers = Scripted::new(|mut wire, number| async move {
            if number > 1 {
                return wire.serve("SELECT").await;
            }
            wire.hear_query().await?;
            wire.say(&done("BEGIN", TxStatus::Open)).await?;
            wire.hear_query().await?;
            let ends = done("ROLLBACK", TxStatus::Idle);
            wire.say(&[&ends, &notice()[..SOME]].concat()).await?;
            wire.hear_query().await?;
            wire.say(&notice()[SOME..]).await?;
            wire.serve("SELECT").await
        });
        let house = House::before(one(), servers.target());
        let mut client = house.client(&[]).await;
        assert_eq!(client.query("begin").await, "BEGIN T");
        drop(client);
        is_closed(&house, &servers).await;
    });
}

#[test]
fn a7_a_server_that_is_in_the_midst_of_a_message_when_a_client_is_greeted_is_closed() {
    run(async {
        let servers = Scripted::new(|mut wire, number| async move {
            if number > 1 {
                return wire.serve("SELECT").await;
            }
            wire.hear_query().await?;
            let taken = done("SELECT", TxStatus::Idle);
            wire.say(&[&taken, &notice()[..SOME]].concat()).await?;
            wire.hear_query().await?;
            wire.say(&notice()[SOME..]).await?;
            wire.serve("SELECT").await
        });
        let house = House::before(one(), servers.target());
        let client = house.client(&[("application_name", "shop")]).await;
        assert!(is_told(&client, b"C08006\0"));
        is_closed(&house, &servers).await;
    });
}

#[test]
fn e1_what_a_failed_copy_does_not_read_is_out_before_the_server_goes_to_another() {
    run(async {
        let noticed = Rc::new(Event::default());
        let reads_on = Rc::clone(&noticed);
        let servers = Scripted::new(move |mut wire, _| {
            let reads_on = Rc::clone(&reads_on);
            async move {
                wire.hear_query().await?;
                wire.say(&copy_begins()).await?;
                wire.announced().await?;
                wire.say(&[failed("22P02"), ready(TxStatus::Idle)].concat())
                    .await?;
                reads_on.wait().await;
                wire.serve("SELECT").await
            }
        });
        let house = House::before(one(), servers.target());
        let mut client = house.client(&[]).await;
        client.send(&Made::query_bytes("copy t from stdin")).await;
        let begun = client.next().await;
        assert!(begun.is_some_and(|(tag, _)| tag == b'G'));
        // More than the socket holds, and little enough for the rest to wait in the pooler.
        let data = vec![b'x'; held_by_a_socket() + (24 << 10)];
        let before = house.pooler.stats().pools[0].bytes_in;
        let message = any(b'd', &data);
        client.send(&message).await;
        assert_eq!(client.answer().await, "22P02 I");
        let received = || house.pooler.stats().pools[0].bytes_in - before;
        while received() < message.len() as u64 {
            yield_now().await;
        }
        client.handle.end(SqlError::fatal("57P01", "killed"));
        assert_eq!(client.end().await, "57P01");
        noticed.happens();
        let mut next = house.client(&[]).await;
        assert_eq!(next.query("one").await, "SELECT I");
        assert_eq!(servers.connects.get(), 1, "it was used again");
        assert_eq!(unsettled(&house), 0);
    });
}

/// How much can be written to a unix socket whose other end does not read, in pieces as large as
/// those a session passes on.
fn held_by_a_socket() -> usize {
    use std::io::Write as _;
    let (mut ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let piece = [0; 16 << 10];
    std::iter::from_fn(|| ours.write(&piece).ok()).sum()
}

#[test]
fn e3_half_of_a_message_of_its_client_costs_the_server() {
    run(async {
        let servers = Scripted::new(|mut wire, number| async move {
            if number > 1 {
                return wire.serve("SELECT").await;
            }
            wire.hear_query().await?;
            wire.say(&copy_begins()).await?;
            wire.announced().await?;
            wire.say(&[failed("57014"), ready(TxStatus::Idle)].concat())
                .await?;
            // What comes next ends that message.
            wire.hear().await?;
            wire.serve("SELECT").await
        });
        let house = House::before(one(), servers.target());
        let mut client = house.client(&[]).await;
        client.send(&Made::query_bytes("copy t from stdin")).await;
        client.send(&any(b'd', &[b'x'; 1000])[..500]).await;
        assert_eq!(client.answer().await, "57014 I");
        drop(client);
        let mut next = house.client(&[]).await;
        assert_eq!(next.query("one").await, "SELECT I");
        assert_eq!(servers.connects.get(), 2);
    });
}

#[test]
fn e1_what_a_server_was_saying_when_it_was_lost_at_the_end_of_a_request_is_forgotten() {
    for is_deaf in [false, true] {
        run(async move {
            let servers = Scripted::new(move |mut wire, number| async move {
                if number > 1 {
                    assert_eq!(wire.hear_query().await?, "two");
                    wire.say(&done("SELECT", TxStatus::Idle)).await?;
                    return wire.stays().await;
                }
                wire.hear_query().await?;
                wire.say(&done("BEGIN", TxStatus::Open)).await?;
                if is_deaf {
                    wire.stops_listening();
                    return wire.stays().await;
                }
                wire.hear_query().await?;
                wire.say(&done("ROLLBACK", TxStatus::Idle)[..SOME]).await
            });
            let house = House::before(one(), servers.target());
            let mut client = house.client(&[]).await;
            assert_eq!(client.query("begin").await, "BEGIN T");
            client.until(Activity::IdleInTransaction).await;
            client.handle.request_ended();
            client.until(Activity::Idle).await;
            assert_eq!(client.query("one").await, "40001 E", "{is_deaf}");
            assert_eq!(client.query("rollback").await, "ROLLBACK I", "{is_deaf}");
            assert_eq!(client.query("two").await, "SELECT I", "{is_deaf}");
            assert_eq!(servers.connects.get(), 2);
        });
    }
}

#[test]
fn d1_a_server_that_refuses_settings_is_used_on_once_it_has_closed_what_it_has_too_many_of() {
    run(async {
        let refuses = Rc::new(Event::default());
        let now = Rc::clone(&refuses);
        let servers = Scripted::new(move |mut wire, _| {
            let now = Rc::clone(&now);
            async move {
                loop {
                    let (tag, body) = wire.hear().await?;
                    let sets = body.windows(4).any(|part| part == b"'no'");
                    let answer = match tag {
                        b'Q' if sets && now.has_happened() => {
                            [failed("22023"), ready(TxStatus::Idle)].concat()
                        }
                        b'Q' => done("SELECT", TxStatus::Idle),
                        b'P' => build::PARSE_COMPLETE.to_vec(),
                        b'C' => build::CLOSE_COMPLETE.to_vec(),
                        b'S' => ready(TxStatus::Idle),
                        _ => Vec::new(),
                    };
                    wire.say(&answer).await?;
                }
            }
        });
        let settings = Settings {
            prepared: 3,
            ..one()
        };
        let house = House::before(settings.clone(), servers.target());
        let mut refused = house.client(&[("some.thing", "no")]).await;
        let mut client = house.client(&[]).await;
        for name in ["a", "b", "c"] {
            let parse = any(b'P', format!("{name}\0select '{name}'\0\0\0").as_bytes());
            client.send(&[&parse, build::SYNC].concat()).await;
            assert_eq!(client.answer().await, " I");
        }
        house.pooler.retune(&Settings {
            prepared: 1,
            ..settings
        });
        refuses.happens();
        assert_eq!(refused.query("one").await, "22023 I");
        assert_eq!(client.query("two").await, "SELECT I");
        assert_eq!(servers.connects.get(), 1);
        assert_eq!(unsettled(&house), 0);
        // So is one that refuses what a client connects with.
        let late = house
            .client(&[("some.thing", "no"), ("work_mem", "1MB")])
            .await;
        assert!(is_told(&late, b"C22023\0"));
        assert_eq!(client.query("three").await, "SELECT I");
        assert_eq!(servers.connects.get(), 1);
        assert_eq!(unsettled(&house), 0);
    });
}

#[test]
fn b10_an_idle_server_that_says_more_than_news_is_not_handed_out() {
    let rows = [
        (notice(), true),
        (any(b'S', b"a\0b\0"), true),
        (notice()[..SOME].to_vec(), false),
        (ready(TxStatus::Idle), false),
        (done("SELECT", TxStatus::Idle), false),
        ([notice(), failed("57P01")].concat(), false),
    ];
    for (row, (words, is_used)) in rows.into_iter().enumerate() {
        run(async move {
            let (asked, said) = (Rc::new(Event::default()), Rc::new(Event::default()));
            let (says_it, has_said) = (Rc::clone(&asked), Rc::clone(&said));
            let servers = Scripted::new(move |mut wire, number| {
                let (says_it, has_said) = (Rc::clone(&says_it), Rc::clone(&has_said));
                let words = words.clone();
                async move {
                    if number == 1 {
                        wire.hear_query().await?;
                        wire.say(&done("SELECT", TxStatus::Idle)).await?;
                        says_it.wait().await;
                        wire.say(&words).await?;
                        has_said.happens();
                    }
                    wire.serve("SELECT").await
                }
            });
            let house = House::before(one(), servers.target());
            let mut client = house.client(&[]).await;
            let mut next = house.client(&[]).await;
            assert_eq!(client.query("one").await, "SELECT I");
            client.until(Activity::Idle).await;
            asked.happens();
            said.wait().await;
            assert_eq!(next.query("two").await, "SELECT I", "row {row}");
            let stats = house.pooler.stats();
            let expected = if is_used { (1, 0) } else { (2, 1) };
            let found = (servers.connects.get(), stats.pools[0].found_dead);
            assert_eq!(found, expected, "row {row}");
        });
    }
}

#[test]
fn g6_a_server_that_is_not_through_with_a_question_of_ours_is_not_handed_out() {
    /// As much as is read of such an answer, and a little more.
    const TOO_MUCH: usize = (64 << 10) + 4;
    let rest = 1000;
    let long = any(b'D', &vec![0; TOO_MUCH - 5 + rest]);
    let in_transaction = done("SELECT", TxStatus::Open);
    let rows = [
        (long[..TOO_MUCH].to_vec(), long[TOO_MUCH..].to_vec()),
        (in_transaction.clone(), in_transaction),
    ];
    for (row, (words, more)) in rows.into_iter().enumerate() {
        run(async move {
            let servers = Scripted::new(move |mut wire, number| {
                let (words, more) = (words.clone(), more.clone());
                async move {
                    if number == 1 {
                        assert!(wire.hear_query().await?.contains("max_connections"));
                        wire.say(&words).await?;
                        wire.hear_query().await?;
                        wire.say(&more).await?;
                    }
                    wire.serve("SELECT").await
                }
            });
            let house = House::before(Settings::default(), servers.target());
            let mut client = house.client(&[]).await;
            assert_eq!(client.query("one").await, "SELECT I", "row {row}");
            assert_eq!(servers.connects.get(), 2, "row {row}");
        });
    }
}

#[test]
fn e5_a_statement_goes_once_to_another_server_when_its_own_is_gone_before_it_heard_it() {
    // From the pool, and kept since the statement before.
    for before in ["one", "select nextval('s')"] {
        run(async move {
            let (asked, done_so) = (Rc::new(Event::default()), Rc::new(Event::default()));
            let (stops, has_stopped) = (Rc::clone(&asked), Rc::clone(&done_so));
            let servers = Scripted::new(move |mut wire, number| {
                let (stops, has_stopped) = (Rc::clone(&stops), Rc::clone(&has_stopped));
                async move {
                    if number == 1 {
                        assert_eq!(wire.hear_query().await?, before);
                        wire.say(&done("SELECT", TxStatus::Idle)).await?;
                        stops.wait().await;
                        wire.stops_listening();
                        has_stopped.happens();
                        return wire.stays().await;
                    }
                    assert_eq!(wire.hear_query().await?, "two");
                    wire.say(&done("SELECT", TxStatus::Idle)).await?;
                    wire.stays().await
                }
            });
            let house = House::before(one(), servers.target());
            let mut client = house.client(&[]).await;
            let is_kept = before != "one";
            // The beginning of the next one comes with it.
            let next = Made::query_bytes("two");
            let (first, rest) = next.split_at(if is_kept { SOME } else { 0 });
            client
                .send(&[&Made::query_bytes(before), first].concat())
                .await;
            assert_eq!(client.answer().await, "SELECT I");
            client
                .until(if is_kept {
                    Activity::Pinned
                } else {
                    Activity::Idle
                })
                .await;
            asked.happens();
            done_so.wait().await;
            client.send(rest).await;
            assert_eq!(client.answer().await, "SELECT I", "after {before}");
            assert_eq!(servers.connects.get(), 2, "after {before}");
        });
    }
}

/// What a server says of its role and its position in the log.
fn role(in_recovery: bool) -> Vec<u8> {
    let recovery: &[u8] = if in_recovery { b"t" } else { b"f" };
    let row = [
        &b"\0\x03\0\0\0\x01"[..],
        recovery,
        b"\0\0\0\x04",
        b"0/64",
        &[0xff; 4],
    ];
    [any(b'D', &row.concat()), done("SELECT", TxStatus::Idle)].concat()
}

#[test]
fn h6_a_replica_that_refused_a_read_before_it_had_all_of_it_serves_nobody_else() {
    const LONG: usize = 100 << 10;
    run(async {
        let refused = Rc::new(Event::default());
        let (refuses, reads_on) = (Rc::clone(&refused), Rc::new(Event::default()));
        let (goes_on, ended) = (Rc::clone(&reads_on), Rc::new(Event::default()));
        let ends = Rc::clone(&ended);
        let primary = Scripted::new(|mut wire, _| async move {
            loop {
                let is_role = wire.hear_query().await?.contains("pg_is_in_recovery");
                let answer = if is_role {
                    role(false)
                } else {
                    done("PRIMARY", TxStatus::Idle)
                };
                wire.say(&answer).await?;
            }
        });
        let replica = Scripted::new(move |mut wire, _| {
            let (refuses, goes_on) = (Rc::clone(&refuses), Rc::clone(&goes_on));
            let ends = Rc::clone(&ends);
            async move {
                loop {
                    if wire.announced().await? > LONG {
                        wire.say(&[failed("25006"), ready(TxStatus::Idle)].concat())
                            .await?;
                        refuses.happens();
                        goes_on.wait().await;
                        // It reads to the end. What others said now would fill that message up.
                        let end = wire.hear().await;
                        let heard = String::from_utf8_lossy(wire.unread()).into_owned();
                        let is_alone = !heard.contains("pg_is_in") && !heard.contains("table");
                        if end.is_none() && is_alone {
                            ends.happens();
                        }
                        return None;
                    }
                    let is_role = wire.hear_query().await?.contains("pg_is_in_recovery");
                    let answer = if is_role {
                        role(true)
                    } else {
                        done("REPLICA", TxStatus::Idle)
                    };
                    wire.say(&answer).await?;
                }
            }
        });
        let settings = Settings {
            connections: Some(4),
            ..Settings::default()
        };
        let house = House::before(settings, primary.target());
        let rules = Rules {
            probe_every: Duration::from_millis(5),
            ..Rules::default()
        };
        let replicas = vec![replica.target()];
        assert!(house.pooler.set_replicas(house.target, replicas, rules));
        let mut client = house.client(&[]).await;
        while client.query("select 1").await != "REPLICA I" {}
        // More than the socket holds, and not so much that no answer is read meanwhile.
        let much = held_by_a_socket().max(LONG) + (48 << 10);
        let long = format!("select '{}'", "x".repeat(much));
        assert_eq!(client.query(&long).await, "PRIMARY I");
        assert!(refused.has_happened());
        reads_on.happens();
        // Another statement: that one is known to be of no use to a replica.
        let again = async { while client.query("table t").await != "REPLICA I" {} };
        let again = timeout(Duration::from_secs(10), again).await;
        assert!(again.is_ok(), "a read waits for an answer that never comes");
        let ended = timeout(Duration::from_secs(10), ended.wait()).await;
        assert!(ended.is_ok(), "it was given back");
    });
}

#[test]
fn e5_a_server_that_ends_under_a_greeting_is_replaced() {
    run(async {
        let servers = Scripted::new(|mut wire, number| async move {
            if number > 1 {
                return wire.serve("SELECT").await;
            }
            wire.hear_query().await?;
            let mut last = done("SELECT", TxStatus::Idle);
            SqlError::fatal("57P01", "terminating").encode(&mut last);
            wire.say(&last).await
        });
        let house = House::before(one(), servers.target());
        let mut client = house.client(&[("app.who", "somebody")]).await;
        assert_eq!(client.query("one").await, "SELECT I");
        assert_eq!((servers.connects.get(), unsettled(&house)), (2, 0));
    });
}
