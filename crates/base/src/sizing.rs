//! How many workers, threads, connections and queued requests suit a machine. Pure arithmetic.
//!
//! What the machine has is measured by the caller; what a person asked for always wins.

use crate::options::Config;

/// What there is to share out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores this process may use, after affinity and CPU quota.
    pub cores: u32,
    /// Bytes of memory it may use: the smaller of the machine's and the control group's.
    pub memory_bytes: u64,
    /// The limit on open files.
    pub descriptors: u64,
}

/// The numbers to run with, and why, in sentences for the start banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizing {
    /// Worker processes.
    pub workers: u32,
    /// Most threads in one worker.
    pub threads: u32,
    /// Most client connections.
    pub connections: u32,
    /// Most requests waiting for a worker.
    pub queue: u32,
    /// Bytes of bodies that the front keeps in memory, of all clients together.
    pub body_memory: u64,
    /// Bytes of pages that are kept.
    pub cache_memory: u64,
    /// One sentence for each number of processes and threads.
    pub why: Vec<String>,
}

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

/// Estimated memory of one worker with a mid-sized Django project in it.
const WORKER_BYTES: u64 = 128 * MIB;

/// Set aside for each possible thread. A thread of Python 3.13 that is blocked in Django and urllib
/// was measured at 21 to 34 KB; twice that leaves room for what its request holds meanwhile.
const THREAD_BYTES: u64 = 64 * KIB;

/// Fewer threads than this would stall a site that waits on its database for a moment.
const FEWEST_THREADS: u64 = 8;

/// More than this are of no use to one interpreter, whatever they wait for.
const MOST_THREADS: u64 = 1000;

/// Open files that are not client connections: listeners, workers, logs, the program itself.
const DESCRIPTOR_RESERVE: u64 = 128;

/// Decides what nobody has set. A quarter of the memory is for threads, the rest for workers.
pub fn plan(machine: Machine, config: &Config) -> Sizing {
    let mut why = Vec::new();
    let workers = config
        .workers
        .unwrap_or_else(|| automatic_workers(machine, &mut why));
    let threads = config
        .threads
        .unwrap_or_else(|| automatic_threads(machine, workers, config.threads_min, &mut why));

    // Each connection may have a spooled body beside its socket.
    let by_descriptors = machine.descriptors.saturating_sub(DESCRIPTOR_RESERVE) / 2;
    let by_memory = machine.memory_bytes / (64 * KIB);
    let connections =
        config
            .max_connections
            .unwrap_or(within(by_descriptors.min(by_memory), 64, 16_384));

    // At worst a waiting request holds 32 KiB of header and 128 KiB of body in memory, so one for
    // each 512 KiB stays under a third of it.
    let queue = config
        .queue_size
        .unwrap_or(within(machine.memory_bytes / (512 * KIB), 256, 4096));
    Sizing {
        workers,
        threads,
        connections,
        queue,
        // An eighth: the rest is the app's. What does not fit goes to files.
        body_memory: (machine.memory_bytes / 8).clamp(8 * MIB, 256 * MIB),
        // 6 %: a page cache is of use to few pages that many ask for.
        cache_memory: config.cache_size.map_or_else(
            || (machine.memory_bytes / 100 * 6).clamp(8 * MIB, 256 * MIB),
            |size| size.0,
        ),
        why,
    }
}

fn automatic_workers(machine: Machine, why: &mut Vec<String>) -> u32 {
    let cores = machine.cores.max(1);
    let fit = within(machine.memory_bytes / 4 * 3 / WORKER_BYTES, 1, 1024);
    if fit < cores {
        why.push(format!(
            "{}, because {} of memory hold no more (about 128 MB each); there are {}",
            counted(fit, "worker"),
            shown(machine.memory_bytes),
            counted(cores, "core")
        ));
    } else {
        why.push(format!("{}, one for each core", counted(cores, "worker")));
    }
    cores.min(fit)
}

fn automatic_threads(machine: Machine, workers: u32, least: u32, why: &mut Vec<String>) -> u32 {
    let share = machine.memory_bytes / 4 / THREAD_BYTES / u64::from(workers.max(1));
    let threads = within(share, FEWEST_THREADS, MOST_THREADS).max(least);
    why.push(format!(
        "up to {} in each, added while requests wait; they fit in a quarter of {}",
        counted(threads, "thread"),
        shown(machine.memory_bytes)
    ));
    threads
}

fn within(value: u64, least: u64, most: u64) -> u32 {
    u32::try_from(value.clamp(least, most)).unwrap_or(u32::MAX)
}

fn counted(count: u32, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn shown(bytes: u64) -> String {
    format!("{} MB", bytes / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::resolve_defaults_for_tests as defaults;

    fn machine(cores: u32, memory_mib: u64) -> Machine {
        Machine {
            cores,
            memory_bytes: memory_mib * MIB,
            descriptors: 1 << 20,
        }
    }

    #[test]
    fn workers_follow_the_cores_until_memory_is_short() {
        for (cores, memory_mib, workers) in [
            (1, 512, 1),
            (2, 512, 2),
            (4, 512, 3),
            (8, 512, 3),
            (8, 256, 1),
            (4, 64, 1),
            (0, 0, 1),
            (8, 16_384, 8),
        ] {
            let sizing = plan(machine(cores, memory_mib), &defaults());
            assert_eq!(sizing.workers, workers, "{cores} cores, {memory_mib} MiB");
            assert_eq!(sizing.why.len(), 2);
        }
    }

    #[test]
    fn threads_of_all_workers_stay_under_a_quarter_of_memory() {
        for (cores, memory_mib, threads) in [
            (1, 512, 1000),
            (2, 512, 1000),
            (3, 512, 682),
            (2, 128, 512),
            (1, 1, 8),
            (64, 16_384, 1000),
        ] {
            let sizing = plan(machine(cores, memory_mib), &defaults());
            assert_eq!(sizing.threads, threads, "{cores} cores, {memory_mib} MiB");
            if sizing.threads > 8 {
                let all = u64::from(sizing.threads) * u64::from(sizing.workers) * THREAD_BYTES;
                assert!(all <= memory_mib * MIB / 4);
            }
        }
    }

    #[test]
    fn what_a_person_sets_is_taken_as_it_is() {
        let mut config = defaults();
        (config.workers, config.threads) = (Some(7), Some(3));
        (config.max_connections, config.queue_size) = (Some(11), Some(5));
        let sizing = plan(machine(1, 64), &config);
        assert_eq!(
            (
                sizing.workers,
                sizing.threads,
                sizing.connections,
                sizing.queue
            ),
            (7, 3, 11, 5)
        );
        assert!(sizing.why.is_empty());
    }

    #[test]
    fn the_thread_cap_is_never_below_the_threads_always_kept() {
        let mut config = defaults();
        config.threads_min = 2000;
        assert_eq!(plan(machine(1, 512), &config).threads, 2000);
    }

    #[test]
    fn connections_leave_descriptors_for_bodies_and_for_the_rest() {
        for (descriptors, connections) in [(1024, 448), (100, 64), (1 << 20, 8192)] {
            let machine = Machine {
                cores: 1,
                memory_bytes: 512 * MIB,
                descriptors,
            };
            assert_eq!(
                plan(machine, &defaults()).connections,
                connections,
                "{descriptors}"
            );
        }
    }
}
