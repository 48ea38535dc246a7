//! Owns the few words that front and worker exchange over their control socket, beside the rings.
//! Leaves sending them to the two sides. One message is one word; the socket keeps boundaries.

use crate::slots::SlotId;
use crate::wire::{Malformed, Reader};

/// From the front to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Requests wait and none was taken for a while: see whether another thread is needed.
    Look,
    /// Take no new request that is not in the ring already; end when nothing runs any more.
    Drain,
    /// Report the Python stack of the thread that runs this request.
    Dump {
        /// Where it runs.
        slot: SlotId,
        /// Which request is meant.
        number: u64,
    },
}

/// From the worker to the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The app is loaded; requests may come.
    Ready,
    /// The stack asked for with [`Control::Dump`]; empty when the request has ended meanwhile.
    Stack {
        /// The request it was asked for.
        number: u64,
        /// As Python prints it, most recent call last.
        text: String,
    },
    /// Asked by a signal or by itself: the worker wants to end, once what it has is done.
    Leaving,
}

impl Control {
    /// The word as bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Look => vec![1],
            Self::Drain => vec![2],
            Self::Dump { slot, number } => {
                let mut bytes = vec![3];
                bytes.extend_from_slice(&slot.to_wire().to_le_bytes());
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes
            }
        }
    }

    /// Reads what [`Control::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        Ok(match rest.u8()? {
            1 => Self::Look,
            2 => Self::Drain,
            3 => Self::Dump {
                slot: SlotId::from_wire(rest.u16()?).ok_or(Malformed)?,
                number: rest.u64()?,
            },
            _ => return Err(Malformed),
        })
    }
}

/// The most bytes of a stack that one message carries; the beginning of a longer one is cut.
const MOST_TEXT: usize = 60_000;

impl Event {
    /// The word as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ready => vec![1],
            Self::Stack { number, text } => {
                let mut bytes = vec![2];
                bytes.extend_from_slice(&number.to_le_bytes());
                let mut from = text.len().saturating_sub(MOST_TEXT);
                while !text.is_char_boundary(from) {
                    from += 1;
                }
                bytes.extend_from_slice(&text.as_bytes()[from..]);
                bytes
            }
            Self::Leaving => vec![3],
        }
    }

    /// Reads what [`Event::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        Ok(match rest.u8()? {
            1 => Self::Ready,
            2 => {
                let number = rest.u64()?;
                Self::Stack {
                    number,
                    text: String::from_utf8_lossy(rest.0).into_owned(),
                }
            }
            3 => Self::Leaving,
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_survives_the_way() {
        let dump = Control::Dump {
            slot: SlotId::ZERO,
            number: 9,
        };
        for control in [Control::Look, Control::Drain, dump] {
            assert_eq!(Control::read(&control.to_bytes()), Ok(control));
        }
        let stack = Event::Stack {
            number: 7,
            text: "File \"a.py\"".to_owned(),
        };
        for event in [Event::Ready, Event::Leaving, stack] {
            assert_eq!(Event::read(&event.to_bytes()), Ok(event));
        }
        assert!(Control::read(&[]).is_err() && Event::read(&[9]).is_err());
    }

    #[test]
    fn a_long_stack_keeps_its_end() {
        let text = format!("{}last line", "é".repeat(MOST_TEXT));
        let Ok(Event::Stack { text, .. }) =
            Event::read(&Event::Stack { number: 1, text }.to_bytes())
        else {
            panic!("not a stack");
        };
        assert!(text.len() <= MOST_TEXT && text.ends_with("last line"));
    }
}
