//! Who owns the other end of a TCP connection within this machine: the kernel tells (`diag`), or
//! lists the owner of each socket (proc(5), `/proc/net/tcp` and `tcp6`). Leaves what that means to
//! the callers.

mod diag;

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The owner of the socket at `theirs` that is connected to `ours`; `None` when it is not on this
/// machine, or cannot be found.
pub fn owner(theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let (theirs, ours) = (plain(theirs), plain(ours));
    // One of this machine, in this network namespace. A stranger at another address would not be
    // listed; this says so without looking.
    if !theirs.ip().is_loopback() {
        return None;
    }
    diag::owner(theirs, ours).or_else(|| listed(theirs, ours))
}

fn listed(theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .find_map(|table| {
            let lines = BufReader::new(std::fs::File::open(table).ok()?).lines();
            lines
                .map_while(Result::ok)
                .find_map(|line| named(&line, theirs, ours))
        })
}

/// An IPv4 address in IPv6's clothes is the same one.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The owner, if this line is about that socket. Its words: number, local address, remote address,
/// state, queues, timer, retransmissions, owner, time-out, inode. A socket that is closing (`TIME_WAIT`) is listed
/// as root's: only an established one counts.
fn named(line: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    const ESTABLISHED: &str = "01";
    let mut words = line.split_ascii_whitespace().skip(1);
    let (theirs, ours, state) = (words.next()?, words.next()?, words.next()?);
    if state != ESTABLISHED || address(theirs)? != local || address(ours)? != remote {
        return None;
    }
    let uid = words.nth(3)?.parse().ok()?;
    // One that no program holds (not accepted yet, or left behind) is listed as root's, too.
    let inode = words.nth(1)?;
    (inode != "0").then_some(uid)
}

/// `0100007F:1538`: the address in words of 32 bits as the machine has them in memory, the port as
/// a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    let mut rest = ip;
    while !rest.is_empty() {
        let (word, left) = rest.split_at_checked(8)?;
        bytes.extend_from_slice(&u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
        rest = left;
    }
    let ip = match <[u8; 4]>::try_from(bytes) {
        Ok(four) => IpAddr::from(Ipv4Addr::from(four)),
        Err(bytes) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(plain(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Connections that nobody has accepted yet, over what this machine has of IPv4 and IPv6: the
    /// client's end, the door, and what keeps them.
    pub(super) fn connections()
    -> impl Iterator<Item = (SocketAddr, SocketAddr, (TcpListener, TcpStream))> {
        ["127.0.0.1:0", "[::1]:0"].into_iter().filter_map(|bind| {
            let listener = TcpListener::bind(bind).ok()?;
            let door = listener.local_addr().unwrap();
            let client = TcpStream::connect(door).unwrap();
            Some((client.local_addr().unwrap(), door, (listener, client)))
        })
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a8_lines_of_the_kernel() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (four, door) = (at("127.0.0.1:40000"), at("127.0.0.1:6432"));
        let line = "  7: 0100007F:9C40 0100007F:1920 01 00000000:00000000 00:00000000 00000000  1000        0 42 1 x";
        assert_eq!(named(line, four, door), Some(1000));
        assert_eq!(named(line, door, four), None);
        assert_eq!(named(&line.replace(" 01 ", " 06 "), four, door), None);
        assert_eq!(named(&line.replace(" 42 ", " 0 "), four, door), None);
        assert_eq!(named(line, at("127.0.0.1:40001"), door), None);
        assert_eq!(named(line, four, at("127.0.0.2:6432")), None);
        let six = "  8: 0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:1920 01 0:0 0:0 0 33 0 43";
        assert_eq!(named(six, four, door), Some(33));
        let six = "  9: 00000000000000000000000001000000:9C40 00000000000000000000000001000000:1920 01 0:0 0:0 0 34 0 43";
        assert_eq!(named(six, at("[::1]:40000"), at("[::1]:6432")), Some(34));
        let head =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";
        for odd in [
            head,
            "",
            "1:",
            " 7: 0100007F:9C40",
            " 7: 01:1 zz:1 01",
            "7: ü00007F:9C40 é:1 01",
        ] {
            assert_eq!(named(odd, four, door), None, "{odd}");
        }
    }

    #[test]
    fn a8_the_owner_of_a_real_connection_is_found_and_of_no_other() {
        let uid = std::fs::metadata("/proc/self").unwrap().uid();
        for (theirs, door, _held) in connections() {
            assert_eq!(owner(theirs, door), Some(uid));
            assert_eq!(listed(theirs, door), Some(uid));
            assert_eq!(owner(theirs, SocketAddr::new(door.ip(), 1)), None);
        }
        let far = "192.0.2.1:5555".parse().unwrap();
        assert_eq!(owner(far, "192.0.2.2:6432".parse().unwrap()), None);
    }
}
