//! The console without servers: rights, both protocols as bytes, and bytes that mean nothing. I1.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::net::UnixStream;
use tokio::task::spawn_local;

use super::{Order, Proved, Rights, Visitor, rights, run};
use crate::pooler::Pooler;
use crate::session::{About, Handle};
use crate::settings::Settings;
use crate::stream::Stream;
use crate::target::Target;
use crate::wire::frame::Frame;
use crate::wire::startup::Startup;
use crate::wire::{SqlError, build};

fn in_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime.block_on(bounded).expect("it hangs");
}

fn pooler() -> Pooler {
    let pooler = Pooler::new(Settings::default());
    let target = Target::from_url("postgres://app@192.0.2.1/shop").unwrap();
    pooler.set_default(pooler.register(target).unwrap());
    pooler
}

/// A client at the console.
struct Client {
    stream: Stream,
    input: Vec<u8>,
}

impl Client {
    async fn new(pooler: &Pooler, rights: Rights) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let handle = Handle::new(None, "a test".into());
        handle.describe(About {
            user: "app".into(),
            database: "pgbouncer".into(),
            application: "".into(),
            address: None,
            local: None,
            process: None,
            tls: None,
            connected: SystemTime::now(),
            is_console: true,
        });
        let registered = pooler.0.sessions.enter(Rc::clone(&handle), false).unwrap();
        let visitor = Visitor {
            shared: Rc::clone(&pooler.0),
            stream: ours.into(),
            startup: Startup {
                protocol: (3, 0),
                params: vec![("user".into(), "app".into())],
                unknown_pq: vec![],
            },
            greeting: build::AUTHENTICATION_OK.to_vec(),
            handle,
            key: registered.seat.key().clone(),
            rights,
        };
        spawn_local(async move {
            run(visitor).await;
            drop(registered);
        });
        let mut client = Self {
            stream: theirs.into(),
            input: Vec::new(),
        };
        assert!(client.answer().await.0.starts_with("RS"));
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The kinds of messages up to the next `ReadyForQuery` or the end, and the last error's code.
    async fn answer(&mut self) -> (String, String) {
        let (mut kinds, mut code) = (String::new(), String::new());
        loop {
            while let Some(frame) = Frame::decode(&self.input).unwrap()
                && self.input.len() >= frame.total()
            {
                let body: Vec<u8> = self.input.drain(..frame.total()).skip(5).collect();
                kinds.push(char::from(frame.tag));
                match frame.tag {
                    b'E' => code = SqlError::decode(&body).code_str().to_owned(),
                    b'Z' => {
                        kinds.push(char::from(body[0]));
                        return (kinds, code);
                    }
                    _ => {}
                }
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part).await {
                Ok(count) if count > 0 => self.input.extend_from_slice(&part[..count]),
                _ => return (kinds, code),
            }
        }
    }

    async fn query(&mut self, text: &str) -> (String, String) {
        let mut out = Vec::new();
        build::query(&mut out, text.as_bytes());
        self.send(&out).await;
        self.answer().await
    }
}

#[test]
fn i1_who_may_what() {
    use Proved::{Nothing, Process, User};
    let settings = Settings {
        admin_users: vec!["ops".into()],
        stats_users: vec!["monitor".into(), "ops".into()],
        ..Settings::default()
    };
    let (all, look) = (Some(Rights::All), Some(Rights::Look));
    let rows = [
        (Some("app"), "app", User, all),
        (Some("app"), "app", Process, all),
        (Some("app"), "app", Nothing, None),
        (Some("app"), "ops", User, all),
        (Some("app"), "ops", Nothing, None),
        (Some("app"), "monitor", User, look),
        (Some("app"), "monitor", Process, look),
        (Some("app"), "monitor", Nothing, None),
        (Some("app"), "guest", User, None),
        (Some("app"), "guest", Process, None),
        (Some("app"), "pgbouncer", User, None),
        (Some("app"), "pgbouncer", Process, all),
        (None, "canter", Process, all),
        (None, "app", User, None),
        (Some(""), "", Nothing, None),
    ];
    for (own, user, proved, expected) in rows {
        let found = rights(&settings, own, user, proved);
        assert_eq!(found, expected, "{own:?} {user} {proved:?}");
    }
}

