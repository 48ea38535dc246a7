//! Owns finding the Canter behind a door on this machine, so that it can be asked about itself.
//! Leaves asking to `canter_load::inside`.
//!
//! Each server of this user has a private socket that bears the number of its supervisor, and the supervisor
//! holds the listening sockets. So the one that is meant is the one that listens at the door.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use canter_load::target::Door;

use crate::admin;
use crate::command::tune::kernel::sockets_of;

/// `LISTEN` in `/proc/net/tcp`, and the flag of a listening socket in `/proc/net/unix`.
const LISTENS: (&str, &str) = ("0A", "00010000");

/// The private socket of the server behind a door; None when it is no Canter of this user here.
pub(super) fn dashboard(door: &Door) -> Option<Door> {
    let listening = match door {
        Door::Address(address) if door.is_local() => at_address(*address),
        Door::Address(_) => return None,
        Door::Socket(path) => at_path(path),
    };
    let is_it = |socket: &Path| {
        let pid = socket
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        pid.is_some_and(|pid| sockets_of(pid).any(|inode| listening.contains(&inode)))
    };
    admin::servers()
        .into_iter()
        .find(|socket| is_it(socket))
        .map(Door::Socket)
}

fn table(name: &str) -> String {
    fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default()
}

/// Inodes of sockets that take connections to an address.
fn at_address(address: SocketAddr) -> Vec<String> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let (ip, port) = (ip_of(ip)?, u16::from_str_radix(port, 16).ok()?);
        let takes = ip.is_unspecified() || ip.to_canonical() == address.ip().to_canonical();
        let is_it = *fields.get(3)? == LISTENS.0 && port == address.port() && takes;
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    let tables = [table("tcp"), table("tcp6")];
    tables
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(inode)
        .collect()
}

/// An address as the kernel writes it: words of 32 bits in the order of this machine's bytes.
fn ip_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&word(index * 8)?);
    }
    Some(Ipv6Addr::from(bytes).into())
}

/// Inodes of unix sockets that listen at a path.
fn at_path(path: &Path) -> Vec<String> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let bound = std::path::absolute(fields.get(7)?).ok()?;
        let is_it = *fields.get(3)? == LISTENS.1 && bound == path;
        is_it.then(|| fields.get(6).map(|inode| (*inode).to_owned()))?
    };
    table("unix").lines().filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let v4 = u32::from_ne_bytes([127, 0, 0, 1]);
        assert_eq!(
            ip_of(&format!("{v4:08X}")),
            Some(Ipv4Addr::LOCALHOST.into())
        );
        let last = u32::from_ne_bytes([0, 0, 0, 1]);
        let v6 = format!("{:024}{last:08X}", 0);
        assert_eq!(ip_of(&v6), Some(Ipv6Addr::LOCALHOST.into()));
        for wrong in ["", "7F", "0100007Z", "010000"] {
            assert_eq!(ip_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_listens_is_found_and_who_does_not_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = at_address(address);
        assert_eq!(found.len(), 1);
        assert!(sockets_of(std::process::id()).any(|inode| inode == found[0]));
        let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
        assert!(at_address(other).is_empty());
        // It listens, but it is no Canter.
        assert_eq!(dashboard(&Door::Address(address)), None);
    }
}
