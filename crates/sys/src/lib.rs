//! Owns the calls to the operating system that need care or unsafe code, behind safe functions.
//! Leaves every decision to its callers: nothing here reads options, logs, or exits.
//!
//! What is Linux-only is kept here, so that another system needs a port of this crate alone.

pub mod affinity;
pub mod allocator;
#[cfg(feature = "counting")]
pub mod counting;
pub mod cpu;
pub mod fds;
pub mod machine;
pub mod memory;
pub mod peer;
pub mod process;
pub mod program;
pub mod resident;
pub mod sched;
pub mod sockets;
pub mod temp;
