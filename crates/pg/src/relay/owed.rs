//! The replies a server still owes, in order.
//!
//! Owns what each kind of request is answered with. What an answer means is in `super::answer`.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Statement;
use super::copy::Ahead;
use super::inserted::Inserted;
use super::shape::Given;

/// A request that was sent and not yet answered, or an answer of ours that waits for its turn.
#[derive(Debug)]
pub(super) enum Owed {
    /// `Query` or `FunctionCall`: ends with `ReadyForQuery`. With what we put into its text.
    Query(Option<Box<Inserted>>),
    /// `Sync`: ends with `ReadyForQuery`; errors before it skip up to here.
    Sync,
    /// A query of ours.
    Hidden(Hidden),
    /// A `Sync` of ours.
    HiddenSync,
    /// `Parse`.
    Parse(Box<Parsed>),
    /// `Parse` of the unnamed statement.
    ParseUnnamed {
        /// Put in by us.
        hidden: bool,
    },
    /// `Bind`; with the statement it is for, when it is one of the shared ones.
    Bind(Option<Rc<Statement>>),
    /// `Bind` of the unnamed statement, for which this shared one stands in.
    BindShared(Rc<Statement>),
    /// `Describe` of a statement, with it when it is one of the shared ones: two messages.
    DescribeStatement(Option<Box<Described>>),
    /// `Describe` of a shared statement, put in by us: does its result have the shape that the client
    /// was told?
    Shape(Rc<Statement>),
    /// `Bind` of one whose result has another: sent to fail.
    Misfit,
    /// `Describe` of a portal; of the shared statement that was just bound to it, if the shape of that
    /// is new to the client, or not known of this server.
    DescribePortal(Option<Box<Described>>),
    /// `Execute`.
    Execute,
    /// `Close`; put in by us when it is for one of the shared statements.
    Close(Option<Rc<Statement>>),
    /// Nothing is owed: these bytes go to the client when it is their turn.
    Local(&'static [u8]),
    /// As `Local`, for a statement's name taken away with `Close`: put back if it is skipped.
    Closed(Box<(Box<[u8]>, Rc<Given>)>),
    /// Nothing is owed: the `Bind` before it made the taker of this number, which takes nothing away if
    /// that is skipped.
    Takes(u32),
    /// `Execute` of a `DEALLOCATE`: the name that it takes away is put back if it fails.
    Deallocate(Box<(Box<[u8]>, Rc<Given>)>),
    /// Nothing is owed, but what was the unnamed statement before the next request is so again if
    /// that is skipped.
    Replaced(Box<[u8]>),
    /// As `Local(PARSE_COMPLETE)`, for a name that goes away again if it is skipped.
    Named(Box<[u8]>),
    /// `CopyDone` or `CopyFail` was sent.
    CopyEnd,
    /// A step of ours in a segment of the client's.
    Ours,
}

/// A `Parse` of a shared statement.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The statement.
    pub(super) statement: Rc<Statement>,
    /// The client's name for it; `None` when it was put in by us.
    pub(super) name: Option<Box<[u8]>>,
    /// The server has it and is going to refuse this one (C5).
    pub(super) refused: bool,
}

/// A shared statement whose shape the client is told.
#[derive(Debug)]
pub(super) struct Described {
    /// As the server has it.
    pub(super) statement: Rc<Statement>,
    /// What the client gave a name to.
    pub(super) given: Rc<Given>,
}

/// What a query of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    /// The `BEGIN` that was answered before.
    Begin,
    /// The settings of this client.
    Label,
    /// The start-up values of this client after a RESET (D6).
    Restore,
    /// What is left of what may have been touched.
    Probe,
    /// `ROLLBACK` of what a client left.
    Rollback,
    /// `DISCARD ALL` after a client that left.
    Discard,
    /// The end of a segment that failed and is sent again (C10).
    Again,
    /// What `currval` and `lastval` know, forgotten (D12).
    Forget,
}

impl Owed {
    /// Whether what the server sends for it is for the client.
    #[inline]
    pub(super) fn is_visible(&self) -> bool {
        match self {
            Self::Hidden(_)
            | Self::HiddenSync
            | Self::Replaced(_)
            | Self::Takes(_)
            | Self::Shape(_)
            | Self::Ours => false,
            Self::ParseUnnamed { hidden } => !hidden,
            Self::Close(ours) => ours.is_none(),
            Self::Parse(parsed) => parsed.name.is_some(),
            _ => true,
        }
    }

