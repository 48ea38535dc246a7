//! The page cache without sockets, clocks or threads: owns what may be stored and shared
//! (RFC 9111), what is served of it, and the bounded store. Asking the app, waiting for it, and
//! sending are left to the front.
//!
//! # The way of a request
//!
//! 1. Build the [`Key`] from the URL as the app will see it, and from the cookies a page rule lets
//!    count ([`inputs`] reads and filters them). Describe the request as [`policy::Asked`].
//! 2. [`Store::find`], then [`policy::lookup`] with the life of what was found:
//!    - `Hit`: send [`Entry::block`], [`Entry::write_rest`] and a [`Body`]; with `refresh`, and when
//!      [`Store::claim_refresh`] says so, ask the app in the background.
//!    - `Validate`, `Miss`: ask the app, with [`Entry::validators`] in place of the client's own
//!      conditions. Take [`Store::mark`] before. When [`Store::refused`] has a reason, let
//!      nobody wait for the answer.
//!    - `Bypass`: ask the app, keep nothing. `Unavailable`: 504.
//! 3. At the answer's head: a 304 to our validators goes to [`policy::freshen`] and
//!    [`Store::replace`]; anything else to [`policy::store`], which says at once whether those who
//!    wait may have it. With a reason why not, [`Store::refuse`].
//! 4. When the body is whole: [`policy::Plan::into_entry`], [`Store::put`]. An answer that broke
//!    off never gets there.
//! 5. When the app fails and [`policy::on_failure`] says so, send what was found, and
//!    [`Store::refresh_failed`].
//! 6. After an unsafe request: [`policy::invalidates`], [`Store::purge`].
//!
//! Answers that go to clients do so without the fields for which [`is_for_the_cache`] holds.
//! Content negotiation is the front's: it removes Accept-Encoding towards the app (and says so in
//! [`vary::Settled`]), and adds encoded forms with [`Store::add_form`]. `Cache-Status` is
//! [`status::CacheStatus`]. For the tiers below memory, [`wire`] turns entries into bytes and back,
//! and [`disk`], the one part that does I/O, keeps them in a folder; [`shelf`] is what several machines
//! write for each other.
#![forbid(unsafe_code)]

mod block;
mod body;
pub mod check;
pub mod directives;
pub mod disk;
mod entry;
mod hash;
pub mod inputs;
pub mod key;
pub mod life;
mod lines;
pub mod policy;
mod reason;
pub mod rule;
pub mod shelf;
pub mod status;
pub mod store;
pub mod structured;
pub mod tags;
mod text;
mod time;
pub mod vary;
pub mod wire;

pub use block::is_for_the_cache;
pub use body::{Body, Forms};
pub use entry::{AppValidators, Entry};
pub use key::{Key, Scheme};
pub use life::Life;
pub use lines::{Field, Lines, RequestLines};
pub use reason::Reason;
pub use rule::{Mode, Rule, Settings};
pub use store::{Found, Handle, Mark, Purge, Stats, Store};
pub use time::Time;
