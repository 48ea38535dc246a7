//! Idle servers of one pool: the last one given back is the first one taken, unless another has
//! the right settings already. Leaves health and time to the pool.

use std::rc::Rc;

use tokio::time::Instant;

use super::host::Held;
use super::{Connect, Link};
use crate::relay::Label;

/// The one at the end was used last.
pub(crate) struct Idle<C: Connect>(Vec<Held<C>>);

impl<C: Connect> Idle<C> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one by the time it was used last, which is nearly always now.
    pub(crate) fn push(&mut self, held: Held<C>) {
        match self.0.last() {
            Some(last) if last.idle_since > held.idle_since => {
                let at = self
                    .0
                    .partition_point(|other| other.idle_since <= held.idle_since);
                self.0.insert(at, held);
            }
            _ => self.0.push(held),
        }
    }

    /// Last in, first out, with preference for equal settings: applying a difference costs a
    /// round trip.
    pub(crate) fn take(&mut self, want: &Rc<Label>) -> Option<Held<C>> {
        let equal = |held: &Held<C>| Label::same(held.server.label(), want);
        match self.0.last() {
            Some(last) if equal(last) => self.0.pop(),
            Some(_) => match self.0.iter().rposition(equal) {
                Some(at) => Some(self.0.remove(at)),
                None => self.0.pop(),
            },
            None => None,
        }
    }

    /// The one that has been idle for longest.
    pub(crate) fn oldest(&self) -> Option<&Held<C>> {
        self.0.first()
    }

    pub(crate) fn take_oldest(&mut self) -> Option<Held<C>> {
        if self.0.is_empty() {
            None
        } else {
            Some(self.0.remove(0))
        }
    }

    /// Takes out those that `which` names, e.g. too old, dead or of an earlier generation.
    pub(crate) fn take_if(&mut self, mut which: impl FnMut(&mut Held<C>) -> bool) -> Vec<Held<C>> {
        self.0.extract_if(.., |held| which(held)).collect()
    }

    /// All of them, the longest idle first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Held<C>> {
        self.0.iter()
    }

    /// Their processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.0.iter().filter_map(|held| held.server.pid())
    }

    /// When the first one is to be retired.
    pub(crate) fn first_to_retire(&self) -> Option<Instant> {
        self.0.iter().map(|held| held.retire_at).min()
    }
}
