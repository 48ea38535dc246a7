//! Sessions with a made-up client on one side and a made-up server on the other.

mod crowd;
mod greetings;
mod house;
mod returns;
mod script;

use std::time::Duration;

use house::{House, Made};
use tokio::task::yield_now;

use crate::session::Activity;
use crate::settings::Settings;
use crate::wire::build;

#[test]
fn a_session_at_rest_costs_less_than_four_kilobytes() {
    house::run(async {
        let house = House::new(Settings::default()).await;
        let (guest, _client, _registered) = house.guest(&[]);
        // The task's future and the box in it: what stays allocated as long as the client is there.
        // The door's part around it is a few words. Few bytes are few misses of the processor's
        // caches, too, where a thousand clients take turns.
        let future = crate::session::run(Box::new(guest));
        let size = std::mem::size_of_val(&future) + std::mem::size_of::<super::Session>();
        assert!(size <= 1024, "{size}");
    });
}

#[test]
fn a7_a_client_is_told_what_the_server_reports_and_a_key_of_our_own() {
    house::run(async {
        let house = House::new(Settings::default()).await;
        for connects in [1, 1] {
            let mut client = house.client(&[("application_name", "shop")]).await;
            let greeting = client.greeting.clone();
            assert!(greeting.starts_with(build::AUTHENTICATION_OK));
            let has = |bytes: &[u8]| greeting.windows(bytes.len()).any(|part| part == bytes);
            assert!(has(b"server_version\x0016.0\0"));
            assert!(
                has(b"application_name\0shop\0"),
                "{}",
                greeting.escape_ascii()
            );
            assert!(!has(b"K\0\0\0\x0c\0\0\x03\xe7"), "the server's own key");
            // The second client needs no server to be greeted.
            assert_eq!(house.made.connects.get(), connects);
            assert_eq!(client.query("one").await, "SELECT I");
        }
    });
}

#[test]
fn b1_many_clients_share_one_server() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(house.client(&[]).await);
        }
        for client in clients.iter_mut().chain(&mut []) {
            assert_eq!(client.query("one").await, "SELECT I");
        }
        assert_eq!(house.made.connects.get(), 1);
    });
}

#[test]
fn e1_a_client_that_leaves_in_a_transaction_is_rolled_back() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        assert_eq!(client.query("begin").await, "BEGIN T");
        client.send(build::TERMINATE).await;
        drop(client);
        let mut next = house.client(&[]).await;
        assert_eq!(next.query("one").await, "SELECT I");
        assert_eq!(house.made.texts(), ["begin", "ROLLBACK", "one"]);
        assert_eq!(house.made.connects.get(), 1, "the server was used again");
    });
}

#[test]
fn e1_a_goodbye_in_the_midst_of_a_message_is_none() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        client.query("begin").await;
        let mut half = Made::query_bytes("a query of which this is the beginning");
        half.truncate(12);
        half.extend_from_slice(build::TERMINATE);
        client.send(&half).await;
        drop(client);
        let mut next = house.client(&[]).await;
        assert_eq!(next.query("one").await, "SELECT I");
        assert_eq!(house.made.texts(), ["begin", "ROLLBACK", "one"]);
    });
}

#[test]
fn e2_a_client_that_vanishes_in_a_query_has_it_cancelled() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        client.query("begin").await;
        client.send(&Made::query_bytes("hang")).await;
        house.made.until("hang").await;
        drop(client);
        let mut next = house.client(&[]).await;
        assert_eq!(next.query("one").await, "SELECT I");
        assert_eq!(house.made.cancels.get(), 1);
        assert_eq!(house.made.texts(), ["begin", "hang", "ROLLBACK", "one"]);
        assert_eq!(house.made.connects.get(), 1);
    });
}

#[test]
fn e4_an_idle_transaction_ends_when_its_time_is_over() {
    house::run(async {
        let settings = Settings {
            idle_transaction_timeout: Duration::from_millis(1),
            connections: Some(1),
            ..Settings::default()
        };
        let house = House::new(settings).await;
        let mut client = house.client(&[]).await;
        client.query("begin").await;
        assert_eq!(client.end().await, "25P03");
        assert_eq!(house.client(&[]).await.query("one").await, "SELECT I");
        assert_eq!(house.made.texts(), ["begin", "ROLLBACK", "one"]);
    });
}

