//! Owns what a release changed for one route: what its requests cost since the app was loaded anew,
//! beside what they cost before.
//! Leaves which code ran a request to whoever observes, and what is said of it to `rules` and `show`.

/// So many requests must have been seen before something counts as usual.
pub const ENOUGH: u64 = 20;
/// So many requests of one release prove that a route asks for less than it ever did.
const MANY: u64 = 1000;
/// What more is meant by «more»: twice as many as ever, and this many beside.
const MARGIN: u32 = 5;

/// Requests of which the middle one is told: the last ones.
const LAST: usize = 15;

/// So many requests on either side have a middle one that says something: the first are slow for other reasons.
const COMPARABLE: u64 = 5;

/// The last requests' wall times in microseconds. A histogram's steps are too wide to say what a change
/// of the code has gained.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    us: [u32; LAST],
    added: usize,
}

impl Last {
    fn add(&mut self, us: u64) {
        if let Some(slot) = self.us.get_mut(self.added % LAST) {
            *slot = u32::try_from(us).unwrap_or(u32::MAX);
        }
        self.added += 1;
    }

    fn middle(&self) -> u64 {
        let mut known: Vec<u32> = self.us.iter().take(self.added).copied().collect();
        known.sort_unstable();
        known.get(known.len() / 2).copied().unwrap_or(0).into()
    }
}

/// What came of what was predicted to be saved in a request of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// What all that was mended in the route was to save.
    pub predicted_us: u64,
    /// By how much the middle request is shorter; below zero where it is longer.
    pub saved_us: i64,
    /// Requests on the side that has fewer.
    of: u64,
}

impl Came {
    /// With `before` what was usual before this release.
    pub fn of(predicted_us: u64, before: &Before, release: &Release) -> Self {
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        Self {
            predicted_us,
            saved_us: signed(before.p50_us) - signed(release.p50_us()),
            of: before.requests.min(release.requests),
        }
    }

    /// What came as a share of what was predicted, in percent; None where nothing was, or of too few requests.
    pub fn percent(&self) -> Option<i64> {
        if self.of < COMPARABLE {
            return None;
        }
        let predicted = i64::try_from(self.predicted_us).ok()?;
        self.saved_us.saturating_mul(100).checked_div(predicted)
    }
}

/// What was usual before the last release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Requests.
    pub requests: u64,
    /// The most statements in one of them.
    pub most_queries: u32,
    /// The wall time of the middle one.
    pub p50_us: u64,
}

/// One route's requests since the last release.
#[derive(Clone, Debug, Default)]
pub struct Release {
    requests: u64,
    most_queries: u32,
    last: Last,
    before: Option<Before>,
    /// What was usual by the end of the last release: what a release of few requests does not change.
    habit: Option<Before>,
}

impl Release {
    /// Counts one request of this release.
    pub fn add(&mut self, queries: u32, wall_us: u64) {
        self.requests += 1;
        self.most_queries = self.most_queries.max(queries);
        self.last.add(wall_us);
    }

    /// The app was loaded anew. A release that nobody has asked leaves the one before it to compare with.
    pub fn turn(&mut self) {
        if self.requests == 0 {
            return;
        }
        self.habit = self.usual();
        self.before = Some(Before {
            requests: self.requests,
            most_queries: self.most_queries,
            p50_us: self.p50_us(),
        });
        (self.requests, self.most_queries) = (0, 0);
        self.last = Last::default();
    }

    /// Requests of this release.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// A release before which this was usual, as another process has told.
    pub fn after(before: Before) -> Self {
        Self {
            before: Some(before),
            habit: (before.requests >= ENOUGH).then_some(before),
            ..Self::default()
        }
    }

    /// What is usual by now, where enough was seen: of this release, or else of those before it. The most queries
    /// that any request has asked are forgotten only when very many have asked for fewer.
    pub fn usual(&self) -> Option<Before> {
        if self.requests < ENOUGH {
            return self.habit;
        }
        let known = self.habit.filter(|_| self.requests < MANY);
        let ever = known.map_or(0, |habit| habit.most_queries);
        Some(Before {
            requests: self.requests,
            most_queries: self.most_queries.max(ever),
            p50_us: self.p50_us(),
        })
    }

