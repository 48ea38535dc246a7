//! Doors met by our own login over loopback and unix sockets: both ends of every method, over
//! TLS and in clear; and by clients that do not play by the rules.

mod arrivals;
mod settings;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::{Access, AccessOptions, Auth, Reach};
use crate::login::{LoggedIn, LoginError, LoginErrorKind, connect};
use crate::stream::Stream;
use crate::stream::testing::{Authority, Folder};
use crate::target::{Credential, Target};
use crate::wire::startup::{First, decode};
use crate::wire::{BackendKey, TxStatus, build};

const VERIFIER_PASSWORD: &str = "pencil";

/// A test on one thread, as the pooler runs.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

/// What a door does with one client, as the session would.
async fn serve(access: &Access, stream: Stream) -> Option<Option<Credential>> {
    let (mut stream, packet) = access.first_packet(stream).await.ok()??;
    let Ok(Some((First::Startup(startup), _))) = decode(&packet) else {
        return None;
    };
    match access.admit(&mut stream, &startup).await {
        Ok(admitted) => {
            let mut out = admitted.greeting;
            build::parameter_status(&mut out, "server_version", "18.0");
            build::backend_key_data(&mut out, &BackendKey::new(7, b"abcd").unwrap());
            build::ready(&mut out, TxStatus::Idle);
            stream.write_all(&out).await.ok()?;
            Some(admitted.credential)
        }
        Err(error) => {
            let mut out = Vec::new();
            error.encode(&mut out);
            stream.write_all(&out).await.ok()?;
            None
        }
    }
}

/// A TCP door for any number of clients; its port.
async fn door(access: Access) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let access = Rc::new(access);
    tokio::task::spawn_local(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let access = Rc::clone(&access);
            tokio::task::spawn_local(async move { serve(&access, tcp.into()).await });
        }
    });
    port
}

async fn enter(port: u16, more: &str) -> Result<LoggedIn, LoginError> {
    let text = format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=d {more}");
    let target = Target::from_text(&text).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    connect(&target, &target.dbname, &target.user, &[], deadline).await
}

/// Users known by a password, an MD5 hash and a SCRAM verifier.
fn users(folder: &Folder) -> PathBuf {
    let hash = postgres_protocol::password::md5(b"pencil", "hashed");
    let verifier = postgres_protocol::password::scram_sha_256(VERIFIER_PASSWORD.as_bytes());
    folder.write(
        "users",
        format!("\"known\" \"pen\"\"cil\"\n\"verified\" \"{verifier}\"\n\"hashed\" \"{hash}\"\n"),
    )
}

fn own(password: &str) -> Target {
    Target::from_text(&format!("user=own host=h password='{password}'")).unwrap()
}

use Auth::{Md5, Plain, Scram, Trust};
const FULL: &str = "sslmode=verify-full sslrootcert={root}";

/// Method, who comes, how, and whether it may come in.
const ROWS: [(Auth, &str, &str, bool); 22] = [
    (Scram, "user=own password=secret", "sslmode=disable", true),
    (
        Scram,
        "user=own password=secret",
        "channel_binding=require",
        true,
    ),
    (
        Scram,
        "user=own password=secret",
        "channel_binding=disable",
        true,
    ),
    (
        Scram,
        "user=own password=secret",
        "ssl_max_protocol_version=TLSv1.2",
        true,
    ),
    (Scram, "user=own password=secret", FULL, true),
    (
        Scram,
        "user=own password=secret",
        "sslmode=require sslnegotiation=direct",
        true,
    ),
    (Scram, "user=own password=Secret", "", false),
    (Scram, "user=other password=secret", "", false),
    (Scram, "user=known password='pen\"cil'", "", true),
    (
        Scram,
        "user=verified password=pencil",
        "require_auth=scram-sha-256",
        true,
    ),
    (Scram, "user=verified password=no", "", false),
    (Md5, "user=own password=secret", "", true),
    (Md5, "user=hashed password=pencil", "sslmode=disable", true),
    (Md5, "user=hashed password=no", "", false),
    (
        Md5,
        "user=verified password=pencil",
        "require_auth=scram-sha-256",
        true,
    ),
    (Md5, "user=nobody password=pencil", "", false),
    (Plain, "user=own password=secret", "", true),
    (Plain, "user=own password=secre", "", false),
    (Plain, "user=hashed password=pencil", "", true),
    (Plain, "user=verified password=pencil", "", true),
    (Plain, "user=verified password=no", "", false),
    (Plain, "user=nobody password=x", "", false),
];