#[test]
fn e4_a_transaction_that_takes_too_long_ends_busy_or_not() {
    house::run(async {
        let settings = Settings {
            transaction_timeout: Duration::from_millis(1),
            connections: Some(1),
            ..Settings::default()
        };
        let house = House::new(settings).await;
        let mut idle = house.client(&[]).await;
        idle.query("begin").await;
        assert_eq!(idle.end().await, "25P04");
        let mut busy = house.client(&[]).await;
        busy.send(&Made::query_bytes("hang")).await;
        assert_eq!(busy.end().await, "25P04");
        assert_eq!(house.client(&[]).await.query("one").await, "SELECT I");
        assert_eq!(
            house.made.texts(),
            ["begin", "ROLLBACK", "hang", "ROLLBACK", "one"]
        );
        assert_eq!(house.made.cancels.get(), 1);
    });
}

#[test]
fn e4_transactions_of_a_client_that_sends_ahead_are_timed_one_by_one() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        client.query("zero").await;
        client.until(Activity::Idle).await;
        let before = client.handle.rests();
        let both = [Made::query_bytes("one"), Made::query_bytes("hold")];
        client.send(&both.concat()).await;
        assert_eq!(client.answer().await, "SELECT I");
        while client.handle.rests() == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.handle.activity(), Activity::Active);
        house.made.release();
        assert_eq!(client.answer().await, "SELECT I");
    });
}

#[test]
fn g4_who_waits_is_told_once_and_waits_on() {
    house::run(async {
        let settings = Settings {
            wait_notify: Duration::from_millis(1),
            connections: Some(1),
            ..Settings::default()
        };
        let house = House::new(settings).await;
        let mut first = house.client(&[]).await;
        let mut second = house.client(&[]).await;
        first.query("begin").await;
        for _ in 0..2 {
            second.send(&Made::query_bytes("one")).await;
            let notice = second.notice().await;
            assert!(notice.message.contains("no server connection is free"));
            assert!(notice.detail.is_some_and(|text| text.contains("1 of 1")));
            first.query("commit").await;
            assert_eq!(second.answer().await, "SELECT I");
            first.query("begin").await;
        }
    });
}

#[test]
fn e5_a_server_that_dies_is_an_error_and_the_session_goes_on() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        assert_eq!(client.query("die").await, "57P01 I");
        assert_eq!(client.query("hangup").await, "08006 I");
        assert_eq!(client.query("one").await, "SELECT I");
        assert_eq!(client.query("begin").await, "BEGIN T");
        assert_eq!(client.query("hangup").await, "08006 E");
        assert_eq!(client.query("one").await, "25P02 E");
        assert_eq!(client.query("rollback").await, "ROLLBACK I");
        assert_eq!(client.query("one").await, "SELECT I");
    });
}

#[test]
fn f3_a_cancel_reaches_a_client_that_waits_for_a_server() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut first = house.client(&[]).await;
        let mut second = house.client(&[]).await;
        first.query("begin").await;
        second.send(&Made::query_bytes("one")).await;
        second.until(Activity::Waiting).await;
        second.handle.cancel();
        assert_eq!(second.answer().await, "57014 I");
        assert_eq!(first.query("commit").await, "COMMIT I");
        assert_eq!(second.query("one").await, "SELECT I");
    });
}

#[test]
fn f3_a_cancel_reaches_a_client_that_was_just_handed_its_server() {
    house::run(async {
        let house = House::new(Settings {
            connections: Some(1),
            ..Settings::default()
        })
        .await;
        let mut first = house.client(&[]).await;
        let mut second = house.client(&[]).await;
        first.query("begin").await;
        second.send(&Made::query_bytes("hang")).await;
        second.until(Activity::Waiting).await;
        first.send(&Made::query_bytes("commit")).await;
        let is_waiting = || {
            house
                .pooler
                .stats()
                .pools
                .iter()
                .any(|pool| pool.waiting > 0)
        };
        while is_waiting() {
            yield_now().await;
        }
        house.pooler.0.sessions.cancel(&second.key());
        assert!(second.answer().await.starts_with("57014"));
        assert_eq!(first.answer().await, "COMMIT I");
    });
}

