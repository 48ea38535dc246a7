//! Owns what a process remembers across requests: habits, whose code is whose, the names of places,
//! and which texts the front knows. All of it is bounded; what is forgotten is found out again.
//! Leaves finding out to `hook`.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::placing::{Habit, Spot};

/// Statements and views whose name is kept; then they are forgotten and told again.
pub(super) const MOST_KNOWN: usize = 512;
/// Bytes of the statements' texts, all together.
const MOST_BYTES: usize = 1 << 20;
/// After so long everything is told once more.
const ROUND: Duration = Duration::from_secs(300);
const MOST_CODES: usize = 10_000;
const MOST_TOLD: usize = 4 * MOST_KNOWN;

/// View and statement, by address. Both are kept alive as long as their habit is.
pub(super) type HabitKey = (usize, usize);

/// Whose a code object is; `App` says what is known of the app's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<App = ()> {
    Library,
    App(App),
    /// Django's, where it hands a request on, from middleware to middleware, and to the view: what is further out
    /// asked for nothing in it.
    Handler,
}

#[derive(Default)]
pub(crate) struct Tables {
    habits: HashMap<HabitKey, Habit>,
    views: HashMap<usize, Py<PyAny>>,
    /// Code objects by address, those of the app's own with their numbers.
    codes: HashMap<usize, (Py<PyAny>, Whose<u64>)>,
    /// The addresses of the app's own, by number. A number is never given twice, so that what somebody has
    /// noted before all was forgotten means no other code.
    numbers: HashMap<u64, usize>,
    last_number: u64,
    /// By spot, and by view where it is in no code of the app's own: the name, and whether the code or else the
    /// view is the app's own.
    places: HashMap<(Spot, usize), (u64, bool)>,
    told: HashSet<u64>,
    /// Counts up; what was told in an earlier one is told again, for the front may have forgotten it.
    round: u32,
    since: Option<Instant>,
    /// Bytes of the statements that are kept.
    bytes: usize,
}

impl Tables {
    pub fn habit(&mut self, key: HabitKey) -> &mut Habit {
        if self.habits.len() >= 8 * MOST_KNOWN {
            self.habits.clear();
        }
        self.habits.entry(key).or_default()
    }

    /// Whether one more statement of so many bytes may be kept beside `count` others; where not, all are to be
    /// forgotten first, as their habits are here.
    pub fn has_room(&mut self, count: usize, bytes: usize) -> bool {
        let has_room = count < MOST_KNOWN && self.bytes + bytes <= MOST_BYTES;
        if !has_room {
            self.habits.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        has_room
    }

    /// The round of what is told at this moment, and whether it has begun just now.
    pub fn round(&mut self, now: Instant) -> (u32, bool) {
        let is_over = self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= ROUND);
        if is_over {
            self.since = Some(now);
            self.round = self.round.wrapping_add(1).max(1);
            self.told.clear();
            self.places.clear();
        }
        (self.round, is_over)
    }

    /// Keeps a view, so that its address means it. What is answered is to be dropped by who holds no
    /// lock.
    pub fn keep_view(&mut self, address: usize, view: Py<PyAny>) -> HashMap<usize, Py<PyAny>> {
        let mut forgotten = HashMap::new();
        if self.views.len() >= MOST_KNOWN && !self.views.contains_key(&address) {
            forgotten = std::mem::take(&mut self.views);
            self.habits.clear();
            self.places.clear();
        }
        if let Some(same) = self.views.insert(address, view) {
            forgotten.insert(address, same);
        }
        forgotten
    }

    /// Whose a code object that lives is, and the number of the app's own, if it is known.
    pub fn whose(&self, address: usize) -> Option<Whose<u64>> {
        self.codes.get(&address).map(|(_, whose)| *whose)
    }

    /// Keeps a code object, so that its address means it; one of the app's own gets a number. Answers, too, what is
    /// forgotten as in [`Tables::keep_view`].
    pub fn keep_code(
        &mut self,
        address: usize,
        code: Py<PyAny>,
        whose: Whose,
    ) -> (Whose<u64>, Vec<Py<PyAny>>) {
        if let Some(known) = self.whose(address) {
            // Another thread was faster.
            return (known, vec![code]);
        }
        let mut forgotten = Vec::new();
        if self.codes.len() >= MOST_CODES {
            forgotten.extend(self.codes.drain().map(|(_, (code, _))| code));
            self.numbers.clear();
            self.habits.clear();
            self.places.clear();
        }
        let known = match whose {
            Whose::Library => Whose::Library,
            Whose::Handler => Whose::Handler,
            Whose::App(()) => {
                self.last_number += 1;
                self.numbers.insert(self.last_number, address);
                Whose::App(self.last_number)
            }
        };
        self.codes.insert(address, (code, known));
        (known, forgotten)
    }

    /// The code object of this number, unless it is forgotten.
    pub fn code(&self, py: Python<'_>, number: u64) -> Option<Py<PyAny>> {
        let (code, _) = self.codes.get(self.numbers.get(&number)?)?;
        Some(code.clone_ref(py))
    }

    pub fn place(&self, key: (Spot, usize)) -> Option<(u64, bool)> {
        self.places.get(&key).copied()
    }

    pub fn name_place(&mut self, key: (Spot, usize), name: (u64, bool)) {
        if self.places.len() >= MOST_KNOWN {
            self.places.clear();
        }
        self.places.insert(key, name);
    }

    /// Whether this has to be told with its text; from now on it is known.
    pub fn is_news(&mut self, name: u64) -> bool {
        // Forgotten, everything is told once more, which costs little.
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        self.told.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d5_everything_is_told_again_after_a_while_for_the_front_forgets() {
        let mut tables = Tables::default();
        let now = Instant::now();
        let (first, is_new) = tables.round(now);
        assert!(is_new && tables.is_news(7) && !tables.is_news(7));
        assert_eq!(tables.round(now + ROUND / 2), (first, false));
        assert!(!tables.is_news(7));
        let (second, is_new) = tables.round(now + ROUND);
        assert!(is_new && second != first && second != 0);
        assert!(tables.is_news(7));
    }

    #[test]
    fn c11_what_is_kept_of_statements_is_bounded_by_count_and_bytes() {
        let mut tables = Tables::default();
        assert!((0..MOST_KNOWN).all(|count| tables.has_room(count, 10)));
        assert!(!tables.has_room(MOST_KNOWN, 10));
        let mut kept = 0;
        while tables.has_room(kept, 8000) {
            kept += 1;
        }
        assert!((100..=MOST_BYTES / 8000).contains(&kept), "{kept}");
        assert!(tables.has_room(1, 8000), "all others were forgotten");
    }
}
