//! Owns the workers, in two halves that know each other only by the words of `link`: the supervisor,
//! which starts and reaps them, and the dispatch, which gives them requests and runs in the front.
//! Leaves sockets and HTTP to `canter-front`, and what a worker does to `canter-worker`.

pub mod dispatch;
pub mod link;
pub mod socket;
pub mod supervisor;
