//! Owns how much one connection may do before the others have their turn: the front is one thread,
//! and a client that always has something to read, or always takes what it is sent, would never let
//! go of it.
//! Leaves what is done in a turn to `conn` and `h2`.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use crate::app::App;

/// What a connection may do in one turn, in bytes moved.
const MOST: u32 = 1 << 20;
/// What one request counts beside its bytes: so many are a turn of well below a millisecond.
pub(crate) const REQUEST: usize = MOST as usize / 32;
/// What one chunk of a body counts beside its bytes.
pub(crate) const CHUNK: usize = 64;

/// What a connection has done since it last waited.
#[derive(Default)]
pub(crate) struct Quantum(Cell<u32>);

impl Quantum {
    /// So much was done.
    pub fn spend(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(MOST);
        self.0.set(self.0.get().saturating_add(bytes));
    }

    /// The connection waits for its client: the others have their turn.
    pub fn reset(&self) {
        self.0.set(0);
    }

    /// Whether it has done as much as it may.
    pub fn is_spent(&self) -> bool {
        self.0.get() >= MOST
    }

    /// Lets the others have theirs, once the turn is over: first those that are ready, then
    /// the system's news and the app's.
    pub async fn yield_if_spent(&self, app: &impl App) {
        if self.is_spent() {
            self.reset();
            app.between_turns();
            tokio::task::yield_now().await;
        }
    }

    /// Pending where the turn is over; the task is woken when the others have had theirs. Whoever
    /// polls it tells the app.
    pub fn poll_yield_if_spent(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_spent() {
            return Poll::Ready(());
        }
        self.reset();
        // Not woken at once: the runtime would run it again before it asks the system for news.
        pin!(tokio::task::yield_now()).poll(cx)
    }
}
