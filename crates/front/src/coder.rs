//! Owns a body that comes from the app piece by piece and is encoded on its way: each piece can be
//! read by the client as soon as it came. Leaves framing and sending to `conn`, and long pieces to
//! the helper's thread.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use canter_encode::Encoder;
use canter_shield::budget::Share;

use crate::helper::{Helper, Promise};

/// Bytes handed to the helper at a time: the client sees progress, others get their turn.
const BATCH: usize = 128 * 1024;

/// Bytes of the app that may wait here before it is asked to pause.
const MOST_WAITING: u64 = 512 * 1024;

/// What comes of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Bytes to send.
    Bytes(Vec<u8>),
    /// All that came was given out; more may come.
    Idle,
    /// There is no more; false when it is not whole.
    End(bool),
}

/// How the app ended the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Whole,
    Broken,
}

enum State {
    Here(Encoder),
    /// With the helper.
    Away(Promise<io::Result<Done>>),
    Over,
}

/// The encoder, unless the stream was finished, and what came out of it.
type Done = (Option<Encoder>, Vec<u8>);

/// A body on its way through a coding.
pub(crate) struct Coder {
    state: State,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes in `waiting`.
    bytes: u64,
    end: End,
    /// Left of a length that the app promised.
    left: Option<u64>,
    /// Content up to this length is encoded at once.
    quick: usize,
    /// Of the memory that all clients have together: for the encoder, and for what waits.
    share: Share,
}

impl Coder {
    /// `share` holds the encoder's memory already.
    pub fn new(encoder: Encoder, promised: Option<u64>, quick: usize, share: Share) -> Self {
        Self {
            state: State::Here(encoder),
            waiting: VecDeque::new(),
            bytes: 0,
            end: End::NotYet,
            left: promised,
            quick,
            share,
        }
    }

    /// More of the content.
    pub fn push(&mut self, mut bytes: Vec<u8>) {
        if bytes.is_empty() || self.end != End::NotYet {
            return;
        }
        if let Some(left) = &mut self.left {
            if bytes.len() as u64 > *left {
                // More than was promised: the promise is kept, the connection is not.
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                self.end = End::Broken;
            }
            *left -= bytes.len() as u64;
        }
        self.share.force(bytes.len() as u64);
        self.bytes += bytes.len() as u64;
        self.waiting.push_back(bytes);
    }

    /// There is no more; false when the app has failed.
    pub fn end(&mut self, is_whole: bool) {
        if self.end == End::NotYet {
            let is_whole = is_whole && self.left.is_none_or(|left| left == 0);
            self.end = if is_whole { End::Whole } else { End::Broken };
        }
    }

    /// So much waits that the app should.
    pub fn is_full(&self) -> bool {
        self.bytes > MOST_WAITING
    }

    /// The next step.
    pub fn poll_step(&mut self, cx: &mut Context<'_>, helper: &Helper) -> Poll<Step> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Poll::Ready(Step::End(self.end == End::Whole)),
                State::Away(mut promise) => {
                    let Poll::Ready(done) = Pin::new(&mut promise).poll(cx) else {
                        self.state = State::Away(promise);
                        return Poll::Pending;
                    };
                    if let Some(out) = self.take_back(done) {
                        return Poll::Ready(Step::Bytes(out));
                    }
                }
                State::Here(encoder) => {
                    if self.waiting.is_empty() && self.end != End::Whole {
                        let is_over = self.end == End::Broken;
                        if is_over {
                            return Poll::Ready(Step::End(false));
                        }
                        self.state = State::Here(encoder);
                        return Poll::Ready(Step::Idle);
                    }
                    let (batch, bytes) = self.next_batch();
                    let ends = self.waiting.is_empty();
                    let finishes = ends && self.end == End::Whole;
                    let work = move || encode(encoder, &batch, ends, finishes);
                    if bytes > self.quick {
                        self.state = State::Away(helper.run(work));
                    } else if let Some(out) = self.take_back(Some(work())) {
                        return Poll::Ready(Step::Bytes(out));
                    }
                }
            }
        }
    }

    fn next_batch(&mut self) -> (Vec<Vec<u8>>, usize) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH
            && let Some(piece) = self.waiting.pop_front()
        {
            bytes += piece.len();
            batch.push(piece);
        }
        self.share.shrink(bytes as u64);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        (batch, bytes)
    }

    /// The encoder is here again; what it gave, if anything.
    fn take_back(&mut self, done: Option<io::Result<Done>>) -> Option<Vec<u8>> {
        let Some(Ok((encoder, out))) = done else {
            self.end = End::Broken;
            self.waiting.clear();
            return None;
        };
        if let Some(encoder) = encoder {
            self.state = State::Here(encoder);
        }
        (!out.is_empty()).then_some(out)
    }
}

