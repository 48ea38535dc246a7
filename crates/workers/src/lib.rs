//! Owns the workers: their life as a table, the supervisor that starts and reaps them, and the
//! dispatch that gives them requests.
//! Leaves sockets and HTTP to `canter-front`, and what a worker does to `canter-worker`.

pub mod dispatch;
mod poison;
