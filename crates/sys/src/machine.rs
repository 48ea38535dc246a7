//! Owns what this machine allows: CPUs, memory, open files.
//! Leaves what to make of it to `canter_base::options`.

use std::fs;
use std::path::{Path, PathBuf};

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

/// How much of the memory that this process may use is used, in percent, without what the system
/// keeps of files and can drop: of the control group's limit where there is one. None where that cannot be read.
pub fn memory_used() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let total = machine.as_deref().and_then(total_of);
    if let Some(place) = cgroup_place()
        && let Some(used) = used_of(&place)
        && total.is_none_or(|total| used.limit < total)
    {
        return Some(used.bytes.saturating_mul(100) / used.limit.max(1));
    }
    let available = kilobytes(machine.as_deref()?, "MemAvailable:")?;
    if available >= PLENTY {
        return Some(0);
    }
    let total = total?;
    Some(total.saturating_sub(available).saturating_mul(100) / total.max(1))
}

/// A machine that has as much left is not short of memory, however large it is and whoever uses it.
const PLENTY: u64 = 256 << 20;

fn cgroup_limit() -> Option<u64> {
    limit_of(&cgroup_place()?)
}

/// The folder that tells of this process's memory, of either version of cgroups.
fn cgroup_place() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |marker: &str| {
        own.lines()
            .find_map(|line| Some(line.split_once(marker)?.1))
    };
    let places = [
        ("/sys/fs/cgroup", of("0::").unwrap_or("/")),
        ("/sys/fs/cgroup", "/"),
        ("/sys/fs/cgroup/memory", of(":memory:").unwrap_or("/")),
        ("/sys/fs/cgroup/memory", "/"),
    ];
    let mut places = places
        .map(|(root, path)| PathBuf::from(format!("{root}{path}")))
        .into_iter();
    places.find(|place| limit_of(place).is_some())
}

/// What a control group may use; None where it has no limit.
fn limit_of(place: &Path) -> Option<u64> {
    number(place, "memory.max").or_else(|| number(place, "memory.limit_in_bytes"))
}

struct Used {
    bytes: u64,
    limit: u64,
}

fn used_of(place: &Path) -> Option<Used> {
    let taken = number(place, "memory.current").or_else(|| number(place, "memory.usage_in_bytes"));
    let stat = fs::read_to_string(place.join("memory.stat")).unwrap_or_default();
    // Of the group and those below it: the first version counts them apart.
    let value = |name: &str| {
        let mut lines = stat.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let droppable = value("total_inactive_file ").or_else(|| value("inactive_file "));
    Some(Used {
        bytes: taken?.saturating_sub(droppable.unwrap_or(0)),
        limit: limit_of(place)?,
    })
}

fn number(place: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(place.join(name))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn total_of(meminfo: &str) -> Option<u64> {
    kilobytes(meminfo, "MemTotal:")
}

/// A line of `/proc/meminfo`, in bytes.
fn kilobytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
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
    fn l9_what_is_used_of_a_control_group_is_read_in_both_versions() {
        assert!(memory_used().is_some_and(|percent| percent <= 100));
        let dir = std::env::temp_dir().join(format!("canter-cgroup-{}", std::process::id()));
        for (limit, used, stat) in [
            ("memory.max", "memory.current", "anon 1\ninactive_file 30\n"),
            (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "inactive_file 1\ntotal_inactive_file 30\n",
            ),
        ] {
            fs::create_dir_all(&dir).unwrap();
            let write = |name, text| fs::write(dir.join(name), text).unwrap();
            write(used, "90\n");
            write("memory.stat", stat);
            write(limit, "max\n");
            assert!(used_of(&dir).is_none());
            write(limit, "200\n");
            let found = used_of(&dir).unwrap();
            assert_eq!((found.bytes, found.limit), (60, 200));
            fs::remove_dir_all(&dir).unwrap();
        }
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
