//! Owns how many TLS handshakes are begun in a second: a handshake costs the server a signature, about
//! as much CPU time as some hundred requests, and the client next to nothing.
//! Leaves the rule to `canter-shield`, and closing the connection to `listener`.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use canter_base::warn;
use canter_shield::rate::{Limiter, Quota};
use canter_shield::score::network_of;

/// Most at once, in seconds of the rate: a browser opens several connections, and behind one address
/// may be an office.
const BURST: u32 = 5;

/// Between two words about it in the log.
const TELL_MS: u64 = 60_000;

/// Handshakes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeSettings {
    /// Of one client.
    pub per_client: u32,
    /// Of all together.
    pub all: u32,
    /// Whether that holds for clients of private networks, too.
    pub private: bool,
}

/// What has been begun.
pub(crate) struct Handshakes {
    clients: RefCell<Limiter>,
    all: RefCell<Limiter>,
    /// When and since when refusals were told.
    told_ms: Cell<Option<u64>>,
    refused: Cell<u64>,
}

impl Handshakes {
    pub fn new(settings: HandshakeSettings, clients: usize) -> Self {
        let limiter = |requests: u32, keys| {
            let quota = Quota {
                requests,
                period_ms: 1000,
                burst: requests.saturating_mul(BURST),
            };
            RefCell::new(Limiter::new(quota, keys))
        };
        Self {
            clients: limiter(settings.per_client, clients),
            all: limiter(settings.all, 1),
            told_ms: Cell::new(None),
            refused: Cell::new(0),
        }
    }

    /// Whether this client may begin one more.
    pub fn may_begin(&self, client: IpAddr, now_ms: u64) -> bool {
        let network = network_of(client);
        let is_own = !self.clients.borrow_mut().decide(&network, now_ms).passes;
        if !is_own && self.all.borrow_mut().decide(&(), now_ms).passes {
            return true;
        }
        self.refused.set(self.refused.get() + 1);
        let is_due = |told| now_ms >= told + TELL_MS;
        if self.told_ms.get().is_none_or(is_due) {
            self.told_ms.set(Some(now_ms));
            if is_own {
                warn!(
                    "TLS handshakes are refused: one client begins too many a second; see \
                     --tls-handshakes-per-ip",
                    client = client.to_string().as_str(),
                    refused = self.refused.take()
                );
            } else {
                warn!(
                    "TLS handshakes are refused: all clients together begin too many a second; see \
                     --tls-handshakes",
                    refused = self.refused.take()
                );
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h9_handshakes_are_limited_for_each_client_and_for_all() {
        let settings = HandshakeSettings {
            per_client: 2,
            all: 4,
            private: true,
        };
        let handshakes = Handshakes::new(settings, 100);
        let client = |number: u8| IpAddr::from([192, 0, 2, number]);
        let begun = |number, tries, now_ms| {
            let may = |_: &u32| handshakes.may_begin(client(number), now_ms);
            (0..tries).filter(may).count()
        };
        assert_eq!((begun(1, 30, 0), begun(2, 30, 0)), (10, 10));
        // All together have had theirs.
        assert_eq!(begun(3, 30, 0), 0);
        assert_eq!((begun(1, 30, 1000), begun(4, 30, 1000)), (2, 2));
        // Later all is as at first.
        assert_eq!(begun(1, 30, 60_000), 10);
    }
}
