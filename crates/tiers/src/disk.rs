//! The folder's thread: owns handing it one job after the other, so that no request waits for the disk
//! on the front's own thread. Leaves files to `canter_cache::disk`.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use canter_base::warn;
use canter_cache::disk::{Disk, Done, Job};
use canter_cache::wire::Stored;
use canter_cache::{Entry, Key, Life, Purge, Time};
use tokio::sync::oneshot;

/// A look-up may take this long; a disk that is slower has no part in it.
const PATIENCE: Duration = Duration::from_millis(100);
/// Jobs that wait, before look-ups and entries are left out.
const MOST: usize = 256;
/// Bytes of entries that wait, which memory may have given up meanwhile.
const MOST_BYTES: usize = 16 << 20;
/// And before purges become one of everything.
const MOST_PURGES: usize = 4096;

/// One job, when it was given, and who waits for it.
type Order = (Job, Time, Option<oneshot::Sender<Done>>);

/// The folder; a clone is another handle to it.
#[derive(Clone)]
pub struct Folder(Rc<Inner>);

struct Inner {
    orders: Sender<Order>,
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
    /// Everything is to be purged before the next job.
    wipe: AtomicBool,
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
            for (job, now, asked) in jobs {
                if ours.wipe.swap(false, Ordering::AcqRel) {
                    disk.run(Job::Purge(Purge::Everything), now);
                }
                let bytes = size(&job);
                let done = disk.run(job, now);
                ours.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
                ours.waiting.fetch_sub(1, Ordering::AcqRel);
                ours.files.store(disk.len(), Ordering::Relaxed);
                ours.bytes.store(disk.bytes(), Ordering::Relaxed);
                if let Some(asked) = asked {
                    // Whoever asked may have left.
                    let _ = asked.send(done);
                }
            }
        };
        let thread = std::thread::Builder::new().name("pages".to_owned());
        if let Err(error) = thread.spawn(work) {
            let reason = error.to_string();
            warn!(
                "there is no thread for the folder for pages",
                reason = reason.as_str()
            );
        }
        Self(Rc::new(Inner {
            orders,
            told,
            hits: Cell::new(0),
            misses: Cell::new(0),
            dropped: Cell::new(0),
            is_late: Cell::new(false),
        }))
    }

    fn order(&self, job: Job, now: Time, asked: Option<oneshot::Sender<Done>>) {
        let (told, bytes) = (&self.0.told, size(&job));
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
            self.order(Job::Load(key.clone()), now, Some(asked));
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
        self.order(Job::Keep(Arc::clone(entry), *life, rule), now, None);
    }

    /// Removes what a purge means.
    pub fn purge(&self, purge: &Purge, now: Time) {
        if self.is_busy(MOST_PURGES) {
            self.0.told.wipe.store(true, Ordering::Release);
            return;
        }
        self.order(Job::Purge(purge.clone()), now, None);
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

/// What a job that waits holds.
fn size(job: &Job) -> usize {
    match job {
        Job::Keep(entry, ..) => entry.cost(),
        Job::Load(_) | Job::Purge(_) => 0,
    }
}
