//! Owns what is held against single clients: how many connections each has, what it did wrong, and
//! how often it asks.
//! Leaves the rules themselves to `canter-shield`, and refusing to `listener` and `pipeline`.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use canter_base::options::{RateKey, RateLimit};
use canter_base::{info, warn};
use canter_http::{Head, KnownName, target};
use canter_shield::rate::{Decision, Limiter, Quota};
use canter_shield::score::{Misdeed, Rules, Scores, network_of};

use crate::handshakes::{HandshakeSettings, Handshakes};

/// Clients whose misdeeds and requests are remembered, for each table.
const REMEMBERED: usize = 16 * 1024;

/// Who may have how much.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    /// Connections of one client at once.
    pub per_client: usize,
    /// Whether that holds for clients of private networks, too.
    pub per_private_client: bool,
    /// Whether clients are banned; of private networks, too.
    pub bans: Option<bool>,
    /// Rate limits, in their order.
    pub rates: Vec<RateLimit>,
    /// TLS handshakes in a second.
    pub handshakes: HandshakeSettings,
}

/// What is known of clients.
pub(crate) struct Guard {
    settings: GuardSettings,
    start: Instant,
    scores: RefCell<Scores>,
    /// When the last ban ends.
    banned_until_ms: Cell<u64>,
    open: RefCell<HashMap<IpAddr, usize>>,
    limits: RefCell<Vec<(RateLimit, Limiter)>>,
    handshakes: Handshakes,
}

/// A client's connection as it counts; gives its place back on drop.
pub(crate) struct Entrance {
    guard: Rc<Guard>,
    network: IpAddr,
}

impl Guard {
    pub fn new(settings: GuardSettings) -> Rc<Self> {
        let limit = |rate: &RateLimit| {
            let quota = Quota {
                requests: rate.requests,
                period_ms: u64::try_from(rate.period.as_millis()).unwrap_or(u64::MAX),
                burst: rate.burst,
            };
            (rate.clone(), Limiter::new(quota, REMEMBERED))
        };
        Rc::new(Self {
            start: Instant::now(),
            scores: RefCell::new(Scores::new(Rules::default(), REMEMBERED)),
            banned_until_ms: Cell::new(0),
            open: RefCell::default(),
            limits: RefCell::new(settings.rates.iter().map(limit).collect()),
            handshakes: Handshakes::new(settings.handshakes, REMEMBERED),
            settings,
        })
    }

    /// Whether this client may have one more connection; None when not. Trusted proxies are not
    /// asked about: they speak for many.
    pub fn enter(self: &Rc<Self>, client: IpAddr) -> Option<Entrance> {
        if self.may_ban(client) && self.scores.borrow().is_banned(client, self.now_ms()) {
            return None;
        }
        let network = network_of(client);
        let mut open = self.open.borrow_mut();
        let count = open.entry(network).or_insert(0);
        let limited = self.settings.per_private_client || !is_private(client);
        if limited && *count >= self.settings.per_client {
            return None;
        }
        *count += 1;
        Some(Entrance {
            guard: Rc::clone(self),
            network,
        })
    }

    /// Whether this client may begin a TLS handshake.
    pub fn may_shake_hands(&self, client: IpAddr) -> bool {
        let is_limited = self.settings.handshakes.private || !is_private(client);
        !is_limited || self.handshakes.may_begin(client, self.now_ms())
    }

    /// Remembers a misdeed.
    pub fn misdeed(&self, client: IpAddr, misdeed: Misdeed) {
        if !self.may_ban(client) {
            return;
        }
        let now_ms = self.now_ms();
        if self.scores.borrow_mut().count(client, misdeed, now_ms) {
            let bans = self.scores.borrow().bans(now_ms);
            let ban = bans.iter().find(|ban| ban.address == network_of(client));
            let until = now_ms.saturating_add(ban.map_or(0, |ban| ban.left_ms));
            self.banned_until_ms
                .set(self.banned_until_ms.get().max(until));
            warn!(
                "a client is shut out for its misdeeds",
                client = client.to_string().as_str(),
                last = format!("{misdeed:?}").to_ascii_lowercase().as_str(),
                for_ms = ban.map_or(0, |ban| ban.left_ms),
                times = ban.map_or(0, |ban| ban.count)
            );
        }
    }

