//! Owns what a release changed for one route: what its requests cost since the app was loaded anew,
//! beside what they cost before.
//! Leaves which code ran a request to whoever observes, and what is said of it to `rules` and `show`.

use crate::histogram::Histogram;

/// So many requests must have been seen before something counts as usual.
pub const ENOUGH: u64 = 20;
/// What more is meant by «more»: twice as many as ever, and this many beside.
const MARGIN: u32 = 5;

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
    wall: Histogram,
    before: Option<Before>,
}

impl Release {
    /// Counts one request of this release.
    pub fn add(&mut self, queries: u32, wall_us: u64) {
        self.requests += 1;
        self.most_queries = self.most_queries.max(queries);
        self.wall.add(wall_us);
    }

    /// The app was loaded anew. A release that nobody has asked leaves the one before it to compare with.
    pub fn turn(&mut self) {
        if self.requests == 0 {
            return;
        }
        self.before = Some(Before {
            requests: self.requests,
            most_queries: self.most_queries,
            p50_us: self.wall.quantile_us(500),
        });
        (self.requests, self.most_queries) = (0, 0);
        self.wall = Histogram::default();
    }

    /// Requests of this release.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// What was usual before it.
    pub fn before(&self) -> Option<Before> {
        self.before
    }

    /// The wall time of its middle request.
    pub fn p50_us(&self) -> u64 {
        self.wall.quantile_us(500)
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
    fn s4_the_middle_request_is_compared_with_that_of_before() {
        let mut release = Release::default();
        release.add(1, 80_000);
        release.turn();
        release.add(1, 5_000);
        let before = release.before().unwrap();
        assert!(before.p50_us >= 80_000 && release.p50_us() < 10_000);
        assert_eq!(release.requests(), 1);
    }
}
