//! Owns what must be known of a request after its head is gone: to answer it and to log it.
//! Leaves the log's form to `access`.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_cache::status::{Brief, Tier};
use canter_channel::trace::Trace;
use canter_encode::Wish;
use canter_http::conditional::Conditions;
use canter_http::{Head, KnownName, Method, RequestFacts};

use crate::forwarded::Client;
use crate::pages::{Passing, Visit};
use crate::request::RequestId;
use crate::traced::Traced;
use crate::urgent::Turn;

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
    pub cache_status: Option<Told>,
    /// Where its page was found, when not in memory.
    pub tier: Option<Tier>,
    pub started: Instant,
    pub has_body: bool,
    /// Who is to blame for what is wrong with it, where that is known.
    pub client: Option<IpAddr>,
    pub id: RequestId,
    /// The client's own connection is encrypted.
    pub https: bool,
    /// When its turn is, where others wait.
    pub turn: Turn,
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
    pub line: Option<Box<Line>>,
}

/// What the page cache had to do with a request, as it is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The value of `Cache-Status`.
    pub text: Rc<str>,
    /// For the access log.
    pub brief: Brief,
}

/// What the access log says of a request.
#[derive(Debug, Default, Clone)]
pub(crate) struct Line {
    pub client: String,
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub version: &'static str,
    pub referer: Vec<u8>,
    pub user_agent: Vec<u8>,
}

impl Line {
    pub fn new(head: &Head, buf: &[u8], client: &Client, http2: bool) -> Box<Self> {
        let value = |name| head.value(buf, name).unwrap_or_default().to_vec();
        Box::new(Self {
            client: client.address.clone(),
            method: head.method_span.of(buf).to_vec(),
            target: head.target_span.of(buf).to_vec(),
            version: match head.version {
                _ if http2 => "HTTP/2.0",
                canter_http::Version::Http10 => "HTTP/1.0",
                canter_http::Version::Http11 => "HTTP/1.1",
            },
            referer: value(KnownName::Referer),
            user_agent: value(KnownName::UserAgent),
        })
    }

    /// Says nothing of what follows the path.
    pub fn leave_query_out(&mut self) {
        let end = memchr::memchr(b'?', &self.target);
        self.target.truncate(end.unwrap_or(self.target.len()));
    }
}
