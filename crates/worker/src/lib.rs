//! Owns the extension module `canter._worker`: a worker process takes requests from its ring,
//! runs the app and gives the answers back.
//! Leaves importing the app, settings and exit codes to `canter/worker.py`, and HTTP to the front.
//!
//! ```text
//!   main thread                       threads of requests (leader and followers)
//!   `guard`: control socket,          `thread_pool`: who reads the ring, who is parked
//!   signals, does it wait or compute? `ring_reader`: takes a record, `environ` makes it a dict
//!                                     `respond`: calls the app, `answer` and `outbox` send
//! ```

mod answer;
mod around;
mod chunks;
mod dump;
mod entry;
mod environ;
mod failure;
mod field_names;
mod growth;
mod guard;
mod head;
mod hook;
mod one_cpu;
mod os;
mod outbox;
mod profile;
mod report;
mod request_cpu;
mod respond;
mod ring_reader;
mod running;
mod switch_interval;
#[cfg(feature = "testing")]
mod testing;
mod thread_demand;
mod thread_pool;
mod wake_policy;
mod worker;

/// The worker's side of Canter, called by `canter.worker`.
#[pyo3::pymodule]
mod _worker {
    #[pymodule_export]
    use crate::answer::{StartResponse, Write};
    #[pymodule_export]
    use crate::around::around_requests;
    #[pymodule_export]
    use crate::entry::{log_entry, start_log};
    #[pymodule_export]
    use crate::hook::Hook;
    #[pymodule_export]
    use crate::os::is_readable;
    #[pymodule_export]
    use crate::report::strip;
    #[cfg(feature = "testing")]
    #[pymodule_export]
    use crate::testing::TestFront;
    #[pymodule_export]
    use crate::worker::serve;
}
