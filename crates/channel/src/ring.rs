//! Owns the ring of records: one producer, one consumer, in two processes.
//! Leaves what the records mean to `request` and `response`, and waking to `bell`.
//!
//! A record is a 16-byte head (length, kind, flags, slot, request number) and its payload,
//! padded to 8 bytes, never split across the end of the ring: a `Skip` record fills what is left.
//! Positions count bytes for ever; the place is the position modulo the ring's size.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{Direction, MOST_RECORD, Positions, RING_BYTES, Shared};
use crate::slots::SlotId;

const HEAD: usize = 16;
const SIZE: u64 = RING_BYTES as u64;

/// Past this place an empty ring starts over at its beginning, so that light traffic stays in a
/// few pages: they stay in the CPU's cache and the rest of the ring costs no memory.
const REWIND_AFTER: u64 = 16 * 1024;

/// What a record is. The numbers are the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Filler up to the end of the ring; never seen by a user of the ring.
    Skip = 0,
    /// A complete request, front to worker.
    Request = 1,
    /// A response head with the beginning of its body, or all of it.
    Response = 2,
    /// More of a body.
    Chunk = 3,
    /// The body's remainder is a file whose descriptor came over the files socket.
    File = 4,
    /// The app failed after its head was sent: the client must see a broken connection.
    Abort = 5,
    /// What the request cost; stands before its last record, if there is room.
    Report = 6,
    /// Fields to send ahead of the answer (RFC 8297); the payload is a response message.
    Hints = 7,
}

impl Kind {
    fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Skip,
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Chunk,
            4 => Self::File,
            5 => Self::Abort,
            6 => Self::Report,
            7 => Self::Hints,
            _ => return None,
        })
    }
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// What it is.
    pub kind: Kind,
    /// The last record of its request in this direction.
    pub last: bool,
    /// Which request under way it belongs to.
    pub slot: SlotId,
    /// The front's number of the request; tells a late answer from one for the slot's next user.
    pub number: u64,
}

/// There is no room for the record now.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The other side wrote something impossible; it cannot be trusted any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "broken ring: {}", self.0)
    }
}

impl std::error::Error for Broken {}

/// The writing end. There must be one per ring.
pub(crate) struct Producer {
    shared: Shared,
    direction: Direction,
    head: u64,
    /// The tail as it was when it was last read. The other side writes it all the time, so each look
    /// at it fetches a line from another core; one is taken only where this one is too far back.
    tail: u64,
}

/// The reading end. There must be one per ring.
pub(crate) struct Consumer {
    shared: Shared,
    direction: Direction,
    tail: u64,
}

fn positions(shared: &Shared, direction: Direction) -> &Positions {
    match direction {
        Direction::Requests => &shared.header().requests,
        Direction::Answers => &shared.header().answers,
    }
}

fn padded(payload: usize) -> u64 {
    ((HEAD + payload + 7) & !7) as u64
}

impl Producer {
    pub fn new(shared: Shared, direction: Direction) -> Self {
        let at = positions(&shared, direction);
        let head = at.head.0.load(Ordering::Relaxed);
        let tail = at.tail.0.load(Ordering::Acquire);
        Self {
            shared,
            direction,
            head,
            tail,
        }
    }

