//! Owns what the dashboard shows of this moment: the queue, what runs, the processes and their
//! memory, the pool. Memory is measured by a thread of its own, for it walks page tables.
//! Leaves what is known of requests to the front.

use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use canter_base::options::Config;
use canter_base::sizing::Sizing;
use canter_base::{debug, warn};
use canter_front::{Insight, Pages, Profiler};
use canter_insight::forecast::threads::{Cost, Threads};
use canter_insight::show::{Audience, Cache, Live, Process, Running};
use canter_sys::cpu::process_time_of;
use canter_workers::dispatch::{Dispatch, Notice, Reason, WorkerId};

use super::pooled::Pooled;
use super::pools;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// Between two measurements of memory.
const MEMORY: Duration = Duration::from_secs(15);
/// The same where a worker may be too large.
const LARGE: Duration = Duration::from_secs(3);
/// The log is warned of the limit so long before it is reached, and no more often than this.
const WARNED_BEFORE_S: u64 = 3600;
const WARNING: Duration = Duration::from_secs(1800);
/// From this age on a request is shown while it runs.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// Requests that are shown.
const MOST_SHOWN: usize = 50;

/// Bytes of a process's name that the system keeps (`prctl(2)`, `PR_SET_NAME`).
const SHOWN_NAME: usize = 15;
const SUPERVISOR: &str = "supervisor";
const ZYGOTE: &str = "zygote";
/// The one that imports the app for a reload, while the other still stands.
const NEXT_ZYGOTE: &str = "next zygote";

/// The processes by name, shared with the thread that measures them.
#[derive(Clone, Default)]
pub struct Processes(Arc<Mutex<BTreeMap<u32, Process>>>, Arc<Mutex<Cost>>);

