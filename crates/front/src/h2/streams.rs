//! Owns how many streams of one connection are at work at once.
//! Leaves running them to `exchange`, and the most that may be open to the settings of the crate.
//!
//! A client may ask for a hundred responses in one packet and open no window for any. So a new
//! connection begins with fewer; each response that the client takes, in whole or in part, lets
//! one more begin. Requests beyond wait where they cost no more than their heads, and run no app; the
//! heads of all of them have a bound, too.
//!
//! A request with a body is received before its turn comes: left where they are, a few bodies would
//! fill the connection's window, and those that are under way would never end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Streams at work, of which nothing was taken yet, on a connection that has shown nothing.
const FIRST: usize = 24;

/// Bytes of whole responses that one connection has in memory while its client does not take them.
const MOST_HELD: usize = 512 << 10;

/// A head up to this size has room on each of the streams that a connection may have.
const USUAL_HEAD: usize = 16 << 10;

/// What the heads of one connection's requests that are under way may take beyond that, in bytes.
const MOST_HEADS: usize = 512 << 10;

/// What is known of a connection's streams.
#[derive(Default)]
pub(super) struct Streams {
    active: Cell<usize>,
    received: Cell<usize>,
    /// Those of them of which the client has taken nothing.
    untaken: Cell<usize>,
    /// Bytes of responses that wait for the client in memory.
    held: Cell<usize>,
    /// Bytes beyond the usual of the heads of all that came and are not at their end.
    heads: Cell<usize>,
    /// Responses that the client has taken something of, ever.
    taken: Cell<usize>,
    /// Who waits for a turn: the connection, and requests whose body has come.
    waiting: RefCell<Vec<Waker>>,
}

impl Streams {
    /// Streams at work.
    pub fn active(&self) -> usize {
        self.active.get()
    }

    /// Those of them whose request is still being received, or waits for its turn.
    pub fn received(&self) -> usize {
        self.received.get()
    }

    /// Whether one more may begin; the caller is woken when this may have changed.
    pub fn may_begin(&self, cx: &Context<'_>) -> bool {
        let most = FIRST.saturating_add(self.taken.get());
        if self.untaken.get() < most {
            return true;
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        false
    }

    /// Room for a head of so many bytes; None where those of the others leave none.
    pub fn admit(self: &Rc<Self>, bytes: usize) -> Option<HeadRoom> {
        let bytes = bytes.saturating_sub(USUAL_HEAD);
        let before = self.heads.get();
        let after = before.saturating_add(bytes);
        // However long one may be, there is room for it alone.
        if before > 0 && bytes > 0 && after > MOST_HEADS {
            return None;
        }
        self.heads.set(after);
        Some(HeadRoom {
            streams: Rc::clone(self),
            bytes,
        })
    }

    /// One more begins, and it is its turn.
    pub fn begin(self: &Rc<Self>, head: HeadRoom) -> Rc<Active> {
        let active = self.receive(head);
        active.enter(Stage::Begun);
        active
    }

    /// One more is received, and waits for its turn once it is whole.
    pub fn receive(self: &Rc<Self>, head: HeadRoom) -> Rc<Active> {
        self.active.set(self.active.get() + 1);
        self.received.set(self.received.get() + 1);
        Rc::new(Active {
            streams: Rc::clone(self),
            stage: Cell::new(Stage::Received),
            held: Cell::new(0),
            _head: head,
        })
    }
}

/// Room for the head of a request, until it is dropped.
pub(super) struct HeadRoom {
    streams: Rc<Streams>,
    bytes: usize,
}

impl Drop for HeadRoom {
    fn drop(&mut self) {
        let left = self.streams.heads.get().saturating_sub(self.bytes);
        self.streams.heads.set(left);
    }
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its turn has not come.
    Received,
    /// It is at work, and the client has taken nothing.
    Begun,
    /// The client has taken something, or has gone.
    Taken,
}

/// A stream at work, until it is dropped.
pub(crate) struct Active {
    streams: Rc<Streams>,
    stage: Cell<Stage>,
    held: Cell<usize>,
    _head: HeadRoom,
}

impl Active {
    /// The client has let some of the response come, or all of it.
    pub fn take(&self) {
        if self.stage.get() != Stage::Taken {
            let taken = self.streams.taken.get();
            self.streams.taken.set(taken.saturating_add(1));
            self.enter(Stage::Taken);
        }
    }

    /// Whether so many bytes of the response may wait in memory; they count until the stream's end.
    pub fn hold(&self, bytes: usize) -> bool {
        let held = self.streams.held.get() + bytes;
        let fits = held <= MOST_HELD;
        if fits {
            self.streams.held.set(held);
            self.held.set(self.held.get() + bytes);
        }
        fits
    }

    /// Nobody waits for the response any more.
    pub fn leave(&self) {
        self.enter(Stage::Taken);
    }