    /// How long this client is shut out still, in ms. Asked for each request, for its connection may
    /// have been open before, or be that of a proxy.
    pub fn shut_out(&self, client: IpAddr) -> Option<u64> {
        let now_ms = self.now_ms();
        // Nearly always: nobody is.
        if now_ms >= self.banned_until_ms.get() || !self.may_ban(client) {
            return None;
        }
        self.scores.borrow().banned_for_ms(client, now_ms)
    }

    /// Counts a request against the limits it falls under, in their order, up to the first that
    /// refuses it.
    pub fn rate(&self, head: &Head, buf: &[u8], client: &str) -> Option<Refusal> {
        let mut limits = self.limits.borrow_mut();
        if limits.is_empty() {
            return None;
        }
        let now_ms = self.now_ms();
        let path = plain_path(head, buf);
        for (index, (rate, limiter)) in limits.iter_mut().enumerate() {
            if !path.starts_with(rate.path.as_bytes()) {
                continue;
            }
            let Some(key) = key_of(rate, head, buf, client) else {
                continue;
            };
            let decision = limiter.decide(&key, now_ms);
            if decision.passes {
                continue;
            }
            if rate.dry_run {
                info!(
                    "a rate limit would refuse this request",
                    limit = index,
                    client = client
                );
                continue;
            }
            return Some(Refusal::new(index, rate, decision));
        }
        None
    }

    fn may_ban(&self, client: IpAddr) -> bool {
        self.settings
            .bans
            .is_some_and(|private_too| private_too || !is_private(client))
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.guard.open.borrow_mut().entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// A request refused by a limit, in the words of the `RateLimit` fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For `Retry-After`, in whole seconds.
    pub retry_after: String,
    /// `RateLimit`.
    pub limit: String,
    /// `RateLimit-Policy`.
    pub policy: String,
}

impl Refusal {
    fn new(index: usize, rate: &RateLimit, decision: Decision) -> Self {
        let seconds = |ms: u64| ms.div_ceil(1000).max(1);
        Self {
            retry_after: seconds(decision.retry_ms).to_string(),
            limit: format!(
                "\"{index}\";r={};t={}",
                decision.remaining,
                seconds(decision.reset_ms)
            ),
            policy: format!(
                "\"{index}\";q={};w={}",
                rate.requests,
                rate.period.as_secs().max(1)
            ),
        }
    }
}

/// The path as the app will see it: `/%6Cogin/` is `/login/` there.
pub(crate) fn plain_path<'a>(head: &Head, buf: &'a [u8]) -> Cow<'a, [u8]> {
    let path = head.path(buf);
    let mut decoded = Vec::new();
    if head.path_is_escaped && target::decode_path(path, &mut decoded).is_ok() {
        return decoded.into();
    }
    path.into()
}

/// What this request is told apart by; None when it carries no such thing.
fn key_of<'a>(
    rate: &RateLimit,
    head: &Head,
    buf: &'a [u8],
    client: &'a str,
) -> Option<Cow<'a, [u8]>> {
    Some(match &rate.key {
        RateKey::All => b"".into(),
        RateKey::Ip => match client.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => network_of(address.into()).to_string().into_bytes().into(),
            // A unix socket whose peer says nothing of its clients: they are not one client.
            _ if client.is_empty() => return None,
            _ => client.as_bytes().into(),
        },
        RateKey::Header(name) => {
            let mut fields = head.fields.iter();
            let field =
                fields.find(|field| field.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))?;
            field.value.of(buf).into()
        }
        RateKey::Cookie(name) => cookie(head, buf, name.as_bytes())?.into(),
    })
}

/// The value of a cookie (RFC 6265, section 4.2.1).
pub(crate) fn cookie<'a>(head: &Head, buf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let fields = head
        .fields
        .iter()
        .filter(|field| field.known == KnownName::Cookie);
    let mut pairs = fields.flat_map(|field| field.value.of(buf).split(|&byte| byte == b';'));
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

