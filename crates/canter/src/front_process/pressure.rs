//! Owns looking at memory now and then, and what is given up when it is short.
//! Leaves when that is to `canter_shield::pressure`, and connections and bodies to the front.

use std::fs;
use std::time::{Duration, Instant};

use canter_base::{info, warn};
use canter_shield::pressure::Level;
use canter_sys::{allocator, machine};
use canter_workers::dispatch::{Dispatch, Reason, WorkerId};

use super::observed::Processes;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Between two workers that are replaced for it: the first must have made room by then.
const RECYCLE: Duration = Duration::from_secs(30);

/// Looks from now on; `press` tells the front.
pub fn start(dispatch: &Dispatch, processes: &Processes, press: impl Fn(Level) + 'static) {
    tokio::task::spawn_local(watch(dispatch.clone(), processes.clone(), press));
}

async fn watch(dispatch: Dispatch, processes: Processes, press: impl Fn(Level)) {
    let mut level = Level::default();
    let mut recycled: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(percent) = machine::memory_used() else {
            return;
        };
        let now = level.at(percent);
        if now != level {
            tell(now, percent);
            level = now;
            press(level);
            allocator::give_back();
        }
        let is_due = recycled.is_none_or(|at| at.elapsed() >= RECYCLE);
        if level == Level::Critical
            && is_due
            && let Some(worker) = fattest(&processes.workers())
        {
            recycled = Some(Instant::now());
            dispatch.replace(worker, Reason::Memory);
        }
    }
}

fn tell(level: Level, percent: u64) {
    match level {
        Level::Calm => info!("there is enough memory again", used_percent = percent),
        Level::Tight => warn!(
            "memory is short: idle connections are closed, large uploads refused",
            used_percent = percent,
            hint = "fewer --workers or --threads, or more memory"
        ),
        Level::Critical => warn!(
            "memory is all but used up: only short bodies are taken, the largest worker is replaced",
            used_percent = percent,
            hint = "fewer --workers or --threads, or more memory"
        ),
    }
}

/// The worker with most memory of its own.
fn fattest(workers: &[(WorkerId, u32)]) -> Option<WorkerId> {
    let mut found = workers
        .iter()
        .filter_map(|&(worker, pid)| Some((own_pages(pid)?, worker)))
        .collect::<Vec<_>>();
    found.sort_by_key(|&(pages, _)| pages);
    found.pop().map(|(_, worker)| worker)
}

/// Resident pages that are not of files or shared memory (proc(5), `statm`): without a walk over
/// page tables, and those shared by fork count fully for each worker alike.
fn own_pages(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut numbers = text.split(' ').map(str::parse::<u64>);
    let resident = numbers.nth(1)?.ok()?;
    let shared = numbers.next()?.ok()?;
    Some(resident.saturating_sub(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l9_the_largest_worker_is_found() {
        let own = std::process::id();
        assert!(own_pages(own).is_some_and(|pages| pages > 0));
        let workers = [(WorkerId(1), u32::MAX), (WorkerId(2), own)];
        assert_eq!(fattest(&workers), Some(WorkerId(2)));
        assert_eq!(fattest(&workers[..1]), None);
    }
}
