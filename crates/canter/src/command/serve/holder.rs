//! Owns telling which program holds a TCP port, as far as `/proc` shows it.
//! Leaves what to say about it to `sockets`.

use std::{fmt, fs};

/// The program that listens on a port.
pub struct Holder {
    name: String,
    pid: u32,
}

impl Holder {
    pub fn is_this_process(&self) -> bool {
        self.pid == std::process::id()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (pid {})", self.name, self.pid)
    }
}

/// Who listens on `port`; for people `nginx (pid 812)`.
pub fn of_port(port: u16) -> Option<Holder> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let wanted = format!("socket:[{inode}]");
    let numbered = |process: &fs::DirEntry| {
        let name = process.file_name();
        name.to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().filter(numbered);
    let holder = processes.map(|process| process.path()).find(|process| {
        // Unreadable for processes of other users.
        let fds = fs::read_dir(process.join("fd")).into_iter().flatten();
        fds.flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| target.as_os_str() == wanted.as_str())
    })?;
    let name = fs::read_to_string(holder.join("comm")).ok()?;
    let pid = holder.file_name()?.to_str()?.parse().ok()?;
    let name = name.trim().to_owned();
    Some(Holder { name, pid })
}

/// The inode of the socket in state LISTEN (0A) on this port, from a table such as
/// `/proc/net/tcp` (proc(5)).
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (_, local_port) = columns.next()?.rsplit_once(':')?;
        let state = columns.nth(1)?;
        let inode = columns.nth(5)?;
        let same = u16::from_str_radix(local_port, 16) == Ok(port);
        (same && state == "0A").then(|| inode.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
        retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  0 0 11 1 0\n\
        1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1 0\n";

    #[test]
    fn the_listening_socket_is_found_by_its_port() {
        assert_eq!(listening_inode(TABLE, 8000), Some(4711));
        assert_eq!(listening_inode(TABLE, 8001), None);
        assert_eq!(listening_inode("", 8000), None);
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let holder = of_port(port).unwrap();
        assert!(holder.is_this_process(), "{holder}");
    }
}