#[test]
fn g4_a_wait_that_takes_too_long_is_an_error_the_client_can_catch() {
    house::run(async {
        let settings = Settings {
            connections: Some(1),
            wait_timeout: Duration::from_millis(1),
            ..Settings::default()
        };
        let house = House::new(settings).await;
        let mut first = house.client(&[]).await;
        let mut second = house.client(&[]).await;
        first.query("begin").await;
        let error = second.query("one").await;
        assert!(
            error.ends_with(" I") && !error.starts_with("SELECT"),
            "{error}"
        );
        first.query("commit").await;
        assert_eq!(second.query("one").await, "SELECT I");
    });
}

#[test]
fn a_request_that_ends_ends_its_transaction() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        client.query("begin").await;
        client.until(Activity::IdleInTransaction).await;
        client.handle.request_ended();
        client.until(Activity::Idle).await;
        assert_eq!(house.made.texts(), ["begin", "ROLLBACK"]);
        assert_eq!(client.query("one").await, "40001 E");
        assert_eq!(client.query("rollback").await, "ROLLBACK I");
        assert_eq!(client.query("one").await, "SELECT I");
    });
}

#[test]
fn a_request_that_ends_tells_who_loses_more_than_its_transaction() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        client.query("load 'x'").await;
        client.until(Activity::Pinned).await;
        client.query("begin").await;
        client.until(Activity::IdleInTransaction).await;
        client.handle.request_ended();
        assert_eq!(client.end().await, "57P01");
        assert_eq!(house.client(&[]).await.query("one").await, "SELECT I");
        assert_eq!(
            house.made.texts(),
            ["load 'x'", "begin", "ROLLBACK", "DISCARD ALL", "one"]
        );
    });
}

#[test]
fn d13_a_server_forgets_all_before_another_client_gets_it() {
    house::run(async {
        let settings = Settings {
            connections: Some(1),
            reset_always: true,
            ..Settings::default()
        };
        let house = House::new(settings).await;
        let mut client = house.client(&[("application_name", "shop")]).await;
        let mut other = house.client(&[]).await;
        let both = [Made::query_bytes("one"), Made::query_bytes("two")];
        client.send(&both.concat()).await;
        assert_eq!(client.answer().await, "SELECT I");
        assert_eq!(client.answer().await, "SELECT I");
        assert_eq!(other.query("three").await, "SELECT I");
        other.until(Activity::Idle).await;
        client.query("begin").await;
        drop(client);
        assert_eq!(other.query("four").await, "SELECT I");
        other.until(Activity::Idle).await;
        let expected =
            "one two DISCARD-ALL three DISCARD-ALL begin ROLLBACK DISCARD-ALL four DISCARD-ALL";
        let texts = house.made.texts();
        let texts = texts.iter().filter(|text| !text.starts_with("RESET"));
        let texts: Vec<_> = texts.map(|text| text.replace(' ', "-")).collect();
        assert_eq!(texts.join(" "), expected);
        assert_eq!(house.made.connects.get(), 1);
    });
}

#[test]
fn a11_a_drain_ends_idle_sessions_at_once_and_others_after_their_transaction() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut idle = house.client(&[]).await;
        let mut busy = house.client(&[]).await;
        busy.query("begin").await;
        idle.handle.drain();
        busy.handle.drain();
        assert_eq!(idle.end().await, "57P01");
        assert_eq!(busy.query("commit").await, "COMMIT I");
        assert_eq!(busy.end().await, "57P01");
    });
}

#[test]
fn a11_a_drain_ends_pinned_sessions_that_are_idle() {
    house::run(async {
        let house = House::new(Settings {
            connections: Some(2),
            ..Settings::default()
        })
        .await;
        let mut client = house.client(&[]).await;
        client.query("load 'x'").await;
        client.until(Activity::Pinned).await;
        client.handle.drain();
        assert_eq!(client.end().await, "57P01");
    });
}

