//! Time-outs of sessions that hold a server: looked at four times a second, all together, so that
//! a query arms no timer.
//!
//! Owns the list and its ticker. What a time-out means is the session's.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::{Activity, Handle};
use crate::settings::Settings;

const TICK: Duration = Duration::from_millis(250);
/// How long `currval` and `lastval` may follow the last word of a session (D12): longer than the
/// parts of one HTTP request are apart, and short enough not to be missed.
const SEQUENCES_FOR: Duration = Duration::from_secs(10);

struct Entry {
    handle: Rc<Handle>,
    settings: Rc<Settings>,
    changes: u32,
    since: Instant,
    rests: u32,
    /// When its transaction began, or a little later.
    begun: Instant,
}

#[derive(Default)]
struct List {
    entries: Slab<Entry>,
    is_ticking: bool,
}

thread_local! {
    static LIST: RefCell<List> = RefCell::default();
}

/// A place in the list.
pub(super) struct Watched(usize);

/// Watches a session for as long as it holds a server.
pub(super) fn watch(handle: &Rc<Handle>, settings: &Rc<Settings>, now: Instant) -> Watched {
    LIST.with_borrow_mut(|list| {
        if !list.is_ticking {
            list.is_ticking = true;
            spawn_local(tick());
        }
        Watched(list.entries.insert(Entry {
            handle: Rc::clone(handle),
            settings: Rc::clone(settings),
            changes: handle.changes(),
            since: now,
            rests: handle.rests(),
            begun: now,
        }))
    })
}

impl Drop for Watched {
    fn drop(&mut self) {
        // At the end of the thread the list may be gone before its sessions are.
        let _ = LIST.try_with(|list| list.borrow_mut().entries.try_remove(self.0));
    }
}

/// Marks the ticker as stopped also when its runtime goes away under it.
struct Ticking;

impl Drop for Ticking {
    fn drop(&mut self) {
        let _ = LIST.try_with(|list| list.borrow_mut().is_ticking = false);
    }
}

async fn tick() {
    let _ticking = Ticking;
    loop {
        sleep(TICK).await;
        let now = Instant::now();
        let is_empty = LIST.with_borrow_mut(|list| {
            for (_, entry) in &mut list.entries {
                entry.look(now);
            }
            list.entries.is_empty()
        });
        if is_empty {
            return;
        }
    }
}

impl Entry {
    fn look(&mut self, now: Instant) {
        self.look_at_transaction(now);
        let changes = self.handle.changes();
        if changes != self.changes {
            (self.changes, self.since) = (changes, now);
            return;
        }
        let activity = self.handle.activity();
        if activity == Activity::Pinned
            && self.handle.is_soft()
            && now.saturating_duration_since(self.since) >= SEQUENCES_FOR
        {
            self.since = now;
            self.handle.give_way();
            return;
        }
        let limit = match activity {
            Activity::Active => self.settings.query_timeout(),
            Activity::IdleInTransaction => self.settings.idle_transaction_timeout(),
            Activity::Pinned if self.handle.waits() => Duration::ZERO,
            Activity::Pinned => self.settings.pin_idle_timeout(),
            Activity::Idle | Activity::Waiting | Activity::Lent => Duration::ZERO,
        };
        if !limit.is_zero() && now.saturating_duration_since(self.since) >= limit {
            self.since = now;
            self.handle.expire(activity);
        }
    }

    fn look_at_transaction(&mut self, now: Instant) {
        let rests = self.handle.rests();
        let is_open = matches!(
            self.handle.activity(),
            Activity::Active | Activity::IdleInTransaction
        );
        if !is_open || rests != self.rests {
            (self.rests, self.begun) = (rests, now);
            return;
        }
        let limit = self.settings.transaction_timeout();
        if !limit.is_zero() && now.saturating_duration_since(self.begun) >= limit {
            self.begun = now;
            self.handle.overdue();
        }
    }
}
