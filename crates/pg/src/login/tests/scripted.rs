//! Servers that follow a script: what each of their answers becomes, and that none of them costs
//! more than its time and a bounded piece of memory.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::login::{LoggedIn, LoginError, LoginErrorKind, connect};
use crate::stream::Stream;
use crate::target::{Target, TlsMode};
use crate::wire::{BackendKey, SqlError, TxStatus, build};

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

/// What a server does after it has read a packet.
#[derive(Clone)]
pub(super) enum Then {
    /// It closes.
    Close,
    /// It says nothing more, and waits for the client to go.
    Silence,
    /// It reads a message and says this.
    Say(Vec<u8>),
}

/// A server that answers every connection's first packet with `first`, and goes on by `then`.
pub(super) async fn server(first: Vec<u8>, then: Vec<Then>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (first, then) = (first.clone(), then.clone());
            tokio::task::spawn_local(play(tcp.into(), first, then));
        }
    });
    port
}

async fn play(mut stream: Stream, first: Vec<u8>, then: Vec<Then>) -> Option<()> {
    read_packet(&mut stream, false).await?;
    stream.write_all(&first).await.ok()?;
    for step in then {
        match step {
            Then::Close => return None,
            Then::Silence => while stream.read(&mut [0; 64]).await.ok()? > 0 {},
            Then::Say(bytes) => {
                read_packet(&mut stream, true).await?;
                stream.write_all(&bytes).await.ok()?;
            }
        }
    }
    // All was said; the client goes first.
    while stream.read(&mut [0; 64]).await.ok()? > 0 {}
    Some(())
}

pub(super) async fn read_packet(stream: &mut Stream, typed: bool) -> Option<Vec<u8>> {
    let mut header = vec![0; if typed { 5 } else { 4 }];
    stream.read_exact(&mut header).await.ok()?;
    let length = u32::from_be_bytes(*header.last_chunk()?) as usize;
    let mut body = vec![0; length.checked_sub(4)?];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}

pub(super) async fn to(more: &str, patience: Duration) -> Result<LoggedIn, LoginError> {
    let target = Target::from_text(&format!("user=u dbname=d {more}")).unwrap();
    connect(&target, "d", "u", &[], Instant::now() + patience).await
}

pub(super) async fn plainly(port: u16, more: &str) -> Result<LoggedIn, LoginError> {
    let text = format!("user=u host=127.0.0.1 port={port} {more}");
    let mut target = Target::from_text(&text).unwrap();
    // Afterwards: a string that asks for channel binding without TLS is refused as such.
    target.tls.mode = TlsMode::Disable;
    connect(
        &target,
        "d",
        "u",
        &[],
        Instant::now() + Duration::from_secs(10),
    )
    .await
}

pub(super) fn ask(code: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    build::authentication(&mut out, code, data);
    out
}

pub(super) fn error(code: &str) -> Vec<u8> {
    let mut out = Vec::new();
    SqlError::fatal(code, "the server's own words")
        .detail("its detail")
        .encode(&mut out);
    out
}

/// The end of every login, with parameters.
pub(super) fn welcome(params: &[(&str, &str)]) -> Vec<u8> {
    let mut out = ask(0, &[]);
    for (name, value) in params {
        build::parameter_status(&mut out, name, value);
    }
    build::backend_key_data(&mut out, &BackendKey::new(42, b"abcd").unwrap());
    build::ready(&mut out, TxStatus::Idle);
    out
}

#[test]
fn a11_a12_what_the_server_says_decides_what_happens_next() {
    let rows = [
        ("53300", LoginErrorKind::TooMany),
        ("57P03", LoginErrorKind::StartingUp),
        ("57P01", LoginErrorKind::StartingUp),
        ("28P01", LoginErrorKind::Auth),
        ("28000", LoginErrorKind::Auth),
        ("3D000", LoginErrorKind::NoDatabase),
        ("XX000", LoginErrorKind::Other),
    ];
    run(async {
        for (code, kind) in rows {
            for before in [vec![], ask(0, &[])] {
                let port = server([before, error(code)].concat(), vec![Then::Close]).await;
                let refused = plainly(port, "").await.unwrap_err();
                assert_eq!(refused.kind, kind, "{code}");
                let sql = refused.sql.unwrap();
                assert_eq!(sql.code, code.as_bytes());
                assert_eq!(sql.message, "the server's own words");
                assert_eq!(sql.detail.as_deref(), Some("its detail"));
                assert!(
                    refused.message.starts_with("127.0.0.1:"),
                    "{}",
                    refused.message
                );
            }
        }
    });
}