fn encode(mut encoder: Encoder, batch: &[Vec<u8>], ends: bool, finishes: bool) -> io::Result<Done> {
    let length: usize = batch.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(length / 3 + 64);
    for piece in batch {
        encoder.write(piece, &mut out)?;
    }
    if finishes {
        encoder.finish(&mut out)?;
        return Ok((None, out));
    }
    if ends {
        encoder.flush(&mut out)?;
    }
    Ok((Some(encoder), out))
}

#[cfg(test)]
mod tests {
    use canter_encode::{Coding, Level, Pad};
    use canter_shield::budget::Budget;
    use std::rc::Rc;

    use super::*;

    fn coder(budget: &Rc<Budget>, promised: Option<u64>) -> Coder {
        let encoder = Encoder::new(Coding::Identity, Level::DEFAULT, Pad::NONE).unwrap();
        Coder::new(encoder, promised, 1000, budget.share())
    }

    /// Steps to the end, or to where more is wanted.
    fn drain(coder: &mut Coder, out: &mut Vec<u8>) -> Step {
        let helper = Helper::default();
        let steps = std::future::poll_fn(|cx| {
            loop {
                match coder.poll_step(cx, &helper) {
                    Poll::Ready(Step::Bytes(bytes)) => out.extend_from_slice(&bytes),
                    Poll::Ready(step) => return Poll::Ready(step),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(steps)
    }

    #[test]
    fn pieces_short_and_long_leave_in_order_and_the_memory_comes_back() {
        let budget = Budget::new(1 << 30);
        let mut coder = coder(&budget, None);
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        for (at, length) in [10, 0, 5000, 1, 300_000, 999].into_iter().enumerate() {
            let piece = vec![at as u8; length];
            expected.extend_from_slice(&piece);
            coder.push(piece);
            if at % 2 == 0 {
                assert_eq!(drain(&mut coder, &mut out), Step::Idle);
                assert!(out == expected && budget.taken() == 0);
            }
        }
        coder.end(true);
        assert_eq!(drain(&mut coder, &mut out), Step::End(true));
        assert!(out == expected && budget.taken() == 0);
        assert_eq!(drain(&mut coder, &mut out), Step::End(true));
    }

    #[test]
    fn a_body_that_broke_its_promise_is_not_whole() {
        let budget = Budget::new(1 << 30);
        for (promised, length, whole, expected, sent) in [
            (Some(10), 10, true, true, 10),
            (Some(10), 9, true, false, 9),
            (Some(10), 11, true, false, 10),
            (Some(0), 0, true, true, 0),
            (None, 9, true, true, 9),
            (None, 9, false, false, 9),
        ] {
            let (mut coder, mut out) = (coder(&budget, promised), Vec::new());
            coder.push(vec![7; length]);
            coder.end(whole);
            assert_eq!(drain(&mut coder, &mut out), Step::End(expected));
            assert_eq!(out.len(), sent);
        }
    }

    #[test]
    fn what_waits_is_counted_and_the_app_is_told_to_wait() {
        let budget = Budget::new(1 << 30);
        let mut coder = coder(&budget, None);
        for _ in 0..3 {
            assert!(!coder.is_full());
            coder.push(vec![0; 200_000]);
        }
        assert!(coder.is_full() && budget.taken() == 600_000);
        assert_eq!(drain(&mut coder, &mut Vec::new()), Step::Idle);
        assert!(!coder.is_full() && budget.taken() == 0);
    }
}