#[test]
fn i1_simple_queries() {
    in_runtime(async {
        let pooler = pooler();
        let mut client = Client::new(&pooler, Rights::All).await;
        let rows = [
            ("", "IZI", ""),
            (" ; -- nothing", "IZI", ""),
            ("SHOW STATE", "TDDDCZI", ""),
            ("SHOW POOLS; SHOW DATABASES", "TCTDCZI", ""),
            ("SHOW HELP", "NCZI", ""),
            ("SHOW FDS", "EZI", "0A000"),
            ("SELECT 1; nonsense; SELECT 1", "TDCEZI", "42601"),
            ("BEGIN", "CZT", ""),
            ("SHOW NOTHING", "EZE", "42601"),
            ("ROLLBACK", "CZI", ""),
            ("SET client_encoding = 'utf-8'", "CZI", ""),
            ("SET query_timeout = 1.5", "CZI", ""),
            ("SET query_timeout = soon", "EZI", "22023"),
            ("SET pool_mode = session", "EZI", "55P02"),
            ("PAUSE shop", "CZI", ""),
            ("RESUME shop", "CZI", ""),
            ("PAUSE elsewhere", "EZI", "3D000"),
            ("PAUSE pgbouncer", "EZI", "3D000"),
            ("KILL_CLIENT 77", "EZI", "42704"),
            ("RELOAD", "EZI", "0A000"),
            ("SHUTDOWN", "EZI", "0A000"),
        ];
        for (text, kinds, code) in rows {
            let found = client.query(text).await;
            assert_eq!(found, (kinds.to_owned(), code.to_owned()), "{text}");
        }
        assert_eq!(
            pooler.0.settings.query_timeout(),
            Duration::from_millis(1500)
        );
    });
}

#[test]
fn i1_one_that_may_only_look_is_told_so() {
    in_runtime(async {
        let mut client = Client::new(&pooler(), Rights::Look).await;
        for text in [
            "PAUSE",
            "KILL_CLIENT 1",
            "SET query_timeout = 1",
            "SHUTDOWN",
        ] {
            assert_eq!(client.query(text).await.1, "42501", "{text}");
        }
        assert_eq!(client.query("SHOW CONFIG").await.1, "");
    });
}

