//! The state machine between one client and the server it has at the moment; sans-IO.
//!
//! Owns what every byte from either side means for the other: replies owed, prepared statements,
//! settings and pins, when a server is needed and when it may go. Sockets, time and the pool are
//! the session's.
//!
//! ```text
//! client bytes ─▶ client_sent ─▶ Io::to_server      (what stays local: Io::to_client)
//! server bytes ─▶ server_sent ─▶ Io::to_client      (what it asks itself: Io::to_server)
//! ```

mod again;
mod answer;
mod attach;
mod bind;
mod bodies;
mod copy;
mod extended;
mod inserted;
mod known;
mod label;
mod limbo;
mod local;
mod long;
mod often;
mod owed;
mod pending;
mod planning;
mod request;
mod rest;
mod shape;
mod skim;
mod statement;
mod takers;
#[cfg(test)]
pub(crate) mod tests;
mod undo;
mod wording;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

/// The parameter that says whether the session may be in another state than a new one: `off` at its
/// start, `on` from the first statement that may have changed that.
pub(crate) const TOUCHED: &str = "canter.touched";

pub(crate) use attach::{Leaving, Lost, Refusal};
pub use known::{Known, Params};
pub use label::Label;
#[cfg(test)]
pub(crate) use often::{share_for, share_from};
pub(crate) use pending::sequences_are_read;
pub use statement::Statement;

use crate::sql::Flags;
use crate::wire::{SqlError, TxStatus};
use again::Replay;
use copy::CopyIn;
use limbo::Limbo;
use owed::Queue;
use pending::{Pending, Probe};
use takers::Taker;

/// A request up to this length is read before it goes on; a longer one is passed through unread
/// and may have touched anything.
const GATHER: usize = 1 << 20;
/// The longest statement whose text is kept: one with a name cannot be longer, one without has its
/// server to itself until it was used.
const GATHER_PARSE: usize = 16 << 20;
/// A `Bind` up to this length is read before it goes on.
const GATHER_BIND: usize = 8 << 10;
/// The longest error of a server that is looked into.
const GATHER_ERROR: usize = 16 << 20;

/// What both sides are connected to during one call.
pub(crate) struct Io<'a> {
    /// What is known of the server, while there is one.
    pub(crate) known: Option<&'a mut Known>,
    /// Bytes for it.
    pub(crate) to_server: &'a mut Vec<u8>,
    /// Bytes for the client.
    pub(crate) to_client: &'a mut Vec<u8>,
}

/// Why no more of the client's bytes were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// All was taken, or the rest is not whole: so many bytes are needed from its start.
    Bytes(usize),
    /// A server, to go on with what is left.
    Server,
    /// Answers, before what is left may go on.
    Answers,
    /// Nothing: the client said goodbye.
    Leave,
}

/// How much of the client's bytes was taken, and what is needed for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) used: usize,
    pub(crate) want: Want,
}

/// The server cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) SqlError);

/// Bytes of a message that pass without being looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Passing {
    left: usize,
    dropped: bool,
    /// It was the last message of the answer to the oldest request.
    ends: bool,
}

/// Extended-protocol messages since the last `Sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Segment {
    /// None.
    #[default]
    Closed,
    /// All were answered here.
    Local,
    /// The server has got some.
    Server,
}

/// Whether the client's unnamed statement is one that passed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Long {
    /// It is not.
    #[default]
    No,
    /// It was not used yet: no other server can have it.
    Fresh,
    /// It was: like most it will not be used again.
    Used,
}

/// In which order a server is given a client's settings and roles: what may be set depends on the role
/// that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    /// Only what differs.
    #[default]
    Difference,
    /// All anew, the settings as the login role.
    AsLogin,
    /// All anew, the settings as the role that the client has.
    AsRole,
}

thread_local! {
    static NUMBERS: Cell<u64> = const { Cell::new(0) };
}

