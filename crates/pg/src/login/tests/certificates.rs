//! Certificates of every kind, shown by a door of ours, and what each `sslmode` makes of them.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::access::{Access, AccessOptions, Auth, Reach};
use crate::login::{LoggedIn, LoginError, LoginErrorKind, connect, send_cancel};
use crate::stream::testing::{Authority, Folder};
use crate::stream::{Idle, Stream};
use crate::target::Target;
use crate::wire::startup::{First, decode};
use crate::wire::{BackendKey, TxStatus, build};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

fn access(tls: (PathBuf, PathBuf)) -> Access {
    let options = AccessOptions {
        auth: Some(Auth::Trust),
        tls: Some(tls),
        ..AccessOptions::default()
    };
    Access::new(Reach::Loopback, &options, None).unwrap()
}

/// Lets one client in, over TLS or not.
async fn welcome(access: &Access, stream: Stream) -> Option<Stream> {
    let (mut stream, packet) = access.first_packet(stream).await.ok()??;
    let Ok(Some((First::Startup(startup), _))) = decode(&packet) else {
        return None;
    };
    let mut out = access.admit(&mut stream, &startup).await.ok()?.greeting;
    build::backend_key_data(&mut out, &BackendKey::new(7, b"abcd").unwrap());
    build::ready(&mut out, TxStatus::Idle);
    stream.write_all(&out).await.ok()?;
    Some(stream)
}

async fn door(tls: (PathBuf, PathBuf)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let access = Rc::new(access(tls));
    tokio::task::spawn_local(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let access = Rc::clone(&access);
            tokio::task::spawn_local(async move {
                let stream = welcome(&access, tcp.into()).await;
                if let Some(mut stream) = stream {
                    let _ = stream.read(&mut [0; 64]).await;
                }
            });
        }
    });
    port
}

async fn to(port: u16, more: &str) -> Result<LoggedIn, LoginError> {
    let target = Target::from_text(&format!("user=u dbname=d port={port} {more}")).unwrap();
    connect(
        &target,
        "d",
        "u",
        &[],
        Instant::now() + Duration::from_secs(10),
    )
    .await
}

/// Certificate, host, root file, and whether require, verify-ca and verify-full let it pass.
type Row<'a> = (&'a (PathBuf, PathBuf), &'a str, &'a str, [bool; 3]);

#[test]
fn a9_each_sslmode_believes_what_libpq_believes() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let root = format!("sslrootcert={}", authority.root().display());
    let other = format!("sslrootcert={}", stranger.root().display());
    let named = authority.sign("named", "x", &["localhost", "127.0.0.1"]);
    let common = authority.sign("common", "localhost", &[]);
    let wrong = authority.sign("wrong", "localhost", &["elsewhere"]);
    let old = authority.sign_until("old", "x", &["localhost"], 2021);
    let own = authority.self_signed("own", "localhost");
    let own_root = format!("sslrootcert={}", own.0.display());
    let name = "host=localhost hostaddr=127.0.0.1";
    let number = "host=127.0.0.1";
    let rows: [Row<'_>; 14] = [
        (&named, name, &root, [true, true, true]),
        (&named, number, &root, [true, true, true]),
        (&named, name, &other, [false, false, false]),
        (&named, name, "", [true, false, false]),
        (&named, name, "sslrootcert=/none", [true, false, false]),
        (&common, name, &root, [true, true, true]),
        (&common, number, &root, [true, true, false]),
        (&wrong, name, &root, [true, true, false]),
        (&old, name, &root, [false, false, false]),
        (&old, name, "", [true, false, false]),
        (&own, name, &own_root, [true, true, true]),
        (&own, number, &own_root, [true, true, false]),
        (&own, name, &root, [false, false, false]),
        (&own, name, "", [true, false, false]),
    ];
    run(async {
        for (certificate, host, roots, expected) in rows {
            let port = door(certificate.clone()).await;
            for (mode, expected) in ["require", "verify-ca", "verify-full"]
                .into_iter()
                .zip(expected)
            {
                for version in ["TLSv1.2", "TLSv1.3"] {
                    let how =
                        format!("{host} {roots} sslmode={mode} ssl_max_protocol_version={version}");
                    let found = to(port, &how).await;
                    let shown = certificate.0.display();
                    assert_eq!(found.is_ok(), expected, "{shown} {how} {:?}", found.err());
                    if let Err(error) = found {
                        assert_eq!(error.kind, LoginErrorKind::Tls, "{error}");
                    }
                }
            }
        }
        // `prefer` with a root file that does not fit: TLS fails, and libpq goes on in clear.
        let port = door(named.clone()).await;
        assert!(
            !to(port, &format!("{name} {other}"))
                .await
                .unwrap()
                .stream
                .is_tls()
        );
        assert!(
            to(port, &format!("{name} {root}"))
                .await
                .unwrap()
                .stream
                .is_tls()
        );
        assert!(
            !to(port, &format!("{name} sslmode=allow"))
                .await
                .unwrap()
                .stream
                .is_tls()
        );
    });
}