    /// Writes one record whose payload is `parts` one after the other.
    ///
    /// # Panics
    /// When the payload is longer than [`MOST_RECORD`]: the caller splits before.
    pub fn push(&mut self, head: RecordHead, parts: &[&[u8]]) -> Result<(), Full> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        assert!(
            payload <= MOST_RECORD,
            "a record's payload is at most MOST_RECORD bytes"
        );
        let place = self.room_for(padded(payload))?;
        let mut at = place;
        self.write(at, &encode_head(head, payload));
        at += HEAD as u64;
        for part in parts {
            self.write(at, part);
            at += part.len() as u64;
        }
        self.publish(place + padded(payload));
        Ok(())
    }

    /// Whether the consumer has released everything that was pushed.
    pub fn is_taken(&self) -> bool {
        let tail = &positions(&self.shared, self.direction).tail.0;
        tail.load(Ordering::Acquire) == self.head
    }

    /// Whether a record with a payload of this length can be pushed now.
    pub fn has_room(&mut self, payload: usize) -> bool {
        self.place_for(padded(payload)).is_some()
    }

    /// The position for a record of `need` bytes, after writing a `Skip` where one is wanted.
    fn room_for(&mut self, need: u64) -> Result<u64, Full> {
        let place = self.place_for(need).ok_or(Full)?;
        if place != self.head {
            let filler = RecordHead {
                kind: Kind::Skip,
                last: false,
                slot: SlotId::ZERO,
                number: 0,
            };
            self.write(self.head, &encode_head(filler, 0));
        }
        Ok(place)
    }

    /// Where a record of `need` bytes would go: here, or at the start of the next lap.
    fn place_for(&mut self, need: u64) -> Option<u64> {
        let place = self.head % SIZE;
        let to_end = SIZE - place;
        if place < REWIND_AFTER && need <= to_end {
            // Here, if anywhere: whether the ring is empty does not matter.
            let used = self.head.wrapping_sub(self.tail);
            if SIZE.checked_sub(used).is_some_and(|room| need <= room) {
                return Some(self.head);
            }
        }
        self.tail = positions(&self.shared, self.direction)
            .tail
            .0
            .load(Ordering::Acquire);
        // A tail that the other side set to nonsense makes the ring look full, nothing worse.
        let used = self.head.wrapping_sub(self.tail);
        let room = SIZE.checked_sub(used)?;
        let over = to_end + need <= room;
        let rewind = used == 0 && place >= REWIND_AFTER;
        if need > to_end || (rewind && over) {
            return over.then_some(self.head + to_end);
        }
        (need <= room).then_some(self.head)
    }

    /// Copies `bytes` to a position; the caller has made sure that they fit before the end.
    fn write(&self, position: u64, bytes: &[u8]) {
        let place = (position % SIZE) as usize;
        // A Skip head may meet the last 8 bytes of the ring; its number field is then cut off.
        let len = bytes.len().min(RING_BYTES - place);
        let start: NonNull<u8> = self.shared.ring_start(self.direction);
        // SAFETY: `place + len` is within the ring. The region from `tail` to `tail + SIZE`
        // beyond `head` belongs to the producer until it publishes, by the protocol, so nobody
        // reads it; a peer that breaks the protocol reads garbage, which it must expect. Shared
        // memory has no safe accessor.
        unsafe {
            start
                .add(place)
                .as_ptr()
                .copy_from_nonoverlapping(bytes.as_ptr(), len);
        }
    }

    fn publish(&mut self, head: u64) {
        self.head = head;
        positions(&self.shared, self.direction)
            .head
            .0
            .store(head, Ordering::Release);
    }
}

impl Consumer {
    pub fn new(shared: Shared, direction: Direction) -> Self {
        let tail = positions(&shared, direction).tail.0.load(Ordering::Relaxed);
        Self {
            shared,
            direction,
            tail,
        }
    }

    fn head(&self) -> &AtomicU64 {
        &positions(&self.shared, self.direction).head.0
    }

    /// Whether the producer has published nothing new.
    pub fn is_empty(&self) -> bool {
        self.head().load(Ordering::Acquire) == self.tail
    }

    /// Copies the next record's payload to `out` (replacing what it held) and releases it.
    pub fn take(&mut self, out: &mut Vec<u8>) -> Result<Option<RecordHead>, Broken> {
        let Some((head, place, payload)) = self.next()? else {
            return Ok(None);
        };
        out.clear();
        if out.capacity() < payload {
            // Not made to grow: what it held is of no use.
            *out = Vec::with_capacity(payload);
        }
        let start = self.shared.ring_start(self.direction);
        // SAFETY: `next` checked that `place + payload` is within the ring; `out` has the room,
        // made above. Bytes are copied before anybody looks at them, so that a producer that
        // still writes there can only change what arrives, not what was checked.
        unsafe {
            let source = start.add(place);
            out.as_mut_ptr()
                .copy_from_nonoverlapping(source.as_ptr(), payload);
            out.set_len(payload);
        }
        self.release(payload);
        Ok(Some(head))
    }