#[test]
fn a_request_that_ends_under_a_statement_ends_its_transaction_after_it() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        client.query("begin").await;
        client.send(&Made::query_bytes("hold")).await;
        house.made.until("hold").await;
        client.handle.request_ended();
        house.made.release();
        assert_eq!(client.answer().await, "SELECT T");
        client.until(Activity::Idle).await;
        assert_eq!(house.made.texts(), ["begin", "hold", "ROLLBACK"]);
        assert_eq!(client.query("one").await, "40001 E");
        assert_eq!(client.query("rollback").await, "ROLLBACK I");
        // A statement outside of a transaction is nobody's business.
        client.send(&Made::query_bytes("hold")).await;
        client.until(Activity::Active).await;
        client.handle.request_ended();
        house.made.release();
        assert_eq!(client.answer().await, "SELECT I");
        assert_eq!(client.query("begin").await, "BEGIN T");
        assert_eq!(client.query("one").await, "SELECT T");
    });
}

#[test]
fn i4_a_panic_in_a_session_costs_that_session_and_its_server_only() {
    house::run(async {
        let house = House::new(Settings {
            connections: Some(2),
            ..Settings::default()
        })
        .await;
        let mut faulty = house.client(&[]).await;
        let mut other = house.client(&[]).await;
        faulty.query("begin").await;
        other.query("begin").await;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        faulty.handle.fault();
        assert_eq!(faulty.end().await, "", "its connection was closed");
        std::panic::set_hook(hook);
        assert_eq!(other.query("commit").await, "COMMIT I");
        // Its server is gone, its place is free.
        let mut next = house.client(&[]).await;
        other.query("begin").await;
        assert_eq!(next.query("begin").await, "BEGIN T");
        assert_eq!(house.made.connects.get(), 3);
        assert_eq!(house.pooler.stats().clients, 2);
    });
}

#[test]
fn e5_a_server_that_is_gone_before_it_was_asked_is_replaced_unseen() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        for turn in 1..=20 {
            // The server answers this, and closes.
            assert_eq!(client.query("bye").await, "SELECT I");
            assert_eq!(client.query("two").await, "SELECT I", "{turn}");
        }
    });
}

#[test]
fn d14_who_is_about_to_be_pinned_waits_for_a_place_without_a_server() {
    house::run(async {
        let house = House::new(Settings {
            connections: Some(2),
            pin_cap: Some(1),
            ..Settings::default()
        })
        .await;
        let mut pinned = house.client(&[]).await;
        let mut second = house.client(&[]).await;
        let mut third = house.client(&[]).await;
        pinned.query("load 'x'").await;
        pinned.until(Activity::Pinned).await;
        second.send(&Made::query_bytes("load 'y'")).await;
        second.until(Activity::Waiting).await;
        assert_eq!(third.query("one").await, "SELECT I");
        assert!(!house.made.texts().contains(&"load 'y'".to_owned()));
        drop(pinned);
        assert_eq!(second.answer().await, "SELECT I");
        second.until(Activity::Pinned).await;
        // A cancel reaches it there, too.
        third.send(&Made::query_bytes("load 'z'")).await;
        third.until(Activity::Waiting).await;
        third.handle.cancel();
        assert_eq!(third.answer().await, "57014 I");
        assert_eq!(third.query("one").await, "SELECT I");
    });
}

#[test]
fn d14_who_waits_for_a_place_for_too_long_is_told_and_lives() {
    house::run(async {
        let house = House::new(Settings {
            connections: Some(2),
            pin_cap: Some(1),
            wait_timeout: Duration::from_millis(1),
            ..Settings::default()
        })
        .await;
        let mut pinned = house.client(&[]).await;
        let mut second = house.client(&[]).await;
        pinned.query("load 'x'").await;
        pinned.until(Activity::Pinned).await;
        assert_eq!(second.query("load 'y'").await, "53400 I");
        assert_eq!(second.query("one").await, "SELECT I");
        drop(pinned);
        while second.query("load 'y'").await != "SELECT I" {}
    });
}

#[test]
fn d12_a_session_that_called_nextval_gives_way_to_who_waits() {
    house::run(async {
        let house = House::with_one_server().await;
        let mut client = house.client(&[]).await;
        let mut other = house.client(&[]).await;
        client.query("select nextval('s')").await;
        client.until(Activity::Pinned).await;
        assert_eq!(other.query("one").await, "SELECT I");
        let order = ["select nextval('s')", "DISCARD SEQUENCES", "one"];
        assert_eq!(house.made.texts(), order);
        assert_eq!(client.query("two").await, "SELECT I");
    });
}
