//! Owns one budget of bytes that many connections share: what each took is given back when its
//! [`Share`] is dropped, whatever becomes of the connection.
//! Leaves what to do when there is no more (a file, a refusal) to the callers. For one thread.

use std::cell::Cell;
use std::rc::Rc;

/// So many bytes, and how many of them are taken.
#[derive(Debug)]
pub struct Budget {
    most: Cell<u64>,
    taken: Cell<u64>,
    peak: Cell<u64>,
    refused: Cell<u64>,
    /// For files that are memory under another name.
    files: Option<Rc<Budget>>,
}

impl Budget {
    /// A budget of this many bytes.
    pub fn new(most: u64) -> Rc<Self> {
        Self::with_files(most, None)
    }

    /// The same with another for temporary files, where the folder they are in is memory.
    pub fn with_files(most: u64, files: Option<u64>) -> Rc<Self> {
        Rc::new(Self {
            most: Cell::new(most),
            taken: Cell::new(0),
            peak: Cell::new(0),
            refused: Cell::new(0),
            files: files.map(Self::new),
        })
    }

    /// What temporary files are taken from; None where they cost no memory.
    pub fn files(&self) -> Option<&Rc<Self>> {
        self.files.as_ref()
    }

    /// An empty share of it, to grow.
    pub fn share(self: &Rc<Self>) -> Share {
        Share {
            budget: Rc::clone(self),
            bytes: 0,
        }
    }

    /// Bytes in all.
    pub fn most(&self) -> u64 {
        self.most.get()
    }

    /// Changes the size; what is taken beyond it stays taken until it is given back.
    pub fn resize(&self, most: u64) {
        self.most.set(most);
    }

    /// Bytes taken now.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// The most that were ever taken at once.
    pub fn peak(&self) -> u64 {
        self.peak.get()
    }

    /// How often there was not enough.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Bytes that could be taken now.
    pub fn left(&self) -> u64 {
        self.most().saturating_sub(self.taken())
    }

    /// How much of it is taken, 0 to 100 and more.
    pub fn percent(&self) -> u64 {
        self.taken().saturating_mul(100) / self.most().max(1)
    }
}

/// What one holder took of a budget.
#[derive(Debug)]
pub struct Share {
    budget: Rc<Budget>,
    bytes: u64,
}

impl Share {
    /// Takes this many more; false, and nothing taken, when they are not there.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        if bytes > self.budget.left() {
            self.budget.refused.set(self.budget.refused.get() + 1);
            return false;
        }
        self.force(bytes);
        true
    }

    /// Takes this many more although they may not be there; for what is small and cannot wait.
    pub fn force(&mut self, bytes: u64) {
        self.bytes += bytes;
        let taken = self.budget.taken() + bytes;
        self.budget.taken.set(taken);
        self.budget.peak.set(self.budget.peak().max(taken));
    }

    /// Gives this many back.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget
            .taken
            .set(self.budget.taken().saturating_sub(bytes));
    }

    /// What it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back_when_dropped() {
        let budget = Budget::new(100);
        let mut first = budget.share();
        let mut second = budget.share();
        assert!(first.grow(60) && !second.grow(41) && second.grow(40));
        assert_eq!(
            (budget.left(), budget.percent(), budget.refused()),
            (0, 100, 1)
        );
        first.shrink(1000);
        assert_eq!((first.bytes(), budget.taken()), (0, 40));
        drop((first, second));
        assert_eq!((budget.taken(), budget.peak()), (0, 100));
    }

    #[test]
    fn a_smaller_budget_waits_until_enough_came_back() {
        let budget = Budget::new(100);
        let mut share = budget.share();
        assert!(share.grow(80));
        budget.resize(50);
        assert!(!share.grow(1));
        share.shrink(40);
        assert!(share.grow(10));
    }
}