    /// Gives the next record's payload to `read` in place, then releases it. Only for a consumer
    /// that trusts its producer not to touch a published record.
    pub fn take_in_place<T>(
        &mut self,
        read: impl FnOnce(RecordHead, &[u8]) -> T,
    ) -> Result<Option<T>, Broken> {
        let Some((head, place, payload)) = self.next()? else {
            return Ok(None);
        };
        let start = self.shared.ring_start(self.direction);
        // SAFETY: within the ring as checked by `next`; the front, the only producer this is used
        // with, leaves a published record alone until it is released below.
        let bytes = unsafe { std::slice::from_raw_parts(start.add(place).as_ptr(), payload) };
        let result = read(head, bytes);
        self.release(payload);
        Ok(Some(result))
    }

    /// Skips fillers and answers head, place and payload length of the next record.
    fn next(&mut self) -> Result<Option<(RecordHead, usize, usize)>, Broken> {
        loop {
            let published = self.head().load(Ordering::Acquire);
            let ready = published.wrapping_sub(self.tail);
            if ready == 0 {
                return Ok(None);
            }
            let place = (self.tail % SIZE) as usize;
            if ready > SIZE || !ready.is_multiple_of(8) {
                return Err(Broken("a position out of range"));
            }
            let (head, payload) = decode_head(&self.read_head(place))?;
            let to_end = RING_BYTES - place;
            if head.kind == Kind::Skip {
                if to_end as u64 > ready {
                    return Err(Broken("a filler longer than what was published"));
                }
                self.advance(to_end as u64);
                continue;
            }
            let whole = padded(payload);
            if payload > MOST_RECORD || whole > to_end as u64 || whole > ready {
                return Err(Broken("a record longer than what was published"));
            }
            return Ok(Some((head, place + HEAD, payload)));
        }
    }

    fn read_head(&self, place: usize) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let len = HEAD.min(RING_BYTES - place);
        let start = self.shared.ring_start(self.direction);
        // SAFETY: `place + len` is within the ring; copied before it is looked at.
        unsafe {
            bytes
                .as_mut_ptr()
                .copy_from_nonoverlapping(start.add(place).as_ptr(), len);
        };
        bytes
    }

    fn release(&mut self, payload: usize) {
        self.advance(padded(payload));
    }

    fn advance(&mut self, by: u64) {
        self.tail += by;
        positions(&self.shared, self.direction)
            .tail
            .0
            .store(self.tail, Ordering::Release);
    }
}

fn encode_head(head: RecordHead, payload: usize) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[..4].copy_from_slice(&(payload as u32).to_le_bytes());
    bytes[4] = head.kind as u8;
    bytes[5] = u8::from(head.last);
    bytes[6..8].copy_from_slice(&head.slot.to_wire().to_le_bytes());
    bytes[8..].copy_from_slice(&head.number.to_le_bytes());
    bytes
}

fn decode_head(bytes: &[u8; HEAD]) -> Result<(RecordHead, usize), Broken> {
    let [l0, l1, l2, l3, kind, last, s0, s1, number @ ..] = *bytes;
    let kind = Kind::from_wire(kind).ok_or(Broken("an unknown kind of record"))?;
    let slot = SlotId::from_wire(u16::from_le_bytes([s0, s1]));
    let slot = slot.ok_or(Broken("a slot out of range"))?;
    let number = u64::from_le_bytes(number);
    let head = RecordHead {
        kind,
        last: last != 0,
        slot,
        number,
    };
    Ok((head, u32::from_le_bytes([l0, l1, l2, l3]) as usize))
}

#[cfg(test)]
mod tests;