#[test]
fn a8_a9_every_method_lets_in_who_knows_and_nobody_else() {
    let authority = Authority::new();
    let tls = Some(authority.sign("door", "door", &["localhost"]));
    let root = authority.root().display().to_string();
    run(async {
        for (auth, who, how, expected) in ROWS {
            let how = how.replace("{root}", &root);
            let folder = Folder::new();
            let file = users(&folder);
            if auth == Scram {
                let text = std::fs::read_to_string(&file).unwrap();
                let kept: Vec<_> = text
                    .lines()
                    .filter(|line| !line.contains("hashed"))
                    .collect();
                std::fs::write(&file, kept.join("\n")).unwrap();
            }
            let options = AccessOptions {
                auth: Some(auth),
                users: Some(file),
                tls: tls.clone(),
                ..AccessOptions::default()
            };
            let access = Access::new(Reach::Network, &options, Some(&own("secret"))).unwrap();
            let found = enter(door(access).await, &format!("{who} {how}")).await;
            match found {
                Ok(_) => assert!(expected, "{auth:?} {who} {how}"),
                Err(error) => {
                    assert!(!expected, "{auth:?} {who} {how}: {error}");
                    assert_eq!(error.kind, LoginErrorKind::Auth);
                    // The same words for a wrong password and for nobody.
                    let words = "password authentication failed for user";
                    assert!(error.message.contains(words), "{error}");
                    assert_eq!(error.sql.unwrap().code, *b"28P01");
                }
            }
        }
    });
}

#[test]
fn a8_a_client_certificate_opens_the_door_to_the_user_it_names() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let tls = Some(authority.sign("door", "door", &["localhost"]));
    let options = AccessOptions {
        auth: Some(Auth::Cert),
        tls,
        client_ca: Some(authority.root()),
        ..AccessOptions::default()
    };
    let shown = |(cert, key): (PathBuf, PathBuf)| {
        format!(
            "sslmode=require sslcert={} sslkey={}",
            cert.display(),
            key.display()
        )
    };
    let rows = [
        (
            "user=alice",
            shown(authority.sign("alice", "alice", &[])),
            true,
        ),
        (
            "user=bob",
            shown(authority.sign("alice2", "alice", &[])),
            false,
        ),
        (
            "user=alice",
            shown(stranger.sign("alice", "alice", &[])),
            false,
        ),
        (
            "user=alice",
            shown(authority.sign_until("old", "alice", &[], 2021)),
            false,
        ),
        ("user=alice", "sslmode=require".to_owned(), false),
        ("user=alice", "sslmode=disable".to_owned(), false),
    ];
    run(async {
        let port = door(Access::new(Reach::Network, &options, None).unwrap()).await;
        for (who, how, expected) in rows {
            let found = enter(port, &format!("{who} {how}")).await;
            assert_eq!(found.is_ok(), expected, "{who} {how}");
        }
    });
}