    /// What was usual before it.
    pub fn before(&self) -> Option<Before> {
        self.before
    }

    /// The wall time of the middle one of its last requests.
    pub fn p50_us(&self) -> u64 {
        self.last.middle()
    }

    /// The most that was ever asked before, where a request asks for much more than that.
    pub fn exceeded(&self, queries: u32) -> Option<u32> {
        let before = self.before.filter(|before| before.requests >= ENOUGH)?;
        let most = before.most_queries;
        let limit = most.saturating_mul(2).max(most.saturating_add(MARGIN));
        (queries > limit).then_some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_much_more_than_ever_before_is_told_once_enough_was_seen_before() {
        let mut release = Release::default();
        for _ in 0..ENOUGH {
            assert_eq!(release.exceeded(1000), None);
            release.add(4, 10_000);
        }
        release.turn();
        assert_eq!((release.exceeded(9), release.exceeded(10)), (None, Some(4)));
        assert_eq!(release.exceeded(61), Some(4));
        release.add(61, 90_000);
        // Nobody asked this one: the one before it is what is compared with.
        let known = release.before();
        release.turn();
        assert_eq!(release.before().map(|it| it.requests), Some(1));
        release.turn();
        assert_ne!(release.before(), known);
        assert_eq!(release.exceeded(1000), None, "one request is no habit");
    }

    #[test]
    fn s10_what_was_ever_asked_is_kept_until_many_requests_have_asked_for_less() {
        let add = |release: &mut Release, requests: u64, queries: u32| {
            (0..requests).for_each(|_| release.add(queries, 10_000));
        };
        let kept = |release: &Release| release.usual().map(|it| (it.requests, it.most_queries));
        let mut release = Release::after(Before {
            requests: 30,
            most_queries: 61,
            p50_us: 10_000,
        });
        assert_eq!(kept(&release), Some((30, 61)));
        add(&mut release, ENOUGH, 4);
        assert_eq!(kept(&release), Some((ENOUGH, 61)));
        // A reload that few have asked forgets nothing, either.
        release.turn();
        add(&mut release, 1, 4);
        release.turn();
        assert_eq!(kept(&release), Some((ENOUGH, 61)));
        add(&mut release, MANY - 1, 4);
        assert_eq!(kept(&release), Some((MANY - 1, 61)));
        add(&mut release, 1, 4);
        assert_eq!(kept(&release), Some((MANY, 4)));
        // More is believed at once.
        release.turn();
        add(&mut release, ENOUGH, 9);
        assert_eq!(kept(&release), Some((ENOUGH, 9)));
    }

    #[test]
    fn s4_what_came_is_told_as_a_share_of_what_was_predicted() {
        let before = Before {
            requests: 9,
            most_queries: 176,
            p50_us: 200_000,
        };
        let came = |predicted_us: u64, now_us: u64, requests: usize| {
            let mut release = Release::default();
            (0..requests).for_each(|_| release.add(4, now_us));
            Came::of(predicted_us, &before, &release).percent()
        };
        assert_eq!(came(160_000, 48_000, 5), Some(95));
        assert_eq!(came(160_000, 48_000, 4), None);
        assert_eq!(came(100_000, 200_000, 5), Some(0));
        assert_eq!(came(100_000, 250_000, 5), Some(-50));
        assert_eq!(came(0, 100_000, 5), None);
    }

    #[test]
    fn s4_the_middle_request_is_compared_with_that_of_before() {
        let mut release = Release::default();
        release.add(1, 80_000);
        release.turn();
        release.add(1, 5_000);
        let before = release.before().unwrap();
        assert_eq!((before.p50_us, release.p50_us()), (80_000, 5_000));
        assert_eq!(release.requests(), 1);
        // Of thousands the last ones count, and a slow one among them is not the middle.
        for us in (0..2 * LAST as u64).chain([900_000]) {
            release.add(1, 7_000 + us);
        }
        assert_eq!(release.p50_us(), 7_023);
    }
}
