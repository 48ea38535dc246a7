//! Owns what a session notes of the statements that its client asks for, where nobody else does: a
//! driver used without Django behind the private door.
//! Leaves reading messages for their sake to the relay, and what is made of the notes to the hook.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Session;
use crate::bill::{Billed, HELD_GAP};
use crate::wire::TxStatus;
use crate::wire::frame::Frame;

/// The most bytes of a statement that are kept until it has ended.
const MOST_TEXT: usize = 8 << 10;
/// Prepared statements whose text is known; then they are forgotten.
const MOST_NAMES: usize = 256;
/// Statements on their way at once that are told apart.
const MOST_ASKED: usize = 64;

/// Words that begin what asks for no rows.
const OF_TRANSACTIONS: [&[u8]; 9] = [
    b"BEGIN",
    b"START",
    b"COMMIT",
    b"END",
    b"ROLLBACK",
    b"SAVEPOINT",
    b"RELEASE",
    b"SET",
    b"DISCARD",
];

/// The notes of one session.
#[derive(Default)]
pub(super) struct Account {
    hasher: RandomState,
    /// Texts of prepared statements; the unnamed one has no name.
    names: HashMap<Box<[u8]>, Rc<[u8]>>,
    asked: Vec<(Rc<[u8]>, u64)>,
    began: Option<Instant>,
    /// All was answered, and a transaction is open.
    rests: Option<Instant>,
    /// How long it was open with nothing to do before what is on its way.
    held: Duration,
    /// Bytes of a message that are yet to pass.
    passing: usize,
}

impl Account {
    /// Bytes of the client that the relay has taken: whole messages, or parts of long ones.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        loop {
            let passed = self.passing.min(bytes.len());
            self.passing -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            let Ok(Some(frame)) = Frame::decode(bytes) else {
                return;
            };
            let body = bytes.get(Frame::HEADER..).unwrap_or_default();
            let body = body.get(..frame.body as usize).unwrap_or(body);
            self.message(frame.tag, body);
            self.passing = frame.total();
        }
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        match tag {
            b'Q' => {
                let text = until_zero(body).0;
                self.ask(kept(text), text);
            }
            b'P' => {
                let (name, rest) = until_zero(body);
                if self.names.len() >= MOST_NAMES {
                    self.names.clear();
                }
                self.names.insert(name.into(), kept(until_zero(rest).0));
            }
            b'B' => {
                let (name, rest) = until_zero(until_zero(body).1);
                let text = self.names.get(name).map(Rc::clone);
                self.ask(text.unwrap_or_else(|| Rc::from(&b""[..])), rest);
            }
            _ => {}
        }
    }

    fn ask(&mut self, text: Rc<[u8]>, values: &[u8]) {
        let gap = self
            .rests
            .take()
            .map_or(Duration::ZERO, |rests| rests.elapsed());
        if gap >= HELD_GAP {
            self.held += gap;
        }
        self.began.get_or_insert_with(Instant::now);
        if self.asked.len() < MOST_ASKED {
            self.asked.push((text, self.hasher.hash_one(values)));
        }
    }

    /// All that was asked is answered: tells it. `is_open` where a transaction is, now.
    pub(super) fn settle(&mut self, is_open: bool, tell: impl Fn(Billed<'_>)) {
        let Some(began) = self.began.take() else {
            return;
        };
        self.rests = is_open.then(Instant::now);
        let held = std::mem::take(&mut self.held);
        if !held.is_zero() {
            tell(Billed::Held { held });
        }
        let took = began.elapsed();
        let count = u32::try_from(self.asked.len()).unwrap_or(1).max(1);
        for (sql, values) in self.asked.drain(..) {
            let sql = if asks_for_nothing(&sql) {
                &b""[..]
            } else {
                &*sql
            };
            let took: Duration = took / count;
            tell(Billed::Statement { sql, values, took });
        }
    }

    /// Whether something is on its way.
    pub(super) fn is_open(&self) -> bool {
        self.began.is_some()
    }
}

impl Session {
    /// Notes statements from now on, where the app does not tell of them and somebody listens.
    pub(super) fn open_account(&mut self) {
        let is_told = self.handle.tells_statements();
        if self.handle.owner().is_some() && !is_told && self.shared.bills.is_set() {
            self.account = Some(Box::default());
        }
    }

    /// Tells what is answered by now.
    pub(super) fn settle_account(&mut self) {
        let Some(account) = self.account.as_mut().filter(|account| account.is_open()) else {
            return;
        };
        if self.relay.is_settled() && !self.relay.is_client_busy() {
            let (bills, owner) = (&self.shared.bills, self.handle.owner());
            let is_open = self.relay.told() != TxStatus::Idle;
            account.settle(is_open, |billed| bills.tell(owner, billed));
        }
    }