#[test]
fn a7_parameters_and_the_key_are_collected_whatever_comes_between() {
    let mut all = Vec::new();
    build::message(&mut all, b'N', |out| out.extend_from_slice(b"SNOTICE\0\0"));
    // A server that speaks 3.0 only and does not know an option nobody sent.
    build::negotiate_protocol_version(&mut all, 0, &[]);
    all.extend(welcome(&[
        ("TimeZone", "UTC"),
        ("server_version", "18.0"),
        ("TimeZone", "Z"),
    ]));
    // Reported after ReadyForQuery, in the same segment.
    build::parameter_status(&mut all, "in_hot_standby", "off");
    run(async {
        for cut in 0..all.len() {
            let (first, rest) = all.split_at(cut);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (first, rest) = (first.to_vec(), rest.to_vec());
            let played = tokio::task::spawn_local(async move {
                let mut stream = Stream::from(listener.accept().await.unwrap().0);
                read_packet(&mut stream, false).await.unwrap();
                stream.write_all(&first).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(&rest).await.unwrap();
                stream
            });
            let found = plainly(port, "").await.unwrap();
            drop(played.await.unwrap());
            assert_eq!(found.key, BackendKey::new(42, b"abcd"));
            let named = |name: &str| {
                found
                    .params
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, v)| v.as_str())
            };
            assert_eq!(named("TimeZone"), Some("Z"));
            assert_eq!(named("server_version"), Some("18.0"));
            assert!(found.stream.peer_addr().is_some());
            assert_eq!(found.at.resolved.len(), 1);
        }
    });
}

#[test]
fn a9_start_up_parameters_are_those_of_the_target_and_the_caller() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = format!(
            "host=127.0.0.1 port={port} sslmode=disable user=x application_name=app \
             options='-c datestyle=SQL -c search_path=s'"
        );
        let target = Target::from_text(&text).unwrap();
        let extra = [("TimeZone".to_owned(), "UTC".to_owned())];
        let extra = [
            &extra[..],
            &[("application_name".to_owned(), "other".to_owned())],
        ]
        .concat();
        let client = tokio::task::spawn_local(async move {
            let deadline = Instant::now() + Duration::from_secs(10);
            connect(&target, "d", "u", &extra, deadline).await
        });
        let mut stream = Stream::from(listener.accept().await.unwrap().0);
        let sent = read_packet(&mut stream, false).await.unwrap();
        drop(stream);
        assert_eq!(
            client.await.unwrap().unwrap_err().kind,
            LoginErrorKind::Gone
        );
        let words: Vec<_> = sent[4..].split(|byte| *byte == 0).collect();
        let text: Vec<_> = words
            .iter()
            .map(|word| std::str::from_utf8(word).unwrap())
            .collect();
        assert_eq!(
            text.join(" ").trim_end(),
            "user u database d client_encoding UTF8 datestyle SQL search_path s TimeZone UTC \
             application_name other"
        );
    });
}

#[test]
fn a8_a9_methods_that_cannot_or_must_not_be_used_are_refused_in_words() {
    let rows: [(Vec<u8>, &str, &str); 17] = [
        (ask(7, &[]), "", "GSSAPI"),
        (ask(2, &[]), "", "Kerberos"),
        (ask(9, &[]), "", "SSPI"),
        (ask(6, &[]), "", "no longer in use"),
        (ask(99, &[]), "", "not known here"),
        (ask(3, &[]), "", "none is given"),
        (ask(5, &[1, 2, 3]), "password=x", "makes no sense"),
        (ask(11, b"r=x,s=AAAA,i=1"), "password=x", "makes no sense"),
        (ask(12, b"v=x"), "password=x", "makes no sense"),
        (
            ask(10, b"OAUTHBEARER\0\0"),
            "password=x",
            "no SASL mechanism that is known",
        ),
        (ask(10, b"SCRAM-SHA-256\0\0"), "", "none is given"),
        (
            ask(10, b"SCRAM-SHA-256\0\0"),
            "password=x channel_binding=require",
            "not encrypted",
        ),
        (
            ask(3, &[]),
            "password=x channel_binding=require",
            "SCRAM only",
        ),
        (
            ask(3, &[]),
            "password=x require_auth=scram-sha-256",
            "require_auth forbids",
        ),
        (
            ask(5, &[0; 4]),
            "password=x require_auth=!md5",
            "require_auth forbids",
        ),
        (
            ask(0, &[]),
            "password=x require_auth=md5",
            "without a password",
        ),
        (
            ask(0, &[]),
            "password=x channel_binding=require",
            "without channel binding",
        ),
    ];
    run(async {
        for (asked, more, words) in rows {
            let port = server(asked, vec![Then::Silence]).await;
            let refused = plainly(port, more).await.unwrap_err();
            assert!(
                refused.message.contains(words),
                "{more} {words}: {}",
                refused.message
            );
        }
    });
}

