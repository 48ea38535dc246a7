//! The owner of one socket, asked of the kernel by its addresses (`sock_diag`): one question,
//! however many connections the machine has. Leaves kernels that do not answer to the table in
//! `/proc`.

use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `SOCK_DIAG_BY_FAMILY`: the kind of question and answer.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `TCP_ESTABLISHED` of `tcp_states.h`.
const ESTABLISHED: u8 = 1;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const QUESTION: usize = 16 + 56;

/// The owner of the established TCP socket at `local` that is connected to `remote`; `None` when
/// the kernel does not say.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )
    .ok()?;
    let question = question(local, remote);
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &question, SendFlags::empty(), &kernel).ok()?;
    let mut answer = [0; 512];
    // The kernel has answered before the question's call came back.
    let (_, count) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
    read(answer.get(..count)?, local, remote)
}

fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    /// `AF_INET` and `AF_INET6`.
    const FAMILIES: [u8; 2] = [2, 10];
    let family = FAMILIES[usize::from(local.is_ipv6())];
    let mut out = Vec::with_capacity(QUESTION);
    out.extend_from_slice(&(QUESTION as u32).to_ne_bytes());
    out.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&REQUEST.to_ne_bytes());
    out.extend_from_slice(&[0; 8]); // number and port of the question
    out.extend_from_slice(&[family, TCP, 0, 0]);
    out.extend_from_slice(&(1_u32 << ESTABLISHED).to_ne_bytes());
    out.extend_from_slice(&sockets(local, remote));
    out.extend_from_slice(&[0; 4]); // any interface
    out.extend_from_slice(&[0xFF; 8]); // INET_DIAG_NOCOOKIE
    out
}

/// The beginning of `struct inet_diag_sockid`: what tells one socket from another.
fn sockets(local: SocketAddr, remote: SocketAddr) -> [u8; 36] {
    let mut out = [0; 36];
    out[..2].copy_from_slice(&local.port().to_be_bytes());
    out[2..4].copy_from_slice(&remote.port().to_be_bytes());
    for (ip, at) in [(local.ip(), 4), (remote.ip(), 20)] {
        match ip {
            IpAddr::V4(ip) => out[at..at + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out[at..at + 16].copy_from_slice(&ip.octets()),
        }
    }
    out
}

/// Reads `struct nlmsghdr` and `struct inet_diag_msg`.
fn read(answer: &[u8], local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let state = *answer.get(17)?;
    // Where there is no such connection, the kernel may name the listener.
    let is_it = answer.get(20..56)? == sockets(local, remote);
    let (uid, inode) = (number(80)?, number(84)?);
    // One that no program holds is listed as root's.
    (kind == BY_FAMILY && state == ESTABLISHED && is_it && inode != 0).then_some(uid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::tests::connections;
    use super::*;

    #[test]
    fn a8_the_kernel_names_the_owner_of_a_connection_and_of_no_other() {
        let uid = std::fs::metadata("/proc/self").unwrap().uid();
        for (theirs, door, _held) in connections() {
            let Some(found) = owner(theirs, door) else {
                // A kernel without sock_diag: the table in /proc is looked at.
                continue;
            };
            assert_eq!(found, uid);
            assert_eq!(owner(SocketAddr::new(theirs.ip(), 1), door), None);
            assert_eq!(owner(door, SocketAddr::new(theirs.ip(), 1)), None);
            // Not accepted yet: no program holds this end.
            assert_eq!(owner(door, theirs), None);
        }
    }

    #[test]
    fn a8_answers_that_are_none_are_not_read_as_one() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (theirs, ours) = (at("127.0.0.1:40000"), at("127.0.0.1:6432"));
        let mut answer = vec![0; 88];
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[17] = ESTABLISHED;
        answer[20..56].copy_from_slice(&sockets(theirs, ours));
        answer[80..84].copy_from_slice(&1000_u32.to_ne_bytes());
        answer[84..88].copy_from_slice(&7_u32.to_ne_bytes());
        assert_eq!(read(&answer, theirs, ours), Some(1000));
        assert_eq!(read(&answer, ours, theirs), None);
        for end in 0..answer.len() {
            assert_eq!(read(&answer[..end], theirs, ours), None, "{end}");
        }
        for (at, byte) in [(4, 2), (17, 10), (84, 0)] {
            let mut other = answer.clone();
            other[at] = byte;
            assert_eq!(read(&other, theirs, ours), None, "{at}");
        }
    }
}
