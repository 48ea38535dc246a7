//! Logins to a real PostgreSQL with TLS and a role for each way to log in. Needs one that is
//! running, hence ignored: `CANTER_TEST_REACH=folder cargo test -- --ignored real`; the folder
//! holds `port`, `sock/`, `tls/`, and roles named `by_scram`, `by_md5` and so on.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::login::{LoggedIn, LoginError, LoginErrorKind, connect, send_cancel};
use crate::stream::Idle;
use crate::target::Target;
use crate::wire::build;

struct Cluster {
    folder: PathBuf,
    port: String,
}

impl Cluster {
    fn new() -> Self {
        let folder = PathBuf::from(std::env::var_os("CANTER_TEST_REACH").expect("see above"));
        let port = std::fs::read_to_string(folder.join("port"))
            .unwrap()
            .trim()
            .to_owned();
        Self { folder, port }
    }

    fn target(&self, user: &str, more: &str) -> Target {
        let tls = self.folder.join("tls");
        let more = more.replace("{tls}", &tls.display().to_string());
        let given = format!(
            "host=localhost port={} user={user} dbname=postgres password='pw' {more}",
            self.port
        );
        Target::from_text(&given).unwrap()
    }
}

async fn to(target: &Target) -> Result<LoggedIn, LoginError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    connect(target, &target.dbname, &target.user, &[], deadline).await
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

const OK: Result<(), LoginErrorKind> = Ok(());

/// User, further keywords, what comes of it, and whether it is encrypted.
const ROWS: [(&str, &str, Result<(), LoginErrorKind>, bool); 32] = [
    ("postgres", "sslmode=disable", OK, false),
    ("postgres", "sslmode=allow", OK, false),
    ("postgres", "", OK, true),
    ("postgres", "sslmode=require", OK, true),
    (
        "postgres",
        "sslmode=verify-full sslrootcert={tls}/ca.crt",
        OK,
        true,
    ),
    (
        "postgres",
        "sslmode=verify-full sslrootcert={tls}/other.crt",
        Err(LoginErrorKind::Tls),
        true,
    ),
    (
        "postgres",
        "sslmode=require sslrootcert={tls}/other.crt",
        Err(LoginErrorKind::Tls),
        true,
    ),
    ("postgres", "sslmode=require sslrootcert=/none", OK, true),
    (
        "postgres",
        "sslmode=verify-ca sslrootcert=/none",
        Err(LoginErrorKind::Tls),
        true,
    ),
    (
        "postgres",
        "sslmode=verify-ca sslrootcert={tls}/server.crt",
        OK,
        true,
    ),
    (
        "postgres",
        "sslrootcert=system",
        Err(LoginErrorKind::Tls),
        true,
    ),
    (
        "postgres",
        "sslmode=require ssl_max_protocol_version=TLSv1.2",
        OK,
        true,
    ),
    (
        "postgres",
        "sslmode=require ssl_min_protocol_version=TLSv1.3",
        OK,
        true,
    ),
    (
        "postgres",
        "sslmode=require sslnegotiation=direct",
        Err(LoginErrorKind::Tls),
        true,
    ),
    ("by_tls", "sslmode=allow", OK, true),
    (
        "by_tls",
        "sslmode=disable",
        Err(LoginErrorKind::Auth),
        false,
    ),
    ("by_plain", "", OK, false),
    (
        "by_plain",
        "sslmode=require",
        Err(LoginErrorKind::Auth),
        true,
    ),
    ("by_md5", "", OK, true),
    ("by_md5", "password=no", Err(LoginErrorKind::Auth), true),
    (
        "by_md5",
        "require_auth=scram-sha-256",
        Err(LoginErrorKind::Auth),
        true,
    ),
    ("by_password", "sslmode=disable", OK, false),
    (
        "by_password",
        "channel_binding=require",
        Err(LoginErrorKind::Auth),
        false,
    ),
    ("by_scram", "password='pw é Ⅸ'", OK, true),
    (
        "by_scram",
        "password='pw é IX' channel_binding=require",
        OK,
        true,
    ),
    ("by_scram", "password='pw é Ⅸ' sslmode=disable", OK, false),
    (
        "by_scram",
        "password='pw é Ⅸ' channel_binding=disable",
        OK,
        true,
    ),
    (
        "by_scram",
        "password='pw é Ⅸ' channel_binding=require sslmode=prefer ssl_max_protocol_version=TLSv1.2",
        OK,
        true,
    ),
    ("by_scram", "password=''", Err(LoginErrorKind::Auth), true),
    (
        "by_cert",
        "sslcert={tls}/by_cert.crt sslkey={tls}/by_cert.key",
        OK,
        true,
    ),
    (
        "by_cert",
        "sslmode=require",
        Err(LoginErrorKind::Auth),
        true,
    ),
    (
        "by_cert",
        "sslcert={tls}/by_cert.crt sslkey={tls}/enc.key sslmode=require",
        Err(LoginErrorKind::Tls),
        true,
    ),
];

