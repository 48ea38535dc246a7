//! The folder's thread: owns handing it one job after the other, so that no request waits for the disk
//! on the front's own thread. Leaves files to `canter_cache::disk`.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use canter_base::warn;
use canter_cache::disk::{Disk, Done, Job};
use canter_cache::store::Several;
use canter_cache::wire::Stored;
use canter_cache::{Entry, Key, Life, Purge, Time};
use tokio::sync::oneshot;

/// A look-up may take this long; a disk that is slower has no part in it.
const PATIENCE: Duration = Duration::from_millis(100);
/// Jobs that wait, before look-ups and entries are left out.
const MOST: usize = 256;
/// Bytes of entries that wait, which memory may have given up meanwhile.
const MOST_BYTES: usize = 16 << 20;
/// And before purges are put together.
const MOST_PURGES: usize = 4096;
/// Between two looks whether the thread is done, at the end.
const LOOK: Duration = Duration::from_millis(2);

/// One job, when it was given, and who waits for it. No job stands for the purges put together.
type Order = (Option<Job>, Time, Option<oneshot::Sender<Done>>);

/// The folder; a clone is another handle to it.
#[derive(Clone)]
pub struct Folder(Rc<Inner>);

struct Inner {
    orders: Sender<Order>,
    /// None where it could not be started.
    thread: Option<JoinHandle<()>>,
    told: Arc<Told>,
    hits: Cell<u64>,
    misses: Cell<u64>,
    dropped: Cell<u64>,
    /// A look-up was not answered in time: the next waits until the thread has caught up.
    is_late: Cell<bool>,
}

/// What both threads see.
#[derive(Default)]
struct Told {
    waiting: AtomicUsize,
    /// What the entries among them take.
    waiting_bytes: AtomicUsize,
    /// Purges put together, for which one order waits: behind all entries that were given before them,
    /// since none is taken while so many wait.
    together: Mutex<Option<Purge>>,
    files: AtomicUsize,
    bytes: AtomicU64,
}

impl Folder {
    /// Starts the thread, which opens the folder. One that cannot be used costs hits.
    pub fn start(path: PathBuf, limit: u64) -> Self {
        let (orders, jobs) = channel::<Order>();
        let told = Arc::new(Told::default());
        let ours = Arc::clone(&told);
        let work = move || {
            let mut disk = match Disk::open(&path, limit) {
                Ok(disk) => disk,
                Err(error) => {
                    let (path, reason) = (path.display().to_string(), error.to_string());
                    warn!(
                        "the folder for pages is not used: see `--cache-dir`",
                        path = path.as_str(),
                        reason = reason.as_str()
                    );
                    return;
                }
            };
            let mut is_told = false;
            for (job, now, asked) in jobs {
                let bytes = job.as_ref().map_or(0, size);
                let job = job.or_else(|| ours.take_together().map(Job::Purge));
                if job.is_none() {
                    disk.remove_stuck(usize::MAX);
                }
                if let Some(job) = job {
                    let done = disk.run(job, now);
                    if let Some(asked) = asked {
                        // Whoever asked may have left.
                        let _ = asked.send(done);
                    }
                }
                if disk.stuck() > 0 && !is_told {
                    is_told = true;
                    let path = path.display().to_string();
                    warn!(
                        "purged pages cannot be removed from the folder for pages: empty it before the next start",
                        path = path.as_str()
                    );
                }
                ours.files.store(disk.len(), Ordering::Relaxed);
                ours.bytes.store(disk.bytes(), Ordering::Relaxed);
                ours.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
                ours.waiting.fetch_sub(1, Ordering::AcqRel);
            }
        };
        let thread = std::thread::Builder::new().name("pages".to_owned());
        let thread = thread.spawn(work).inspect_err(|error| {
            let reason = error.to_string();
            warn!(
                "there is no thread for the folder for pages",
                reason = reason.as_str()
            );
        });
        Self(Rc::new(Inner {
            orders,
            thread: thread.ok(),
            told,
            hits: Cell::new(0),
            misses: Cell::new(0),
            dropped: Cell::new(0),
            is_late: Cell::new(false),
        }))
    }

