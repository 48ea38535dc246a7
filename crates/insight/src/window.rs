//! Owns sums over the last hour, in twelve parts of five minutes.
//! Leaves what is summed to its callers.

const PARTS: usize = 12;
const PART_S: u64 = 300;
/// Less than this is no ground to speak of an hour.
const LEAST_S: u64 = 60;

/// A sum over the last hour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    parts: [u64; PARTS],
    /// The part that was added to last, counted from the start of time.
    newest: u64,
}

impl Window {
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
        self.forget_to(now_s / PART_S);
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

    /// What an hour comes to, when counting began at `since_s`.
    pub fn per_hour(&self, now_s: u64, since_s: u64) -> u64 {
        let mut copy = *self;
        copy.forget(now_s);
        let sum = copy
            .parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(*part));
        // The oldest part is whole, the newest is not: eleven and a piece.
        let window = (PARTS as u64 - 1) * PART_S + now_s % PART_S + 1;
        let seen = now_s
            .saturating_sub(since_s)
            .clamp(LEAST_S, window.max(LEAST_S));
        (u128::from(sum) * 3600 / u128::from(seen)).min(u128::from(u64::MAX)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_told_from_what_was_seen_and_forgotten_after() {
        let mut window = Window::default();
        window.add(1000, 10);
        assert_eq!(window.per_hour(1000, 1000), 600);
        window.add(1000 + 1800, 10);
        assert_eq!(window.per_hour(2800, 1000), 40);
        assert_eq!(window.per_hour(1000 + 2 * 3600, 1000), 0);
        let (mut early, mut late) = (Window::default(), Window::default());
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
}
