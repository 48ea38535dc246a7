//! One file for each command of `canter`.

pub mod options;
pub mod serve;