    /// Whether what it is answered with says the shape of a shared statement's result.
    #[inline]
    pub(super) fn is_of_shape(&self) -> bool {
        matches!(
            self,
            Self::Shape(_) | Self::DescribeStatement(Some(_)) | Self::DescribePortal(Some(_))
        )
    }

    /// The shared statement that the server must have for it.
    pub(super) fn statement(&self) -> Option<&Rc<Statement>> {
        match self {
            Self::Bind(Some(statement)) | Self::Shape(statement) => Some(statement),
            Self::DescribeStatement(Some(described)) => Some(&described.statement),
            _ => None,
        }
    }

    /// Whether the server sends nothing for it.
    #[inline]
    pub(super) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Local(_)
                | Self::Closed(_)
                | Self::Named(_)
                | Self::CopyEnd
                | Self::Replaced(_)
                | Self::Takes(_)
        )
    }

    /// Whether an error answers it and all up to the next `Sync`.
    #[inline]
    pub(super) fn is_step(&self) -> bool {
        !matches!(
            self,
            Self::Query(_) | Self::Sync | Self::Hidden(_) | Self::HiddenSync
        )
    }

    /// Whether a message of this type is the last of its answer; `None` when none such may come.
    #[inline]
    pub(super) fn ends_with(&self, tag: u8) -> Option<bool> {
        match (self, tag) {
            (Self::Query(_) | Self::Sync | Self::Hidden(_) | Self::HiddenSync, b'Z')
            | (Self::Parse(_) | Self::ParseUnnamed { .. }, b'1')
            | (Self::Bind(_) | Self::BindShared(_) | Self::Misfit, b'2')
            | (Self::Close(_), b'3')
            | (
                Self::DescribeStatement(_) | Self::DescribePortal(_) | Self::Shape(_),
                b'T' | b'n',
            )
            | (Self::Execute | Self::Deallocate(_), b'C' | b'I' | b's')
            | (Self::Ours, b'1' | b'2' | b'3' | b'C') => Some(true),
            (
                Self::Query(_) | Self::Hidden(_),
                b'T' | b'D' | b'C' | b'I' | b'G' | b'H' | b'd' | b'c' | b'V',
            )
            | (Self::DescribeStatement(_) | Self::Shape(_), b't')
            | (Self::Execute, b'D' | b'G' | b'H' | b'd' | b'c')
            | (Self::Ours, b'D') => Some(false),
            _ => None,
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Owed>);

/// Requests one client may have under way; more are taken when answers come.
const MOST: usize = 16_384;

impl Queue {
    #[inline]
    pub(super) fn push(&mut self, owed: Owed) {
        self.0.push_back(owed);
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Owed> {
        self.0.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Owed> {
        self.0.front_mut()
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Owed> {
        self.0.pop_front()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a `ReadyForQuery` is owed.
    pub(super) fn has_cycle(&self) -> bool {
        self.0.iter().any(|owed| !owed.is_step())
    }

    /// Whether the client is told the shape of the next result before its rows. If not, it reads
    /// them by what it was told before.
    pub(super) fn tells_shape(&self) -> bool {
        let told = self.0.iter().find_map(|owed| match owed {
            Owed::DescribeStatement(_) | Owed::DescribePortal(_) => Some(true),
            Owed::Execute | Owed::Sync | Owed::Query(_) => Some(false),
            _ => None,
        });
        told.unwrap_or(false)
    }

    /// Whether the server's next answer has a `ReadyForQuery` in it whose place one too many would
    /// take: it is for a whole query, or for a `Sync` behind answers of ours.
    pub(super) fn may_mistake_ready(&self) -> bool {
        let ours = self.0.iter().take_while(|owed| owed.is_local()).count();
        let is_held = self.0.iter().take(ours).any(Owed::is_visible);
        match self.0.get(ours) {
            Some(Owed::Query(_) | Owed::Hidden(_)) => true,
            Some(Owed::Sync | Owed::HiddenSync) => is_held,
            _ => false,
        }
    }

    /// Whether nothing is owed by the server.
    pub(super) fn is_local(&self) -> bool {
        self.0.iter().all(Owed::is_local)
    }

    /// What is owed before all else.
    pub(super) fn push_front(&mut self, owed: Owed) {
        self.0.push_front(owed);
    }

    /// Adds all of another one.
    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Whether this name was given or taken away in an earlier segment, which may yet fail.
    pub(super) fn doubts(&self, name: &[u8]) -> bool {
        let end = self.0.iter().rposition(|owed| !owed.is_step());
        let earlier = self.0.iter().take(end.unwrap_or(0));
        earlier.into_iter().any(|owed| match owed {
            Owed::Closed(gone) | Owed::Deallocate(gone) => *gone.0 == *name,
            Owed::Named(given) => **given == *name,
            Owed::Parse(parsed) => parsed.name.as_deref() == Some(name),
            _ => false,
        })
    }

    /// What is kept of unnamed statements, should what replaced them be skipped.
    pub(super) fn texts(&self) -> usize {
        let kept = self.0.iter().map(|owed| match owed {
            Owed::Replaced(before) => before.len(),
            Owed::Parse(parsed) => parsed.statement.text().len(),
            _ => 0,
        });
        kept.sum()
    }

    /// Whether an unnamed statement of the client is on its way.
    pub(super) fn parses_unnamed(&self) -> bool {
        let is_one = |owed: &Owed| matches!(owed, Owed::ParseUnnamed { hidden: false });
        self.0.iter().any(is_one)
    }

    /// The shared statement of a `Bind` that was pushed last.
    pub(super) fn just_bound(&self) -> Option<&Rc<Statement>> {
        let mut last = self.0.iter().rev();
        match last.find(|owed| !matches!(owed, Owed::Takes(_))) {
            Some(Owed::Bind(Some(statement))) => Some(statement),
            _ => None,
        }
    }

    /// Whether the client is about to be told the shape of this one. What an error may skip without
    /// what is pushed next does not count: that is all before the last `Sync`.
    pub(super) fn tells_shape_of(&self, given: &Rc<Given>) -> bool {
        let mut segment = self.0.iter().rev().take_while(|owed| owed.is_step());
        segment.any(|owed| match owed {
            Owed::DescribeStatement(Some(described)) => Rc::ptr_eq(&described.given, given),
            _ => false,
        })
    }

    /// Whether an error may skip what is pushed next.
    pub(super) fn may_skip(&self) -> bool {
        self.0.back().is_some_and(Owed::is_step)
    }

    /// Takes all up to the next `Sync`, which stays.
    pub(super) fn take_steps(&mut self) -> Vec<Owed> {
        let is_end = |owed: &Owed| matches!(owed, Owed::Sync | Owed::HiddenSync);
        let end = self.0.iter().position(is_end).unwrap_or(self.0.len());
        self.0.drain(..end).collect()
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> Vec<Owed> {
        std::mem::take(&mut self.0).into()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Owed> {
        self.0.iter()
    }

    /// The server went into COPY IN: it ignores every `Sync` up to the end of the data (B7).
    pub(super) fn ignore_syncs_in_copy(&mut self) -> Ahead {
        let before = self.0.len();
        let end = self.0.iter().position(|owed| matches!(owed, Owed::CopyEnd));
        let is_sync = |owed: &Owed| matches!(owed, Owed::Sync | Owed::HiddenSync);
        let inside = self.0.iter().take(end.unwrap_or(before));
        // The first one is the COPY.
        let amid = inside.skip(1).any(|owed| !is_sync(owed));
        let mut at = 0;
        self.0.retain(|owed| {
            let inside = end.is_none_or(|end| at < end);
            at += 1;
            !(inside && is_sync(owed))
        });
        Ahead {
            end: end.is_some(),
            syncs: self.0.len() < before,
            requests: amid,
        }
    }

    /// Whether a segment ends with one of these.
    pub(super) fn has_end_of_segment(&self) -> bool {
        self.0
            .iter()
            .any(|owed| matches!(owed, Owed::Sync | Owed::HiddenSync | Owed::Query(_)))
    }

    /// The first end of COPY data has had its effect.
    pub(super) fn drop_copy_end(&mut self) {
        if let Some(at) = self.0.iter().position(|owed| matches!(owed, Owed::CopyEnd)) {
            self.0.remove(at);
        }
    }

    /// Gives back what a burst of requests took.
    pub(super) fn shrink(&mut self) {
        if self.0.capacity() > 64 {
            self.0.shrink_to(16);
        }
    }
}
