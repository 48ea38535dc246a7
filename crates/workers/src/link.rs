//! Owns the words between the supervisor and the front: what each may say, and as which bytes. It is
//! all that `supervisor` and `dispatch` know of each other.
//! Leaves sending them to the two sides. One message is one word; the socket keeps boundaries.

use std::fmt;

/// The most bytes of one word: more than any has.
pub const MOST_WORD: usize = 64;

/// The supervisor's number of a worker process, from its start to its end; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Why a worker should be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has served as many requests as `--max-requests` allows.
    MaxRequests,
    /// It keeps more memory for itself than `--max-memory-per-worker` allows.
    Large,
    /// Too many of its threads run requests that nobody waits for any more.
    Stuck,
    /// It wrote something impossible into the channel, or does not answer.
    Broken,
    /// It asked for it.
    Leaving,
    /// Memory is short, and it has most of it.
    Memory,
}

impl Reason {
    /// For the log, after «replacing worker 3: ».
    pub fn words(self) -> &'static str {
        match self {
            Self::Large => "it keeps more memory than it may (--max-memory-per-worker)",
            Self::MaxRequests => "it has served its share of requests (--max-requests)",
            Self::Stuck => "too many of its threads are stuck",
            Self::Broken => "it wrote something impossible",
            Self::Leaving => "it asked to end",
            Self::Memory => "memory is short, and it has most of it",
        }
    }
}

/// From the supervisor to the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToFront {
    /// A worker was started. Comes with four descriptors: the channel's memory, its event
    /// counter, the front's end of the control socket and of the files socket.
    Adopt {
        /// Which worker.
        worker: WorkerId,
        /// How many reloads there were before it.
        reloads: u32,
        /// Its process.
        pid: u32,
    },
    /// Offer nothing more to this worker, and tell it to drain.
    Retire {
        /// Which worker.
        worker: WorkerId,
    },
    /// Go on accepting for the linger, finish what runs, say [`ToSupervisor::Drained`], exit.
    Stop {
        /// From now on, after which what still runs is given up.
        grace_ms: u32,
        /// From now on, during which new connections are still accepted: a router in front of
        /// this machine needs a moment to notice.
        linger_ms: u32,
    },
    /// Answer with [`ToSupervisor::Pong`]: is the event loop alive?
    Ping,
    /// Open the log files again: they were rotated.
    Reopen,
    /// What the app's settings say of its files. Comes with one descriptor, of the text.
    Files,
    /// How the first import of the app stands, where the server outlives one that fails.
    Import {
        /// It has failed, and no other has begun: requests would wait in vain.
        has_failed: bool,
    },
    /// The worker's process was reaped. A process that it forked may hold its sockets open.
    Ended {
        /// Which worker.
        worker: WorkerId,
    },
}

/// From the front to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToSupervisor {
    /// The front accepts connections.
    Listening,
    /// The worker takes requests.
    Ready {
        /// Which worker.
        worker: WorkerId,
    },
    /// The worker's control socket has ended, and every request it had is settled.
    Gone {
        /// Which worker.
        worker: WorkerId,
    },
    /// Start another in its place, then retire it.
    Replace {
        /// Which worker.
        worker: WorkerId,
        /// Why.
        reason: Reason,
    },
    /// Run so many workers from now on.
    Scale {
        /// How many; 0 for as many as there are.
        workers: u32,
        /// Whether those that run now are replaced, each once another is ready.
        fresh: bool,
    },
    /// Nothing runs any more: the front is about to exit.
    Drained,
    /// The answer to [`ToFront::Ping`].
    Pong,
}

/// Bytes that are no word.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAWord;

impl fmt::Display for NotAWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("malformed message between supervisor and front")
    }
}

impl std::error::Error for NotAWord {}

impl ToFront {
    /// The word as bytes, at most [`MOST_WORD`].
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Adopt {
                worker,
                reloads,
                pid,
            } => word(1, &[worker.0, *reloads, *pid]),
            Self::Retire { worker } => word(2, &[worker.0]),
            Self::Stop {
                grace_ms,
                linger_ms,
            } => word(3, &[*grace_ms, *linger_ms]),
            Self::Ping => word(4, &[]),
            Self::Reopen => word(5, &[]),
            Self::Files => word(6, &[]),
            Self::Ended { worker } => word(7, &[worker.0]),
            Self::Import { has_failed } => word(8, &[(*has_failed).into()]),
        }
    }

    /// Reads what [`ToFront::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`NotAWord`] for anything else.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAWord> {
        let (&kind, rest) = bytes.split_first().ok_or(NotAWord)?;
        Ok(match kind {
            1 => {
                let [worker, reloads, pid] = numbers(rest)?;
                Self::Adopt {
                    worker: WorkerId(worker),
                    reloads,
                    pid,
                }
            }
            2 => {
                let [worker] = numbers(rest)?;
                Self::Retire {
                    worker: WorkerId(worker),
                }
            }
            3 => {
                let [grace_ms, linger_ms] = numbers(rest)?;
                Self::Stop {
                    grace_ms,
                    linger_ms,
                }
            }
            4 => numbers(rest).map(|[]| Self::Ping)?,
            5 => numbers(rest).map(|[]| Self::Reopen)?,
            6 => numbers(rest).map(|[]| Self::Files)?,
            7 => {
                let [worker] = numbers(rest)?;
                Self::Ended {
                    worker: WorkerId(worker),
                }
            }
            8 => match numbers(rest)? {
                [0] => Self::Import { has_failed: false },
                [1] => Self::Import { has_failed: true },
                _ => return Err(NotAWord),
            },
            _ => return Err(NotAWord),
        })
    }
}

