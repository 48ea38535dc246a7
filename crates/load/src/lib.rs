//! The load generator behind `canter bench`: sends requests by a plan, counts what comes back from the
//! moment each should have been sent, and writes reports.
//! Leaves the command line, the terminal and exit codes to `canter`.
//!
//! ```text
//! plan ─▶ engine (a thread each: epoll, users) ─▶ tallies ─▶ run (rows, total) ─▶ report
//! ```
#![forbid(unsafe_code)]
// Numbers here are counts and times: none is negative. The flags of a plan and of a user are as many
// as there are, and what is built with `format!` is built once for a report.
#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::format_push_string,
    clippy::struct_excessive_bools
)]

pub mod compare;
pub mod consent;
mod cookies;
mod engine;
pub mod goal;
pub mod histogram;
pub mod inside;
mod login;
pub mod once;
pub mod plan;
mod random;
pub mod record;
mod redirect;
pub mod report;
pub mod response;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod sketch;
pub mod source;
pub mod target;

pub use login::Login;
pub use plan::Plan;
pub use random::Random;
pub use run::{Outcome, Pause, run, run_with_pauses};