#[test]
fn i1_the_extended_protocol() {
    let parse = |name: &str, text: &str| {
        let mut out = Vec::new();
        build::message(&mut out, b'P', |out| {
            build::cstr(out, name.as_bytes());
            build::cstr(out, text.as_bytes());
            out.extend_from_slice(&[0, 0]);
        });
        out
    };
    let bind = |name: &str, tail: &[u8]| {
        let mut out = Vec::new();
        build::message(&mut out, b'B', |out| {
            build::cstr(out, b"");
            build::cstr(out, name.as_bytes());
            out.extend_from_slice(tail);
        });
        out
    };
    let none: &[u8] = &[0; 6];
    let one: &[u8] = b"\0\0\0\x01\0\0\0\x0212\0\0";
    let describe: &[u8] = b"D\0\0\0\x06P\0";
    let statement: &[u8] = b"D\0\0\0\x06S\0";
    let execute: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";
    let two: &[u8] = b"E\0\0\0\x09\0\0\0\0\x02";
    in_runtime(async move {
        let mut client = Client::new(&pooler(), Rights::All).await;
        let rows: [(Vec<Vec<u8>>, &str, &str); 9] = [
            (
                vec![
                    parse("", "SHOW STATE"),
                    bind("", none),
                    describe.into(),
                    execute.into(),
                ],
                "12TDDDCZI",
                "",
            ),
            (
                vec![
                    parse("", "SHOW STATE"),
                    bind("", none),
                    two.into(),
                    two.into(),
                ],
                "12DDsDCZI",
                "",
            ),
            (
                vec![parse("", "KILL_CLIENT $1"), statement.into()],
                "1tnZI",
                "",
            ),
            (
                vec![parse("", "KILL_CLIENT $1"), bind("", one), execute.into()],
                "12EZI",
                "42704",
            ),
            (
                vec![parse("", "KILL_CLIENT $1"), bind("", none)],
                "1EZI",
                "08P01",
            ),
            (
                vec![parse("", ""), bind("", none), execute.into()],
                "12IZI",
                "",
            ),
            (vec![parse("", "SHOW STATE; SHOW STATE")], "EZI", "42601"),
            (vec![bind("none", none), execute.into()], "EZI", "26000"),
            (vec![execute.into()], "EZI", "34000"),
        ];
        for (messages, kinds, code) in rows {
            client.send(&messages.concat()).await;
            client.send(build::SYNC).await;
            let found = client.answer().await;
            assert_eq!(found, (kinds.to_owned(), code.to_owned()), "{messages:?}");
        }
        client.send(&parse("s", "SHOW STATE")).await;
        client
            .send(&[parse("s", "SHOW STATE"), build::SYNC.to_vec()].concat())
            .await;
        assert_eq!(client.answer().await, ("1EZI".into(), "42P05".into()));
    });
}

#[test]
fn i1_reload_and_shutdown_are_orders_to_the_program() {
    in_runtime(async {
        let pooler = pooler();
        let program = {
            let pooler = pooler.clone();
            spawn_local(async move {
                for outcome in [Ok(()), Err("no such file".to_owned())] {
                    let Order::Reload(answer) = pooler.order().await else {
                        panic!("a RELOAD was expected");
                    };
                    answer.give(outcome);
                }
                // An answer that is dropped means that nobody did it.
                drop(pooler.order().await);
                pooler.order().await
            })
        };
        tokio::task::yield_now().await;
        let mut client = Client::new(&pooler, Rights::All).await;
        assert_eq!(client.query("RELOAD").await.1, "");
        assert_eq!(client.query("RELOAD").await.1, "F0000");
        assert_eq!(client.query("RELOAD").await.1, "F0000");
        assert_eq!(client.query("SHUTDOWN WAIT_FOR_CLIENTS").await.0, "CZI");
        let last = program.await.unwrap();
        assert!(matches!(
            last,
            Order::Shutdown(super::Shutdown::WhenClientsHaveLeft)
        ));
        pooler.drain(Duration::ZERO).await;
        assert_eq!(client.answer().await, ("E".into(), "57P01".into()));
    });
}

#[test]
fn i4_random_messages_harm_nobody() {
    in_runtime(async {
        let pooler = pooler();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut chance = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % 1_000_003).unwrap() % below
        };
        for _ in 0..300 {
            let mut client = Client::new(&pooler, Rights::Look).await;
            for _ in 0..5 {
                let tag = b"QPBDECSHFXdcfp~"[chance(15)];
                let words = [
                    "SHOW ", "STATS", "$1", "'", ";", "\0", "\0\0", "s", "\u{e9}",
                ];
                let body: String = (0..chance(12)).map(|_| words[chance(9)]).collect();
                let mut out = Vec::new();
                build::message(&mut out, tag, |out| out.extend_from_slice(body.as_bytes()));
                if chance(10) == 0 {
                    let at = chance(out.len());
                    out[at] = out[at].wrapping_add(1);
                }
                if client.stream.write_all(&out).await.is_err() {
                    break;
                }
            }
        }
        let mut client = Client::new(&pooler, Rights::Look).await;
        assert_eq!(client.query("SHOW VERSION").await.0, "TDCZI");
    });
}
