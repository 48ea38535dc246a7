//! Owns every client socket: listeners, connections, HTTP/1.1, the pipeline of steps, the access
//! log. Runs on one thread inside a local tokio runtime and never waits for Python.
//! Leaves what answers a request to [`App`], and processes to the supervisor.
//!
//! ```text
//! listener ─▶ conn ─▶ receive head ─▶ pipeline ─▶ receive body ─▶ App::submit
//!                 ◀─ send at the client's pace ◀─ spool ◀─ answers ◀──┘
//! ```

mod access;
mod acknowledged;
mod answer_digests;
pub mod app;
mod clock;
mod closing;
mod coder;
mod conn;
mod facts;
mod forwarded;
mod guard;
mod h2;
mod handshakes;
mod helper;
mod ignored_fields;
mod insight;
mod listener;
mod owner;
mod pages;
mod pipe;
mod pipeline;
mod proxy_header;
mod quantum;
mod request;
mod scratch;
mod secret;
mod server;
mod settings;
mod shared;
mod spool;
mod steps;
mod stream;
mod table;
mod tls;
mod traced;
mod urgent;
mod usual;

pub use access::AccessLog;
pub use app::{App, Call};
pub use guard::GuardSettings;
pub use handshakes::HandshakeSettings;
pub use insight::{Insight, Profiler, Scale};
pub use listener::Listener;
pub use pages::Pages;
pub use server::Server;
pub use settings::{Compress, Settings};
pub use steps::challenge::Challenges;
pub use tls::{KeyPair, Tls, TlsError};
pub use traced::Spans;
