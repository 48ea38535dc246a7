//! What is said to the server and what is due from it: owns the bytes on their way, who waits for which
//! reply, and the commands of the log of purges. Leaves the connection, and what replies mean, to
//! `shared`.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::task::Waker;
use std::time::Instant;

use canter_cache::shelf::Position;
use tokio::sync::oneshot;

use crate::log::{KEPT, Log};
use crate::resp::{self, Value};

/// How many purges are asked for at once, where few can have been missed.
pub const FEW: usize = 64;

/// How things are called at the server.
pub struct Names {
    pub place: Vec<u8>,
    pub log: Vec<u8>,
    pub channel: Vec<u8>,
    pub prefix: String,
}

/// Of one connection, and what outlives it.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct State {
    /// The server is known to answer.
    pub is_up: bool,
    /// What is to be sent.
    pub out: Vec<u8>,
    /// Of each reply that is due, when it was asked for and what it is for.
    pub due: VecDeque<(Instant, Due)>,
    /// The purges of all.
    pub log: Log,
    /// Purges of ours that the server has not confirmed.
    pub own: VecDeque<Vec<u8>>,
    /// Those among them that have not been told at this connection: told once, equal ones need not be
    /// told again.
    pub untold: HashSet<Vec<u8>>,
    /// There is a connection, at which they are told.
    pub is_told: bool,
    /// There were more of them than it took.
    pub is_overrun: bool,
    /// Who waits until the log is known up to now.
    pub hearing: Vec<oneshot::Sender<()>>,
    /// The log is being asked for, this much of it.
    pub asking: Option<usize>,
    /// Something came while it was asked for.
    pub again: bool,
    /// Why a command of a transaction was refused: the transaction itself does not say.
    pub refused: Option<String>,
    /// Of the task that moves the bytes.
    pub waker: Option<Waker>,
}

/// What a reply is for.
pub enum Due {
    Reply(oneshot::Sender<Value>),
    Stored,
    Passed,
    Purged,
    Look,
    Heard(usize),
}

impl State {
    /// Forgets the connection.
    pub fn reset(&mut self) {
        self.is_up = false;
        self.is_told = false;
        self.is_overrun = false;
        self.out = Vec::new();
        self.due.clear();
        self.hearing.clear();
        (self.asking, self.again, self.refused) = (None, false, None);
    }

    pub fn send(&mut self, parts: &[&[u8]], due: Due) {
        resp::command(&mut self.out, parts);
        self.due.push_back((Instant::now(), due));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn ask(&mut self, parts: &[&[u8]]) -> oneshot::Receiver<Value> {
        let (asked, reply) = oneshot::channel();
        self.send(parts, Due::Reply(asked));
        reply
    }

    /// Word of when the log is known up to now.
    pub fn listen(&mut self, names: &Names) -> oneshot::Receiver<()> {
        self.listen_from(names, FEW)
    }

    pub fn listen_from(&mut self, names: &Names, most: usize) -> oneshot::Receiver<()> {
        let (tell, heard) = oneshot::channel();
        self.hearing.push(tell);
        self.ask_for_log(names, most);
        heard
    }

    pub fn ask_for_log(&mut self, names: &Names, most: usize) {
        if self.asking.is_some() {
            self.again = true;
            return;
        }
        self.asking = Some(most);
        let from = format!("-{most}");
        let epoch = random().to_string();
        self.send(&[b"MULTI"], Due::Passed);
        // Where the server has lost everything, another log begins.
        let set: [&[u8]; 4] = [b"HSETNX", &names.place, b"epoch", epoch.as_bytes()];
        self.send(&set, Due::Passed);
        self.send(&[b"HMGET", &names.place, b"epoch", b"seq"], Due::Passed);
        self.send(
            &[b"LRANGE", &names.log, from.as_bytes(), b"-1"],
            Due::Passed,
        );
        self.send(&[b"EXEC"], Due::Heard(most));
    }

    /// Adds a purge to the log, and says so.
    pub fn tell(&mut self, names: &Names, order: &[u8]) {
        let epoch = random().to_string();
        let from = format!("-{KEPT}");
        self.send(&[b"MULTI"], Due::Passed);
        let set: [&[u8]; 4] = [b"HSETNX", &names.place, b"epoch", epoch.as_bytes()];
        self.send(&set, Due::Passed);
        self.send(&[b"HINCRBY", &names.place, b"seq", b"1"], Due::Passed);
        self.send(&[b"RPUSH", &names.log, order], Due::Passed);
        self.send(&[b"LTRIM", &names.log, from.as_bytes(), b"-1"], Due::Passed);
        self.send(&[b"PUBLISH", &names.channel, b"1"], Due::Passed);
        self.send(&[b"EXEC"], Due::Purged);
    }
}

/// A position as the server has it; its count begins with the first purge.
pub fn position(value: &Value) -> Option<Position> {
    let [epoch, seq] = value.items() else {
        return None;
    };
    Some(Position {
        epoch: epoch.number()?,
        seq: match seq {
            Value::Nil => 0,
            seq => seq.number()?,
        },
    })
}

/// Why the server does not want us, with what to do.
pub fn refusal(error: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(error)
        .chars()
        .filter(|letter| !letter.is_control())
        .take(200)
        .collect();
    let word = text.split(' ').next().unwrap_or_default();
    match word {
        "WRONGPASS" => "it refuses the user or the password: see those in the address".to_owned(),
        "NOAUTH" => {
            "it wants a password: write it in the address, `redis://:PASSWORD@…`".to_owned()
        }
        "OOM" => "its memory is full: set `maxmemory-policy allkeys-lru` there".to_owned(),
        "READONLY" => "it is a replica that nobody may write to: name the primary".to_owned(),
        "NOPERM" => format!("its user may not do what is needed: {text}"),
        _ if text.contains("unknown command") => {
            "it is too old: Valkey, or Redis 6 or newer, is needed".to_owned()
        }
        _ => format!("it answers: {text}"),
    }
}

/// A number that no other machine has; nothing secret.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_server_refuses_is_said_with_what_to_do() {
        for (error, expected) in [
            ("WRONGPASS invalid username-password pair", "password"),
            ("NOAUTH HELLO must be called", "wants a password"),
            ("ERR unknown command `HELLO`", "too old"),
            (
                "OOM command not allowed when used memory",
                "maxmemory-policy",
            ),
            ("READONLY You can't write", "the primary"),
            ("ERR \u{1b}[31mmaxclients", "it answers: ERR [31mmaxclients"),
        ] {
            assert!(refusal(error.as_bytes()).contains(expected), "{error}");
        }
    }

    #[test]
    fn a_position_is_two_numbers_and_nothing_else() {
        let text = |text: &str| Value::Text(text.as_bytes().to_vec());
        let read = |items| position(&Value::List(items));
        let there = Some(Position { epoch: 7, seq: 3 });
        assert_eq!(read(vec![text("7"), text("3")]), there);
        assert_eq!(
            read(vec![text("7"), Value::Nil]),
            Some(Position { epoch: 7, seq: 0 })
        );
        for wrong in [
            vec![],
            vec![text("x"), text("3")],
            vec![Value::Nil, Value::Nil],
        ] {
            assert_eq!(read(wrong), None);
        }
    }
}
