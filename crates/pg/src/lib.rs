//! A PostgreSQL pooler: many clients, few server connections, and nothing that an application can
//! tell from a direct connection. Runs on one thread inside a local tokio runtime.
//! Leaves the web, the workers and the options of the program to whoever composes it.
//!
//! ```text
//! door ─▶ access ─▶ session ⇄ relay ⇄ lease ─▶ pool ─▶ login ─▶ server
//! ```
#![forbid(unsafe_code)]

mod access;
mod cancel;
mod door;
mod login;
mod pool;
mod relay;
mod server;
mod session;
pub mod sql;
mod stream;
pub mod target;
pub mod wire;