#[test]
fn a9_certificate_files_that_cannot_be_used_say_why() {
    use std::os::unix::fs::PermissionsExt;
    let authority = Authority::new();
    let (cert, key) = authority.sign("c", "c", &[]);
    let (_, other) = authority.sign("o", "o", &[]);
    let folder = Folder::new();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n\
               -----END RSA PRIVATE KEY-----\n";
    let (encrypted, old) = (folder.write("e", encrypted), folder.write("o", old));
    let open = folder.write("open", std::fs::read(&key).unwrap());
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let empty = folder.write("empty", "");
    let none = PathBuf::from("/none");
    let rows = [
        (Some(&cert), None, "sslkey"),
        (None, Some(&key), "without sslcert"),
        (Some(&cert), Some(&other), "cannot be used together"),
        (Some(&cert), Some(&encrypted), "openssl pkey"),
        (Some(&cert), Some(&old), "openssl pkey"),
        (Some(&cert), Some(&open), "chmod 600"),
        (Some(&cert), Some(&empty), "no key in PEM"),
        (Some(&empty), Some(&key), "no certificate in PEM"),
        (Some(&cert), Some(&none), "/none cannot be read"),
        (Some(&none), Some(&key), "/none cannot be read"),
    ];
    run(async {
        let port = door(authority.sign("d", "d", &[])).await;
        for (cert, key, words) in rows {
            let given = |name: &str, file: Option<&PathBuf>| {
                file.map(|file| format!("{name}={}", file.display()))
                    .unwrap_or_default()
            };
            let how = format!(
                "host=127.0.0.1 sslmode=require {} {}",
                given("sslcert", cert),
                given("sslkey", key)
            );
            let refused = to(port, &how).await.unwrap_err();
            assert_eq!(refused.kind, LoginErrorKind::Tls);
            assert!(
                refused.message.contains(words),
                "{how}: {}",
                refused.message
            );
        }
    });
}

