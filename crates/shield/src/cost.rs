//! Owns what requests are expected to cost, from what those like them have cost: of the same path, or
//! where nothing is known of that, from the same client; and in which order those that wait go by it.
//! Leaves measuring, and the queue itself, to the dispatch.
//!
//! A request's class is the order of magnitude of its cost. Classes that wait share the workers' time
//! evenly (start-time fair queueing), so what is cheap need not wait behind what is dear, however
//! much of that has come before, and what is dear goes on beside any flood of what is cheap.

/// Expected cost, as a power of two of milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(u8);

/// How many there are: less than a millisecond, and one for each doubling, up to half a second.
pub const CLASSES: usize = 10;

impl Class {
    /// All, the cheapest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..CLASSES as u8).map(Self)
    }

    /// Its place among all.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Whether it is worth some work not to have the other wait behind it: more than twice as dear.
    #[must_use]
    pub fn is_far_above(self, other: Self) -> bool {
        self.0 > other.0 + 1
    }

    fn of(us: u32) -> Self {
        let doublings = u32::BITS - (us / 1000).leading_zeros();
        Self(doublings.min(CLASSES as u32 - 1) as u8)
    }

    /// What one of it takes, in microseconds.
    fn us(self) -> u64 {
        500 << self.0
    }
}

/// Requests of one kind, as a number that says nothing of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    path: u64,
    client: u64,
}

/// Places for paths, and for clients. Who falls on another's place takes it.
const PLACES: usize = 4096;

/// What requests have cost.
#[derive(Debug)]
pub struct Costs {
    seed: u64,
    paths: Vec<Place>,
    clients: Vec<Place>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The rest of the number whose place it is; 0 for nobody's.
    tag: u32,
    us: u32,
}

impl Costs {
    /// Nothing is known; `seed` is a secret, so that nobody can choose a path that shares another's place.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            paths: vec![Place::default(); PLACES],
            clients: vec![Place::default(); PLACES],
        }
    }

    /// The kind of a request for this path by this client.
    #[must_use]
    pub fn kind(&self, path: &[u8], client: &[u8]) -> Kind {
        Kind {
            path: mixed(path, self.seed),
            client: mixed(client, self.seed),
        }
    }

    /// What such a request is expected to cost. Of whom nothing is known, nothing bad is thought.
    #[must_use]
    pub fn class(&self, kind: Kind) -> Class {
        let known = known(&self.paths, kind.path).or_else(|| known(&self.clients, kind.client));
        Class::of(known.unwrap_or_default())
    }

    /// Such a request has taken so many microseconds of a worker.
    pub fn learn(&mut self, kind: Kind, us: u32) {
        // A machine that is busy elsewhere makes what is cheap look dear for a moment, never the reverse.
        learn(&mut self.paths, kind.path, us, 2);
        learn(&mut self.clients, kind.client, us, 8);
    }
}

fn known(places: &[Place], number: u64) -> Option<u32> {
    let place = places.get(number as usize % PLACES)?;
    (place.tag == tag(number)).then_some(place.us)
}

/// The mean of late, of which what is less takes a share of one in `down`, and what is more one in
/// eight, and never more than doubles it.
fn learn(places: &mut [Place], number: u64, us: u32, down: u32) {
    let Some(place) = places.get_mut(number as usize % PLACES) else {
        return;
    };
    if place.tag != tag(number) {
        let tag = tag(number);
        *place = Place { tag, us };
    } else if us < place.us {
        place.us -= (place.us - us).div_ceil(down);
    } else {
        let most = place.us.saturating_mul(8).max(1000);
        place.us += (us.min(most).saturating_sub(place.us)).div_ceil(8);
    }
}

/// Never 0.
fn tag(number: u64) -> u32 {
    (number >> 32) as u32 | 1
}

/// A number for bytes that only who knows the seed can foretell; quick, and no more than that.
fn mixed(bytes: &[u8], seed: u64) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |state: u64, word: u64| {
        let wide = u128::from(state ^ word) * u128::from(ODD ^ seed.rotate_left(17));
        (wide as u64) ^ (wide >> 64) as u64
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(seed ^ bytes.len() as u64, |state, word| {
        fold(state, u64::from_le_bytes(*word))
    });
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(state, u64::from_le_bytes(last)), ODD)
}

/// Whose turn it is among the classes that wait.
#[derive(Debug, Default)]
pub struct Turns {
    /// The time each has had, on a clock that goes on with whoever is served.
    had: [u64; CLASSES],
    now: u64,
}

impl Turns {
    /// A class of which none waited has one that waits: what it left unused is no credit.
    pub fn begins(&mut self, class: Class) {
        if let Some(had) = self.had.get_mut(class.index()) {
            *had = (*had).max(self.now);
        }
    }

    /// One of the class is served.
    pub fn served(&mut self, class: Class) {
        if let Some(had) = self.had.get_mut(class.index()) {
            self.now = self.now.max(*had);
            *had += class.us();
        }
    }

