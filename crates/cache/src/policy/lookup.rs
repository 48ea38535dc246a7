//! Serving from the store: owns what to do with a request and what was found for it
//! (RFC 9111, sections 4 and 5.2.1).

use canter_http::Method;

use super::Asked;
use crate::directives::RequestControl;
use crate::life::Life;
use crate::lines::Lines;
use crate::reason::Reason;
use crate::rule::{Mode, Rule, Settings};
use crate::time::Time;

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Serve what was found.
    Hit {
        /// For how many seconds it is fresh; negative when it is stale.
        ttl: i64,
        /// It is stale: get another in the background, unless somebody does.
        refresh: bool,
    },
    /// Ask the app, with the validators of what was found.
    Validate(Forward),
    /// Ask the app, and keep the answer if it may be kept.
    Miss(Forward),
    /// Ask the app, and keep and share nothing.
    Bypass(Reason),
    /// Answer 504: the client wants a stored response only (section 5.2.1.7).
    Unavailable,
}

/// Why the app is asked, in the words of RFC 9211, section 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// The method's semantics want it.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// Something is stored for the URL, and nothing for what the request varies on.
    VaryMiss,
    /// What is stored is stale.
    Stale,
    /// The client wants it.
    Request,
    /// The cache was not to be asked.
    Bypass,
}

impl Forward {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Bypass => "bypass",
        }
    }
}

/// Decides about a request. `found` is the life of what the store has for it; `knows_url` says that
/// it has something for the URL at least.
pub fn lookup<L: Lines + ?Sized>(
    asked: &Asked<'_, L>,
    found: Option<&Life>,
    knows_url: bool,
    rule: Option<&Rule>,
    settings: &Settings,
    now: Time,
) -> Lookup {
    if let Some(reason) = bypasses(asked, rule) {
        return Lookup::Bypass(reason);
    }
    let control = RequestControl::of(asked.lines);
    if settings.obey_clients && control.no_store {
        return Lookup::Bypass(Reason::RequestNoStore);
    }
    let Some(life) = found else {
        return if control.only_if_cached {
            Lookup::Unavailable
        } else if knows_url {
            Lookup::Miss(Forward::VaryMiss)
        } else {
            Lookup::Miss(Forward::UriMiss)
        };
    };
    if asked.is_authorized() && !life.allows_authorized {
        return Lookup::Bypass(Reason::Authorization);
    }
    let decision = if settings.obey_clients {
        obedient(life, control, now)
    } else {
        plain(life, now)
    };
    match decision {
        Lookup::Validate(_) if control.only_if_cached => Lookup::Unavailable,
        decision => decision,
    }
}

/// What keeps a request out of the cache, both ways.
fn bypasses<L: Lines + ?Sized>(asked: &Asked<'_, L>, rule: Option<&Rule>) -> Option<Reason> {
    if !matches!(asked.method, Method::Get | Method::Head) {
        Some(Reason::Method)
    } else if asked.has_body {
        Some(Reason::RequestBody)
    } else if asked.wants_upgrade {
        Some(Reason::Upgrade)
    } else if rule.is_some_and(|rule| rule.mode == Mode::Bypass) {
        Some(Reason::RuleBypass)
    } else if asked.is_personal {
        Some(Reason::SessionCookie)
    } else {
        None
    }
}

fn plain(life: &Life, now: Time) -> Lookup {
    let ttl = life.ttl(now);
    if life.is_fresh(now) {
        Lookup::Hit {
            ttl,
            refresh: false,
        }
    } else if life.is_backing_off(now) && life.may_serve_on_error(now) {
        // The app has just failed; nobody waits to see it fail again.
        Lookup::Hit {
            ttl,
            refresh: false,
        }
    } else if life.may_serve_while_revalidating(now) {
        Lookup::Hit { ttl, refresh: true }
    } else {
        Lookup::Validate(Forward::Stale)
    }
}

/// With what the client says counted in.
fn obedient(life: &Life, control: RequestControl, now: Time) -> Lookup {
    let ttl = life.ttl(now);
    let too_old = control.max_age.is_some_and(|most| life.age(now) > most)
        || control.max_age == Some(0)
        || control
            .min_fresh
            .is_some_and(|least| ttl < i64::from(least));
    if control.no_cache || too_old {
        return Lookup::Validate(Forward::Request);
    }
    let tolerated = control
        .max_stale
        .is_some_and(|most| !life.invalidated && life.may_serve_stale(now, most));
    match plain(life, now) {
        Lookup::Validate(_) if tolerated => Lookup::Hit {
            ttl,
            refresh: false,
        },
        decision => decision,
    }
}

/// How the app failed to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// With this status.
    Status(u16),
    /// Not at all: it crashed, took too long, or is not there during a deploy.
    NoAnswer,
}

/// Whether what is stored is served in place of a failure (RFC 9111, section 4.2.4; RFC 5861,
/// section 4).
pub fn on_failure(life: &Life, lost: Lost, now: Time) -> bool {
    let counts = match lost {
        Lost::Status(status) => matches!(status, 500 | 502..=504),
        Lost::NoAnswer => true,
    };
    counts && life.may_serve_on_error(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_what_was_made_wrong_is_confirmed_first_and_stands_in_for_failures() {
        let soft = Life {
            lifetime: 60,
            while_revalidate: 600,
            if_error: 600,
            expired: true,
            ..Life::default()
        };
        let wrong = Life {
            invalidated: true,
            ..soft
        };
        let now = Time::from_seconds(1);
        assert_eq!(
            plain(&soft, now),
            Lookup::Hit {
                ttl: 0,
                refresh: true
            }
        );
        assert_eq!(plain(&wrong, now), Lookup::Validate(Forward::Stale));
        assert!(on_failure(&wrong, Lost::NoAnswer, now));
    }
}