/// The state machine of one session.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(crate) struct Relay {
    owed: Queue,
    /// What the client was told of its transaction.
    told: TxStatus,
    attached: bool,
    segment: Segment,
    /// The segment has no message of the client yet but the one that is looked at.
    begins: bool,
    /// Segments begun, to tell them apart.
    segments: u64,
    /// The last message that was taken is part of a segment without its `Sync`: PostgreSQL may keep
    /// the answers to itself until it is told to `Flush`.
    unflushed: bool,
    /// An error was reported in this segment: the client's messages up to `Sync` are dropped.
    skip: bool,
    copy: CopyIn,
    /// Nothing is owed any more, but half of a message of the client is out.
    rest_is_due: bool,
    /// The client's messages wait until nothing is owed.
    barrier: bool,
    /// They wait for another server: this one forgets them.
    spent: bool,
    /// A database is about to be created, dropped or altered.
    wants_room: bool,
    /// The transaction may have changed the schema.
    reshaped: bool,
    /// It may have changed, for itself alone, how texts are read.
    reads_apart: bool,
    /// How often something was noted that may have changed how texts are read.
    notes: u64,
    /// What is pending was answered outside of a transaction: the client counts on it.
    kept: bool,
    /// The client is gone: nothing is asked any more, all is cleaned instead.
    leaving: bool,
    defer_begin: bool,
    from_client: Passing,
    from_server: Passing,
    /// The query that passes unread, or the unnamed statement that did.
    skim: Option<Box<skim::Skim>>,

    /// Tells this session from all others.
    number: u64,
    /// The pool its servers come from, if it tells.
    pool: Option<statement::PoolNumber>,
    label: Rc<Label>,
    start: Rc<Label>,
    /// What the client was told with `ParameterStatus`.
    params: Rc<Params>,
    user: Box<str>,
    /// The client wants to hear, once, that it may have touched the session's state.
    tells_touched: bool,

    names: HashMap<Box<[u8]>, Rc<shape::Given>>,
    /// What is kept for them and for those that went away since it was counted.
    names_size: usize,
    /// How many were given without a word to the server, in segments that may yet fail.
    names_owed: u32,
    /// Portals of this transaction, and of those sent ahead, that are a `DEALLOCATE` or a `RESET`.
    takers: Vec<Taker>,
    /// How many `Bind` have made some: the number of the last ones.
    takers_made: u32,
    /// The last unnamed `Parse`, whole, whether this server has it, and whether running it may touch
    /// anything.
    unnamed: Vec<u8>,
    unnamed_here: bool,
    unnamed_touches: bool,
    unnamed_long: Long,
    /// The segment it was sent in, and how many such `Parse` are not answered.
    unnamed_segment: u64,
    unnamed_owed: u32,
    /// The shared statement that stands in for it, and the last segment in which that was bound.
    shared: Option<Rc<Statement>>,
    shared_bound: u64,
    /// What the last `Bind` of a named statement bound to a portal, if its shape is new to its client, or
    /// not known of this server.
    untold: Option<shape::Untold>,

    pending: Pending,
    pins: Flags,
    /// What EXECUTE may touch, while statements prepared in SQL are there.
    bodies: Option<Box<bodies::Bodies>>,
    pin_text: Option<Rc<str>>,
    probe: Option<Box<Probe>>,
    /// What puts start-up values back, and how often that or the settings were sent.
    restoring: Vec<u8>,
    tries: u8,
    /// The error of a query of ours.
    hidden_error: Option<Box<SqlError>>,
    /// A `BEGIN` that was answered and not yet sent.
    begin: Option<Box<[u8]>>,
    /// A transaction that was lost.
    limbo: Option<Box<Limbo>>,
    /// No server is to be had for the next request.
    refusal: Option<Box<Refusal>>,
    order: Order,
    /// Whether the segment can be sent again, and what is owed for it when it is (C10).
    replay: Replay,
    again: Option<Box<Queue>>,
    counts: Counts,
    ended: u32,
    idles: u32,
}

