//! Clients that are connected and ask nothing for too long (`client_idle_timeout`): looked at all
//! together, and only while such a limit is set, so that an idle client has no timer.
//!
//! Leaves sessions that hold a server to `watch`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::Activity;
use crate::pooler::Shared;
use crate::wire::SqlError;

/// How often it is looked, for limits that are longer than a few of these.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_OFTEN: Duration = Duration::from_millis(50);

/// Whoever looks.
#[derive(Default)]
pub(crate) struct Idlers(RefCell<Option<AbortHandle>>);

impl Idlers {
    /// Looks from now on, as long as there is a limit.
    pub(crate) fn keep(&self, shared: &Rc<Shared>) {
        let mut ticker = self.0.borrow_mut();
        let looks = ticker.as_ref().is_some_and(|task| !task.is_finished());
        if !looks && !shared.settings.client_idle_timeout().is_zero() {
            *ticker = Some(spawn_local(look(Rc::downgrade(shared))).abort_handle());
        }
    }
}

impl Drop for Idlers {
    fn drop(&mut self) {
        if let Some(ticker) = self.0.take() {
            ticker.abort();
        }
    }
}

async fn look(shared: Weak<Shared>) {
    // By session: how often it has changed what it does, and since when it has not.
    let mut seen = HashMap::<i32, (u32, Instant)>::new();
    loop {
        let limit = match shared.upgrade() {
            Some(shared) => shared.settings.client_idle_timeout(),
            None => return,
        };
        if limit.is_zero() {
            return;
        }
        sleep((limit / 4).clamp(LOOK_OFTEN, LOOK)).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut still = HashMap::with_capacity(seen.len());
        for seat in shared.sessions.all() {
            let handle = &seat.handle;
            let is_meant = handle.owner().is_none()
                && handle.about().is_some_and(|about| !about.is_console)
                && handle.activity() == Activity::Idle;
            if !is_meant {
                continue;
            }
            let before = seen.get(&seat.id()).copied();
            let changes = handle.changes();
            let since = before.filter(|(count, _)| *count == changes);
            let since = since.map_or(now, |(_, since)| since);
            if now.saturating_duration_since(since) >= limit {
                handle.end(too_long(limit));
            } else {
                still.insert(seat.id(), (changes, since));
            }
        }
        seen = still;
    }
}

fn too_long(limit: Duration) -> SqlError {
    let words = format!(
        "terminating connection: it was idle for {} s",
        limit.as_secs_f32()
    );
    SqlError::fatal("57P05", words).hint("The limit is the pooler's --db-client-idle-timeout.")
}
