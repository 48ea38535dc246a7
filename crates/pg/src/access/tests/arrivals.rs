//! First bytes by hand: requests for encryption in every order, bytes stuffed behind them, and
//! clients that answer nonsense.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::*;
use crate::stream::tls;
use crate::target::{Host, Tls, TlsMode};

const SSL: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

fn startup() -> Vec<u8> {
    let mut out = Vec::new();
    build::startup(&mut out, [("user", "own")]);
    out
}

fn with_tls(authority: &Authority) -> Access {
    let options = AccessOptions {
        auth: Some(Auth::Trust),
        tls: Some(authority.sign("door", "door", &["localhost"])),
        ..AccessOptions::default()
    };
    Access::new(Reach::Loopback, &options, None).unwrap()
}

fn plain() -> Access {
    let options = AccessOptions {
        auth: Some(Auth::Trust),
        ..AccessOptions::default()
    };
    Access::new(Reach::Loopback, &options, None).unwrap()
}

/// Sends `bytes`, ends its half, and reads to the end.
async fn talk(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = Stream::from(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let mut seen = Vec::new();
    let _ = stream.write_all(bytes).await;
    let _ = std::future::poll_fn(|cx| stream.poll_shutdown(cx)).await;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
    }
    seen
}

#[test]
fn a1_requests_for_encryption_come_in_either_order() {
    let rows: [&[&[u8]]; 5] = [&[], &[SSL], &[GSS], &[SSL, GSS], &[GSS, SSL]];
    run(async {
        let port = door(plain()).await;
        for requests in rows {
            let sent = [requests.concat(), startup()].concat();
            let seen = talk(port, &sent).await;
            let (answers, rest) = seen.split_at(requests.len());
            assert!(answers.iter().all(|byte| *byte == b'N'), "{requests:?}");
            assert!(
                rest.starts_with(build::AUTHENTICATION_OK),
                "{requests:?} {seen:?}"
            );
        }
        for twice in [[SSL, SSL], [GSS, GSS]] {
            let seen = talk(port, &[twice.concat(), startup()].concat()).await;
            assert_eq!(seen, b"N", "the second one is no start-up packet");
        }
    });
}

#[test]
fn a1_what_was_sent_in_clear_never_counts_as_said_under_tls() {
    let authority = Authority::new();
    run(async {
        let port = door(with_tls(&authority)).await;
        let seen = talk(port, &[SSL, &startup()].concat()).await;
        let (answer, rest) = seen.split_at(1);
        assert_eq!(answer, b"S");
        // A TLS alert, perhaps; certainly no admission.
        assert!(rest.first().is_none_or(|byte| *byte == 21), "{rest:?}");
        // In clear all the way, and over TLS all the way, both are fine.
        assert!(
            talk(port, &startup())
                .await
                .starts_with(build::AUTHENTICATION_OK)
        );
        assert!(
            enter(port, "user=own sslmode=require")
                .await
                .unwrap()
                .stream
                .is_tls()
        );
    });
}

#[test]
fn a2_direct_tls_needs_alpn() {
    let authority = Authority::new();
    run(async {
        let port = door(with_tls(&authority)).await;
        let direct = "user=own sslmode=require sslnegotiation=direct";
        assert!(tls::speaks_postgresql(
            &enter(port, direct).await.unwrap().stream
        ));
        // The same by hand, and without ALPN.
        let host = Host {
            addr: crate::target::Addr::Name("localhost".into()),
            port,
        };
        let config = Tls {
            mode: TlsMode::Require,
            ..Tls::default()
        };
        let mut config = (*tls::client_config(&config).unwrap()).clone();
        config.alpn_protocols.clear();
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut stream = tls::connect(tcp.into(), Arc::new(config), &host)
            .await
            .unwrap();
        let _ = stream.write_all(&startup()).await;
        assert!(!matches!(stream.read(&mut [0; 64]).await, Ok(1..)));
        // A door without TLS takes it for a packet of an impossible length.
        let refused = enter(door(plain()).await, direct).await.unwrap_err();
        assert_eq!(refused.kind, LoginErrorKind::Tls);
        assert!(refused.message.contains("PostgreSQL 17"), "{refused}");
    });
}

#[test]
fn i4_no_first_bytes_and_no_answers_upset_a_door() {
    let authority = Authority::new();
    let options = AccessOptions {
        auth: Some(Auth::Scram),
        ..AccessOptions::default()
    };
    let scram = || Access::new(Reach::Loopback, &options, Some(&own("secret"))).unwrap();
    let sasl = |mechanism: &[u8], length: u32, message: &[u8]| {
        let mut body = [mechanism, b"\0", &length.to_be_bytes()].concat();
        body.extend_from_slice(message);
        let mut out = startup();
        build::password(&mut out, &body);
        out
    };
    let first = b"n,,n=,r=abc";
    let rows = [
        vec![],
        vec![0; 3],
        vec![0; 64],
        vec![0xff; 64],
        vec![0x16; 64],
        [&[0x16, 3, 1, 0xff, 0xff][..], &[0; 300]].concat(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        startup()[..12].to_vec(),
        startup(),
        [startup(), b"X\0\0\0\x04".to_vec()].concat(),
        [startup(), b"p\xff\xff\xff\xff".to_vec()].concat(),
        [startup(), b"p\0\0\0\x00".to_vec()].concat(),
        [startup(), b"p\0\0\0\x05".to_vec()].concat(),
        [startup(), b"Q\0\0\0\x09SELECT".to_vec()].concat(),
        sasl(b"SCRAM-SHA-256", u32::MAX, first),
        sasl(b"SCRAM-SHA-256", 10, first),
        sasl(b"SCRAM-SHA-256-PLUS", 11, first),
        sasl(b"", 11, first),
        sasl(b"SCRAM-SHA-256", 11, first),
        [
            sasl(b"SCRAM-SHA-256", 11, first),
            b"p\0\0\0\x0cc=biws,r".to_vec(),
        ]
        .concat(),
    ];
    run(async {
        for access in [with_tls(&authority), scram()] {
            let is_scram = access.tls.is_none();
            let port = door(access).await;
            for bytes in &rows {
                let seen = talk(port, bytes).await;
                let let_in = memchr::memmem::find(&seen, build::AUTHENTICATION_OK).is_some();
                assert!(!(is_scram && let_in), "{bytes:?}");
            }
            // It still stands.
            assert!(enter(port, "user=own password=secret").await.is_ok());
        }
    });
}