impl Processes {
    fn with<T>(&self, use_it: impl FnOnce(&mut BTreeMap<u32, Process>) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The workers.
    pub fn workers(&self) -> Vec<(WorkerId, u32)> {
        let number = |process: &Process| process.name.strip_prefix("worker ")?.parse().ok();
        self.with(|all| {
            let found = all
                .values()
                .filter_map(|one| Some((WorkerId(number(one)?), one.pid)));
            found.collect()
        })
    }

    /// A worker has come.
    pub fn adopt(&self, worker: WorkerId, pid: u32) {
        self.add(pid, format!("worker {}", worker.0));
    }

    fn add(&self, pid: u32, name: String) {
        let process = Process {
            name,
            pid,
            ..Process::default()
        };
        self.with(|all| all.insert(pid, process));
    }

    /// Hears what the dispatch tells.
    pub fn hear(&self, notice: &Notice) {
        if let Notice::Gone { worker, .. } = notice {
            let name = format!("worker {}", worker.0);
            self.with(|all| all.retain(|_, process| process.name != name));
        }
    }

    fn any_is_new(&self) -> bool {
        self.with(|all| all.values().any(|process| process.threads == 0))
    }

    /// Whether a worker may be above its limit: what it maps is cheap to know.
    fn any_is_large(&self, limit_kb: u64) -> bool {
        let workers = |all: &mut BTreeMap<u32, Process>| -> Vec<u32> {
            let workers = all.values().filter(|one| is_worker(one));
            workers.map(|one| one.pid).collect()
        };
        let pids = self.with(workers);
        limit_kb > 0 && pids.into_iter().any(|pid| resident_kb(pid) > limit_kb)
    }

    /// Workers that keep more for themselves than they may, and more than they needed at their
    /// start.
    fn too_large(&self, limit_kb: u64) -> Vec<(WorkerId, u64)> {
        let large = |process: &Process| {
            let id = process.name.strip_prefix("worker ")?.parse().ok()?;
            let own = process.memory_kb[1];
            let is_over = limit_kb > 0 && own > limit_kb && process.first_own_kb <= limit_kb;
            is_over.then_some((WorkerId(id), own))
        };
        self.with(|all| all.values().filter_map(large).collect())
    }

    /// The threads of all workers, of which each may have so many; None where nobody knows what one takes.
    fn threads(&self, most: u32) -> Option<Threads> {
        let cost = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let each_kb = cost.each_kb()?;
        drop(cost);
        self.with(|all| {
            let workers = all.values().filter(|one| is_worker(one));
            // One of them runs no requests.
            let threads: Vec<u32> = workers.map(|one| one.threads.saturating_sub(1)).collect();
            let count = threads.len() as u32;
            Some(Threads {
                now: threads.iter().sum(),
                most: most.saturating_mul(count),
                workers: count,
                each_kb,
            })
        })
    }

    /// What all of them map, which is cheap to know.
    fn measure_resident(&self) {
        let pids: Vec<u32> = self.with(|all| all.keys().copied().collect());
        for pid in pids {
            let resident = resident_kb(pid);
            self.with(|all| {
                if let Some(process) = all.get_mut(&pid) {
                    process.memory_kb[2] = resident;
                }
            });
        }
    }

    /// Notes the supervisor, and the zygote it has now: what workers share with that is paid for there, too.
    fn note_family(&self, zygote: &str) {
        let family = family(zygote.as_bytes());
        let is_of_it = |name: &str| matches!(name, SUPERVISOR | ZYGOTE | NEXT_ZYGOTE);
        self.with(|all| {
            all.retain(|pid, process| {
                !is_of_it(&process.name) || family.iter().any(|(its, _)| its == pid)
            });
            for (pid, name) in family {
                let process = all.entry(pid).or_insert_with(|| Process {
                    name: name.to_owned(),
                    pid,
                    ..Process::default()
                });
                if is_of_it(&process.name) && process.name != name {
                    name.clone_into(&mut process.name);
                }
            }
        });
    }

    fn measure(&self) {
        let pids: Vec<u32> = self.with(|all| all.keys().copied().collect());
        for pid in pids {
            let (memory_kb, threads) = (memory_of(pid), threads_of(pid));
            self.with(|all| {
                if let Some(process) = all.get_mut(&pid) {
                    // At least one, also where the system does not say: measured is measured.
                    (process.memory_kb, process.threads) = (memory_kb, threads.max(1));
                    if process.first_own_kb == 0 {
                        process.first_own_kb = memory_kb[1];
                    }
                }
            });
        }
        self.note_threads();
    }

    /// Remembers how many threads each worker has and what it keeps for itself.
    fn note_threads(&self) {
        let workers: Vec<_> = self.with(|all| {
            let workers = all.values().filter(|one| is_worker(one));
            let workers = workers.map(|one| (one.pid, one.threads, one.memory_kb[1]));
            workers.collect()
        });
        let mut cost = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        cost.keep(|pid| workers.iter().any(|(worker, ..)| *worker == pid));
        // One that keeps nothing for itself has just ended, or the system does not say.
        for (pid, threads, own_kb) in workers.into_iter().filter(|(.., own_kb)| *own_kb > 0) {
            cost.add(pid, threads, own_kb);
        }
    }
}

fn is_worker(process: &Process) -> bool {
    process.name.starts_with("worker ")
}

/// Gathers what is known of requests, if that is wanted.
pub fn start(
    (config, sizing): (&Config, &Sizing),
    dispatch: &Dispatch,
    processes: &Processes,
    (pooled, pages, profiler): (&Pooled, &Pages, &Rc<Profiler>),
) -> Option<Rc<Insight>> {
    let most_kb = config.max_memory_per_worker.0 / 1024;
    if config.insight || most_kb > 0 {
        measure_for_ever(processes.clone(), most_kb, &config.name);
    }
    if most_kb > 0 {
        let replacing = replace_large(dispatch.clone(), processes.clone(), most_kb);
        tokio::task::spawn_local(replacing);
    }
    if !config.insight {
        return None;
    }
    let asked = dispatch.clone();
    profiler.connect(move |order| asked.profile(order).into_iter().map(|id| id.0).collect());
    processes.add(std::process::id(), "front".to_owned());
    let limit = canter_sys::machine::memory_limit().unwrap_or(0) / 1024;
    let cores = u32::try_from(canter_sys::machine::cpus()).unwrap_or(1);
    let (dispatch, processes, pool) = (dispatch.clone(), processes.clone(), pooled.clone());
    let pooled = pooled.clone();
    let shown = pages.clone();
    let token = config.admin_token.as_ref().map(|token| token.0.clone());
    let most_threads = sizing.threads;
    let live = move |live: &mut Live| {
        let (queued, running) = dispatch.load();
        live.gauges.queued = queued as u32;
        live.gauges.running = running as u32;
        live.memory_limit_kb = limit;
        live.processes = processes.with(|all| all.values().cloned().collect());
        let memory = live.processes.iter().map(|process| process.memory_kb[0]);
        live.gauges.memory_kb = u32::try_from(memory.sum::<u64>()).unwrap_or(u32::MAX);
        if live.audience == Audience::History {
            return;
        }
        live.cores = cores;
        for process in &mut live.processes {
            let used = process_time_of(process.pid);
            process.cpu_ms = used.and_then(|it| u64::try_from(it.as_millis()).ok());
        }
        let is_watched = live.audience == Audience::People;
        if is_watched {
            let most = dispatch.threads().map_or(most_threads, u32::from);
            live.threads = processes.threads(most);
        }
        live.running = running_now(&dispatch, is_watched);
        if let Some(stats) = pool.stats() {
            live.pool = Some(pools::summed(&stats));
            live.pools = pools::connections(&stats);
        }
        live.cache = shown.is_on().then(|| cache(&shown));
    };
    let pages = pages.clone();
    let metrics = move || {
        let pooled = pooled.stats().map(|stats| stats.prometheus());
        pooled.unwrap_or_default() + &pages.metrics()
    };
    let insight = Insight::new(token, live, metrics, Rc::clone(profiler));
    if let Some(file) = &config.usual_queries {
        insight.remember(file);
    }
    watch(Rc::clone(&insight), limit);
    Some(insight)
}

/// Gives insight the time, and warns before memory is used up.
fn watch(insight: Rc<Insight>, limit: u64) {
    tokio::task::spawn_local(async move {
        let (mut warned, mut forecast) = (None, Instant::now());
        loop {
            tokio::time::sleep(TICK).await;
            insight.tick();
            let is_due = forecast.elapsed() > MEMORY
                && warned.is_none_or(|at: Instant| at.elapsed() > WARNING);
            if !is_due {
                continue;
            }
            forecast = Instant::now();
            let left = insight.memory_left_s();
            if let Some(left) = left.filter(|left| *left < WARNED_BEFORE_S) {
                warned = Some(Instant::now());
                warn!(
                    "memory grows: the limit will be reached",
                    left_min = left / 60,
                    limit_mb = limit / 1024,
                    grows = &insight
                        .grows_most()
                        .unwrap_or_else(|| "no single route".to_owned()),
                    hint = "`canter top` shows which worker grows; --max-memory-per-worker replaces it in time"
                );
            }
        }
    });
}

/// Has workers replaced that keep more than they may, whether or not anything else is gathered.
async fn replace_large(dispatch: Dispatch, processes: Processes, most_kb: u64) {
    loop {
        tokio::time::sleep(TICK).await;
        for (worker, own_kb) in processes.too_large(most_kb) {
            debug!("a worker is too large", worker = worker.0, own_kb = own_kb);
            dispatch.replace(worker, Reason::Large);
        }
    }
}

fn running_now(dispatch: &Dispatch, watched: bool) -> Vec<Running> {
    let found = dispatch.slow(SHOWN_AFTER, MOST_SHOWN, watched);
    let shown = found.into_iter().map(|slow| Running {
        request: format!("{} {}", slow.request.method, slow.request.path),
        id: slow.request.id,
        age_ms: slow.age.as_millis() as u64,
        queued: slow.queued,
        route: slow.sample.route,
        sql: slow.sample.sql,
        stack: slow.sample.stack,
    });
    shown.collect()
}

fn cache(pages: &Pages) -> Cache {
    let stats = pages.stats();
    Cache {
        hits: stats.hits,
        misses: stats.misses,
        stored: stats.stored,
        evicted: stats.evicted,
        pages: stats.entries as u64,
        bytes: stats.bytes as u64,
    }
}

fn measure_for_ever(processes: Processes, most_kb: u64, name: &str) {
    let zygote = format!("{name}-zygote");
    let measuring = std::thread::Builder::new()
        .name("memory".to_owned())
        .stack_size(128 * 1024);
    // Without the thread the numbers are missing, and nothing else.
    let _ = measuring.spawn(move || {
        loop {
            processes.note_family(&zygote);
            processes.measure();
            let measured = Instant::now();
            // A worker that has just come is measured soon, all others in their time.
            while measured.elapsed() < MEMORY && !processes.any_is_new() {
                std::thread::sleep(TICK);
                processes.note_family(&zygote);
                processes.measure_resident();
                if measured.elapsed() >= LARGE && processes.any_is_large(most_kb) {
                    break;
                }
            }
        }
    });
}

/// The process that started this one, and those of its children that are no front and no workers.
/// `zygote` is what the system shows for that one, which it cuts.
fn family(zygote: &[u8]) -> Vec<(u32, &'static str)> {
    let supervisor = std::os::unix::process::parent_id();
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    if program(supervisor).is_none_or(|it| program(std::process::id()) != Some(it)) {
        // It was killed, and whoever adopts is the parent.
        return Vec::new();
    }
    let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
    let children = children.unwrap_or_default();
    let pids = children
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok());
    let is_zygote = |pid: &u32| {
        let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        // Cut before its last word, it may be a worker's as well.
        let shown = zygote
            .get(..zygote.len().min(SHOWN_NAME))
            .unwrap_or_default();
        zygote.len() < SHOWN_NAME + "ygote".len() && name.strip_suffix(b"\n") == Some(shown)
    };
    // The oldest stands first.
    let names = std::iter::once(ZYGOTE).chain(std::iter::repeat(NEXT_ZYGOTE));
    let zygotes = pids.filter(is_zygote).zip(names);
    std::iter::once((supervisor, SUPERVISOR))
        .chain(zygotes)
        .collect()
}