    /// Tells of a wait for a server that is over.
    pub(super) fn bill_wait(&self, asked: tokio::time::Instant, in_statement: bool) {
        if !self.shared.bills.is_set() {
            return;
        }
        let billed = Billed::Waited {
            waited: asked.elapsed(),
            in_statement,
        };
        self.shared.bills.tell(self.handle.owner(), billed);
    }
}

fn kept(text: &[u8]) -> Rc<[u8]> {
    Rc::from(text.get(..text.len().min(MOST_TEXT)).unwrap_or_default())
}

fn until_zero(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    let rest = bytes.get(end + 1..).unwrap_or_default();
    (bytes.get(..end).unwrap_or_default(), rest)
}

fn asks_for_nothing(sql: &[u8]) -> bool {
    let sql = sql.trim_ascii_start();
    let word = sql.split(|byte| !byte.is_ascii_alphabetic()).next();
    let word = word.unwrap_or_default();
    OF_TRANSACTIONS
        .iter()
        .any(|other| other.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn told(account: &mut Account) -> Vec<(String, u64)> {
        let told = RefCell::new(Vec::new());
        account.settle(false, |billed| {
            if let Billed::Statement { sql, values, .. } = billed {
                let sql = String::from_utf8_lossy(sql).into_owned();
                told.borrow_mut().push((sql, values));
            }
        });
        told.into_inner()
    }

    #[test]
    fn c10_simple_and_prepared_statements_are_told_with_their_text_once_they_are_answered() {
        let mut account = Account::default();
        account.sent(&message(b'Q', b"SELECT 1\0"));
        account.sent(&message(b'P', b"s1\0SELECT $1\0\0\0"));
        for value in [b"a", b"b", b"a"] {
            let body = [&b"\0s1\0"[..], value].concat();
            account.sent(&message(b'B', &body));
            account.sent(&message(b'E', b"\0\0\0\0\0"));
        }
        assert!(account.is_open());
        let told = told(&mut account);
        assert!(!account.is_open());
        let texts: Vec<_> = told.iter().map(|(sql, _)| sql.as_str()).collect();
        assert_eq!(texts, ["SELECT 1", "SELECT $1", "SELECT $1", "SELECT $1"]);
        assert_eq!(told[1].1, told[3].1);
        assert_ne!(told[1].1, told[2].1);
    }

    #[test]
    fn c10_what_only_begins_or_ends_a_transaction_has_no_text() {
        let mut account = Account::default();
        for sql in ["BEGIN", " commit;", "SAVEPOINT a", "ENDLESS"] {
            account.sent(&message(b'Q', format!("{sql}\0").as_bytes()));
        }
        let texts: Vec<_> = told(&mut account).into_iter().map(|(sql, _)| sql).collect();
        assert_eq!(texts, ["", "", "", "ENDLESS"]);
    }

    #[test]
    fn s3_a_transaction_that_is_open_while_nothing_is_asked_is_told_with_the_next_statement() {
        let mut account = Account::default();
        let ask = |account: &mut Account, rested_ms: u64, is_open: bool| {
            let rested = Duration::from_millis(rested_ms);
            account.rests = account.rests.and_then(|rests| rests.checked_sub(rested));
            account.sent(&message(b'Q', b"SELECT 1\0"));
            let told = RefCell::new(Vec::new());
            account.settle(is_open, |billed| {
                if let Billed::Held { held } = billed {
                    told.borrow_mut().push(held);
                }
            });
            told.into_inner()
        };
        assert!(ask(&mut account, 0, true).is_empty());
        let held = ask(&mut account, 70, true);
        assert!(
            held.len() == 1 && held[0] >= Duration::from_millis(70),
            "{held:?}"
        );
        // The same is not told twice, and outside of a transaction nothing is held.
        account.rests = None;
        assert!(ask(&mut account, 0, false).is_empty());
        assert!(ask(&mut account, 70, true).is_empty());
    }

    #[test]
    fn c10_any_bytes_in_any_pieces_are_no_panic_and_stay_bounded() {
        let mut state = 7_u64;
        let mut account = Account::default();
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(5);
            let bytes = state.to_be_bytes();
            let tag = b"QPBEX"[(state % 5) as usize];
            account.sent(&[&[tag, 0, 0, 0][..], &bytes[..(state % 8) as usize]].concat());
        }
        assert!(account.asked.len() <= MOST_ASKED && account.names.len() <= MOST_NAMES);
    }
}
