//! A connection played in memory: owns the order in which the decoders run, for checks, the corpus
//! and comparisons. The front runs the same order on real sockets, with time-outs.

use crate::body::BodyDecoder;
use crate::head::{Head, HeadDecoder, Progress};
use crate::limits::Limits;
use crate::reject::Reject;

/// Part of a request that was accepted.
#[derive(Debug, Clone, Copy)]
pub enum Accepted<'a> {
    /// A head and the buffer it was decoded from.
    Head(&'a [u8], &'a Head),
    /// The whole body of the last head.
    Body(&'a [u8]),
}

/// One answer in a [`Conversation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The client asked for `100 Continue` and none of its body had come yet.
    Continue,
    /// A complete request with the given body length; answered 200.
    Request(u64),
    /// A refused request.
    Refused(Reject),
}

/// How one connection goes when the app answers 200 to everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversation {
    /// The answers, in order.
    pub steps: Vec<Step>,
    /// Whether the server closes the connection after the last answer.
    pub closed: bool,
    /// Whether part of a further request has come.
    pub incomplete: bool,
}

/// Bodies above this are refused in [`converse`].
pub const MAX_BODY: u64 = 1 << 20;

/// Plays `bytes` to a server that sees them grow to each of the lengths in `cuts`, then to the end.
/// `observe` is shown what was accepted, as it is.
pub fn converse(
    bytes: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    observe: &mut dyn FnMut(Accepted<'_>),
) -> Conversation {
    let mut connection = Connection {
        conversation: Conversation::default(),
        consumed: 0,
        decoder: HeadDecoder::new(),
        head: Head::new(),
        body: None,
        collected: Vec::new(),
        observe,
    };
    for end in cuts.into_iter().chain([bytes.len()]) {
        connection.receive(bytes.get(..end).unwrap_or(bytes));
    }
    connection.conversation
}

struct Connection<'a> {
    conversation: Conversation,
    consumed: usize,
    decoder: HeadDecoder,
    head: Head,
    body: Option<BodyDecoder>,
    collected: Vec<u8>,
    observe: &'a mut dyn FnMut(Accepted<'_>),
}

impl Connection<'_> {
    fn receive(&mut self, bytes: &[u8]) {
        while !self.conversation.closed {
            match self.advance(bytes) {
                Ok(true) => {}
                Ok(false) => break,
                Err(reject) => {
                    self.conversation.steps.push(Step::Refused(reject));
                    self.conversation.closed = true;
                }
            }
        }
        let rest = bytes.get(self.consumed..).unwrap_or_default();
        self.conversation.incomplete = !self.conversation.closed
            && (self.body.is_some() || self.decoder.is_inside_request(rest));
    }

    /// Takes one step; false when it needs more bytes.
    fn advance(&mut self, bytes: &[u8]) -> Result<bool, Reject> {
        let rest = bytes.get(self.consumed..).unwrap_or_default();
        let Some(body) = &mut self.body else {
            if self
                .decoder
                .decode(&Limits::DEFAULT, rest, &mut self.head)?
                == Progress::Partial
            {
                return Ok(false);
            }
            (self.observe)(Accepted::Head(rest, &self.head));
            self.consumed += self.head.length;
            self.body = Some(BodyDecoder::new(
                self.head.framing,
                MAX_BODY,
                &Limits::DEFAULT,
            )?);
            self.collected.clear();
            if self.head.expects_continue && rest.len() == self.head.length {
                self.conversation.steps.push(Step::Continue);
            }
            return Ok(true);
        };
        let decoded = body.decode(rest, &mut self.collected)?;
        assert!(decoded.consumed <= rest.len(), "more consumed than given");
        assert!(
            decoded.done || decoded.consumed == rest.len(),
            "input left while not done"
        );
        self.consumed += decoded.consumed;
        if decoded.done {
            (self.observe)(Accepted::Body(&self.collected));
            let length = self.collected.len() as u64;
            assert_eq!(length, body.announced(), "body and announced length differ");
            self.conversation.steps.push(Step::Request(length));
            self.conversation.closed = !self.head.keep_alive;
            self.body = None;
        }
        Ok(decoded.done)
    }
}