#[test]
#[ignore = "needs a PostgreSQL that is running"]
fn a9_every_method_of_a_real_server() {
    let cluster = Cluster::new();
    run(async {
        for (user, more, expected, tls) in ROWS {
            match to(&cluster.target(user, more)).await {
                Ok(mut done) => {
                    assert_eq!(expected, Ok(()), "{user} {more}");
                    assert_eq!(done.stream.is_tls(), tls, "{user} {more}");
                    assert!(done.key.is_some());
                    assert!(done.params.iter().any(|(name, _)| name == "server_version"));
                    assert_eq!(done.stream.idle(), Idle::Quiet);
                }
                Err(error) => {
                    println!("{user} {more}: {:?} {error}", error.kind);
                    assert_eq!(expected, Err(error.kind), "{user} {more}: {error}");
                }
            }
        }
    });
}

#[test]
#[ignore = "needs a PostgreSQL that is running"]
fn a9_roles_hosts_and_sockets_of_a_real_server() {
    let cluster = Cluster::new();
    run(async {
        let socket = cluster.folder.join("sock");
        let unix = format!("host={}", socket.display());
        let port = &cluster.port;
        let rows = [
            (unix.clone(), None),
            (format!("host=/none,{}", socket.display()), None),
            (format!("host=127.0.0.1,localhost port=1,{port}"), None),
            (format!("{unix} target_session_attrs=read-write"), None),
            (format!("{unix} target_session_attrs=primary"), None),
            (format!("{unix} target_session_attrs=prefer-standby"), None),
            (
                format!("{unix} target_session_attrs=standby"),
                Some(LoginErrorKind::WrongRole),
            ),
            (
                format!("{unix} dbname=none"),
                Some(LoginErrorKind::NoDatabase),
            ),
            (
                "host=no-such-name.invalid".to_owned(),
                Some(LoginErrorKind::Dns),
            ),
            (
                "host=127.0.0.1 port=1".to_owned(),
                Some(LoginErrorKind::Refused),
            ),
        ];
        for (more, expected) in rows {
            let found = to(&cluster.target("postgres", &more)).await;
            assert_eq!(found.err().map(|error| error.kind), expected, "{more}");
        }
    });
}

#[test]
#[ignore = "needs a PostgreSQL that is running"]
fn f1_a_cancel_reaches_a_real_server_over_tls_and_in_clear() {
    let cluster = Cluster::new();
    run(async {
        for more in ["sslmode=disable", "sslmode=require"] {
            let target = cluster.target("postgres", more);
            let mut server = to(&target).await.unwrap();
            let mut out = Vec::new();
            build::query(&mut out, b"SELECT pg_sleep(30)");
            server.stream.write_all(&out).await.unwrap();
            // The row description shows that it runs.
            let deadline = Instant::now() + Duration::from_secs(10);
            let key = server.key.clone().unwrap();
            let mut seen = Vec::new();
            while !seen.windows(6).any(|part| part == b"C57014") {
                send_cancel(&target, &server.at, &key, deadline)
                    .await
                    .unwrap();
                let mut buffer = [0; 4096];
                let read = server.stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0);
                seen.extend_from_slice(&buffer[..read]);
            }
        }
    });
}
