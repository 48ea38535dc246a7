//! Owns sums over the last hour, in parts: twelve of five minutes, or fewer where there are many of them.
//! Leaves what is summed to its callers.

/// Less than this is no ground to speak of an hour.
const LEAST_S: u64 = 60;

/// A sum over the last hour, or several that are added to at the same time: they stand beside each other in
/// memory, and the clock is reckoned with once for all.
#[derive(Clone, Copy, Debug)]
pub struct Window<const PARTS: usize = 12, const SUMS: usize = 1> {
    parts: [[u64; SUMS]; PARTS],
    /// The part that was added to last, counted from the start of time.
    newest: u64,
}

impl<const PARTS: usize, const SUMS: usize> Default for Window<PARTS, SUMS> {
    fn default() -> Self {
        Self {
            parts: [[0; SUMS]; PARTS],
            newest: 0,
        }
    }
}

impl<const PARTS: usize, const SUMS: usize> Window<PARTS, SUMS> {
    const PART_S: u64 = 3600 / PARTS as u64;

    /// Adds to each at a time.
    pub fn add_each(&mut self, now_s: u64, amounts: &[u64; SUMS]) {
        self.forget(now_s);
        if let Some(part) = self.parts.get_mut((self.newest % PARTS as u64) as usize) {
            add(part, amounts);
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        let mut other = *other;
        let newest = self.newest.max(other.newest);
        self.forget_to(newest);
        other.forget_to(newest);
        for (sums, part) in self.parts.iter_mut().zip(&other.parts) {
            add(sums, part);
        }
    }

    fn forget(&mut self, now_s: u64) {
        self.forget_to(now_s / Self::PART_S);
    }

    fn forget_to(&mut self, part: u64) {
        let gone = part.saturating_sub(self.newest).min(PARTS as u64);
        for step in 0..gone {
            if let Some(old) = self.parts.get_mut(((part - step) % PARTS as u64) as usize) {
                *old = [0; SUMS];
            }
        }
        self.newest = self.newest.max(part);
    }

    /// What was added to each in the last hour.
    pub fn sums(&self, now_s: u64) -> [u64; SUMS] {
        let mut copy = *self;
        copy.forget(now_s);
        let mut all = [0; SUMS];
        for part in &copy.parts {
            add(&mut all, part);
        }
        all
    }

    /// Seconds that [`Window::sum`] speaks of, when counting began at `since_s`: up to an hour.
    pub fn seconds(now_s: u64, since_s: u64) -> u64 {
        // The oldest part is whole, the newest is not: eleven of twelve and a piece.
        let window = (PARTS as u64 - 1) * Self::PART_S + now_s % Self::PART_S + 1;
        let seen = now_s.saturating_sub(since_s);
        seen.clamp(LEAST_S, window.max(LEAST_S))
    }
}

impl<const PARTS: usize> Window<PARTS> {
    /// Adds at a time.
    pub fn add(&mut self, now_s: u64, amount: u64) {
        self.add_each(now_s, &[amount]);
    }

    /// What was added in the last hour.
    pub fn sum(&self, now_s: u64) -> u64 {
        let [sum] = self.sums(now_s);
        sum
    }

    /// What an hour comes to, when counting began at `since_s`.
    pub fn per_hour(&self, now_s: u64, since_s: u64) -> u64 {
        let (sum, seen) = (self.sum(now_s), Self::seconds(now_s, since_s));
        (u128::from(sum) * 3600 / u128::from(seen)).min(u128::from(u64::MAX)) as u64
    }
}

fn add<const SUMS: usize>(sums: &mut [u64; SUMS], amounts: &[u64; SUMS]) {
    for (sum, amount) in sums.iter_mut().zip(amounts) {
        *sum = sum.saturating_add(*amount);
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
    fn several_sums_are_those_that_each_would_have_alone() {
        let mut both = Window::<12, 2>::default();
        let mut each = [<Window>::default(); 2];
        for (now_s, amounts) in [(10, [1, u64::MAX]), (2000, [2, 5]), (4000, [3, 7])] {
            both.add_each(now_s, &amounts);
            for (window, amount) in each.iter_mut().zip(amounts) {
                window.add(now_s, amount);
            }
            assert_eq!(both.sums(now_s), each.map(|window| window.sum(now_s)));
        }
        assert_eq!(both.sums(4000), [5, 12]);
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
