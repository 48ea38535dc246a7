//! Owns what the kernel says of a tree of processes: who belongs to it, memory, CPU time, connections to
//! databases; and how busy the machine is. Leaves what follows from it to `canter_tune`.

use std::collections::HashSet;
use std::fs;

use canter_sys::cpu::process_time_of;

use crate::front_process::observed::memory_of;

/// `ESTABLISHED` in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// A process and all that it has started, the dead left out.
pub(super) fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        if let Some((pid, fields)) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
            let parent = fields
                .get(1)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` behind the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Seconds of CPU that a process has used.
pub(super) fn cpu(pid: u32) -> f64 {
    process_time_of(pid).unwrap_or_default().as_secs_f64()
}

/// Bytes of all of them: pages that several share are counted once.
pub(super) fn memory(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| memory_of(*pid)[0] * 1024).sum()
}

/// Jiffies of all cores so far: busy ones and all.
pub(super) fn machine() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1);
    let numbers: Vec<f64> = numbers
        .take(8)
        .filter_map(|text| text.parse().ok())
        .collect();
    let all: f64 = numbers.iter().sum();
    // The fourth and fifth are idle and waiting for disks.
    let idle: f64 = numbers.iter().skip(3).take(2).sum();
    (all - idle, all)
}

/// Open TCP connections of these processes to one of the ports.
pub(super) fn connections(pids: &[u32], ports: &[u16]) -> u32 {
    let mut sockets = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        sockets.extend(text.lines().skip(1).filter_map(|line| to_port(line, ports)));
    }
    if sockets.is_empty() {
        return 0;
    }
    let held = pids.iter().flat_map(|pid| sockets_of(*pid));
    // A descriptor that several processes inherited is one connection.
    let count = held.filter(|inode| sockets.remove(inode)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The inodes of the sockets that a process has open.
pub(crate) fn sockets_of(pid: u32) -> impl Iterator<Item = String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd"));
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        inode.strip_suffix(']').map(str::to_owned)
    };
    open.into_iter().flatten().flatten().filter_map(inode)
}

/// The inode of a line of `/proc/net/tcp` that leads to one of the ports.
fn to_port(line: &str, ports: &[u16]) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, port) = fields.get(2)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (*fields.get(3)? == ESTABLISHED && ports.contains(&port))
        .then(|| fields.get(9).map(|it| (*it).to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_cpu_time_and_is_in_its_own_tree() {
        let pids = tree(std::process::id());
        assert_eq!(pids.first(), Some(&std::process::id()));
        assert!(memory(&pids) > 1 << 20);
        let mut sum = 0_u64;
        while cpu(std::process::id()) < 0.02 {
            sum = std::hint::black_box(sum + 1);
        }
        let (busy, all) = machine();
        assert!(busy > 0.0 && busy < all);
    }

    #[test]
    fn b3_connections_to_a_port_are_counted_once_each() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open: Vec<_> = (0..3)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let pids = [std::process::id()];
        assert_eq!(connections(&pids, &[address.port()]), 3);
        assert_eq!(connections(&[pids[0], pids[0]], &[address.port()]), 3);
        drop(open);
        assert_eq!(connections(&pids, &[1]), 0);
    }
}
