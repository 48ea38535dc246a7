//! The tiers of the page cache below memory: owns a folder behind a thread of its own, and one
//! connection to a Valkey or Redis server that several machines share. Both may be missing, slow or
//! broken at any time, which costs hits and nothing else.
//! Leaves what an entry is to `canter_cache`, and when to look to the front.
#![forbid(unsafe_code)]

mod disk;
mod link;
mod log;
mod resp;
mod shared;
mod state;

pub use disk::Folder;
pub use shared::Shared;