    /// Whose turn it is of those for which `waits`: who has had least, and of these the cheapest.
    pub fn next(&self, waits: impl Fn(Class) -> bool) -> Option<Class> {
        let mut next = None;
        let mut least = u64::MAX;
        for (class, had) in Class::all().zip(self.had) {
            if had < least && waits(class) {
                (next, least) = (Some(class), had);
            }
        }
        next
    }

    /// How many go before one more of `class`, of `waiting` in each: all of its own, and of every other
    /// as many as take the same time.
    #[must_use]
    pub fn before(&self, class: Class, waiting: impl Fn(Class) -> usize) -> usize {
        let own = waiting(class);
        if own == 0 {
            return 0;
        }
        let time = own << class.0;
        let others = Class::all().filter(|other| *other != class);
        let others = others.map(|other| waiting(other).min(time >> other.0));
        own + others.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_after(costs: &[u32]) -> Class {
        let mut learned = Costs::new(7);
        let kind = learned.kind(b"/", b"192.0.2.1");
        for us in costs {
            learned.learn(kind, *us);
        }
        learned.class(kind)
    }

    #[test]
    fn a_class_is_the_order_of_magnitude_of_what_was_learned() {
        assert_eq!(class_after(&[]), Class(0));
        assert_eq!(class_after(&[999]), Class(0));
        assert_eq!(class_after(&[1000]), Class(1));
        assert_eq!(class_after(&[5000]), Class(3));
        assert_eq!(class_after(&[u32::MAX]), Class(9));
    }

    #[test]
    fn a_moment_in_which_the_machine_was_busy_does_not_make_a_page_dear() {
        assert_eq!(class_after(&[150, 900_000]), Class(0));
        assert_eq!(
            class_after(&[150, 900_000, 200, 900_000, 200, 150]),
            Class(0)
        );
        let always_dear: Vec<_> = std::iter::once(150).chain([8000; 64]).collect();
        assert!(class_after(&always_dear) >= Class(3));
    }

    #[test]
    fn of_a_path_that_is_new_its_client_tells() {
        let mut costs = Costs::new(7);
        let attacker = b"192.0.2.1";
        for number in 0..20_u8 {
            let kind = costs.kind(&[b'/', number], attacker);
            costs.learn(kind, 9000);
        }
        assert_eq!(costs.class(costs.kind(b"/new", attacker)), Class(4));
        assert_eq!(costs.class(costs.kind(b"/new", b"192.0.2.2")), Class(0));
        let known = costs.kind(b"/", b"192.0.2.2");
        costs.learn(known, 200);
        assert_eq!(costs.class(costs.kind(b"/", attacker)), Class(0));
    }

    #[test]
    fn kinds_differ_by_each_byte_and_by_the_seed() {
        let costs = Costs::new(1);
        let paths: [&[u8]; 6] = [b"", b"/", b"/a", b"/b", b"/12345678", b"/12345678\0"];
        let mut numbers: Vec<_> = paths.map(|path| costs.kind(path, b"").path).to_vec();
        numbers.push(Costs::new(2).kind(b"/", b"").path);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 7);
    }

    /// Serves what waits for as many turns; how many of each class were served.
    fn served(turns: &mut Turns, waiting: &mut [usize; CLASSES], count: usize) -> Vec<usize> {
        let mut order = Vec::new();
        for _ in 0..count {
            let Some(class) = turns.next(|class| waiting[class.index()] > 0) else {
                break;
            };
            waiting[class.index()] -= 1;
            turns.served(class);
            order.push(class.index());
        }
        order
    }

    #[test]
    fn what_is_cheap_goes_before_all_that_is_dear() {
        let (mut turns, mut waiting) = (Turns::default(), [0; CLASSES]);
        waiting[4] = 2000;
        turns.begins(Class(4));
        served(&mut turns, &mut waiting, 100);
        waiting[0] = 3;
        turns.begins(Class(0));
        assert_eq!(served(&mut turns, &mut waiting, 5), [0, 0, 0, 4, 4]);
        assert_eq!(turns.before(Class(0), |class| waiting[class.index()]), 0);
        assert_eq!(turns.before(Class(4), |class| waiting[class.index()]), 1898);
    }

    #[test]
    fn what_is_dear_has_its_share_of_the_time_beside_a_flood_of_what_is_cheap() {
        let (mut turns, mut waiting) = (Turns::default(), [0; CLASSES]);
        waiting[0] = 100_000;
        turns.begins(Class(0));
        served(&mut turns, &mut waiting, 1000);
        waiting[4] = 1000;
        turns.begins(Class(4));
        let order = served(&mut turns, &mut waiting, 160);
        let dear = order.iter().filter(|class| **class == 4).count();
        assert!((9..=10).contains(&dear), "{dear}");
    }
}
