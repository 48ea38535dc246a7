//! What the cache may do (RFC 9111): owns the decisions, each a plain function of what was asked,
//! what is stored, the rules and the time. Nothing here does anything.
//!
//! The order for a request: [`lookup()`] says what to do with what the store found. When the app is
//! asked, [`store()`] says from the head of its answer whether it may be kept and shared,
//! [`freshen`] takes a 304, [`on_failure`] says whether a stale copy helps, and [`invalidates`]
//! what an unsafe request made wrong.

mod freshen;
mod invalidate;
mod lookup;
mod store;

pub use freshen::{Freshened, freshen};
pub use invalidate::{Invalid, invalidates};
pub use lookup::{Forward, Lookup, Lost, lookup, on_failure};
pub use store::{Answer, Plan, says_nothing, store};

use canter_http::Method;

use crate::lines::Lines;
use crate::vary::Settled;

/// What must be known of a request.
#[derive(Debug)]
pub struct Asked<'a, L: ?Sized> {
    /// Its method.
    pub method: Method,
    /// Its fields.
    pub lines: &'a L,
    /// The path as the app gets it.
    pub path: &'a [u8],
    /// It has a body.
    pub has_body: bool,
    /// It carries a cookie that makes the page personal: a session, messages, or one the owner
    /// named.
    pub is_personal: bool,
    /// It asks for another protocol.
    pub wants_upgrade: bool,
    /// Which of its inputs the app sees only as far as they are in the key.
    pub settled: Settled,
}

impl<L: Lines + ?Sized> Asked<'_, L> {
    fn is_authorized(&self) -> bool {
        self.lines.has("authorization")
    }
}
