//! Reads on replicas through the whole pooler, by the ids of the acceptance list. The servers are
//! stand-ins that say who they are, so that each test decides what they answer and when.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use canter_pg::access::{Access, AccessOptions, Auth, Reach};
use canter_pg::replica::Rules;
use canter_pg::target::Target;
use canter_pg::{Door, Pooler, Settings};

/// A server that answers each query with its name.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    name: &'static str,
    in_recovery: bool,
    /// The last half of its LSN.
    lsn: u32,
    /// SQLSTATE by a part of the text; `dies` closes the connection.
    errors: HashMap<&'static str, &'static str>,
    /// Connections are closed at once.
    down: bool,
    heard: Vec<String>,
}

impl Server {
    fn start(name: &'static str, in_recovery: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            name,
            in_recovery,
            lsn: 100,
            ..State::default()
        };
        let server = Self {
            address,
            state: Arc::new(Mutex::new(state)),
        };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, stream) = (serving.clone(), stream.unwrap());
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    fn heard(&self, part: &str) -> usize {
        self.with(|state| {
            state
                .heard
                .iter()
                .filter(|text| text.contains(part))
                .count()
        })
    }

    fn target(&self) -> Target {
        Target::from_url(&format!(
            "postgresql://u:p@{}/d?sslmode=disable",
            self.address
        ))
        .unwrap()
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let length = read(&mut stream, 4).ok()?;
        read(&mut stream, number(&length) - 4).ok()?;
        let mut out = message(b'R', &0_u32.to_be_bytes());
        for (name, value) in [
            ("server_version", "17.0"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ] {
            out.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
        }
        out.extend(message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
        out.extend(message(b'Z', b"I"));
        let (mut status, mut parsed) = (b'I', String::new());
        loop {
            if self.with(|state| state.down) {
                return None;
            }
            stream.write_all(&out).ok()?;
            out.clear();
            let tag = read(&mut stream, 1).ok()?[0];
            let length = read(&mut stream, 4).ok()?;
            let body = read(&mut stream, number(&length) - 4).ok()?;
            match tag {
                b'Q' => {
                    let text = String::from_utf8(body[..body.len() - 1].to_vec()).unwrap();
                    out.extend(self.answer(&text, false, &mut status)?);
                    out.extend(message(b'Z', &[status]));
                }
                b'P' => {
                    let mut parts = body.split(|byte| *byte == 0);
                    parts.next();
                    parsed = String::from_utf8(parts.next()?.to_vec()).unwrap();
                }
                b'S' => {
                    out.extend(message(b'1', b""));
                    out.extend(message(b'2', b""));
                    out.extend(self.answer(&parsed, true, &mut status)?);
                    out.extend(message(b'Z', &[status]));
                }
                b'X' => return None,
                _ => {}
            }
        }
    }

    /// `None`: the connection ends.
    fn answer(&self, text: &str, extended: bool, status: &mut u8) -> Option<Vec<u8>> {
        self.with(|state| {
            state.heard.push(text.to_owned());
            let failed = state.errors.iter().find(|(part, _)| text.contains(**part));
            if let Some((_, code)) = failed {
                if *code == "dies" {
                    return None;
                }
                let words = format!("SERROR\0VERROR\0C{code}\0Mit cannot\0\0");
                return Some(message(b'E', words.as_bytes()));
            }
            let mut out = Vec::new();
            let columns = if text.contains("pg_is_in_recovery") {
                let recovery = if state.in_recovery { "t" } else { "f" };
                vec![
                    Some(recovery.to_owned()),
                    Some(format!("0/{:X}", state.lsn)),
                    None,
                ]
            } else {
                vec![Some(state.name.to_owned())]
            };
            if text.contains("pg_catalog.") && !text.contains("pg_is_in_recovery") {
                // A question of the pooler about the session: nothing to tell.
            } else if text.starts_with("BEGIN") {
                *status = b'T';
            } else if text.starts_with("COMMIT") {
                *status = b'I';
            } else {
                if !extended {
                    out.extend(message(b'T', &[0, 0]));
                }
                out.extend(row(&columns));
            }
            out.extend(message(b'C', b"SELECT 1\0"));
            Some(out)
        })
    }
}

/// A primary, its replicas, a pooler before them, and a client of it.
struct Case {
    primary: Server,
    replicas: Vec<Server>,
    door: SocketAddr,
}

impl Case {
    fn new(rules: Rules) -> Self {
        let primary = Server::start("primary", false);
        let replicas = vec![Server::start("one", true), Server::start("two", true)];
        let (to, from) = channel();
        let (target, others) = (
            primary.target(),
            replicas.iter().map(Server::target).collect(),
        );
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .unwrap();
            runtime.block_on(async move {
                let settings = Settings {
                    connections: Some(4),
                    ..Settings::default()
                };
                let pooler = Pooler::new(settings);
                let options = AccessOptions {
                    auth: Some(Auth::Trust),
                    ..AccessOptions::default()
                };
                let access = Access::new(Reach::Loopback, &options, Some(&target)).unwrap();
                let id = pooler.register(target).unwrap();
                pooler.set_default(id);
                assert!(pooler.set_replicas(id, others, rules));
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                to.send(listener.local_addr().unwrap()).unwrap();
                pooler.open(Door::tcp(listener, access)).unwrap();
                std::future::pending::<()>().await;
            });
        });
        Self {
            primary,
            replicas,
            door: from.recv().unwrap(),
        }
    }

    fn client(&self) -> Client {
        Client::new(self.door)
    }

    /// Both replicas are up and known to be near.
    fn ready(&self) -> Client {
        let mut client = self.client();
        for name in ["one", "two"] {
            client.until("SELECT 1", name);
        }
        client
    }
}