#[test]
fn a8_a_proof_reveals_what_logs_in_to_the_database_in_the_clients_name() {
    run(async {
        let folder = Folder::new();
        let verifier = postgres_protocol::password::scram_sha_256(b"pencil");
        let file = folder.write("users", format!("\"u\" \"{verifier}\"\n\"own\" \"x\"\n"));
        let options = AccessOptions {
            users: Some(file.clone()),
            ..AccessOptions::default()
        };
        let new = || Access::new(Reach::Loopback, &options, Some(&own("x"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut found = Vec::new();
        for who in ["user=u password=pencil", "user=own password=x"] {
            let client = tokio::task::spawn_local(enter(port, who));
            let (tcp, _) = listener.accept().await.unwrap();
            // The first connection asks for TLS and goes on in clear.
            found.push(serve(&new(), tcp.into()).await.unwrap());
            client.await.unwrap().unwrap();
        }
        assert_eq!(
            found.pop().unwrap(),
            None,
            "the target's own user needs nothing"
        );
        let credential = found.pop().unwrap().unwrap();
        assert!(matches!(credential, Credential::Keys(_)));
        // The server keeps the same verifier and never saw the password from us.
        let place = Target::from_text(&format!(
            "host=127.0.0.1 port={} user=x dbname=d password=wrong",
            door(new()).await
        ))
        .unwrap();
        let target = place.for_user("u", Some(&credential));
        let deadline = Instant::now() + Duration::from_secs(10);
        connect(&target, "d", "u", &[], deadline).await.unwrap();
    });
}

#[test]
fn a8_who_is_asked_for_no_password_logs_in_with_the_one_of_the_file() {
    run(async {
        let folder = Folder::new();
        let hash = postgres_protocol::password::md5(b"x", "hashed");
        let text = format!("\"u\" \"secret\"\n\"own\" \"x\"\n\"hashed\" \"{hash}\"\n");
        let options = AccessOptions {
            auth: Some(Trust),
            users: Some(folder.write("users", text)),
            ..AccessOptions::default()
        };
        let access = Access::new(Reach::Loopback, &options, Some(&own("x"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (who, expected) in [
            ("u", true),
            ("own", false),
            ("hashed", false),
            ("other", false),
        ] {
            let who_comes = format!("user={who} sslmode=disable");
            let client = tokio::task::spawn_local(async move { enter(port, &who_comes).await });
            let (tcp, _) = listener.accept().await.unwrap();
            let found = serve(&access, tcp.into()).await.unwrap();
            client.await.unwrap().unwrap();
            let is_secret = |found: Credential| matches!(found, Credential::Password(word) if word.expose() == b"secret");
            assert_eq!(found.is_some_and(is_secret), expected, "{who}");
        }
    });
}

#[test]
fn a8_a_unix_door_asks_the_kernel() {
    run(async {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let host = folder.path().display();
        let text = format!("host={host} user=anybody dbname=d sslmode=verify-full");
        let target = Target::from_text(&text).unwrap();
        let client = tokio::task::spawn_local(async move {
            let deadline = Instant::now() + Duration::from_secs(10);
            connect(&target, "d", "anybody", &[], deadline).await
        });
        let (unix, _) = listener.accept().await.unwrap();
        let stream = Stream::from(unix);
        assert_eq!(
            stream.peer().unwrap().pid,
            Some(std::process::id().cast_signed())
        );
        let options = AccessOptions::default();
        let access = Access::new(Reach::Unix, &options, None).unwrap();
        assert!(serve(&access, stream).await.is_some());
        client.await.unwrap().unwrap();
    });
}

#[test]
fn e8_a_changed_password_counts_at_once() {
    run(async {
        let folder = Folder::new();
        let file = folder.write("users", "\"u\" \"old\"\n");
        let options = AccessOptions {
            users: Some(file.clone()),
            ..AccessOptions::default()
        };
        let access = Access::new(Reach::Loopback, &options, Some(&own("old"))).unwrap();
        access.set_target(&own("new"));
        let port = door(access).await;
        assert!(enter(port, "user=own password=new").await.is_ok());
        assert!(enter(port, "user=own password=old").await.is_err());
        assert!(enter(port, "user=u password=old").await.is_ok());
        folder.write("users", "\"u\" \"newer\"\n");
        assert!(enter(port, "user=u password=newer").await.is_ok());
        assert!(enter(port, "user=u password=old").await.is_err());
        // Broken by a hand that is not done yet: those known before stay.
        folder.write("users", "\"u\" \"newest");
        assert!(enter(port, "user=u password=newer").await.is_ok());
    });
}

#[test]
fn e8_a_renewed_certificate_counts_at_once() {
    let authority = Authority::new();
    let tls = authority.sign("door", "door", &["elsewhere"]);
    let options = AccessOptions {
        tls: Some(tls),
        ..AccessOptions::default()
    };
    let access = Access::new(Reach::Loopback, &options, Some(&own("secret"))).unwrap();
    let how = format!(
        "user=own password=secret channel_binding=require sslmode=verify-full sslrootcert={}",
        authority.root().display()
    );
    run(async {
        let port = door(access).await;
        assert_eq!(
            enter(port, &how).await.unwrap_err().kind,
            LoginErrorKind::Tls
        );
        authority.sign("door", "door", &["localhost"]);
        assert!(enter(port, &how).await.is_ok());
        // Half of a renewal: the old pair stays.
        authority.folder.write("door.key", "");
        assert!(enter(port, &how).await.is_ok());
    });
}

#[test]
fn e8_a_door_that_asked_for_nothing_asks_once_there_is_a_password() {
    let without = Target::from_text("user=own").unwrap();
    let access = Access::new(Reach::Loopback, &AccessOptions::default(), Some(&without)).unwrap();
    access.set_target(&own("secret"));
    run(async {
        let port = door(access).await;
        assert!(enter(port, "user=own").await.is_err());
        assert!(enter(port, "user=own password=secret").await.is_ok());
    });
}
