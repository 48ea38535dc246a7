//! Owns the choice between looking up where in the app a statement was asked for, which walks its
//! frames, and taking the place it always had.
//! Leaves walking to `hook`, and what is counted there to `request`.
//!
//! A view asks for a statement at one place nearly always. Once all look-ups in [`SURE`] requests have
//! agreed, one in [`RARELY`] is made; the first that disagrees ends this for good. Until then a place may be wrong,
//! so nothing that a finding could follow from is told of a place that was only taken ([`Habit::may_list`]).
//! A statement of which there was something to tell is looked up from then on: the finding comes from the next
//! requests, and follows the statement when it moves.

/// Requests whose look-ups all have to agree.
const SURE: u32 = 32;
/// Then one in so many is made.
const RARELY: u32 = 16;
/// Times that a statement's place is looked up in a request; from then on once in [`RARELY`].
const EACH: u32 = 8;

/// Where in the app's code a statement was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Spot {
    /// None of it was among the frames.
    #[default]
    Nowhere,
    /// A line, with the number of its code object in `tables`.
    Line { code: u64, line: i32 },
}

impl Spot {
    /// Code object and line, if there is one.
    pub fn line(self) -> Option<(u64, i32)> {
        match self {
            Self::Nowhere => None,
            Self::Line { code, line } => Some((code, line)),
        }
    }
}

/// Where the place of a statement comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The frames are to be walked.
    Frames,
    /// It is where this view always asks for it.
    Habit(Spot),
    /// It is where this request asked for it last.
    Last,
}

/// Where a view asks for a statement.
#[derive(Debug, Default)]
pub(crate) struct Habit {
    spot: Option<Spot>,
    /// Requests in which it was looked up.
    requests: u32,
    asked: u32,
    is_mixed: bool,
    /// There was something to tell from which a finding follows.
    is_listed: bool,
}

impl Habit {
    /// `times` is how often this request has asked for the statement before.
    pub fn source(&mut self, times: u32) -> Source {
        if let Some(spot) = self.spot
            && self.is_settled()
        {
            self.asked = self.asked.wrapping_add(1);
            if !self.asked.is_multiple_of(RARELY) {
                return Source::Habit(spot);
            }
            return Source::Frames;
        }
        if times < EACH || times.is_multiple_of(RARELY) {
            Source::Frames
        } else {
            Source::Last
        }
    }

    fn is_settled(&self) -> bool {
        self.requests >= SURE && !self.is_mixed && !self.is_listed
    }

    /// The frames were walked, for a statement that this request has asked for `times` times before.
    pub fn saw(&mut self, spot: Spot, times: u32) {
        self.is_mixed |= self.spot.is_some_and(|other| other != spot);
        self.spot = Some(spot);
        if times == 0 {
            self.requests = self.requests.saturating_add(1);
        }
    }

    /// Something is to be told from which a finding follows: whether it may. Not where `is_taken`, its
    /// place was not looked up.
    pub fn may_list(&mut self, is_taken: bool) -> bool {
        self.is_listed = true;
        !is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Spot = Spot::Line { code: 1, line: 4 };
    const THERE: Spot = Spot::Line { code: 1, line: 9 };

    fn sure() -> Habit {
        let mut habit = Habit::default();
        for _ in 0..SURE {
            assert_eq!(habit.source(0), Source::Frames);
            habit.saw(HERE, 0);
        }
        habit
    }

    #[test]
    fn c11_a_place_that_was_always_the_same_is_looked_up_once_in_sixteen() {
        let mut habit = sure();
        let looked = (0..160)
            .filter(|_| match habit.source(0) {
                Source::Frames => {
                    habit.saw(HERE, 0);
                    true
                }
                source => {
                    assert_eq!(source, Source::Habit(HERE));
                    false
                }
            })
            .count();
        assert_eq!(looked, 10);
    }

    #[test]
    fn c11_one_request_however_long_settles_nothing() {
        let mut habit = Habit::default();
        let looked = (0..160).filter(|&times| {
            let source = habit.source(times);
            assert_ne!(source, Source::Habit(HERE));
            if source == Source::Frames {
                habit.saw(HERE, times);
            }
            source == Source::Frames
        });
        assert_eq!(looked.count(), 8 + 9);
    }

    #[test]
    fn c11_the_first_look_up_that_disagrees_ends_taking_it_for_good() {
        let mut habit = sure();
        while habit.source(0) != Source::Frames {}
        habit.saw(THERE, 0);
        for _ in 0..100 {
            assert_eq!(habit.source(0), Source::Frames);
            habit.saw(HERE, 0);
        }
        // In a request that asks again and again, look-ups are as rare as ever.
        let looked = (0..160).filter(|&times| habit.source(times) == Source::Frames);
        assert_eq!(looked.count(), 8 + 9);
    }

    #[test]
    fn c11_no_finding_is_born_of_a_place_that_was_only_taken() {
        let mut habit = sure();
        assert!(!habit.may_list(true));
        // However rare the requests are in which it shows.
        for _ in 0..10 * SURE {
            assert_eq!(habit.source(0), Source::Frames);
            habit.saw(HERE, 0);
        }
        assert!(habit.may_list(false));
        // It may move.
        assert_eq!(habit.source(0), Source::Frames);
    }

    #[test]
    fn c11_what_was_told_before_it_was_sure_is_never_taken() {
        let mut habit = Habit::default();
        assert!(habit.may_list(false));
        for _ in 0..10 * SURE {
            assert_eq!(habit.source(0), Source::Frames);
            habit.saw(HERE, 0);
        }
    }
}