fn quick() -> Rules {
    Rules {
        probe_every: Duration::from_millis(5),
        first_ban: Duration::from_millis(50),
        ..Rules::default()
    }
}

struct Client(TcpStream);

impl Client {
    fn new(door: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(door).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let body = b"\0\x03\0\0user\0u\0database\0d\0\0";
        let length = u32::try_from(body.len() + 4).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut client = Self(stream);
        client.answer();
        client
    }

    /// Who answered, or the SQLSTATE.
    fn ask(&mut self, text: &str) -> String {
        self.send(&message(b'Q', format!("{text}\0").as_bytes()));
        self.answer()
    }

    fn ask_extended(&mut self, text: &str) -> String {
        let mut out = message(b'P', format!("\0{text}\0\0\0").as_bytes());
        out.extend(message(b'B', b"\0\0\0\0\0\0\0\0"));
        out.extend(message(b'E', b"\0\0\0\0\0"));
        out.extend(message(b'S', b""));
        self.send(&out);
        self.answer()
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Everything up to `ReadyForQuery`: the first column of the row, or the code of the error.
    fn answer(&mut self) -> String {
        let mut found = String::new();
        loop {
            let tag = read(&mut self.0, 1).unwrap()[0];
            let length = read(&mut self.0, 4).unwrap();
            let body = read(&mut self.0, number(&length) - 4).unwrap();
            match tag {
                b'D' => found = String::from_utf8(body[6..].to_vec()).unwrap(),
                b'E' => {
                    let code = body
                        .split(|byte| *byte == 0)
                        .find(|field| field.first() == Some(&b'C'));
                    found = String::from_utf8(code.unwrap()[1..].to_vec()).unwrap();
                }
                b'Z' => return found,
                _ => {}
            }
        }
    }

    /// Asks until `name` answers: probes and bans take their time.
    fn until(&mut self, text: &str, name: &str) {
        for _ in 0..100_000 {
            if self.ask(text) == name {
                return;
            }
        }
        panic!("{name} never answered {text}");
    }
}

fn read(stream: &mut TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn row(columns: &[Option<String>]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for column in columns {
        match column {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(text) => {
                body.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                body.extend(text.as_bytes());
            }
        }
    }
    message(b'D', &body)
}

#[test]
fn h1_reads_go_to_replicas_and_everything_else_to_the_primary() {
    let case = Case::new(quick());
    let mut client = case.ready();
    for text in [
        "SELECT 2 FOR UPDATE",
        "UPDATE t SET a = 1",
        "SELECT my_function()",
        "SELECT 1; SELECT 2",
    ] {
        assert_eq!(client.ask(text), "primary", "{text}");
    }
    client.until("SELECT 1", "one");
    assert_eq!(client.ask("BEGIN"), "");
    assert_eq!(client.ask("SELECT 'in it'"), "primary");
    assert_eq!(client.ask("COMMIT"), "");
    client.until("SELECT 1", "two");
    assert_ne!(client.ask_extended("SELECT 3"), "primary");
    assert_eq!(client.ask_extended("INSERT INTO t VALUES (1)"), "primary");
}

#[test]
fn h1_a_read_only_transaction_stays_on_its_replica_to_its_end() {
    let case = Case::new(quick());
    let mut client = case.ready();
    assert_eq!(client.ask("BEGIN READ ONLY"), "");
    let first = client.ask("SELECT 1");
    assert_ne!(first, "primary");
    for _ in 0..4 {
        assert_eq!(client.ask("SELECT my_function()"), first);
    }
    // What comes with its end must not get there.
    client.send(
        &[
            message(b'Q', b"COMMIT\0"),
            message(b'Q', b"UPDATE t SET a = 1\0"),
        ]
        .concat(),
    );
    assert_eq!(client.answer(), "");
    assert_eq!(client.answer(), "primary");
}

#[test]
fn h1_a_pipeline_of_a_read_and_a_write_is_taken_apart() {
    let case = Case::new(quick());
    let mut client = case.ready();
    let pipeline = [
        message(b'Q', b"SELECT 1\0"),
        message(b'Q', b"DELETE FROM t\0"),
        message(b'Q', b"SELECT 9\0"),
    ];
    client.send(&pipeline.concat());
    assert_ne!(client.answer(), "primary");
    assert_eq!(client.answer(), "primary");
    // Its own write: not on a replica yet.
    assert_eq!(client.answer(), "primary");
}

#[test]
fn h2_a_read_that_writes_is_run_again_on_the_primary_and_remembered() {
    let case = Case::new(Rules {
        unknown_functions: true,
        ..quick()
    });
    let mut client = case.ready();
    for replica in &case.replicas {
        replica.with(|state| state.errors.insert("charge", "25006"));
    }
    assert_eq!(client.ask("SELECT charge(1)"), "primary");
    let tries = case
        .replicas
        .iter()
        .map(|replica| replica.heard("charge"))
        .sum::<usize>();
    assert_eq!(tries, 1);
    client.until("SELECT 1", "one");
    assert_eq!(client.ask("SELECT charge(2)"), "primary");
    assert_eq!(client.ask_extended("SELECT charge(3)"), "primary");
    assert_eq!(
        case.replicas
            .iter()
            .map(|replica| replica.heard("charge"))
            .sum::<usize>(),
        tries
    );
    assert_eq!(case.primary.heard("charge"), 3);
}

#[test]
fn h4_who_writes_sees_it_until_replicas_have_it() {
    let case = Case::new(quick());
    let mut client = case.ready();
    let mut other = case.ready();
    case.primary.with(|state| state.lsn = 200);
    assert_eq!(client.ask("UPDATE t SET a = 1"), "primary");
    for _ in 0..200 {
        assert_eq!(client.ask("SELECT 1"), "primary");
    }
    // Who did not write reads an older state meanwhile.
    assert_ne!(other.ask("SELECT 1"), "primary");
    case.replicas[1].with(|state| state.lsn = 200);
    client.until("SELECT 1", "two");
    for _ in 0..50 {
        assert_eq!(client.ask("SELECT 1"), "two");
    }
}

#[test]
fn h5_replicas_that_go_away_cost_nothing_but_their_help() {
    let case = Case::new(quick());
    let mut client = case.ready();
    for replica in &case.replicas {
        replica.with(|state| state.down = true);
    }
    for _ in 0..50 {
        let answer = client.ask("SELECT 1");
        assert!(!answer.starts_with('0') && !answer.is_empty(), "{answer}");
    }
    client.until("SELECT 1", "primary");
    for replica in &case.replicas {
        replica.with(|state| state.down = false);
    }
    client.until("SELECT 1", "one");
    client.until("SELECT 1", "two");
}

#[test]
fn h5_a_replica_that_was_promoted_gets_no_reads() {
    let case = Case::new(quick());
    let mut client = case.ready();
    case.replicas[0].with(|state| state.in_recovery = false);
    client.until("SELECT 1", "two");
    // It has been asked in the meantime, at the latest now.
    let asked = case.replicas[0].heard("pg_is_in_recovery");
    while case.replicas[0].heard("pg_is_in_recovery") < asked + 2 {
        client.ask("SELECT 1");
    }
    for _ in 0..50 {
        assert_eq!(client.ask("SELECT 1"), "two");
    }
}

#[test]
fn h6_a_conflict_with_recovery_is_run_again_on_the_primary() {
    let case = Case::new(quick());
    let mut client = case.ready();
    for code in ["40001", "57P01", "dies"] {
        for replica in &case.replicas {
            replica.with(|state| state.errors.insert("SELECT 7", code));
        }
        assert_eq!(client.ask("SELECT 7"), "primary", "{code}");
        for name in ["one", "two"] {
            client.until("SELECT 1", name);
        }
        assert_eq!(client.ask_extended("SELECT 7"), "primary", "{code}");
        for name in ["one", "two"] {
            client.until("SELECT 1", name);
        }
    }
    // An error that the primary would make too is the client's.
    for replica in &case.replicas {
        replica.with(|state| state.errors.insert("SELECT 8", "22012"));
    }
    assert_eq!(client.ask("SELECT 8"), "22012");
    assert_eq!(case.primary.heard("SELECT 8"), 0);
}
