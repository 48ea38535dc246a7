//! Owns the question whether a connection over loopback was made by the user that runs this server,
//! as a proxy of this machine was not: the system's table of sockets (`/proc/net/tcp`, `proc_pid_net(5)`)
//! names the user of each.
//! Leaves who else may see what to `conn/admin`.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The system writes its whole table for each question, which takes a millisecond or more: after so many
/// strangers nobody is looked up for the rest of a second, or they would keep the front busy.
const MOST_STRANGERS: u32 = 20;
/// Users below are those of services, above of persons (`UID_MIN` in `login.defs(5)`). Nobody browses as the
/// user of a service, but a proxy may well share it with the site, as `www-data`.
const FIRST_PERSON: u32 = 1000;
/// Who cannot be named in a user namespace (`user_namespaces(7)`) appears as this one.
const NOBODY: u32 = 65_534;

thread_local! {
    static STRANGERS: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// Whether the socket at the peer's end belongs to the user of this process, who is a person; not where
/// the system does not say. None where too many strangers came to ask it now.
pub(crate) fn is_own(ends: Ends) -> Option<bool> {
    let own = rustix::process::geteuid().as_raw();
    if !is_person(own) {
        return Some(false);
    }
    let now = Instant::now();
    if strangers(now) >= MOST_STRANGERS {
        return None;
    }
    let is_own = user_of(ends) == Some(own);
    if !is_own {
        note_stranger(now);
    }
    Some(is_own)
}

fn is_person(user: u32) -> bool {
    user == 0 || user >= FIRST_PERSON && user != NOBODY
}

/// How many there were within this second.
fn strangers(now: Instant) -> u32 {
    let known = STRANGERS.get();
    let fresh =
        known.filter(|(since, _)| now.saturating_duration_since(*since) < Duration::from_secs(1));
    fresh.map_or(0, |(_, count)| count)
}

fn note_stranger(now: Instant) {
    let count = strangers(now);
    let since = STRANGERS.get().filter(|_| count > 0);
    let since = since.map_or(now, |(since, _)| since);
    STRANGERS.set(Some((since, count + 1)));
}

fn user_of(ends: Ends) -> Option<u32> {
    // A connection to an address of IPv4 may stand in either table, by the kind of the peer's socket.
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| File::open(table).ok())
        .find_map(|table| find(BufReader::new(table), ends))
}

fn find(table: impl BufRead, ends: Ends) -> Option<u32> {
    let mut lines = table.lines().skip(1).map_while(Result::ok);
    lines.find_map(|line| Row::read(&line).and_then(|row| row.user_at(ends)))
}

/// One socket.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    own: SocketAddr,
    other: SocketAddr,
    user: u32,
    /// 0 once no process has it any more; its user reads as root then.
    inode: u64,
}

impl Row {
    /// Reads `sl local_address rem_address st queues timer retransmits uid timeout inode …`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        Some(Self {
            own: address(words.next()?)?,
            other: address(words.next()?)?,
            user: words.nth(4)?.parse().ok()?,
            inode: words.nth(1)?.parse().ok()?,
        })
    }

    fn user_at(&self, ends: Ends) -> Option<u32> {
        let is_it = same(self.own, ends.peer) && same(self.other, ends.local) && self.inode != 0;
        is_it.then_some(self.user)
    }
}

fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// `0100007F:1F90`: the address as 32-bit words in the machine's own order of bytes, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn ends(peer: &str, local: &str) -> Ends {
        Ends {
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
        }
    }

    /// A row as a little-endian machine writes it.
    fn row(own: &str, other: &str, user: u32, inode: u64) -> String {
        format!(
            "   0: {own} {other} 01 00000000:00000000 00:00000000 00000000 {user:>5}        0 {inode} 1 0000 20 4 30 10 -1\n"
        )
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn d5_the_row_of_the_peer_is_found_whatever_family_its_socket_is_of() {
        let v4 = ("0100007F:D431", "0100007F:1F40");
        let mapped = (
            "0000000000000000FFFF00000100007F:D431",
            "0000000000000000FFFF00000100007F:1F40",
        );
        let v6 = (
            "00000000000000000000000001000000:D431",
            "00000000000000000000000001000000:1F40",
        );
        let (here, there) = ("127.0.0.1:54321", "127.0.0.1:8000");
        for (row_of, peer, local) in [
            (v4, here, there),
            (v4, "[::ffff:127.0.0.1]:54321", "[::ffff:127.0.0.1]:8000"),
            (mapped, here, there),
            (v6, "[::1]:54321", "[::1]:8000"),
        ] {
            // Our own end, with the ports in the other order, comes first and is not meant.
            let table = HEAD.to_owned()
                + &row(row_of.1, row_of.0, 7, 41)
                + &row(row_of.0, row_of.1, 1001, 42);
            let found = find(table.as_bytes(), ends(peer, local));
            assert_eq!(found, Some(1001), "{row_of:?}");
        }
        let table = HEAD.to_owned() + &row(v4.0, v4.1, 1001, 42);
        for (peer, local) in [
            ("127.0.0.1:54322", there),
            (here, "127.0.0.1:8001"),
            ("127.0.0.2:54321", there),
            ("[::1]:54321", "[::1]:8000"),
        ] {
            assert_eq!(find(table.as_bytes(), ends(peer, local)), None);
        }
        // Who has closed the socket cannot be told: the system writes 0.
        let left = HEAD.to_owned() + &row(v4.0, v4.1, 0, 0);
        assert_eq!(find(left.as_bytes(), ends(here, there)), None);
    }

    #[test]
    fn d5_rows_that_are_none_are_passed_over() {
        let whole = row("0100007F:D431", "0100007F:1F40", 1001, 42);
        for end in 0..whole.find("42").unwrap_or_default() {
            assert_eq!(Row::read(&whole[..end]), None, "{end}");
        }
        for line in [
            "0: 0100007F 0100007F:1F40 01 0 0 0 1 0 4",
            "0: 0100007:D431 0100007F:1F40 01 0 0 0 1 0 4",
            "0: 010000é:D431 0100007F:1F40 01 0 0 0 1 0 4",
            "0: 0100007F:D431 0100007F:1F401 01 0 0 0 1 0 4",
            "0: 0100007F:D431 0100007F:1F40 01 0 0 0 -1 0 4",
        ] {
            assert_eq!(Row::read(line), None, "{line}");
        }
    }

    #[test]
    fn d5_the_system_names_the_user_of_a_socket() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else {
                // No IPv6 here.
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let ends = Ends {
                peer,
                local: server.local_addr().unwrap(),
            };
            let own = rustix::process::geteuid().as_raw();
            assert_eq!(user_of(ends), Some(own));
            drop(client);
            assert_eq!(user_of(ends), None, "{at}: nobody has it any more");
        }
    }

    #[test]
    fn d5_the_users_of_services_are_nobody_who_looks() {
        let rows = [
            (0, true),
            (33, false),
            (999, false),
            (1000, true),
            (65_534, false),
        ];
        for (user, person) in rows {
            assert_eq!(is_person(user), person, "{user}");
        }
    }

    #[test]
    fn d5_strangers_without_end_are_not_looked_up_without_end() {
        let now = Instant::now();
        for count in 0..MOST_STRANGERS {
            assert_eq!(strangers(now), count);
            note_stranger(now + Duration::from_millis(count.into()));
        }
        assert_ne!(is_own(ends("127.0.0.1:1", "127.0.0.1:2")), Some(true));
        assert_eq!(strangers(now + Duration::from_secs(1)), 0);
    }
}
