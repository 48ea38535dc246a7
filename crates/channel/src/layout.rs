//! Owns where everything lies in the shared memory of one worker.
//! Leaves what the words mean to `ring`, `slots` and `bell`.

use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use canter_sys::memory::Mapping;

/// Bytes of each ring. Only pages that traffic touches cost memory, and an idle ring starts over
/// at its first page, so a generous size is free until it is needed.
pub(crate) const RING_BYTES: usize = 1 << 20;

/// The longest payload of one record: a quarter of the ring, so that a long one cannot wait
/// forever for room that is split across the end.
pub const MOST_RECORD: usize = RING_BYTES / 4;

/// Requests that can be under way in one worker, offered and started together.
pub const SLOTS: usize = 2048;

/// Bytes of the whole shared memory.
pub const SHARED_BYTES: usize = RINGS_AT + 2 * RING_BYTES;

const RINGS_AT: usize = (size_of::<Header>() + 4095) & !4095;

/// One cache line, so that the two sides do not slow each other down by writing neighbours.
#[repr(C, align(64))]
pub(crate) struct Line<T>(pub T);

/// The head and tail of one ring: bytes ever written, bytes ever released.
#[repr(C)]
pub(crate) struct Positions {
    pub head: Line<AtomicU64>,
    pub tail: Line<AtomicU64>,
}

/// The state of one request: see `slots`.
#[repr(C)]
pub(crate) struct SlotWords {
    pub state: AtomicU32,
    /// Kernel thread number of the thread that runs the request.
    pub thread: AtomicU32,
    /// 1 while the front wants no more of this answer for now.
    pub hold: AtomicU32,
    /// When the request was started, in microseconds of the system's monotonic clock, wrapping.
    pub started: AtomicU32,
    /// How long its thread waited for the interpreter's lock before that, in microseconds.
    pub waited: AtomicU32,
    /// CPU time that the request took, in microseconds; [`UNTOLD`] where nobody has said.
    pub computed: AtomicU32,
}

/// Of a request's CPU time nothing is said.
pub(crate) const UNTOLD: u32 = u32::MAX;

/// The number of the layout: another one for each change of what follows, or of what records mean.
/// Front and worker of two builds meet when the package is replaced under a running server.
pub(crate) const LAYOUT: u32 = 3;

/// Where the head of the ring of answers lies, for tests that play a worker gone wrong.
pub const ANSWERS_HEAD_AT: usize = offset_of!(Header, answers);

/// Where the ring of answers begins, for the same tests.
pub const ANSWERS_AT: usize = RINGS_AT + RING_BYTES;

/// What lies before the rings. All zero but [`LAYOUT`] is the state of a new worker.
#[repr(C)]
pub(crate) struct Header {
    /// [`LAYOUT`] of the build that made it. First, whatever else changes.
    pub layout: Line<AtomicU32>,
    pub requests: Positions,
    pub answers: Positions,
    /// 1 while a worker thread sleeps until a request comes.
    pub worker_bell: Line<AtomicU32>,
    /// 1 while the front sleeps until an answer comes.
    pub front_bell: Line<AtomicU32>,
    /// 1 while a worker thread waits for room in the ring of answers.
    pub room_bell: Line<AtomicU32>,
    /// Records of requests that the front has put in so far, wrapping.
    pub offered: Line<AtomicU32>,
    /// Records of requests that the worker has taken out so far, wrapping.
    pub taken: Line<AtomicU32>,
    /// The value of `taken` at which the front wants to be woken because it has more to give.
    pub wake_at: Line<AtomicU32>,
    pub slots: [SlotWords; SLOTS],
}

/// Which of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the front to the worker.
    Requests,
    /// From the worker to the front.
    Answers,
}

/// The mapped memory with its parts by name.
#[derive(Clone)]
pub(crate) struct Shared {
    mapping: Arc<Mapping>,
}

impl Shared {
    /// `mapping` must be [`SHARED_BYTES`] long; `create` and `WorkerEnd::open` see to it.
    pub fn new(mapping: Mapping) -> Self {
        assert_eq!(
            mapping.len(),
            SHARED_BYTES,
            "the shared memory has one size"
        );
        Self {
            mapping: Arc::new(mapping),
        }
    }

    pub fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, zeroed at birth, longer than `Header`, and lives
        // as long as `self`. `Header` consists of atomics alone, for which every bit pattern is
        // valid and concurrent writes by the other process are allowed. Safe code cannot give
        // mapped memory a type.
        unsafe { self.mapping.start().cast::<Header>().as_ref() }
    }

    /// The first byte of a ring.
    pub fn ring_start(&self, direction: Direction) -> NonNull<u8> {
        let at = match direction {
            Direction::Requests => RINGS_AT,
            Direction::Answers => RINGS_AT + RING_BYTES,
        };
        // SAFETY: `at` lies within the mapping by the definition of SHARED_BYTES.
        unsafe { self.mapping.start().add(at) }
    }
}
