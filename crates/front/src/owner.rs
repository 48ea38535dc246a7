//! Owns the question whether a connection over loopback was made by the user that runs this server,
//! as a proxy of this machine was not: the system names the user of the other end.
//! Leaves who else may see what to `conn/admin`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where the kernel does not answer for one socket, the whole table is read for each question, which takes
/// a millisecond or more: after so many strangers nobody is looked up for the rest of a second, or they
/// would keep the front busy.
const MOST_STRANGERS: u32 = 20;
/// Users below are those of services, above of persons (`UID_MIN` in `login.defs(5)`). Nobody browses as the
/// user of a service, but a proxy may well share it with the site, as `www-data`.
const FIRST_PERSON: u32 = 1000;
/// Who cannot be named in a user namespace (`user_namespaces(7)`) appears as this one.
const NOBODY: u32 = 65_534;

/// So many programs are looked up in a second to be told where the time went: enough for whoever reads it, and
/// little for a load generator that makes a connection for each request.
const MOST_PROGRAMS: u32 = 20;

/// How many there were since when.
type Count = Cell<Option<(Instant, u32)>>;

thread_local! {
    static STRANGERS: Count = const { Cell::new(None) };
    static PROGRAMS: Count = const { Cell::new(None) };
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
    if STRANGERS.with(|them| within_second(them, now)) >= MOST_STRANGERS {
        return None;
    }
    let is_own = user_of(ends) == Some(own);
    if !is_own {
        STRANGERS.with(|them| note(them, now));
    }
    Some(is_own)
}

/// Whether one more program may be looked up within this second, which counts it.
pub(crate) fn may_look_up() -> bool {
    let now = Instant::now();
    PROGRAMS.with(|them| {
        let is_one_more = within_second(them, now) < MOST_PROGRAMS;
        if is_one_more {
            note(them, now);
        }
        is_one_more
    })
}

fn is_person(user: u32) -> bool {
    user == 0 || user >= FIRST_PERSON && user != NOBODY
}

/// How many there were within this second.
fn within_second(them: &Count, now: Instant) -> u32 {
    let fresh = |(since, _): &(Instant, u32)| {
        now.saturating_duration_since(*since) < Duration::from_secs(1)
    };
    them.get().filter(fresh).map_or(0, |(_, count)| count)
}

fn note(them: &Count, now: Instant) {
    let count = within_second(them, now);
    let since = them.get().filter(|_| count > 0);
    let since = since.map_or(now, |(since, _)| since);
    them.set(Some((since, count + 1)));
}

fn user_of(ends: Ends) -> Option<u32> {
    canter_sys::peer::owner(ends.peer, ends.local)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn ends(peer: &str, local: &str) -> Ends {
        Ends {
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
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
            assert_eq!(STRANGERS.with(|them| within_second(them, now)), count);
            STRANGERS.with(|them| note(them, now + Duration::from_millis(count.into())));
        }
        assert_ne!(is_own(ends("127.0.0.1:1", "127.0.0.1:2")), Some(true));
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(STRANGERS.with(|them| within_second(them, later)), 0);
    }
}
