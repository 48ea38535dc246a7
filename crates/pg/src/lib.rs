//! A PostgreSQL pooler: many clients, few server connections, and nothing that an application can
//! tell from a direct connection. Runs on one thread inside a local tokio runtime.
//! Leaves the web, the workers and the options of the program to whoever composes it.
//!
//! ```text
//! door ─▶ access ─▶ session ⇄ relay ⇄ lease ─▶ pool ─▶ login ─▶ server
//! ```
#![forbid(unsafe_code)]

pub mod access;
mod bill;
mod cancel;
mod console;
pub mod door;
mod login;
mod metrics;
pub mod pool;
mod pooler;
mod relay;
pub mod replica;
mod scram;
mod server;
mod session;
mod settings;
pub mod sql;
mod stream;
pub mod target;
pub mod wire;

pub use bill::{Billed, Bills};
pub use console::{Answer, Order, Shutdown};
pub use door::Door;
pub use pool::{BOUNDS_US, Histogram, PoolStats};
pub use pooler::{Pooler, PoolerStats};
pub use settings::{Owner, Refresh, Settings};
