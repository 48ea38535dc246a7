//! Owns what must be known of a request after its head is gone: to answer it and to log it.
//! Leaves the log's form to `access`.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_cache::status::Tier;
use canter_channel::trace::Trace;
use canter_encode::Wish;
use canter_http::conditional::Conditions;
use canter_http::{Head, KnownName, Method, RequestFacts};

use crate::forwarded::Client;
use crate::pages::{CacheNote, Passing, Visit};
use crate::request::RequestId;
use crate::traced::Traced;
use crate::urgent::Urgency;

/// Of one request, kept until its response is sent.
pub(crate) struct Facts {
    pub request: RequestFacts,
    pub method: Method,
    /// What it says of the version it has and the part it wants.
    pub conditions: Option<Box<Conditions>>,
    /// The codings it would take.
    pub wish: Wish,
    /// Its `If-None-Match`, where that names forms that were made here.
    pub forms: Option<Box<[u8]>>,
    /// The whole head, while it is not known which paths are those of files.
    pub early: Option<Box<(Head, Vec<u8>)>>,
    /// What its answer may be kept under, or why it may not.
    pub visit: Option<Box<Visit>>,
    /// The same for one of which nothing had to be noted: its head stays in the buffer until its
    /// answer is judged.
    pub passing: Option<Passing>,
    /// What the page cache had to do with it.
    pub cache_status: Option<CacheNote>,
    /// Where its page was found, when not in memory.
    pub tier: Option<Tier>,
    pub started: Instant,
    pub has_body: bool,
    /// Who is to blame for what is wrong with it, where that is known.
    pub client: Option<IpAddr>,
    pub id: RequestId,
    /// The client's own connection is encrypted.
    pub https: bool,
    /// Whether it goes ahead of others that wait.
    pub urgency: Urgency,
    /// Where the links of its answer are remembered for those who ask for it next.
    pub hinted: Option<Box<[u8]>>,
    /// When the router in front gives up on it, where that is known.
    pub router: Option<Instant>,
    /// How long the router in front had it before.
    pub routed: Duration,
    /// Whether its response tells where the time went.
    pub is_timed: bool,
    /// How long the page cache had it: looking, or waiting for what another asks for.
    pub cached: Duration,
    /// Its address, where its answer is compared with the one before.
    pub address: Option<u64>,
    /// What that showed.
    pub same: Cell<Option<bool>>,
    /// What is written down of it on its way; None where nobody wants to know.
    pub trace: Option<Rc<Trace>>,
    /// Where it stands in a trace; None where it came without one and nobody is told.
    pub traced: Option<Box<Traced>>,
    /// Only when there is an access log.
    pub line: Option<Line>,
}

/// What the access log says of a request: its texts one behind the other, in one piece of memory.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    text: Box<[u8]>,
    /// Where each of [`Said`] ends.
    ends: [u32; 5],
    /// As clients write it.
    pub version: &'static str,
}

/// What a [`Line`] consists of, in its order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    Client,
    Method,
    Referer,
    UserAgent,
    /// The last one, as the end of it may be left out.
    Target,
}

impl Line {
    /// The line of the request whose head is in `buf`.
    pub fn new(head: &Head, buf: &[u8], client: &Client, http2: bool) -> Self {
        let value = |name| head.value(buf, name).unwrap_or_default();
        let version = match head.version {
            _ if http2 => "HTTP/2.0",
            canter_http::Version::Http10 => "HTTP/1.0",
            canter_http::Version::Http11 => "HTTP/1.1",
        };
        Self::of(
            [
                client.address.as_bytes(),
                head.method_span.of(buf),
                value(KnownName::Referer),
                value(KnownName::UserAgent),
                head.target_span.of(buf),
            ],
            version,
        )
    }

    /// The line of these texts, which are in the order of [`Said`].
    pub fn of(texts: [&[u8]; 5], version: &'static str) -> Self {
        let mut end = 0;
        let ends = texts.map(|text| {
            end += u32::try_from(text.len()).unwrap_or(0);
            end
        });
        Self {
            text: texts.concat().into(),
            ends,
            version,
        }
    }

    /// One of the texts; empty where the client did not say it.
    pub fn get(&self, said: Said) -> &[u8] {
        let at = said as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = start as usize..self.ends[at] as usize;
        self.text.get(range).unwrap_or_default()
    }

    /// Says nothing of what follows the path.
    pub fn leave_query_out(&mut self) {
        let target = self.get(Said::Target);
        let left_out = memchr::memchr(b'?', target).map_or(0, |at| target.len() - at);
        self.ends[Said::Target as usize] -= u32::try_from(left_out).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_a_line_comes_back_and_a_query_can_be_left_out() {
        let texts = [&b"192.0.2.7"[..], b"GET", b"", b"test/1", b"/a?b=c?d"];
        let mut line = Line::of(texts, "HTTP/1.1");
        let said = [
            Said::Client,
            Said::Method,
            Said::Referer,
            Said::UserAgent,
            Said::Target,
        ];
        assert_eq!(said.map(|said| line.get(said)), texts);
        line.leave_query_out();
        assert_eq!(line.get(Said::Target), b"/a");
        line.leave_query_out();
        assert_eq!(line.get(Said::Target), b"/a");
    }
}
