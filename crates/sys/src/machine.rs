//! Owns what this machine allows: CPUs, memory, open files.
//! Leaves what to make of it to `canter_base::options`.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

/// CPUs this process may run on, less what the cgroup takes away (`cpu.max`), at least 1.
pub fn cpus() -> usize {
    // The standard library reads the affinity mask and the cgroup quota of both versions.
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory this process may use: the smaller of the cgroup's limit and the machine's
/// memory. None where neither can be read.
pub fn memory_limit() -> Option<u64> {
    let cgroup = cgroup_limit();
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text));
    match (cgroup, machine) {
        (Some(cgroup), Some(machine)) => Some(cgroup.min(machine)),
        (one, other) => one.or(other),
    }
}

/// Raises the soft limit of open files to the hard one and answers it.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn cgroup_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/");
    let places = [
        format!("/sys/fs/cgroup{path}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    places
        .iter()
        .find_map(|place| fs::read_to_string(place).ok()?.trim().parse().ok())
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_cpu_and_memory() {
        assert!(cpus() >= 1);
        assert!(memory_limit().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn total_memory_is_read_in_bytes() {
        assert_eq!(
            total_of("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            Some(16_384)
        );
        assert_eq!(total_of("nothing"), None);
    }
}
