//! How long a stored response is fresh, and how long it may be served stale (RFC 9111, section 4.2;
//! RFC 5861): owns that arithmetic. Deciding what it means for a request is left to
//! [`crate::policy`].

use canter_http::date::parse_date;

use crate::lines::{Field, Lines};
use crate::text::{MOST_SECONDS, elements, seconds};
use crate::time::Time;

/// What is known of a stored response's age and future. Small, so that it lies beside the entry and
/// changes without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Life {
    /// When the response came.
    pub received: Time,
    /// How old it was then, in seconds (section 4.2.3).
    pub initial_age: u32,
    /// For how long it is fresh, counted from age zero, in seconds.
    pub lifetime: u32,
    /// For how long after that it may be served while another is got.
    pub while_revalidate: u32,
    /// For how long after that it may be served when the app fails.
    pub if_error: u32,
    /// Stale copies must not be served, whatever happens.
    pub never_stale: bool,
    /// It must be validated each time.
    pub always_validate: bool,
    /// It may be given to requests with Authorization.
    pub allows_authorized: bool,
    /// A page rule decided about it, not the app.
    pub by_rule: bool,
    /// It was declared stale before its time, by a soft purge.
    pub expired: bool,
    /// An unsafe request made it wrong (RFC 9111, section 4.4): it is served only once the app has
    /// confirmed it, or when that fails.
    pub invalidated: bool,
    /// [`crate::Store::age`] declared it stale: what lies below memory is as old.
    pub aged: bool,
    /// How often getting another has failed, one time after the other.
    pub failures: u8,
    /// When that may be tried again.
    pub retry_at: Time,
}

impl Life {
    /// Its age in seconds, as `Age` says it.
    pub fn age(&self, now: Time) -> u32 {
        let resident = u32::try_from(now.seconds_since(self.received)).unwrap_or(MOST_SECONDS);
        self.initial_age.saturating_add(resident).min(MOST_SECONDS)
    }

    /// For how many seconds it is still fresh; negative when it is stale.
    pub fn ttl(&self, now: Time) -> i64 {
        let ttl = i64::from(self.lifetime) - i64::from(self.age(now));
        if self.expired || self.always_validate {
            ttl.min(0)
        } else {
            ttl
        }
    }

    /// Whether it is fresh (section 4.2).
    pub fn is_fresh(&self, now: Time) -> bool {
        self.ttl(now) > 0
    }

    /// Whether it may be served while another is got (RFC 5861, section 3).
    pub fn may_serve_while_revalidating(&self, now: Time) -> bool {
        !self.invalidated && self.may_serve_stale(now, self.while_revalidate)
    }

    /// Whether it may be served because the app failed (RFC 5861, section 4).
    pub fn may_serve_on_error(&self, now: Time) -> bool {
        self.is_fresh(now) || self.may_serve_stale(now, self.if_error.max(self.while_revalidate))
    }

    /// Whether it may be served at most so many seconds after it went stale.
    pub fn may_serve_stale(&self, now: Time, window: u32) -> bool {
        !self.never_stale
            && !self.always_validate
            && -self.ttl(now) <= i64::from(window)
            && window > 0
    }

    /// Takes note that getting another failed: the next try is a second later, then two, four, and
    /// so on up to a minute.
    pub fn back_off(&mut self, now: Time) {
        let wait = 1_u64 << self.failures.min(6);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.plus_seconds(wait.min(60));
    }

    /// Whether getting another failed so shortly ago that it is not tried again.
    pub fn is_backing_off(&self, now: Time) -> bool {
        self.failures > 0 && now < self.retry_at
    }

    /// When nothing can be done with it any more but validating it.
    pub fn useless_from(&self) -> Time {
        let stale = if self.never_stale {
            0
        } else {
            self.while_revalidate.max(self.if_error)
        };
        let rest = self.lifetime.saturating_sub(self.initial_age);
        self.received
            .plus_seconds(u64::from(rest) + u64::from(stale))
    }
}

/// How old a response was when it came (section 4.2.3). A field that cannot be read says nothing;
/// of several values the first counts (section 5.1).
pub fn initial_age(fields: &[Field<'_>], asked: Time, received: Time) -> u32 {
    let stated = fields.values("age").flat_map(elements).next();
    let stated = stated.and_then(seconds).unwrap_or(0);
    let delay = u32::try_from(received.seconds_since(asked)).unwrap_or(MOST_SECONDS);
    let apparent = date(fields, "date", received).map_or(0, |date| {
        let since = received.seconds().saturating_sub(date);
        u32::try_from(since).unwrap_or(MOST_SECONDS)
    });
    apparent.max(stated.saturating_add(delay)).min(MOST_SECONDS)
}

/// The lifetime that Expires gives, zero when it cannot be read or there are several (section 5.3);
/// None without the field.
pub fn expires(fields: &[Field<'_>], received: Time) -> Option<u32> {
    let mut values = fields.values("expires");
    let expires = values.next()?;
    if values.next().is_some_and(|other| other != expires) {
        return Some(0);
    }
    let date = date(fields, "date", received).unwrap_or(received.seconds());
    let until = lenient_date(expires, received).unwrap_or(0);
    let lifetime = u32::try_from(until.saturating_sub(date)).unwrap_or(MOST_SECONDS);
    Some(lifetime.min(MOST_SECONDS))
}

/// A tenth of the time since it was last changed (section 4.2.2).
pub fn heuristic(fields: &[Field<'_>], received: Time) -> Option<u32> {
    const A_WEEK: u64 = 7 * 86_400;
    let modified = date(fields, "last-modified", received)?;
    let date = date(fields, "date", received).unwrap_or(received.seconds());
    let tenth = date.saturating_sub(modified) / 10;
    u32::try_from(tenth.min(A_WEEK)).ok()
}

/// The date of a field, in seconds since 1970.
pub fn date(fields: &[Field<'_>], name: &str, now: Time) -> Option<u64> {
    lenient_date(fields.value_of(name)?, now)
}

/// Names of days and months, and the zone, in any case: some write them in their own.
fn lenient_date(text: &[u8], now: Time) -> Option<u64> {
    if text.len() > 40 {
        return None;
    }
    let mut proper = text.to_ascii_lowercase();
    let mut begins = true;
    for byte in &mut proper {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = !byte.is_ascii_alphabetic();
    }
    if let Some(zone) = proper
        .len()
        .checked_sub(3)
        .and_then(|at| proper.get_mut(at..))
        && zone == b"Gmt"
    {
        zone.make_ascii_uppercase();
    }
    parse_date(&proper, now.seconds())
}