/// Start-up settings that Django's drivers give each connection.
const MAY_BE_RESET: [&str; 3] = ["application_name", "client_encoding", "timezone"];

/// Named statements since the last time somebody asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Prepared by the client.
    pub(crate) client_parses: u32,
    /// Sent to servers.
    pub(crate) server_parses: u32,
    /// Used.
    pub(crate) binds: u32,
    /// That the client has now.
    pub(crate) prepared: usize,
}

impl Relay {
    /// For a client that logged in as `user` and asked for these settings. `params` is what it
    /// will have been told.
    pub(crate) fn new(user: &str, start: Rc<Label>, params: Rc<Params>, defer_begin: bool) -> Self {
        Self {
            owed: Queue::default(),
            told: TxStatus::Idle,
            attached: false,
            segment: Segment::Closed,
            begins: false,
            segments: 0,
            unflushed: false,
            skip: false,
            copy: CopyIn::default(),
            rest_is_due: false,
            barrier: false,
            spent: false,
            wants_room: false,
            reshaped: false,
            reads_apart: false,
            notes: 0,
            kept: false,
            leaving: false,
            defer_begin,
            from_client: Passing::default(),
            from_server: Passing::default(),
            skim: None,
            number: NUMBERS.replace(NUMBERS.get() + 1),
            pool: None,
            label: Rc::clone(&start),
            start,
            params,
            user: user.into(),
            tells_touched: false,
            names: HashMap::new(),
            names_size: 0,
            names_owed: 0,
            takers: Vec::new(),
            takers_made: 0,
            unnamed: Vec::new(),
            unnamed_here: false,
            unnamed_touches: false,
            unnamed_long: Long::No,
            unnamed_segment: 0,
            unnamed_owed: 0,
            shared: None,
            shared_bound: 0,
            untold: None,
            pending: Pending::default(),
            pins: Flags::NONE,
            bodies: None,
            pin_text: None,
            probe: None,
            restoring: Vec::new(),
            tries: 0,
            hidden_error: None,
            begin: None,
            limbo: None,
            refusal: None,
            order: Order::Difference,
            replay: Replay::Off,
            again: None,
            counts: Counts::default(),
            ended: 0,
            idles: 0,
        }
    }

    /// Statements that servers of this pool have taken are prepared without one.
    pub(crate) fn served_by(&mut self, pool: Option<statement::PoolNumber>) {
        self.pool = pool;
    }

    /// The settings a server must have for this client.
    pub(crate) fn label(&self) -> &Rc<Label> {
        &self.label
    }

    /// What was counted since the last time.
    pub(crate) fn take_counts(&mut self) -> Counts {
        Counts {
            prepared: self.names.len(),
            ..std::mem::take(&mut self.counts)
        }
    }

    /// From now on says so, once, before the answer after which the session may be in another state
    /// than a new one: whoever keeps connections between requests then knows not to keep this one.
    pub(crate) fn tell_when_touched(&mut self) {
        self.tells_touched = true;
    }

    /// How many statements of the client were carried out, or refused; it begins anew at the end.
    #[inline]
    pub(crate) fn ended(&self) -> u32 {
        self.ended
    }

    /// How often the client was told that it is in no transaction; it begins anew at the end.
    #[inline]
    pub(crate) fn idles(&self) -> u32 {
        self.idles
    }

    /// What the client was told of its transaction.
    pub(crate) fn told(&self) -> TxStatus {
        self.told
    }

    /// Whether the server owes nothing, neither to the client nor to us.
    pub(crate) fn is_settled(&self) -> bool {
        self.owed.is_empty() && self.from_server.left == 0
    }