/// Proportional, own and resident memory in kilobytes; 0 where the system does not say.
pub(crate) fn memory_of(pid: u32) -> [u64; 3] {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let sum = |names: &[&str]| {
        let lines = text.lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            names.contains(&name)
        });
        lines.filter_map(number).sum()
    };
    [
        sum(&["Pss"]),
        sum(&["Private_Clean", "Private_Dirty"]),
        sum(&["Rss"]),
    ]
}

fn number(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// All that a process maps and that is in memory (`/proc/PID/statm`).
fn resident_kb(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages
        .unwrap_or(0)
        .saturating_mul(rustix::param::page_size() as u64)
        / 1024
}

pub(crate) fn threads_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = status.lines();
    let line = lines.find(|line| line.starts_with("Threads:"));
    line.and_then(number).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_the_memory_of_a_process_is_told_in_three_ways() {
        let [pss, uss, rss] = memory_of(std::process::id());
        assert!(uss > 0 && uss <= pss && pss <= rss, "{uss} {pss} {rss}");
        assert!(threads_of(std::process::id()) >= 1);
        assert_eq!(memory_of(u32::MAX), [0; 3]);
        assert!(resident_kb(std::process::id()) >= uss / 2 && resident_kb(u32::MAX) == 0);
    }

    #[test]
    fn d6_what_a_process_maps_is_looked_at_apart_from_what_is_dear_to_know() {
        let processes = Processes::default();
        processes.adopt(WorkerId(1), std::process::id());
        processes.measure_resident();
        let told = || processes.with(|all| all.values().next().unwrap().memory_kb);
        let [pss, uss, rss] = told();
        assert!(pss == 0 && uss == 0 && rss > 0, "{pss} {uss} {rss}");
        processes.measure();
        assert!(told()[0] > 0);
    }

    #[test]
    fn d6_the_threads_of_workers_are_counted_with_what_one_takes() {
        let processes = Processes::default();
        processes.add(1, "front".to_owned());
        processes.adopt(WorkerId(1), 11);
        processes.adopt(WorkerId(2), 12);
        assert_eq!(processes.threads(20), None);
        for threads in [3, 9, 3, 9] {
            processes.with(|all| {
                for process in all.values_mut() {
                    process.threads = threads;
                    process.memory_kb[1] = 40_000 + 500 * u64::from(threads);
                }
            });
            processes.note_threads();
        }
        let wanted = Threads {
            now: 16,
            most: 40,
            workers: 2,
            each_kb: 500,
        };
        assert_eq!(processes.threads(20), Some(wanted));
    }

    #[test]
    fn d6_workers_that_end_say_nothing_of_what_threads_take() {
        let processes = Processes::default();
        for worker in 1..=3 {
            processes.adopt(WorkerId(worker), 10 + worker);
        }
        for (threads, own_kb) in [(9, 41_500), (9, 41_500), (1, 0)] {
            processes.with(|all| {
                for process in all.values_mut() {
                    (process.threads, process.memory_kb[1]) = (threads, own_kb);
                }
            });
            processes.note_threads();
        }
        assert_eq!(processes.threads(20), None);
    }

    #[test]
    fn d6_only_a_worker_that_grew_beyond_its_limit_is_too_large() {
        let processes = Processes::default();
        processes.add(1, "front".to_owned());
        for worker in 1..=3 {
            processes.adopt(WorkerId(worker), 10 + worker);
        }
        let set = |pid: u32, first: u64, own: u64| {
            processes.with(|all| {
                let process = all.get_mut(&pid).unwrap();
                (process.first_own_kb, process.memory_kb) = (first, [own, own, own]);
            });
        };
        set(1, 10, 900);
        set(11, 10, 900);
        set(12, 10, 100);
        // Larger from its start: another one would be no smaller.
        set(13, 600, 900);
        assert_eq!(processes.too_large(500), [(WorkerId(1), 900)]);
        assert_eq!(processes.too_large(0), []);
    }
}
