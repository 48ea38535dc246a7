//! Owns what the front is set to, as plain values.
//! Leaves where they came from to `canter_base::options`.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use canter_base::options::{EarlyHint, ForwardedHeader, Network, Priority};
use canter_encode::{Level, Policy};
use canter_files::Files;
use canter_http::Limits;
use canter_shield::pace::Pace;

use crate::forwarded::Words;
use crate::guard::GuardSettings;
use crate::insight::Insight;
use crate::pages::Pages;
use crate::steps::challenge::Challenges;

/// What the front is set to.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, not a state"
)]
pub struct Settings {
    /// Sizes of request heads.
    pub limits: Limits,
    /// The largest request body in bytes.
    pub max_body: u64,
    /// Body bytes kept in memory; a longer one goes to a temporary file.
    pub body_memory: usize,
    /// Bytes of one response kept in memory when its client is slow.
    pub response_memory: usize,
    /// Bytes of bodies kept in memory, of all clients together.
    pub memory: u64,
    /// Bytes of temporary files, of all clients together, where those are memory; None where they
    /// are on a disk.
    pub file_memory: Option<u64>,
    /// Where temporary files are made.
    pub temp_dir: PathBuf,
    /// Client connections at once.
    pub max_connections: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a head may take, the first one from accepting the connection on.
    pub header_timeout: Duration,
    /// Whether HTTP/2 is spoken in plain text with clients that begin so.
    pub http2_plain: bool,
    /// What one client may do.
    pub guard: GuardSettings,
    /// How slow a client may send or take a body.
    pub pace: Pace,
    /// How long a request may take until its answer begins; None for no limit.
    pub timeout: Option<Duration>,
    /// Peers whose word about the client is taken.
    pub trusted: Vec<Network>,
    /// How many trusted proxies stand one behind the other.
    pub forwarded_hops: usize,
    /// Whether trusted peers begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// In which words trusted peers speak of the client.
    pub forwarded_header: ForwardedHeader,
    /// How long a router in front waits for the answer to a request; None when it is not known.
    pub router_timeout: Option<Duration>,
    /// Whether a request that a trusted peer says came by plain HTTP is sent to HTTPS.
    pub redirect_https: bool,
    /// The value of `Strict-Transport-Security` on answers over HTTPS that have none.
    pub hsts: Option<String>,
    /// Links that are told before the app is asked, by the beginning of the path.
    pub early_hints: Vec<EarlyHint>,
    /// Marks of requests that go ahead of others.
    pub priorities: Vec<Priority>,
    /// What a certificate authority asks for, and the answer.
    pub challenges: Challenges,
    /// Files that are answered without the app, or in its place.
    pub files: Files,
    /// How answers of the app are encoded; None for not at all.
    pub compress: Option<Compress>,
    /// Pages that are answered again without the app.
    pub pages: Pages,
    /// What a request must know to purge them; None where none may.
    pub purge_token: Option<String>,
    /// The field that carries the request id, in lower case.
    pub request_id_header: String,
    /// Whether `/-/live` and `/-/ready` are answered here.
    pub health: bool,
    /// What a load test from elsewhere has to know.
    pub bench_token: Option<String>,
    /// What is gathered of requests; None when nobody wants to know.
    pub insight: Option<Rc<Insight>>,
}

/// How answers of the app are encoded.
#[derive(Clone, Debug)]
pub struct Compress {
    /// Which answers.
    pub policy: Policy,
    /// How hard to try.
    pub level: Level,
    /// Whether the app is not told what the client can decode, so that it leaves this to the front.
    pub hides: bool,
}

impl Settings {
    /// How trusted peers speak of the client.
    pub(crate) fn words(&self) -> Words {
        Words {
            header: self.forwarded_header,
            hops: self.forwarded_hops,
        }
    }

    /// How long a connection may wait for the next request to begin. The first one begins at once,
    /// or the connection was never meant for one.
    pub(crate) fn idle_limit(&self, is_used: bool) -> Duration {
        if is_used {
            self.keep_alive
        } else {
            self.header_timeout
        }
    }

    /// How long a head of which this much has come may take.
    pub(crate) fn head_limit(&self, bytes: usize) -> Duration {
        let more = Duration::from_secs((bytes / HEAD_BYTES) as u64);
        self.header_timeout + more.min(self.header_timeout)
    }
}

/// Bytes of a head that give its client a second more.
const HEAD_BYTES: usize = 500;
/// How often a transfer that waits for its client is held against the slowest pace.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// For a client to finish sending after an early answer.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(2);
/// Bytes read and thrown away meanwhile.
pub(crate) const LINGER_BYTES: usize = 256 * 1024;
/// Bytes of one response kept in its temporary file before the app is asked to pause.
pub(crate) const RESPONSE_DISK: u64 = 1 << 30;
