//! Owns the few words that front and worker exchange over their control socket, beside the rings.
//! Leaves sending them to the two sides. One message is one word; the socket keeps boundaries.

use crate::slots::SlotId;
use crate::wire::{Malformed, Reader};

/// From the front to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Requests wait and none was taken for a while: see whether another thread is needed.
    CheckThreads,
    /// Take no new request that is not in the ring already; end when nothing runs any more.
    Drain,
    /// Report the Python stack of the thread that runs this request.
    Dump {
        /// Where it runs.
        slot: SlotId,
        /// Which request is meant.
        number: u64,
    },
    /// Sample for a while where the threads that run requests are.
    Profile(ProfileOrder),
    /// Run no more threads than this from now on, whatever it was started with.
    Threads(u16),
    /// So many other workers of the server come before it. Not two that run at the same time have the same,
    /// so that they can keep out of each other's way.
    Place(u16),
}

/// How to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileOrder {
    /// Which profile it is for.
    pub number: u64,
    /// For how long.
    pub milliseconds: u32,
    /// Samples in a second.
    pub rate: u16,
    /// Only the thread that holds the interpreter's lock.
    pub holder: bool,
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
        /// What was seen.
        sample: StackSample,
    },
    /// A piece of a profile: lines of a stack, a blank and microseconds.
    Profile {
        /// Which profile.
        number: u64,
        /// Nothing follows.
        last: bool,
        /// Whole lines.
        text: String,
    },
    /// Asked by a signal or by itself: the worker wants to end, once what it has is done.
    Leaving,
}

/// What a request was seen doing; what could not be told is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackSample {
    /// The pattern of its address.
    pub route: String,
    /// The statement it waits for, without values.
    pub sql: String,
    /// As Python prints it, most recent call last.
    pub stack: String,
}

impl Control {
    /// The word as bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::CheckThreads => vec![1],
            Self::Drain => vec![2],
            Self::Dump { slot, number } => {
                let mut bytes = vec![3];
                bytes.extend_from_slice(&slot.to_wire().to_le_bytes());
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes
            }
            Self::Profile(order) => {
                let mut bytes = vec![4];
                bytes.extend_from_slice(&order.number.to_le_bytes());
                bytes.extend_from_slice(&u64::from(order.milliseconds).to_le_bytes());
                bytes.extend_from_slice(&order.rate.to_le_bytes());
                bytes.push(order.holder.into());
                bytes
            }
            Self::Threads(most) => {
                let mut bytes = vec![5];
                bytes.extend_from_slice(&most.to_le_bytes());
                bytes
            }
            Self::Place(place) => {
                let mut bytes = vec![6];
                bytes.extend_from_slice(&place.to_le_bytes());
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
            1 => Self::CheckThreads,
            2 => Self::Drain,
            3 => Self::Dump {
                slot: SlotId::from_wire(rest.u16()?).ok_or(Malformed)?,
                number: rest.u64()?,
            },
            4 => Self::Profile(ProfileOrder {
                number: rest.u64()?,
                milliseconds: u32::try_from(rest.u64()?).map_err(|_| Malformed)?,
                rate: rest.u16()?,
                holder: rest.u8()? != 0,
            }),
            5 => Self::Threads(rest.u16()?),
            6 => Self::Place(rest.u16()?),
            _ => return Err(Malformed),
        })
    }
}

/// The most bytes of a stack that one message carries; the beginning of a longer one is cut.
const MOST_TEXT: usize = 50_000;
/// The most bytes of a piece of a profile.
pub const MOST_PIECE: usize = 50_000;
/// The most bytes of a route or a statement.
const MOST_NAME: usize = 4000;

fn put_name(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(MOST_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn name(rest: &mut Reader<'_>) -> Result<String, Malformed> {
    let len = usize::from(rest.u16()?);
    Ok(String::from_utf8_lossy(rest.bytes(len)?).into_owned())
}

impl Event {
    /// The word as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ready => vec![1],
            Self::Stack { number, sample } => {
                let mut bytes = vec![2];
                bytes.extend_from_slice(&number.to_le_bytes());
                put_name(&mut bytes, &sample.route);
                put_name(&mut bytes, &sample.sql);
                let text = &sample.stack;
                let mut from = text.len().saturating_sub(MOST_TEXT);
                while !text.is_char_boundary(from) {
                    from += 1;
                }
                bytes.extend_from_slice(&text.as_bytes()[from..]);
                bytes
            }
            Self::Leaving => vec![3],
            Self::Profile { number, last, text } => {
                let mut bytes = vec![4];
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.push((*last).into());
                bytes.extend_from_slice(text.as_bytes());
                bytes
            }
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
                let sample = StackSample {
                    route: name(&mut rest)?,
                    sql: name(&mut rest)?,
                    stack: String::from_utf8_lossy(rest.0).into_owned(),
                };
                Self::Stack { number, sample }
            }
            3 => Self::Leaving,
            4 => Self::Profile {
                number: rest.u64()?,
                last: rest.u8()? != 0,
                text: String::from_utf8_lossy(rest.0).into_owned(),
            },
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
        let profile = Control::Profile(ProfileOrder {
            number: 3,
            milliseconds: 30_000,
            rate: 100,
            holder: true,
        });
        for control in [
            Control::CheckThreads,
            Control::Drain,
            dump,
            profile,
            Control::Threads(64),
            Control::Place(513),
        ] {
            assert_eq!(Control::read(&control.to_bytes()), Ok(control));
        }
        let stack = Event::Stack {
            number: 7,
            sample: StackSample {
                route: "/é/".to_owned(),
                sql: "SELECT ?".to_owned(),
                stack: "File \"a.py\"".to_owned(),
            },
        };
        let profile = Event::Profile {
            number: 3,
            last: true,
            text: "/a;view 7\n".to_owned(),
        };
        for event in [Event::Ready, Event::Leaving, stack, profile] {
            assert_eq!(Event::read(&event.to_bytes()), Ok(event));
        }
        assert!(Control::read(&[]).is_err() && Event::read(&[9]).is_err());
    }

    #[test]
    fn a_long_stack_keeps_its_end() {
        let sample = StackSample {
            sql: "é".repeat(MOST_NAME),
            stack: format!("{}last line", "é".repeat(MOST_TEXT)),
            ..StackSample::default()
        };
        let bytes = Event::Stack { number: 1, sample }.to_bytes();
        let Ok(Event::Stack { sample, .. }) = Event::read(&bytes) else {
            panic!("not a stack");
        };
        assert!(sample.stack.len() <= MOST_TEXT && sample.stack.ends_with("last line"));
        assert!(sample.sql.len() <= MOST_NAME && bytes.len() < 60_000);
        for cut in 1..20 {
            let _ = Event::read(&bytes[..cut]);
        }
    }
}
