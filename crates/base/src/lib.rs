//! What every part of Canter shares: options, faults for people, exit codes, sizing, log and clock.
//!
//! This crate reads no environment, opens no file and never exits the process: whatever it needs
//! from outside is an argument, so each decision in it can be tested with a value.

pub mod clock;
pub mod fault;
pub mod flags;
pub mod log;
pub mod nearest;
pub mod options;
pub mod secret;
pub mod sizing;

pub use fault::{Exit, Fault};
pub use options::{Config, Resolved};
