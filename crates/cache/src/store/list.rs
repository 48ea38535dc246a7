//! Lists of slots, first in, first out, from which any can be taken: owns the links. The slots are
//! the store's.

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// A slot's place in a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub before: u32,
    pub after: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            before: NIL,
            after: NIL,
        }
    }
}

/// A list; its links lie in the slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    /// The oldest.
    pub first: u32,
    pub last: u32,
    pub count: usize,
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NIL,
            last: NIL,
            count: 0,
        }
    }
}

/// Where the links of the slots are.
pub(super) trait Links {
    /// The link of a slot; None when there is no such slot.
    fn link(&mut self, slot: u32) -> Option<&mut Link>;
}

impl List {
    pub fn push(&mut self, links: &mut impl Links, slot: u32) {
        let before = self.last;
        if let Some(link) = links.link(slot) {
            *link = Link { before, after: NIL };
        }
        match links.link(before) {
            Some(link) => link.after = slot,
            None => self.first = slot,
        }
        self.last = slot;
        self.count += 1;
    }

    pub fn remove(&mut self, links: &mut impl Links, slot: u32) {
        let Some(link) = links.link(slot).map(std::mem::take) else {
            return;
        };
        match links.link(link.before) {
            Some(before) => before.after = link.after,
            None => self.first = link.after,
        }
        match links.link(link.after) {
            Some(after) => after.before = link.before,
            None => self.last = link.before,
        }
        self.count -= 1;
    }
}
