//! Requests that a server skipped, or lost: what they had changed here is as it was before.
//!
//! Owns undoing each of them. Which ones an error skips is told by what is owed.

use super::known::Found;
use super::owed::{Owed, Parsed};
use super::{Io, Long, Relay, Segment};

impl Relay {
    /// An error answers every step up to the next `Sync`: undoes what they would have done.
    /// Whether it was a segment of ours.
    pub(super) fn skip_segment(&mut self, io: &mut Io<'_>) -> bool {
        let skipped = self.owed.take_steps();
        self.undo_all(skipped, io);
        match self.owed.front() {
            Some(Owed::HiddenSync) => true,
            Some(_) => false,
            None => {
                // The client has not sent its Sync: what it sends until then is ignored, and
                // so was a Query that would have ended the segment.
                self.skip = true;
                self.segment = Segment::Server;
                self.copy.stop();
                false
            }
        }
    }

    /// These requests were skipped or lost: nothing of them happened. The last one is undone first,
    /// as each was made with what those before it left.
    pub(super) fn undo_all(&mut self, mut skipped: Vec<Owed>, io: &mut Io<'_>) {
        while let Some(owed) = skipped.pop() {
            self.undo(owed, io);
        }
    }

    fn undo(&mut self, owed: Owed, io: &mut Io<'_>) {
        match owed {
            Owed::Parse(parsed) => self.unprepare(*parsed, io),
            Owed::ParseUnnamed { hidden } => {
                if !hidden {
                    self.unnamed_owed = self.unnamed_owed.saturating_sub(1);
                }
                if !self.owed.parses_unnamed() {
                    self.unnamed_here = false;
                    if !hidden {
                        self.unnamed.clear();
                        self.unnamed_long = Long::No;
                    }
                }
            }
            Owed::Replaced(before) if !self.owed.parses_unnamed() => {
                self.unnamed = before.into_vec();
                self.unnamed_touches = true;
            }
            Owed::Takes(number) => self.taker_is_skipped(number),
            Owed::Named(name) => {
                self.names_owed = self.names_owed.saturating_sub(1);
                self.names.remove(&name);
            }
            Owed::Closed(gone) | Owed::Deallocate(gone) => drop(self.names.insert(gone.0, gone.1)),
            Owed::Shape(statement) => {
                if let Some(known) = io.known.as_deref_mut() {
                    known.prepared.finds(&statement, Found::Nothing);
                }
            }
            Owed::Close(Some(statement)) => {
                if let Some(known) = io.known.as_deref_mut() {
                    known.prepared.is_stale(&statement);
                }
            }
            _ => {}
        }
    }

    /// A `Parse` failed or was skipped (C4).
    fn unprepare(&mut self, parsed: Parsed, io: &mut Io<'_>) {
        if parsed.refused {
            return;
        }
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.remove(&parsed.statement);
        }
        match parsed.name {
            // That of the unnamed statement, which is gone like one of the client's own.
            Some(name) if name.is_empty() && !self.owed.parses_unnamed() => {
                self.unnamed_here = false;
                self.unnamed.clear();
                self.shared = None;
            }
            Some(name) => drop(self.names.remove(&name)),
            None => {}
        }
    }
}