    /// Ready when its turn has come: false when the client did not wait for it.
    pub fn poll_turn(&self, cx: &Context<'_>) -> Poll<bool> {
        match self.stage.get() {
            Stage::Begun => Poll::Ready(true),
            Stage::Taken => Poll::Ready(false),
            Stage::Received if self.streams.may_begin(cx) => {
                self.enter(Stage::Begun);
                Poll::Ready(true)
            }
            Stage::Received => Poll::Pending,
        }
    }

    fn enter(&self, stage: Stage) {
        let untaken = self.streams.untaken.get();
        let before = self.stage.replace(stage);
        match (before, stage) {
            (Stage::Received, Stage::Begun) => self.streams.untaken.set(untaken + 1),
            (Stage::Begun, Stage::Taken) => self.streams.untaken.set(untaken.saturating_sub(1)),
            _ => {}
        }
        if before == Stage::Received {
            let received = self.streams.received.get();
            self.streams.received.set(received.saturating_sub(1));
        }
        if stage == Stage::Taken {
            let waiting = std::mem::take(&mut *self.streams.waiting.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let active = self.streams.active.get();
        self.streams.active.set(active.saturating_sub(1));
        let held = self.streams.held.get();
        self.streams.held.set(held.saturating_sub(self.held.get()));
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_begin(streams: &Streams) -> bool {
        streams.may_begin(&Context::from_waker(Waker::noop()))
    }

    fn begin(streams: &Rc<Streams>) -> Rc<Active> {
        streams.begin(streams.admit(100).unwrap())
    }

    fn receive(streams: &Rc<Streams>) -> Rc<Active> {
        streams.receive(streams.admit(100).unwrap())
    }

    #[test]
    fn h4_heads_of_a_connection_have_a_bound_together_and_one_alone_has_room() {
        let streams = Rc::new(Streams::default());
        let admit = |beyond: usize| streams.admit(USUAL_HEAD + beyond);
        let long = admit(MOST_HEADS * 2).unwrap();
        assert!(admit(1).is_none());
        // A page of many requests has none refused, whatever another one is.
        let usual: Vec<_> = (0..100).map(|_| admit(0).unwrap()).collect();
        drop((long, usual));
        let [waits, works] = [10, MOST_HEADS - 20].map(|bytes| admit(bytes).unwrap());
        let works = streams.begin(works);
        assert!(admit(11).is_none());
        drop(admit(10).unwrap());
        // It counts until the end of its stream, not only until its turn.
        works.take();
        assert!(admit(11).is_none());
        drop((waits, works));
        assert_eq!(streams.heads.get(), 0);
    }

    #[test]
    fn h5_who_takes_nothing_has_few_at_work_and_who_takes_has_more() {
        let streams = Rc::new(Streams::default());
        let mut held: Vec<_> = (0..FIRST).map(|_| begin(&streams)).collect();
        assert!(!may_begin(&streams) && streams.active() == FIRST);
        // A stream that goes on for long, server-sent events say, is in nobody's way.
        held[0].take();
        held[0].take();
        assert!(may_begin(&streams));
        held.extend([begin(&streams), begin(&streams)]);
        assert!(!may_begin(&streams));
        drop(held);
        assert!(may_begin(&streams) && streams.active() == 0 && streams.untaken.get() == 0);
    }

    #[test]
    fn h5_responses_that_wait_hold_so_much_memory_of_a_connection_and_no_more() {
        let streams = Rc::new(Streams::default());
        let [first, second] = [begin(&streams), begin(&streams)];
        assert!(first.hold(MOST_HELD - 10) && !second.hold(11) && second.hold(10));
        drop(first);
        assert!(second.hold(MOST_HELD - 10));
        drop(second);
        assert_eq!(streams.held.get(), 0);
    }

    #[test]
    fn h5_a_body_is_received_before_its_turn_and_waits_for_that() {
        let now = Context::from_waker(Waker::noop());
        let streams = Rc::new(Streams::default());
        let held: Vec<_> = (0..FIRST).map(|_| begin(&streams)).collect();
        let [upload, gone] = [receive(&streams), receive(&streams)];
        assert_eq!(streams.active(), FIRST + 2);
        assert!(upload.poll_turn(&now).is_pending() && gone.poll_turn(&now).is_pending());
        gone.leave();
        assert_eq!(gone.poll_turn(&now), Poll::Ready(false));
        held[0].take();
        assert_eq!(upload.poll_turn(&now), Poll::Ready(true));
        // The one taken lets one more begin beside the one that took its place.
        assert!(may_begin(&streams));
        let _next = begin(&streams);
        assert!(!may_begin(&streams));
        drop((held, upload, gone));
        assert_eq!(streams.untaken.get(), 1);
    }
}
