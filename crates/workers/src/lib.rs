//! Owns the workers: their life as a table, the supervisor that starts and reaps them, and the
//! dispatch that gives them requests.
//! Leaves sockets and HTTP to `canter-front`, and what a worker does to `canter-worker`.

mod backoff;
pub mod dispatch;
mod exit_status;
mod heartbeat;
mod life;
pub mod link;
pub mod notify;
mod poison;
mod signals;
pub mod socket;
mod spawn;
pub mod supervisor;
mod terminals;
mod watch;
mod worker_set;
pub mod zygote;