    fn order(&self, job: Option<Job>, now: Time, asked: Option<oneshot::Sender<Done>>) {
        let (told, bytes) = (&self.0.told, job.as_ref().map_or(0, size));
        told.waiting.fetch_add(1, Ordering::AcqRel);
        told.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        if self.0.orders.send((job, now, asked)).is_err() {
            told.waiting.fetch_sub(1, Ordering::AcqRel);
            told.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    fn is_busy(&self, most: usize) -> bool {
        self.0.told.waiting.load(Ordering::Acquire) >= most
    }

    /// Everything that is stored for a URL, if the disk is quick enough.
    pub async fn load(&self, key: &Key, now: Time) -> Vec<Stored> {
        let mut found = Vec::new();
        if self.0.is_late.get() && !self.is_busy(1) {
            self.0.is_late.set(false);
        }
        if !self.is_busy(MOST) && !self.0.is_late.get() {
            let (asked, done) = oneshot::channel();
            self.order(Some(Job::Load(key.clone())), now, Some(asked));
            match tokio::time::timeout(PATIENCE, done).await {
                Ok(Ok(Done::Loaded(loaded))) => found = loaded,
                // There is no folder.
                Ok(_) => {}
                Err(_) => self.0.is_late.set(true),
            }
        }
        let cell = if found.is_empty() {
            &self.0.misses
        } else {
            &self.0.hits
        };
        cell.set(cell.get() + 1);
        found
    }

    /// Hands an entry over.
    pub fn keep(&self, entry: &Arc<Entry>, life: &Life, rule: u32, now: Time) {
        let waiting = self.0.told.waiting_bytes.load(Ordering::Acquire);
        if self.is_busy(MOST) || waiting > MOST_BYTES {
            self.0.dropped.set(self.0.dropped.get() + 1);
            // The copy that is there may be older than what was shown since.
            if let Some(key) = entry.key() {
                self.purge(&Purge::Url(key), now);
            }
            return;
        }
        let job = Job::Keep(Arc::clone(entry), *life, rule);
        self.order(Some(job), now, None);
    }

    /// Removes what a purge means.
    pub fn purge(&self, purge: &Purge, now: Time) {
        if purge.names_nothing() {
            return;
        }
        if !self.is_busy(MOST_PURGES) {
            return self.order(Some(Job::Purge(purge.clone())), now, None);
        }
        if self.0.told.put_together(purge) {
            self.order(None, now, None);
        }
    }

    /// Waits until the thread has done all that it was given, for so long at most: what was purged
    /// would be there again after a restart.
    pub async fn finish(&self, limit: Duration) {
        // What could not be removed is tried once more.
        self.order(None, Time::default(), None);
        // One that has ended, or that never opened the folder, does nothing more.
        let is_there = || {
            let thread = self.0.thread.as_ref();
            thread.is_some_and(|thread| !thread.is_finished())
        };
        let done = async {
            while self.is_busy(1) && is_there() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(limit, done).await;
        if self.is_busy(1) {
            warn!("purges have not reached the folder for pages: purge again after the start");
        }
    }

    /// What was counted, for Prometheus.
    pub fn metrics(&self) -> String {
        let inner = &*self.0;
        let (files, bytes) = (&inner.told.files, &inner.told.bytes);
        format!(
            "# HELP canter_cache_disk_bytes What the pages on disk take.\n\
             # TYPE canter_cache_disk_bytes gauge\ncanter_cache_disk_bytes {}\n\
             # HELP canter_cache_disk_files How many pages there are on disk.\n\
             # TYPE canter_cache_disk_files gauge\ncanter_cache_disk_files {}\n\
             # HELP canter_cache_disk_total What came of look-ups and writes there.\n\
             # TYPE canter_cache_disk_total counter\n\
             canter_cache_disk_total{{what=\"hit\"}} {}\ncanter_cache_disk_total{{what=\"miss\"}} {}\n\
             canter_cache_disk_total{{what=\"dropped\"}} {}\n",
            bytes.load(Ordering::Relaxed),
            files.load(Ordering::Relaxed),
            inner.hits.get(),
            inner.misses.get(),
            inner.dropped.get(),
        )
    }
}

impl Told {
    fn take_together(&self) -> Option<Purge> {
        let held = self.together.lock();
        held.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds a purge to those put together; whether it is the first of them.
    fn put_together(&self, purge: &Purge) -> bool {
        let held = self.together.lock();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        let is_first = held.is_none();
        *held = Some(match held.take() {
            None => several([purge]),
            Some(before) => several([&before, purge]),
        });
        is_first
    }
}

/// Purges in one; everything where one of them has no name.
fn several<'a>(purges: impl IntoIterator<Item = &'a Purge>) -> Purge {
    let mut several = Several::default();
    if purges.into_iter().all(|purge| purge.add_to(&mut several)) {
        Purge::Several(several)
    } else {
        Purge::Everything
    }
}

/// What a job that waits holds.
fn size(job: &Job) -> usize {
    match job {
        Job::Keep(entry, ..) => entry.cost(),
        Job::Load(_) | Job::Purge(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use canter_cache::Scheme;

    use super::*;

    fn page(number: usize) -> Purge {
        let path = format!("/{number}");
        Purge::Url(Key::new(Scheme::Http, b"a", path.as_bytes(), None))
    }

    #[test]
    fn purges_that_wait_are_put_together_and_become_everything_only_where_they_have_no_name() {
        let told = Told::default();
        assert!(told.put_together(&page(1)) && !told.put_together(&page(2)));
        assert!(matches!(told.take_together(), Some(Purge::Several(_))));
        assert!(told.take_together().is_none());
        assert!(told.put_together(&page(1)));
        assert!(!told.put_together(&Purge::Prefix {
            host: None,
            path: b"/".to_vec(),
        }));
        assert_eq!(told.take_together(), Some(Purge::Everything));
    }

    #[test]
    fn all_that_was_given_is_done_at_the_end() {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("canter-tiers-finish-{id}"));
        let folder = Folder::start(path.clone(), 1 << 20);
        for number in 0..2000 {
            folder.purge(&page(number), Time::from_seconds(1));
        }
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(folder.finish(Duration::from_secs(60)));
        assert!(!folder.is_busy(1));
        let _ = std::fs::remove_dir_all(path);
    }

    #[test]
    fn nobody_waits_at_the_end_for_a_folder_that_never_opened() {
        let id = std::process::id();
        // A file stands where the folder should be.
        let path = std::env::temp_dir().join(format!("canter-tiers-no-folder-{id}"));
        std::fs::write(&path, b"").unwrap();
        let folder = Folder::start(path.join("pages"), 1 << 20);
        // As one that was given before the thread has ended, and that nobody takes any more.
        folder.0.told.waiting.fetch_add(1, Ordering::AcqRel);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        let (begun, limit) = (std::time::Instant::now(), Duration::from_secs(20));
        runtime.block_on(folder.finish(limit));
        assert!(begun.elapsed() < limit);
        let _ = std::fs::remove_file(path);
    }
}
