//! The tiers below memory as the page cache uses them: owns when they are asked, that many who miss the
//! same ask once, and that a purge reaches them. Leaves the tiers themselves to `canter_tiers`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canter_base::options::CacheServer;
use canter_cache::status::Tier;
use canter_cache::wire::Stored;
use canter_cache::{Entry, Life, Purge};
use canter_http::Method;
use canter_tiers::{Folder, Shared};
use tokio::sync::oneshot;

use super::{Pages, Visit, now};
use crate::pages::shape::Look;

/// Somebody who waits for what another finds.
type Waiting = oneshot::Sender<Option<Tier>>;

/// The tiers below memory.
pub(super) struct Tiers {
    folder: Option<Folder>,
    shared: Option<Shared>,
    /// Look-ups that are under way, and who waits for what comes of them.
    under_way: RefCell<HashMap<Vec<u8>, Vec<Waiting>>>,
}

impl Pages {
    /// The same with tiers below it. Call inside a local runtime.
    #[must_use]
    pub fn above(self, folder: Option<Folder>, server: Option<CacheServer>) -> Self {
        if !self.0.is_on || (folder.is_none() && server.is_none()) {
            return self;
        }
        let inner = Rc::downgrade(&self.0);
        // What others purge is not told to them again.
        let apply = move |purge: &Purge, soft: bool| {
            if let Some(inner) = inner.upgrade() {
                let pages = Self(inner);
                pages.0.store.borrow_mut().purge(purge, soft);
                pages.purge_folder(purge);
            }
        };
        let tiers = Tiers {
            folder,
            shared: server.map(|server| Shared::start(server, apply)),
            under_way: RefCell::default(),
        };
        // There is one front, and it does this once.
        let _ = self.0.tiers.set(tiers);
        self
    }

    /// Whether there are tiers below memory.
    pub(crate) fn has_tiers(&self) -> bool {
        self.0.tiers.get().is_some()
    }

    fn purge_folder(&self, purge: &Purge) {
        if let Some(folder) = self.0.tiers.get().and_then(|tiers| tiers.folder.as_ref()) {
            folder.purge(purge, now());
        }
    }

    /// Lets a purge reach the folder and the other machines.
    pub(super) fn purge_tiers(&self, purge: &Purge, soft: bool) {
        self.purge_folder(purge);
        if let Some(shared) = self.0.tiers.get().and_then(|tiers| tiers.shared.as_ref()) {
            shared.purge(purge, soft);
        }
    }

    /// Lets the folder and the other machines have what they were told of, for so long at most.
    pub async fn finish(&self, limit: Duration) {
        let Some(tiers) = self.0.tiers.get() else {
            return;
        };
        let over = Instant::now() + limit;
        if let Some(shared) = &tiers.shared {
            shared.finish(limit).await;
        }
        if let Some(folder) = &tiers.folder {
            folder
                .finish(over.saturating_duration_since(Instant::now()))
                .await;
        }
    }

    /// Up to which purge of all machines is known; for what is about to be asked for.
    pub(super) fn position(&self) -> Option<canter_cache::shelf::Position> {
        self.0.tiers.get()?.shared.as_ref()?.position()
    }

    /// Hands an entry to the tiers.
    pub(super) fn keep_in_tiers(&self, entry: &Arc<Entry>, life: &Life, rule: u32, visit: &Visit) {
        let Some(tiers) = self.0.tiers.get() else {
            return;
        };
        let now = now();
        if let Some(folder) = &tiers.folder {
            folder.keep(entry, life, rule, now);
        }
        if let Some(shared) = &tiers.shared {
            shared.keep(entry, life, rule, visit.position, now);
        }
    }

    /// Whether a tier is to be asked for a key at all.
    pub(super) fn is_worth_a_look(&self, look: &Look) -> bool {
        let refused = || self.0.store.borrow_mut().refused(&look.key, now());
        self.has_tiers() && refused().is_none()
    }

    /// Whether a page that is not in memory may be in a tier below it.
    pub(crate) fn may_be_in_tier(&self, visit: &Visit) -> bool {
        let is_aged = visit.found.as_ref().is_some_and(|found| found.life.aged);
        matches!(visit.method, Method::Get | Method::Head)
            && !is_aged
            && self.is_worth_a_look(&visit.look)
    }

    /// Gets into memory what the tiers have for a request; which of them had something. Whoever wants
    /// the same meanwhile waits for this one.
    pub(crate) async fn load(&self, visit: &Visit) -> Option<Tier> {
        let tiers = self.0.tiers.get()?;
        let look = &visit.look;
        let key = look.key.bytes();
        if let Some(told) = tiers.join(key) {
            return told.await.ok().flatten();
        }
        let leaving = Leaving { tiers, key };
        let found = self.search(tiers, look, visit).await;
        for waiting in leaving.others() {
            // Whoever waited may have left.
            let _ = waiting.send(found);
        }
        found
    }

    async fn search(&self, tiers: &Tiers, look: &Look, visit: &Visit) -> Option<Tier> {
        let mut found = None;
        if let Some(folder) = &tiers.folder {
            for stored in folder.load(&look.key, now()).await {
                if self.take_up(stored, look, visit) {
                    found = Some(Tier::Disk);
                }
            }
            if self.is_fresh(visit) {
                return found;
            }
        }
        if let Some(shared) = &tiers.shared
            && let Some(stored) = shared.load(&look.key, &visit.sent, now()).await
            && self.take_up(stored, look, visit)
        {
            found = Some(Tier::Shared);
        }
        found
    }

    /// Puts into memory what a tier had, unless it was purged since or came under other rules.
    fn take_up(&self, stored: Stored, look: &Look, visit: &Visit) -> bool {
        let Stored { entry, life, rule } = stored;
        let covering = look.covering.as_ref();
        // Under a rule the app sees less of a request than without.
        if (rule != 0) != covering.is_some() {
            return false;
        }
        let (rule, most) = covering.map_or((0, 0), |covering| {
            (covering.rule.id, covering.rule.most_entries)
        });
        let mut store = self.0.store.borrow_mut();
        store.put(entry, life, rule, most, visit.mark).is_ok()
    }

    /// Whether memory has a fresh page for the request now.
    pub(crate) fn is_fresh(&self, visit: &Visit) -> bool {
        let found = self.0.store.borrow_mut().find(&visit.look.key, &visit.sent);
        found.is_some_and(|found| found.life.is_fresh(now()))
    }

    /// What the tiers counted, for Prometheus.
    pub fn metrics(&self) -> String {
        let Some(tiers) = self.0.tiers.get() else {
            return String::new();
        };
        let folder = tiers.folder.as_ref().map(Folder::metrics);
        let shared = tiers.shared.as_ref().map(Shared::metrics);
        [folder, shared].into_iter().flatten().collect()
    }
}

impl Tiers {
    /// Waits with whoever looks for this already, or begins.
    fn join(&self, key: &[u8]) -> Option<oneshot::Receiver<Option<Tier>>> {
        let mut under_way = self.under_way.borrow_mut();
        if let Some(others) = under_way.get_mut(key) {
            let (tell, told) = oneshot::channel();
            others.push(tell);
            return Some(told);
        }
        under_way.insert(key.to_vec(), Vec::new());
        None
    }
}

/// A look-up that is under way, until it ends or is given up.
struct Leaving<'a> {
    tiers: &'a Tiers,
    key: &'a [u8],
}

impl Leaving<'_> {
    fn others(&self) -> Vec<Waiting> {
        let mut under_way = self.tiers.under_way.borrow_mut();
        under_way.remove(self.key).unwrap_or_default()
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        drop(self.others());
    }
}
