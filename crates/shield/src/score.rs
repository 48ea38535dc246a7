//! Owns shutting out those who misbehave: points for each misdeed that fade with time, and a ban
//! that grows with each one. In a table that never grows.
//! Leaves what a misdeed costs to [`Misdeed`]'s one table, and closing connections to the front.

use std::net::IpAddr;

use crate::slots::{Slot, Slots};

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Sent something that is no HTTP.
    Malformed,
    /// Was cut off for being slower than anybody is.
    Slow,
    /// Broke a rule of HTTP/2 that only attacks break.
    Glitch,
    /// Was refused by a rate limit.
    OverLimit,
    /// Asked for something that is not there or not allowed (4xx).
    Failed,
}

impl Misdeed {
    /// In thousandths. What apps answer in good faith, too, counts least: behind one address may
    /// be a whole office.
    fn points(self) -> u64 {
        match self {
            Self::Slow | Self::Glitch => 10_000,
            Self::Malformed => 5_000,
            Self::OverLimit => 1_000,
            Self::Failed => 200,
        }
    }
}

/// When a client is shut out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Points that lead to a ban; 0 means that nobody is banned.
    pub limit: u32,
    /// Half of the points fade in this time, in ms.
    pub half_life_ms: u64,
    /// The first ban; each further one lasts four times as long. In ms.
    pub ban_ms: u64,
    /// The longest ban, in ms.
    pub longest_ban_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            limit: 300,
            half_life_ms: 60_000,
            ban_ms: 60_000,
            longest_ban_ms: 3_600_000,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Record {
    /// In thousandths.
    points: u64,
    bans: u32,
    /// Of the last change.
    at_ms: u64,
    banned_until_ms: u64,
    who: Option<IpAddr>,
}

impl Slot for Record {
    fn weight(&self, now_ms: u64) -> u64 {
        let ban = self.banned_until_ms.saturating_sub(now_ms);
        // A ban outweighs any points; points outweigh nothing at all.
        ban.saturating_mul(1 << 24).saturating_add(self.points)
    }
}

/// Someone who is shut out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The address, or the first of an IPv6 /64.
    pub address: IpAddr,
    /// How long it will last, in ms.
    pub left_ms: u64,
    /// How many there were so far, this one included.
    pub count: u32,
}

/// Who has done what.
pub struct Scores {
    rules: Rules,
    records: Slots<Record>,
}

impl Scores {
    /// Room for this many addresses (about 64 bytes each).
    pub fn new(rules: Rules, addresses: usize) -> Self {
        Self {
            rules,
            records: Slots::new(addresses),
        }
    }

    /// Counts a misdeed; true when it led to a ban just now. Whoever is shut out pays for nothing
    /// more meanwhile: connections that were open before go on failing.
    pub fn count(&mut self, address: IpAddr, misdeed: Misdeed, now_ms: u64) -> bool {
        let (rules, who) = (self.rules, network_of(address));
        let Some(record) = self.records.entry(&who, now_ms) else {
            return false;
        };
        if record.banned_until_ms > now_ms {
            return false;
        }
        record.who = Some(who);
        record.points = faded(record, &rules, now_ms) + misdeed.points();
        record.at_ms = now_ms;
        let banned = rules.limit > 0 && record.points >= u64::from(rules.limit) * 1000;
        if banned {
            let factor = 4_u64.saturating_pow(record.bans.min(16));
            let lasts = rules
                .ban_ms
                .saturating_mul(factor)
                .min(rules.longest_ban_ms);
            record.banned_until_ms = now_ms.saturating_add(lasts);
            record.bans = record.bans.saturating_add(1);
            record.points = 0;
        }
        banned
    }

    /// Whether this address is refused now.
    pub fn is_banned(&self, address: IpAddr, now_ms: u64) -> bool {
        self.banned_for_ms(address, now_ms).is_some()
    }

    /// How much longer this address is refused; None when it is not.
    pub fn banned_for_ms(&self, address: IpAddr, now_ms: u64) -> Option<u64> {
        let record = self.records.get(&network_of(address))?;
        let left = record.banned_until_ms.saturating_sub(now_ms);
        (left > 0).then_some(left)
    }

    /// Everyone who is shut out now.
    pub fn bans(&self, now_ms: u64) -> Vec<Ban> {
        let banned = self
            .records
            .iter()
            .filter(|record| record.banned_until_ms > now_ms);
        let ban = |record: &Record| {
            Some(Ban {
                address: record.who?,
                left_ms: record.banned_until_ms - now_ms,
                count: record.bans,
            })
        };
        banned.filter_map(ban).collect()
    }
}

/// What is left of the points: halved in each half-life, on a straight line in between.
fn faded(record: &Record, rules: &Rules, now_ms: u64) -> u64 {
    let (age, half_life) = (
        now_ms.saturating_sub(record.at_ms),
        rules.half_life_ms.max(1),
    );
    let halvings = u32::try_from(age / half_life).unwrap_or(u32::MAX);
    let left = record.points.checked_shr(halvings).unwrap_or(0);
    left - left / 2 * (age % half_life) / half_life
}

/// What counts as one client: an IPv4 address, or the /64 that a single IPv6 subscriber has.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn many_misdeeds_lead_to_a_ban_that_ends_and_grows() {
        let mut scores = Scores::new(Rules::default(), 1000);
        let bad = address("192.0.2.1");
        let mut lasted = Vec::new();
        let mut now = 0;
        for _ in 0..4 {
            while !scores.count(bad, Misdeed::Slow, now) {}
            assert!(scores.is_banned(bad, now) && !scores.is_banned(address("192.0.2.2"), now));
            let ban = scores.bans(now)[0];
            lasted.push(ban.left_ms / 1000);
            now += ban.left_ms;
            assert!(!scores.is_banned(bad, now) && scores.bans(now).is_empty());
        }
        assert_eq!(lasted, [60, 240, 960, 3600]);
    }

    #[test]
    fn a_misdeed_now_and_then_never_does() {
        let mut scores = Scores::new(Rules::default(), 1000);
        let clumsy = address("192.0.2.1");
        assert!((0..10_000).all(|i| !scores.count(clumsy, Misdeed::Malformed, i * 10_000)));
    }

    #[test]
    fn what_happens_during_a_ban_does_not_make_the_next_one_follow_at_once() {
        let mut scores = Scores::new(Rules::default(), 1000);
        let bad = address("192.0.2.1");
        while !scores.count(bad, Misdeed::Slow, 0) {}
        assert!((0..1000).all(|i| !scores.count(bad, Misdeed::Slow, i * 59)));
        assert!(!scores.count(bad, Misdeed::Slow, 60_000) && !scores.is_banned(bad, 60_001));
    }

    #[test]
    fn an_office_behind_one_address_may_fail_now_and_then() {
        let mut scores = Scores::new(Rules::default(), 1000);
        let office = address("192.0.2.1");
        // Ten a second, for an hour.
        assert!((0..36_000).all(|i| !scores.count(office, Misdeed::Failed, i * 100)));
        // A scanner is quicker.
        assert!((0..36_000).any(|i| scores.count(address("192.0.2.2"), Misdeed::Failed, i * 10)));
    }

    #[test]
    fn one_ipv6_subscriber_is_one_client() {
        let mut scores = Scores::new(Rules::default(), 1000);
        for i in 0..60_u16 {
            scores.count(
                address(&format!("2001:db8:1:2::{i:x}")),
                Misdeed::Malformed,
                0,
            );
        }
        assert!(scores.is_banned(address("2001:db8:1:2:ffff::1"), 0));
        assert!(!scores.is_banned(address("2001:db8:1:3::1"), 0));
    }
}
