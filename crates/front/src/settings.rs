//! Owns what the front is set to, as plain values.
//! Leaves where they came from to `canter_base::options`.

use std::path::PathBuf;
use std::time::Duration;

use canter_base::options::AccessLogFormat;
use canter_base::options::Network;
use canter_http::Limits;

/// What the front is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sizes of request heads.
    pub limits: Limits,
    /// The largest request body in bytes.
    pub max_body: u64,
    /// Body bytes kept in memory; a longer one goes to a temporary file.
    pub body_memory: usize,
    /// Bytes of one response kept in memory when its client is slow.
    pub response_memory: usize,
    /// Where temporary files are made.
    pub temp_dir: PathBuf,
    /// Client connections at once.
    pub max_connections: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a request may take until its answer begins; None for no limit.
    pub timeout: Option<Duration>,
    /// Peers whose word about the client is taken.
    pub trusted: Vec<Network>,
    /// How many trusted proxies stand one behind the other.
    pub forwarded_hops: usize,
    /// The field that carries the request id, in lower case.
    pub request_id_header: String,
    /// Whether `/-/live` and `/-/ready` are answered here.
    pub health: bool,
    /// The form of the access log.
    pub access_log_format: AccessLogFormat,
}

impl Settings {
    /// How long an idle connection is kept; the first request on it may take a moment to come,
    /// however short the keep-alive.
    pub(crate) fn idle_limit(&self, is_used: bool) -> Duration {
        if is_used {
            self.keep_alive
        } else {
            self.keep_alive.max(FIRST_REQUEST)
        }
    }
}

/// For the first request of a connection to begin, when connections are kept for less.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// From the first byte of a head to its last.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(20);
/// Without any byte of a body that is still to come.
pub(crate) const BODY_STALL: Duration = Duration::from_secs(30);
/// Without the client taking a single byte of its response.
pub(crate) const WRITE_STALL: Duration = Duration::from_secs(60);
/// For a client to finish sending after an early answer.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(2);
/// Bytes read and thrown away meanwhile.
pub(crate) const LINGER_BYTES: usize = 256 * 1024;
/// Bytes of one response kept in its temporary file before the app is asked to pause.
pub(crate) const RESPONSE_DISK: u64 = 1 << 30;
