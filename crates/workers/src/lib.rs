//! Owns the workers: their life as a table, the supervisor that starts and reaps them, and the
//! dispatch that gives them requests.
//! Leaves sockets and HTTP to `canter-front`, and what a worker does to `canter-worker`.

mod backoff;
mod crew;
pub mod dispatch;
mod life;
pub mod link;
pub mod notify;
mod obituary;
mod poison;
mod pulse;
mod signals;
pub mod socket;
mod spawn;
pub mod supervisor;
mod terminals;
mod watch;
pub mod zygote;