/// Addresses that are not of the internet: there a proxy may stand that speaks for many.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                // Shared by carriers and clouds (RFC 6598).
                || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use canter_base::options::Value;
    use canter_http::{HeadDecoder, Limits, Progress};

    use super::*;

    fn guard(per_client: usize, private_too: bool, rates: &[&str]) -> Rc<Guard> {
        Guard::new(GuardSettings {
            per_client,
            per_private_client: private_too,
            bans: Some(private_too),
            rates: rates
                .iter()
                .map(|text| RateLimit::parse(text).unwrap())
                .collect(),
            handshakes: HandshakeSettings {
                per_client: 1,
                all: 100,
                private: private_too,
            },
        })
    }

    fn refusal(guard: &Guard, path: &str, fields: &str, client: &str) -> Option<Refusal> {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (mut decoder, mut head) = (HeadDecoder::new(), Head::new());
        let progress = decoder.decode(&Limits::default(), text.as_bytes(), &mut head);
        assert_eq!(progress, Ok(Progress::Complete));
        guard.rate(&head, text.as_bytes(), client)
    }

    #[test]
    fn one_client_has_so_many_connections_and_another_its_own() {
        let guard = guard(2, true, &[]);
        let (first, second) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let entered = [guard.enter(first), guard.enter(first)];
        assert!(guard.enter(first).is_none() && guard.enter(second).is_some());
        drop(entered);
        assert!(guard.enter(first).is_some());
        assert!(guard.open.borrow().is_empty());
    }

    #[test]
    fn private_networks_are_spared_unless_asked_for() {
        for (address, spared) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("100.64.0.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("::ffff:192.168.1.1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let lenient = guard(0, false, &[]);
            assert_eq!(lenient.enter(address).is_some(), spared, "{address}");
            assert!(guard(0, true, &[]).enter(address).is_none());
            let begun = |guard: &Guard| (0..9).filter(|_| guard.may_shake_hands(address)).count();
            assert_eq!(begun(&lenient), if spared { 9 } else { 5 }, "{address}");
            assert_eq!(begun(&guard(0, true, &[])), 5);
            let lenient = guard(9, false, &[]);
            for _ in 0..100 {
                lenient.misdeed(address, Misdeed::Slow);
            }
            assert_eq!(lenient.enter(address).is_some(), spared, "{address}");
        }
    }

    #[test]
    fn who_is_shut_out_is_so_on_every_connection() {
        let guard = guard(9, false, &[]);
        let (bad, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let open = guard.enter(bad);
        assert!(open.is_some() && guard.shut_out(bad).is_none());
        for _ in 0..100 {
            guard.misdeed(bad, Misdeed::Slow);
        }
        assert!(guard.shut_out(bad).is_some_and(|left_ms| left_ms > 50_000));
        assert!(guard.shut_out(other).is_none());
    }

    #[test]
    fn a_limit_counts_what_it_tells_apart() {
        let guard = guard(
            9,
            false,
            &[
                "2/min path=/login/",
                "1/h key=header:X-Key path=/api/",
                "1/h key=cookie:id path=/c",
            ],
        );
        let pass = |path: &str, fields: &str, client: &str| {
            refusal(&guard, path, fields, client).is_none()
        };
        assert!(pass("/login/", "", "192.0.2.1") && pass("/login/x", "", "192.0.2.1"));
        assert!(!pass("/login/", "", "192.0.2.1") && pass("/login/", "", "192.0.2.2"));
        assert!(!pass("/%6Cogin%2F", "", "192.0.2.1") && !pass("/log%69n/x", "", "192.0.2.1"));
        assert!(pass("/", "", "192.0.2.1"));
        assert!((0..9).all(|_| pass("/login/", "", "")));
        assert!(pass("/login/", "", "2001:db8::1") && pass("/login/", "", "2001:db8::2"));
        assert!(!pass("/login/", "", "2001:db8::3"));
        assert!(pass("/api/", "X-Key: a\r\n", "") && !pass("/api/", "x-key: a\r\n", ""));
        assert!(pass("/api/", "X-Key: b\r\n", "") && pass("/api/", "", ""));
        assert!(pass("/c", "Cookie: a=1; id=7\r\n", "") && !pass("/c", "Cookie: id=7\r\n", ""));
        assert!(pass("/c", "Cookie: xid=7\r\n", ""));
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let guard = guard(9, false, &["2/min"]);
        for _ in 0..2 {
            assert_eq!(refusal(&guard, "/", "", "192.0.2.1"), None);
        }
        let refused = refusal(&guard, "/", "", "192.0.2.1").unwrap();
        assert_eq!(refused.retry_after, "30");
        assert_eq!(refused.limit, "\"0\";r=0;t=60");
        assert_eq!(refused.policy, "\"0\";q=2;w=60");
    }

    #[test]
    fn a_dry_run_refuses_nothing() {
        let guard = guard(9, false, &["1/h dry-run"]);
        assert!((0..5).all(|_| refusal(&guard, "/", "", "192.0.2.1").is_none()));
    }
}
