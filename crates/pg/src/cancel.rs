//! Cancel requests: which key belongs to which session, and the way to its server.
//! A server that is being cancelled says so (`Aim::is_firing`), and the pool hands it to nobody
//! until the server has closed the cancel connection: the next client's query must not die of it.

mod aim;
mod registry;
#[cfg(test)]
mod tests;

pub(crate) use aim::Aim;
pub(crate) use registry::{Registered, Registry, Seat};
