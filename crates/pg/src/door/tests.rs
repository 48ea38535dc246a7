//! What comes in at a door before a session begins: A3, A10, A11, I3, registration.

use std::os::unix::net::UnixListener as Listening;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixStream;

use super::*;
use crate::pooler::Pooler;
use crate::settings::Settings;
use crate::wire::{SqlError, build};

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(test)
}

const SOCKET: &str = ".s.PGSQL.5432";

/// A private door in a folder of its own.
struct House {
    pooler: Pooler,
    folder: PathBuf,
}

impl House {
    fn new(name: &str, settings: Settings) -> Self {
        let folder =
            std::env::temp_dir().join(format!("canter-door-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let listener = Listening::bind(folder.join(SOCKET)).unwrap();
        let pooler = Pooler::new(settings);
        pooler.open(Door::private(listener).unwrap()).unwrap();
        Self { pooler, folder }
    }

    async fn connect(&self) -> Stream {
        UnixStream::connect(self.folder.join(SOCKET))
            .await
            .unwrap()
            .into()
    }

    /// Sends a packet and reads all that comes.
    async fn say(&self, packet: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(packet).await.unwrap();
        all(&mut stream).await
    }
}

/// All that comes until the other side closes.
async fn all(stream: &mut Stream) -> Vec<u8> {
    let (mut answer, mut part) = (Vec::new(), [0; 512]);
    loop {
        match stream.read(&mut part).await.unwrap() {
            0 => return answer,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn startup(params: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = Vec::new();
    build::startup(&mut packet, params.iter().copied());
    packet
}

fn registration(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = Vec::new();
    build::untyped(&mut packet, |out| {
        out.extend_from_slice(b"CANT");
        for (name, value) in pairs {
            build::cstr(out, name.as_bytes());
            build::cstr(out, value.as_bytes());
        }
        out.push(0);
    });
    packet
}

fn error(answer: &[u8]) -> SqlError {
    assert_eq!(answer.first(), Some(&b'E'), "{answer:?}");
    SqlError::decode(&answer[5..])
}

#[test]
fn a_target_is_registered_and_equal_ones_have_equal_names() {
    run(async {
        let house = House::new("register", Settings::default());
        let pairs = [
            ("host", "db.example.com"),
            ("user", "u"),
            ("password", "secret"),
        ];
        let one = house.say(&registration(&pairs)).await;
        assert_eq!(one.first(), Some(&b'S'));
        assert!(one.ends_with(b"Z\0\0\0\x05I"));
        assert!(one[5..].starts_with(b"canter.target\0"));
        assert_eq!(house.say(&registration(&pairs)).await, one);
        let other = [
            ("host", "db.example.com"),
            ("user", "u"),
            ("password", "other"),
        ];
        assert_ne!(house.say(&registration(&other)).await, one);
        assert_eq!(
            error(&house.say(&registration(&[("sslmode", "maybe")])).await).code_str(),
            "22023"
        );
    });
}

#[test]
fn an_unknown_target_is_told_to_register_again() {
    run(async {
        let house = House::new("unknown", Settings::default());
        let id = "0123456789abcdef0123456789abcdef";
        for target in [id, "nonsense"] {
            let options = format!("-c canter.target={target}");
            let packet = startup(&[("user", "u"), ("options", &options)]);
            assert_eq!(error(&house.say(&packet).await).code_str(), "CNT01");
        }
        assert_eq!(
            error(&house.say(&startup(&[("user", "u")])).await).code_str(),
            "08001"
        );
    });
}

#[test]
fn a10_a_replication_connection_is_refused() {
    run(async {
        let house = House::new("a10", Settings::default());
        for value in ["true", "database", "1"] {
            let packet = startup(&[("user", "u"), ("replication", value)]);
            assert_eq!(error(&house.say(&packet).await).code_str(), "0A000");
        }
        // Off is no replication: it comes as far as the missing database.
        let packet = startup(&[("user", "u"), ("replication", "off")]);
        assert_eq!(error(&house.say(&packet).await).code_str(), "08001");
    });
}

#[test]
fn a11_too_many_clients_are_told_and_leave_room_when_they_go() {
    run(async {
        let house = House::new(
            "a11",
            Settings {
                max_clients: 2,
                ..Settings::default()
            },
        );
        let held = [house.connect().await, house.connect().await];
        // Accepted in order, so the third one finds two.
        let refused = error(&house.say(&startup(&[("user", "u")])).await);
        assert_eq!((refused.code_str(), refused.fatal), ("53300", true));
        assert_eq!(house.pooler.stats().clients_refused, 1);
        drop(held);
        loop {
            let answer = error(&house.say(&startup(&[("user", "u")])).await);
            if answer.code_str() == "08001" {
                break;
            }
        }
    });
}

#[test]
fn a_client_that_says_nothing_is_sent_away() {
    run(async {
        let settings = Settings {
            login_timeout: Duration::from_millis(20),
            ..Settings::default()
        };
        let house = House::new("silent", settings);
        let mut stream = house.connect().await;
        assert_eq!(all(&mut stream).await, b"");
        assert_eq!(house.pooler.stats().clients, 0);
    });
}

#[test]
fn hostile_first_packets_end_in_an_error_or_a_closed_connection() {
    run(async {
        let house = House::new("hostile", Settings::default());
        let bad: [&[u8]; 6] = [
            b"\0\0\0\x04",
            b"\0\0\0\x08\0\x02\0\0",
            b"\xff\xff\xff\xff\0\x03\0\0",
            b"\0\0\0\x0a\0\x03\0\0us",
            b"\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\0",
            b"GET / HTTP/1.1\r\n\r\n",
        ];
        for packet in bad {
            let mut stream = house.connect().await;
            stream.write_all(packet).await.unwrap();
            std::future::poll_fn(|cx| stream.poll_shutdown(cx))
                .await
                .unwrap();
            let answer = all(&mut stream).await;
            assert!(
                answer.is_empty() || answer[0] == b'E',
                "{packet:?}: {answer:?}"
            );
        }
    });
}

#[test]
fn i3_draining_closes_the_doors_first() {
    run(async {
        let house = House::new("i3", Settings::default());
        house.pooler.drain(Duration::ZERO).await;
        tokio::task::yield_now().await;
        assert!(
            UnixStream::connect(house.folder.join(SOCKET))
                .await
                .is_err()
        );
    });
}