#[test]
fn e5_an_idle_connection_under_tls_is_quiet_until_something_is_said() {
    let authority = Authority::new();
    run(async {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let access = access(authority.sign("d", "d", &[]));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let how = format!("host=127.0.0.1 sslmode=require ssl_max_protocol_version={version}");
            let client = tokio::task::spawn_local(async move { to(port, &how).await });
            let (tcp, _) = listener.accept().await.unwrap();
            let mut server = welcome(&access, tcp.into()).await.unwrap();
            let mut stream = client.await.unwrap().unwrap().stream;
            assert!(
                stream
                    .tls_summary()
                    .unwrap()
                    .contains(&version.replace('.', "_"))
            );
            assert_eq!(stream.idle(), Idle::Quiet);
            assert_eq!(
                stream.try_read(&mut [0; 8]).unwrap_err().kind(),
                WOULD_BLOCK
            );
            server.write_all(b"hello").await.unwrap();
            stream.readable().await.unwrap();
            assert_eq!(stream.idle(), Idle::Talking);
            assert_eq!(stream.idle(), Idle::Talking, "it was not taken");
            let mut seen = [0; 8];
            assert_eq!(stream.try_read(&mut seen[..2]).unwrap(), 2);
            stream.readable().await.unwrap();
            assert_eq!(stream.try_read(&mut seen[2..]).unwrap(), 3);
            assert_eq!(&seen[..5], b"hello");
            assert_eq!(stream.idle(), Idle::Quiet);
            assert_eq!(stream.try_write(b"answer").unwrap(), 6);
            let mut answer = [0; 6];
            server.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
            std::future::poll_fn(|cx| server.poll_shutdown(cx))
                .await
                .unwrap();
            drop(server);
            stream.socket_readable().await;
            assert_eq!(stream.idle(), Idle::Gone);
        }
    });
}

const WOULD_BLOCK: std::io::ErrorKind = std::io::ErrorKind::WouldBlock;

#[test]
fn b9_more_than_fits_waits_under_tls_and_nothing_is_lost() {
    let authority = Authority::new();
    run(async {
        let access = access(authority.sign("d", "d", &[]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let how = "host=127.0.0.1 sslmode=require";
        let client = tokio::task::spawn_local(async move { to(port, how).await });
        let (tcp, _) = listener.accept().await.unwrap();
        let mut server = welcome(&access, tcp.into()).await.unwrap();
        let mut stream = client.await.unwrap().unwrap().stream;
        let block: Vec<u8> = (0..=255).cycle().take(8192).collect();
        let mut sent = Vec::new();
        loop {
            match stream.try_write(&block) {
                Ok(count) => sent.extend_from_slice(&block[..count]),
                Err(error) => {
                    assert_eq!(error.kind(), WOULD_BLOCK);
                    break;
                }
            }
            assert!(sent.len() < 64 << 20, "there is a bound");
        }
        let total = sent.len();
        let reader = tokio::task::spawn_local(async move {
            let mut seen = vec![0; total];
            server.read_exact(&mut seen).await.unwrap();
            seen
        });
        std::future::poll_fn(|cx| stream.poll_flush(cx))
            .await
            .unwrap();
        assert!(reader.await.unwrap() == sent);
    });
}

#[test]
fn f4_a_cancel_goes_over_tls_where_the_connection_does() {
    let authority = Authority::new();
    run(async {
        for (mode, tls) in [("disable", false), ("require", true)] {
            let access = access(authority.sign("d", "d", &[]));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let text = format!("user=u host=127.0.0.1 port={port} sslmode={mode}");
            let target = Target::from_text(&text).unwrap();
            let client = tokio::task::spawn_local(async move {
                let deadline = Instant::now() + Duration::from_secs(10);
                let found = connect(&target, "d", "u", &[], deadline).await.unwrap();
                let key = BackendKey::new(7, &[9; 256]).unwrap();
                send_cancel(&target, &found.at, &key, deadline)
                    .await
                    .unwrap();
            });
            let (tcp, _) = listener.accept().await.unwrap();
            let server = welcome(&access, tcp.into()).await.unwrap();
            let (tcp, _) = listener.accept().await.unwrap();
            let (stream, packet) = access.first_packet(tcp.into()).await.unwrap().unwrap();
            assert_eq!((server.is_tls(), stream.is_tls()), (tls, tls));
            let key = BackendKey::new(7, &[9; 256]).unwrap();
            assert_eq!(decode(&packet).unwrap().unwrap().0, First::Cancel(key));
            assert!(
                !client.is_finished(),
                "it waits until the server has taken notice"
            );
            drop(stream);
            client.await.unwrap();
        }
    });
}
