//! Scripted servers again: which way of encryption and which host a login ends up at, and what is
//! noticed of a connection afterwards.

use std::time::Duration;

use tokio::net::TcpListener;

use super::scripted::{Then, error, plainly, read_packet, run, server, to, welcome};
use crate::login::LoginErrorKind;
use crate::stream::{Idle, Stream};
use crate::wire::{TxStatus, build};

#[test]
fn a1_what_a_server_answers_to_the_request_for_tls() {
    let rows: [(&[u8], &str, LoginErrorKind, &str); 7] = [
        (b"N", "sslmode=require", LoginErrorKind::Tls, "ssl=off"),
        (
            b"N",
            "sslmode=verify-full sslrootcert=/none",
            LoginErrorKind::Tls,
            "/none",
        ),
        // In clear behind the answer: TLS does not take it (CVE-2021-23222).
        (
            b"SE\0\0\0\x04",
            "sslmode=require",
            LoginErrorKind::Tls,
            "TLS failed",
        ),
        (
            b"SR\0\0\0\x08\0\0\0\0",
            "sslmode=require",
            LoginErrorKind::Tls,
            "TLS failed",
        ),
        (
            b"E\0\0\0\x10SFATAL\0\0\0\0\0",
            "sslmode=require",
            LoginErrorKind::Tls,
            "with an error",
        ),
        (
            b"H",
            "sslmode=require",
            LoginErrorKind::Protocol,
            "does not speak",
        ),
        (
            b"",
            "sslmode=require",
            LoginErrorKind::Gone,
            "TLS was asked for",
        ),
    ];
    run(async {
        for (answer, more, kind, words) in rows {
            let port = server(answer.to_vec(), vec![Then::Close]).await;
            let more = format!("host=127.0.0.1 port={port} {more}");
            let refused = to(&more, Duration::from_secs(10)).await.unwrap_err();
            assert_eq!(refused.kind, kind, "{more}: {}", refused.message);
            assert!(
                refused.message.contains(words),
                "{more}: {}",
                refused.message
            );
        }
        // `prefer` goes on in clear on the same connection.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(async move {
            let mut stream = Stream::from(listener.accept().await.ok()?.0);
            read_packet(&mut stream, false).await?;
            stream.write_all(b"N").await.ok()?;
            read_packet(&mut stream, false).await?;
            stream.write_all(&welcome(&[])).await.ok()?;
            stream.read(&mut [0]).await.ok()
        });
        let found = to(
            &format!("host=127.0.0.1 port={port}"),
            Duration::from_secs(10),
        )
        .await;
        assert!(!found.unwrap().stream.is_tls());
    });
}

#[test]
fn e6_the_next_host_is_tried_when_it_may_do_better() {
    use LoginErrorKind::{StartingUp, TooMany, WrongRole};
    run(async {
        let writes = [
            ("default_transaction_read_only", "off"),
            ("in_hot_standby", "off"),
        ];
        let reads = [
            ("default_transaction_read_only", "off"),
            ("in_hot_standby", "on"),
        ];
        let primary = server(welcome(&writes), vec![]).await;
        let standby = server(welcome(&reads), vec![]).await;
        let starting = server(error("57P03"), vec![Then::Close]).await;
        let full = server(error("53300"), vec![Then::Close]).await;
        let silent = server(vec![], vec![Then::Silence]).await;
        // A server before version 14 reports neither and is asked.
        let old = {
            let mut answer = Vec::new();
            build::message(&mut answer, b'T', |out| out.extend_from_slice(&[0, 0]));
            let row = b"\0\x01\0\0\0\x02on";
            build::message(&mut answer, b'D', |out| out.extend_from_slice(row));
            build::command_complete(&mut answer, b"SHOW");
            build::ready(&mut answer, TxStatus::Idle);
            server(welcome(&[]), vec![Then::Say(answer)]).await
        };
        let rows = [
            (vec![starting, primary], "any", Ok(primary)),
            (vec![silent, primary], "any", Ok(primary)),
            (vec![standby, primary], "read-write", Ok(primary)),
            (vec![standby, primary], "primary", Ok(primary)),
            (vec![primary, standby], "standby", Ok(standby)),
            (vec![primary, standby], "prefer-standby", Ok(standby)),
            (vec![starting, primary], "prefer-standby", Ok(primary)),
            (vec![primary, standby], "read-only", Ok(standby)),
            (vec![old, primary], "read-write", Ok(primary)),
            (vec![primary, old], "read-only", Ok(old)),
            (vec![full, primary], "any", Err(TooMany)),
            (vec![standby, starting], "primary", Err(StartingUp)),
            (vec![primary], "standby", Err(WrongRole)),
        ];
        for (ports, attrs, expected) in rows {
            let hosts = vec!["127.0.0.1"; ports.len()].join(",");
            let list: Vec<String> = ports.iter().map(u16::to_string).collect();
            // Only who waits for one that says nothing is to use it up.
            let patience = if ports.contains(&silent) { 2 } else { 15 };
            let more = format!(
                "host={hosts} port={} sslmode=disable target_session_attrs={attrs} \
                 connect_timeout={patience}",
                list.join(",")
            );
            let found = to(&more, Duration::from_secs(20)).await;
            let found = found
                .map(|done| done.at.host.port)
                .map_err(|error| error.kind);
            assert_eq!(found, expected, "{more}");
        }
    });
}

#[test]
fn e5_an_idle_connection_that_speaks_or_ends_is_noticed() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = tokio::task::spawn_local(async move { plainly(port, "").await });
        let mut server = Stream::from(listener.accept().await.unwrap().0);
        read_packet(&mut server, false).await.unwrap();
        server.write_all(&welcome(&[])).await.unwrap();
        let mut stream = client.await.unwrap().unwrap().stream;
        assert_eq!(stream.idle(), Idle::Quiet);
        server.write_all(&error("57P01")).await.unwrap();
        stream.readable().await.unwrap();
        assert_eq!(stream.idle(), Idle::Talking);
        // Nothing was taken.
        let mut seen = vec![0; error("57P01").len()];
        stream.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, error("57P01"));
        assert_eq!(stream.idle(), Idle::Quiet);
        drop(server);
        stream.readable().await.unwrap();
        assert_eq!(stream.idle(), Idle::Gone);
    });
}
