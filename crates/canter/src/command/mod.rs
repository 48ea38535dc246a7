//! One file for each command of `canter`.

pub mod bench;
pub mod compress;
pub mod doctor;
pub mod findings;
pub mod insight;
pub mod options;
pub mod pool;
pub mod profile;
pub mod purge;
pub mod selftest;
pub mod serve;
pub mod top;
pub mod tune;

pub use serve::sockets;