impl ToSupervisor {
    /// The word as bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Listening => word(1, &[]),
            Self::Ready { worker } => word(2, &[worker.0]),
            Self::Gone { worker } => word(3, &[worker.0]),
            Self::Replace { worker, reason } => {
                let reason = match reason {
                    Reason::MaxRequests => 1,
                    Reason::Stuck => 2,
                    Reason::Broken => 3,
                    Reason::Leaving => 4,
                    Reason::Memory => 5,
                    Reason::Large => 6,
                };
                word(4, &[worker.0, reason])
            }
            Self::Drained => word(5, &[]),
            Self::Pong => word(6, &[]),
            Self::Scale { workers, fresh } => word(7, &[workers, fresh.into()]),
        }
    }

    /// Reads what [`ToSupervisor::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`NotAWord`] for anything else.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAWord> {
        let (&kind, rest) = bytes.split_first().ok_or(NotAWord)?;
        let worker = |rest| numbers(rest).map(|[worker]| WorkerId(worker));
        Ok(match kind {
            1 => numbers(rest).map(|[]| Self::Listening)?,
            2 => Self::Ready {
                worker: worker(rest)?,
            },
            3 => Self::Gone {
                worker: worker(rest)?,
            },
            4 => {
                let [worker, reason] = numbers(rest)?;
                let reason = match reason {
                    1 => Reason::MaxRequests,
                    2 => Reason::Stuck,
                    3 => Reason::Broken,
                    4 => Reason::Leaving,
                    5 => Reason::Memory,
                    6 => Reason::Large,
                    _ => return Err(NotAWord),
                };
                Self::Replace {
                    worker: WorkerId(worker),
                    reason,
                }
            }
            5 => numbers(rest).map(|[]| Self::Drained)?,
            6 => numbers(rest).map(|[]| Self::Pong)?,
            7 => {
                let [workers, fresh] = numbers(rest)?;
                Self::Scale {
                    workers,
                    fresh: fresh != 0,
                }
            }
            _ => return Err(NotAWord),
        })
    }
}

fn word(kind: u8, numbers: &[u32]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// Exactly `N` numbers, nothing behind them.
fn numbers<const N: usize>(mut bytes: &[u8]) -> Result<[u32; N], NotAWord> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (first, rest) = bytes.split_first_chunk::<4>().ok_or(NotAWord)?;
        *number = u32::from_le_bytes(*first);
        bytes = rest;
    }
    if bytes.is_empty() {
        Ok(numbers)
    } else {
        Err(NotAWord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId(7);

    fn to_front() -> Vec<ToFront> {
        vec![
            ToFront::Adopt {
                worker: WORKER,
                reloads: 2,
                pid: 4321,
            },
            ToFront::Retire { worker: WORKER },
            ToFront::Stop {
                grace_ms: 30_000,
                linger_ms: 500,
            },
            ToFront::Ping,
            ToFront::Reopen,
            ToFront::Files,
            ToFront::Ended { worker: WORKER },
            ToFront::Import { has_failed: false },
            ToFront::Import { has_failed: true },
        ]
    }

    fn to_supervisor() -> Vec<ToSupervisor> {
        use Reason::{Broken, Large, Leaving, MaxRequests, Memory, Stuck};
        let mut words = vec![
            ToSupervisor::Listening,
            ToSupervisor::Ready { worker: WORKER },
            ToSupervisor::Gone { worker: WORKER },
            ToSupervisor::Drained,
            ToSupervisor::Pong,
            ToSupervisor::Scale {
                workers: 3,
                fresh: true,
            },
        ];
        words.extend(
            [MaxRequests, Stuck, Broken, Leaving, Memory, Large].map(|reason| {
                ToSupervisor::Replace {
                    worker: WORKER,
                    reason,
                }
            }),
        );
        words
    }

    #[test]
    fn each_word_survives_the_way() {
        for word in to_front() {
            let bytes = word.to_bytes();
            assert!(bytes.len() <= MOST_WORD);
            assert_eq!(ToFront::read(&bytes), Ok(word));
        }
        for word in to_supervisor() {
            assert_eq!(ToSupervisor::read(&word.to_bytes()), Ok(word));
        }
    }

    #[test]
    fn a_word_cut_short_or_too_long_is_refused() {
        for bytes in to_supervisor().into_iter().map(ToSupervisor::to_bytes) {
            for length in 0..bytes.len() {
                assert!(ToSupervisor::read(&bytes[..length]).is_err(), "{bytes:?}");
            }
            assert!(ToSupervisor::read(&[&bytes[..], &[0]].concat()).is_err());
        }
        assert!(ToFront::read(&[1, 0, 0]).is_err() && ToFront::read(&[99]).is_err());
    }
}