#[test]
fn a8_a_server_that_does_not_know_the_password_is_found_out() {
    let offer = || ask(10, b"SCRAM-SHA-256\0\0");
    let rows: [(Vec<Then>, &str); 4] = [
        (vec![Then::Say(ask(0, &[]))], "before it proved itself"),
        (
            vec![Then::Say(ask(11, b"r=x,s=AAAA,i=4096"))],
            "nonce is not ours",
        ),
        (
            vec![Then::Say(ask(11, b"r=x,s=AAAA,i=2000000000"))],
            "not ours",
        ),
        (vec![Then::Say(ask(12, b"v=AAAA"))], "makes no sense"),
    ];
    run(async {
        for (then, words) in rows {
            let refused = plainly(server(offer(), then).await, "password=x")
                .await
                .unwrap_err();
            assert!(
                refused.message.contains(words),
                "{words}: {}",
                refused.message
            );
        }
        // With the client's nonce, which a script must read first.
        for (tail, last, words) in [
            ("zzz,s=AAAA,i=2000000000", None, "2000000000 iterations"),
            (
                "zzz,s=AAAA,i=1",
                Some(ask(12, b"v=AAAA")),
                "could not prove",
            ),
            (
                "zzz,s=AAAA,i=1",
                Some(ask(0, &[])),
                "before it proved itself",
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::task::spawn_local(async move {
                let mut stream = Stream::from(listener.accept().await.ok()?.0);
                read_packet(&mut stream, false).await?;
                stream
                    .write_all(&ask(10, b"SCRAM-SHA-256\0\0"))
                    .await
                    .ok()?;
                let first = read_packet(&mut stream, true).await?;
                let at = memchr::memmem::find(&first, b"r=")?;
                let challenge = [&first[at..], tail.as_bytes()].concat();
                stream.write_all(&ask(11, &challenge)).await.ok()?;
                read_packet(&mut stream, true).await?;
                stream.write_all(&last?).await.ok()?;
                stream.read(&mut [0; 64]).await.ok()
            });
            let refused = plainly(port, "password=x").await.unwrap_err();
            assert!(
                refused.message.contains(words),
                "{words}: {}",
                refused.message
            );
        }
    });
}

/// What a server says, whether it stays, and what that is to us.
fn nonsense() -> [(Vec<u8>, Then, LoginErrorKind); 17] {
    let huge = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
    let many = {
        let mut out = ask(0, &[]);
        for number in 0..1001 {
            build::parameter_status(&mut out, &format!("name{number}"), "x");
        }
        out
    };
    [
        (vec![], Then::Close, LoginErrorKind::Gone),
        (vec![], Then::Silence, LoginErrorKind::Timeout),
        (b"R".to_vec(), Then::Close, LoginErrorKind::Gone),
        (
            b"R\0\0\0\x08\0\0".to_vec(),
            Then::Silence,
            LoginErrorKind::Timeout,
        ),
        (huge(b'R', 0), Then::Silence, LoginErrorKind::Protocol),
        (huge(b'R', 3), Then::Silence, LoginErrorKind::Protocol),
        (
            huge(b'R', u32::MAX),
            Then::Silence,
            LoginErrorKind::Protocol,
        ),
        (huge(b'E', 1 << 30), Then::Silence, LoginErrorKind::Protocol),
        (ask(0, &[])[..5].to_vec(), Then::Close, LoginErrorKind::Gone),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Then::Close,
            LoginErrorKind::Protocol,
        ),
        (
            b"R\0\0\0\x04".to_vec(),
            Then::Silence,
            LoginErrorKind::Protocol,
        ),
        (
            [ask(0, &[]), b"D\0\0\0\x04".to_vec()].concat(),
            Then::Silence,
            LoginErrorKind::Protocol,
        ),
        (
            [ask(0, &[]), b"K\0\0\0\x06ab".to_vec()].concat(),
            Then::Silence,
            LoginErrorKind::Protocol,
        ),
        (
            [ask(0, &[]), b"S\0\0\0\x06ab".to_vec()].concat(),
            Then::Silence,
            LoginErrorKind::Protocol,
        ),
        (
            [ask(0, &[]), b"Z\0\0\0\x05X".to_vec()].concat(),
            Then::Silence,
            LoginErrorKind::Protocol,
        ),
        (
            [welcome(&[]), welcome(&[])].concat(),
            Then::Silence,
            LoginErrorKind::Protocol,
        ),
        (many, Then::Silence, LoginErrorKind::Protocol),
    ]
}

#[test]
fn i4_a_server_that_lies_garbles_or_is_silent_costs_its_time_only() {
    run(async {
        for (sent, then, kind) in nonsense() {
            let shown: Vec<u8> = sent.iter().copied().take(40).collect();
            let port = server(sent, vec![then]).await;
            let more = format!("host=127.0.0.1 port={port} sslmode=disable");
            let patience = if kind == LoginErrorKind::Timeout {
                50
            } else {
                10_000
            };
            let refused = to(&more, Duration::from_millis(patience))
                .await
                .unwrap_err();
            assert_eq!(refused.kind, kind, "{shown:?}: {}", refused.message);
        }
    });
}
