//! Owns what passes between the front and one worker: messages, the two rings that carry them,
//! the state of each request under way, and who must be woken.
//! Leaves sockets, Python and scheduling to `canter-front`, `canter-workers` and `canter-worker`.
//!
//! ```text
//!   front                      one memfd per worker                     worker
//!   FrontEnd ── requests ──▶  [ ring of records ]  ── requests ──▶  WorkerEnd
//!            ◀─ answers  ───  [ ring of records ]  ◀─ answers  ───
//!            offer, reclaim   [ slots: one word per request ]   start
//!            sleep / wake     [ bells: who is asleep ]          sleep / wake
//! ```
//!
//! A request is *offered* (its record is in the ring), then *started* (the worker has moved its
//! slot on). Until it is started the front may take it back, and when the worker dies the slots
//! tell exactly which requests had begun.
//!
//! The worker trusts the front. The front trusts nothing that it reads here: records are copied
//! out before they are looked at, and every length is checked.

mod bell;
pub mod call;
pub mod control;
mod ends;
mod layout;
pub mod report;
pub mod request;
pub mod response;
mod ring;
pub mod seen;
mod slots;
pub mod trace;
mod wire;

pub use control::{Control, Event, StackSample};
pub use ends::{Answers, FrontEnd, Requests, Waking, Watch, WorkerEnd, create};
pub use layout::{ANSWERS_AT, ANSWERS_HEAD_AT, MOST_RECORD, SHARED_BYTES, SLOTS};
pub use ring::{Broken, Full, Kind, RecordHead};
pub use slots::SlotId;
pub use wire::Malformed;
