//! Owns sums over the last hour, in parts: twelve of five minutes, or fewer where there are many sums.
//! Leaves what is summed to its callers.

/// Less than this is no ground to speak of an hour.
const LEAST_S: u64 = 60;

/// A sum over the last hour.
#[derive(Clone, Copy, Debug)]
pub struct Window<const PARTS: usize = 12> {
    parts: [u64; PARTS],
    /// The part that was added to last, counted from the start of time.
    newest: u64,
}

impl<const PARTS: usize> Default for Window<PARTS> {
    fn default() -> Self {
        Self {
            parts: [0; PARTS],
            newest: 0,
        }
    }
}

impl<const PARTS: usize> Window<PARTS> {
    const PART_S: u64 = 3600 / PARTS as u64;

    /// Adds at a time.
    pub fn add(&mut self, now_s: u64, amount: u64) {
        self.forget(now_s);
        if let Some(part) = self.parts.get_mut((self.newest % PARTS as u64) as usize) {
            *part = part.saturating_add(amount);
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        let mut other = *other;
        let newest = self.newest.max(other.newest);
        self.forget_to(newest);
        other.forget_to(newest);
        for (sum, part) in self.parts.iter_mut().zip(other.parts) {
            *sum = sum.saturating_add(part);
        }
    }

    fn forget(&mut self, now_s: u64) {
        self.forget_to(now_s / Self::PART_S);
    }

    fn forget_to(&mut self, part: u64) {
        let gone = part.saturating_sub(self.newest).min(PARTS as u64);
        for step in 0..gone {
            if let Some(old) = self.parts.get_mut(((part - step) % PARTS as u64) as usize) {
                *old = 0;
            }
        }
        self.newest = self.newest.max(part);
    }

    /// What was added in the last hour.
    pub fn sum(&self, now_s: u64) -> u64 {
        let mut copy = *self;
        copy.forget(now_s);
        let parts = copy.parts.iter();
        parts.fold(0_u64, |sum, part| sum.saturating_add(*part))
    }

    /// Seconds that [`Window::sum`] speaks of, when counting began at `since_s`: up to an hour.
    pub fn seconds(now_s: u64, since_s: u64) -> u64 {
        // The oldest part is whole, the newest is not: eleven of twelve and a piece.
        let window = (PARTS as u64 - 1) * Self::PART_S + now_s % Self::PART_S + 1;
        let seen = now_s.saturating_sub(since_s);
        seen.clamp(LEAST_S, window.max(LEAST_S))
    }

    /// What an hour comes to, when counting began at `since_s`.
    pub fn per_hour(&self, now_s: u64, since_s: u64) -> u64 {
        let (sum, seen) = (self.sum(now_s), Self::seconds(now_s, since_s));
        (u128::from(sum) * 3600 / u128::from(seen)).min(u128::from(u64::MAX)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_told_from_what_was_seen_and_forgotten_after() {
        let mut window = <Window>::default();
        window.add(1000, 10);
        assert_eq!(window.per_hour(1000, 1000), 600);
        assert_eq!((window.sum(1000), window.sum(1000 + 2 * 3600)), (10, 0));
        window.add(1000 + 1800, 10);
        assert_eq!(window.per_hour(2800, 1000), 40);
        assert_eq!(window.per_hour(1000 + 2 * 3600, 1000), 0);
        let (mut early, mut late) = (<Window>::default(), <Window>::default());
        early.add(1000, 10);
        late.add(2800, 20);
        for (one, other) in [(early, late), (late, early)] {
            let mut both = one;
            both.merge(&other);
            assert_eq!(both.per_hour(2800, 1000), 60);
        }
        window.add(u64::MAX / 2, u64::MAX);
        window.add(u64::MAX / 2, u64::MAX);
        assert_eq!(window.per_hour(u64::MAX / 2, 0), u64::MAX);
    }

    #[test]
    fn a_sum_says_of_how_many_seconds_it_is() {
        let rows = [
            (0, LEAST_S, LEAST_S),
            (1000, 1000, 1000),
            // A new part has just begun, and the oldest is gone.
            (7200, 3301, 2701),
            (7200 + 899, 3600, 3600),
        ];
        for (now_s, twelve, four) in rows {
            let told = (<Window>::seconds(now_s, 0), Window::<4>::seconds(now_s, 0));
            assert_eq!(told, (twelve, four), "{now_s}");
        }
    }
}