    /// Whether the server may say more than is known: it can serve nobody else.
    #[inline]
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.copy.is_in_doubt()
    }

    /// Whether the client sent what is not answered yet, or only half of something.
    pub(crate) fn is_client_busy(&self) -> bool {
        self.from_client.left > 0
            || self.segment == Segment::Server
            || self.again.is_some()
            || self.owed.iter().any(owed::Owed::is_visible)
    }

    /// Whether idle servers of other databases are in the way of what was just taken in.
    pub(crate) fn take_wants_room(&mut self) -> bool {
        std::mem::take(&mut self.wants_room)
    }

    /// Whether the server may be given back now.
    #[inline]
    pub(crate) fn may_release(&self, known: &Known) -> bool {
        self.is_resting(known) && !self.is_kept()
    }

    /// Whether the client is between transactions, but its server cannot be given back.
    pub(crate) fn is_pinned(&self, known: &Known) -> bool {
        self.is_resting(known) && self.is_kept()
    }

    /// Whether something keeps its server when no transaction does.
    #[inline]
    fn is_kept(&self) -> bool {
        !self.pins.is_empty() || self.unnamed_long == Long::Fresh
    }

    /// Whether it is pinned only because `currval` or `lastval` may follow `nextval` (D12).
    pub(crate) fn is_softly_pinned(&self, known: &Known) -> bool {
        self.is_resting(known)
            && self.pins == Flags::SEQUENCE_WRITE
            && self.unnamed_long != Long::Fresh
    }

    /// Whether it waits by nature for something to happen, or holds something for as long as its
    /// client lives: notifications, an advisory lock.
    pub(crate) fn is_pinned_to_wait(&self) -> bool {
        self.pins.any(Flags::LISTEN.with(Flags::ADVISORY))
    }

    /// Gives a soft pin up: `currval` is an error then, and never the value of somebody else.
    pub(crate) fn forget_sequences(&mut self, io: &mut Io<'_>) {
        self.hidden_query(owed::Hidden::Forget, b"DISCARD SEQUENCES", io);
        self.barrier = true;
    }

    #[inline]
    fn is_resting(&self, known: &Known) -> bool {
        self.attached
            && self.owed.is_empty()
            && known.status == TxStatus::Idle
            && self.segment == Segment::Closed
            && self.from_client.left == 0
            && self.from_server.left == 0
            && self.pending.is_empty()
    }

    /// Why it is pinned: the kinds of state, and the SQL that made the last of them.
    pub(crate) fn pin_reason(&self) -> Option<String> {
        if self.pins.is_empty() {
            let long = "a statement that is too long to be kept, and was not used yet";
            return (self.unnamed_long == Long::Fresh).then(|| long.to_owned());
        }
        let words: Vec<_> = pending::words(self.pins).collect();
        let text = self.pin_text.as_deref().unwrap_or_default();
        Some(format!("{}: {text}", words.join(", ")))
    }

    /// The kinds of state that pin it, each with the SQL that made the last of them.
    pub(crate) fn pin_words(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let text = self.pin_text.as_deref().unwrap_or_default();
        pending::words(self.pins).map(move |word| (word, text))
    }

    /// Whether this server, without a word to it, is as the client's own would be, and the client has
    /// nothing that only we know of: it never touched the session's state, and its start-up settings,
    /// which only we put back after `RESET`, are such as nobody resets.
    pub(crate) fn could_do_without_us(&self, known: &Known) -> bool {
        self.names.is_empty()
            && self.pins.is_empty()
            && self.pending.is_empty()
            && self.begin.is_none()
            && self.tells_touched
            && self
                .start
                .iter()
                .all(|(name, _)| MAY_BE_RESET.contains(&name))
            && self.limbo.is_none()
            && self.refusal.is_none()
            && !known.soiled
            && known.unsure.is_none_or(|number| number == self.number)
            && known.status == TxStatus::Idle
            && Label::same(&known.label, &self.label)
            && (Rc::ptr_eq(&known.params, &self.params) || known.params == self.params)
    }

    /// What the client was told of the server's parameters.
    pub(crate) fn params(&self) -> &Rc<Params> {
        &self.params
    }
}
