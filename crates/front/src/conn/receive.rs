//! Owns receiving a request: its head into the buffer, its body into memory or a file.
//! Leaves what the bytes mean to `canter-http`.

use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Instant;

use canter_channel::request::BodyRoom;
use canter_http::{BodyDecoder, Framing, Progress, Reject, response};
use canter_shield::budget::{Budget, Share};
use canter_shield::pace::Transfer;
use canter_sys::temp;

use super::{Conn, Stop};
use crate::app::App;
use crate::facts::Facts;
use crate::quantum;
use crate::scratch::with_scratch;
use crate::settings::LOOK;
use crate::table::Phase;

/// What came instead of, or as, a head.
pub(super) enum Received {
    /// A head, in `self.head` over the beginning of the buffer.
    Head,
    /// Nothing: the client is done.
    End,
    /// Something that is no request.
    Reject(Reject),
    /// The beginning of a head, and there is no memory to wait for the rest.
    NoRoom,
}

/// A whole request body.
pub(super) enum Body {
    /// In the room it was given, with its share of the memory for bodies: to be kept as long as the
    /// message is.
    InMessage(Share),
    /// In a file of this length, with its share of the memory for files, where they are memory.
    File(File, u64, Option<Share>),
}

/// Room made for a body before any of it has come. Once it is full there is room for all of the body:
/// what is not filled yet was not touched, so it costs addresses and no memory.
const FIRST_ROOM: usize = 2 * 1024;

/// Connections beyond which a request at the app does not keep a whole buffer.
const CROWD: usize = 256;

/// Why a body was not taken.
pub(super) enum Refusal {
    /// It breaks a rule.
    Reject(Reject),
    /// The client closed before it was complete.
    Cut,
    /// It did not come in time.
    Late,
    /// There is no room for it.
    NoRoom(io::Error),
}

impl<A: App> Conn<A> {
    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> Result<(), Stop> {
        std::future::poll_fn(|cx| {
            let ready = self.stream.poll_read_ready(cx);
            if self.place.row.poll_expired(cx) {
                // Whoever has asked before the front closes the idle ones is not idle.
                let has_asked = ready.is_ready() && self.place.row.is_idle();
                if !(has_asked && self.shared.is_draining()) {
                    return std::task::Poll::Ready(Err(Stop::Expired));
                }
            }
            if ready.is_pending() {
                self.quantum.reset();
            }
            ready.map_err(|_| Stop::Gone)
        })
        .await
    }

    /// Receives the next request's head. While nothing has come the connection counts as idle.
    pub(super) async fn receive_head(&mut self) -> Result<Received, Stop> {
        // One deadline from the first byte to the last, whatever trickles in between. What a new
        // connection does with its first seconds counts, too.
        self.let_head_go();
        self.settle_room();
        let mut began = (!self.is_used).then_some(self.accepted);
        let rests_since = self.rests_since.take();
        if self.buffer.is_empty() {
            self.buffer.release();
            let limit = self.shared.idle_limit(self.is_used);
            let since = began.or(rests_since).unwrap_or_else(Instant::now);
            self.place.row.idle(since, limit);
        }
        loop {
            if !self.buffer.is_empty() {
                let limits = &self.shared.settings.limits;
                match self
                    .decoder
                    .decode(limits, self.buffer.filled(), &mut self.head)
                {
                    Ok(Progress::Complete) => {
                        self.is_used = true;
                        return Ok(Received::Head);
                    }
                    Ok(Progress::Partial) => {}
                    Err(reject) => return Ok(Received::Reject(reject)),
                }
                let began = *began.get_or_insert_with(Instant::now);
                let limit = self.shared.settings.head_limit(self.buffer.filled().len());
                self.enter(Phase::Head, began, limit);
            }
            if !self.take_room() {
                return Ok(Received::NoRoom);
            }
            if self.read_closed || self.read_more().await? == 0 {
                self.read_closed = true;
                return Ok(Received::End);
            }
        }
    }

    /// Takes of the memory of all clients what a long head has made the buffer grow by; false when it
    /// is not there. What each connection has anyway is not counted.
    fn take_room(&mut self) -> bool {
        let beyond = self.buffer.beyond();
        if beyond == 0 {
            self.room = None;
            return true;
        }
        let room = self.room.get_or_insert_with(|| self.shared.memory.share());
        let had = room.bytes();
        room.shrink(had.saturating_sub(beyond));
        had >= beyond || room.grow(beyond - had)
    }

    /// Keeps the head until the answer is judged, where that may need it, and lets it go otherwise.
    /// Where many clients wait for the app, each keeps little more than its head.
    pub(super) fn hold_head(&mut self, facts: &Facts) {
        self.holds_head = true;
        if !facts.passing.is_some_and(|passing| passing.needs_head()) {
            self.let_head_go();
        } else if self.shared.table.len() > CROWD {
            self.buffer.settle();
        }
    }

    /// The head of the request that is being answered is needed no more.
    pub(super) fn let_head_go(&mut self) {
        if std::mem::take(&mut self.holds_head) {
            self.buffer.consume(self.head.length);
        }
    }

    /// Receives into the buffer; 0 means that the client will send no more.
    pub(super) async fn read_more(&mut self) -> Result<usize, Stop> {
        loop {
            let room = self.buffer.room();
            let most = room.len();
            match self.stream.try_read(room) {
                Ok(count) => {
                    if count < most && count > 0 {
                        self.stream.drained();
                    }
                    self.buffer.received(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.buffer.settle();
                    self.readable().await?;
                }
                Err(_) => return Err(Stop::Gone),
            }
        }
    }

    /// Receives the whole body behind the head, which has been consumed from the buffer. A short one
    /// goes to `room`.
    pub(super) async fn receive_body(
        &mut self,
        mut decoder: BodyDecoder,
        expects_continue: bool,
        room: BodyRoom<'_>,
    ) -> Result<Body, Refusal> {
        let settings = &self.shared.settings;
        let announced = decoder.announced();
        if !self.shared.takes_body((announced > 0).then_some(announced)) {
            return Err(Refusal::NoRoom(io::ErrorKind::OutOfMemory.into()));
        }
        let mut promised = self.shared.promised.share();
        if announced > settings.body_memory as u64 {
            // Before any of it is read: what cannot be kept is not worth the client's time. Nor is what
            // others were let begin to send still there to be promised.
            let wanted = self.shared.promised.taken().saturating_add(announced);
            if !temp::has_room(&settings.temp_dir, wanted) {
                return Err(Refusal::NoRoom(io::ErrorKind::StorageFull.into()));
            }
            promised.force(announced);
        }
        // Behind a long head less of a body fits into the message than the setting allows.
        let most = settings.body_memory.min(room.most());
        let mut store = Store::new(room, announced, most, &self.shared.memory);
        if !store.may_be_as_long_as(announced) {
            return Err(Refusal::NoRoom(io::ErrorKind::OutOfMemory.into()));
        }
        let mut transfer = Transfer::new(self.millis(), 0);
        while !decoder.is_done() && !self.buffer.is_empty() {
            let piece = decoder
                .next(self.buffer.filled())
                .map_err(Refusal::Reject)?;
            let consumed = piece.consumed;
            self.check_size(&decoder)?;
            store
                .push(piece.data, &self.shared.settings)
                .map_err(Refusal::NoRoom)?;
            self.buffer.consume(consumed);
        }
        if expects_continue && !decoder.is_done() {
            self.send_all(response::CONTINUE, &[])
                .await
                .map_err(|_| Refusal::Cut)?;
        }
        while !decoder.is_done() {
            if self.read_closed {
                return Err(Refusal::Cut);
            }
            self.receive_some(&mut decoder, &mut store, &mut transfer)
                .await?;
            let left = announced.saturating_sub(store.len);
            promised.shrink(promised.bytes().saturating_sub(left));
            self.quantum.yield_if_spent(&self.shared.app).await;
        }
        Ok(store.finish())
    }

    async fn receive_some(
        &mut self,
        decoder: &mut BodyDecoder,
        store: &mut Store<'_>,
        transfer: &mut Transfer,
    ) -> Result<(), Refusal> {
        if let Framing::Length(length) = self.head.framing
            && store.is_in_memory()
        {
            let left = usize::try_from(length.saturating_sub(store.len)).unwrap_or(usize::MAX);
            return match self.receive_in_place(decoder, store, left) {
                Some(received) => received,
                None => self.wait_for_body(store.len, transfer).await,
            };
        }
        let settings = &self.shared.settings;
        let result = with_scratch(|scratch| {
            let count = match self.stream.try_read(scratch) {
                Ok(0) => return Some(Err(Refusal::Cut)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Err(Refusal::Cut)),
            };
            let unframed = match unframe(decoder, scratch.get_mut(..count).unwrap_or_default()) {
                Ok(unframed) => unframed,
                Err(reject) => return Some(Err(Refusal::Reject(reject))),
            };
            self.quantum.spend(count + unframed.pieces * quantum::CHUNK);
            let data = scratch.get(..unframed.data).unwrap_or_default();
            if let Err(error) = store.push(data, settings) {
                return Some(Err(Refusal::NoRoom(error)));
            }
            let rest = scratch.get(unframed.consumed..count).unwrap_or_default();
            Some(Ok(rest.to_vec()))
        });
        match result {
            Some(Ok(rest)) => {
                // The beginning of the next request, read together with this body.
                self.keep(&rest);
                self.check_size(decoder)
            }
            Some(Err(refusal)) => Err(refusal),
            None => self.wait_for_body(store.len, transfer).await,
        }
    }

    /// Waits for more of a body, as long as it comes at the slowest pace at least.
    async fn wait_for_body(&mut self, moved: u64, transfer: &mut Transfer) -> Result<(), Refusal> {
        self.buffer.release();
        loop {
            if self.place.row.is_evicted() {
                return Err(Refusal::Cut);
            }
            self.place.row.progress(moved);
            if transfer.is_too_slow(&self.shared.settings.pace, self.millis(), moved) {
                return Err(Refusal::Late);
            }
            self.enter(Phase::Body, Instant::now(), LOOK);
            match self.readable().await {
                Ok(()) => return Ok(()),
                Err(Stop::Gone) => return Err(Refusal::Cut),
                Err(Stop::Expired) => {}
            }
        }
    }

    /// Receives some of the `left` bytes of a body of known length to where they stay. None when
    /// nothing has come.
    fn receive_in_place(
        &mut self,
        decoder: &mut BodyDecoder,
        store: &mut Store<'_>,
        left: usize,
    ) -> Option<Result<(), Refusal>> {
        // One byte more tells whether something follows; if not, the system need not be asked again.
        let wanted = room_for(store.len, left).saturating_add(1);
        let message = store.room.room(wanted);
        let (before, most) = (message.len(), message.capacity() - message.len());
        let count = match self.stream.try_read_to(message) {
            Ok(0) => return Some(Err(Refusal::Cut)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => return Some(Err(Refusal::Cut)),
        };
        if count < most {
            self.stream.drained();
        }
        self.quantum.spend(count);
        let came = message.get(before..).unwrap_or_default();
        let came = came.get(..left).unwrap_or(came);
        if let Err(reject) = decoder.next(came) {
            return Some(Err(Refusal::Reject(reject)));
        }
        store.len += came.len() as u64;
        let behind = store
            .room
            .behind(usize::try_from(store.len).unwrap_or(usize::MAX));
        self.keep(&behind);
        Some(Ok(()))
    }

    /// Adds to the buffer what was read elsewhere.
    pub(super) fn keep(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.buffer.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.buffer.received(count);
            bytes = &bytes[count..];
        }
    }

    fn check_size(&self, decoder: &BodyDecoder) -> Result<(), Refusal> {
        if decoder.announced() > self.shared.settings.max_body {
            return Err(Refusal::Reject(Reject::BodyTooLarge));
        }
        Ok(())
    }
}

/// What [`unframe`] found.
#[derive(Debug, PartialEq, Eq)]
struct Unframed {
    /// Bytes of the body, now at the beginning.
    data: usize,
    /// In how many pieces they came.
    pieces: usize,
    /// Bytes used up.
    consumed: usize,
}

/// Moves the bytes of the body to the beginning of what was received, so that they are stored in one
/// go: a client may send a chunk for each byte, and none is worth a call of the system.
fn unframe(decoder: &mut BodyDecoder, came: &mut [u8]) -> Result<Unframed, Reject> {
    let (mut data, mut pieces, mut consumed) = (0, 0, 0);
    while let Some(rest) = came.get(consumed..)
        && !rest.is_empty()
        && !decoder.is_done()
    {
        let piece = decoder.next(rest)?;
        let (length, used) = (piece.data.len(), piece.consumed);
        // The body's bytes are the last of those used up, if there are any.
        let end = consumed + used;
        if end - length != data {
            came.copy_within(end - length..end, data);
        }
        data += length;
        pieces += 1;
        consumed = end;
    }
    Ok(Unframed {
        data,
        pieces,
        consumed,
    })
}

/// The room for the `left` bytes of a body of which `came` have come: a client that only promises a
/// body costs next to nothing, and one that sends it moves it once, by however few bytes it comes.
fn room_for(came: u64, left: usize) -> usize {
    let came = usize::try_from(came).unwrap_or(usize::MAX);
    match FIRST_ROOM.saturating_sub(came) {
        0 => left,
        first => left.min(first),
    }
}

/// Where a body gathers: in memory up to a size, then in an unlinked file.
struct Store<'m> {
    room: BodyRoom<'m>,
    file: Option<File>,
    len: u64,
    limit: usize,
    announced: u64,
    /// Of the memory that all clients have together.
    share: Share,
    /// Of the memory for files, where they are memory.
    file_share: Option<Share>,
}

impl<'m> Store<'m> {
    fn new(room: BodyRoom<'m>, announced: u64, limit: usize, budget: &Rc<Budget>) -> Self {
        let mut share = budget.share();
        // Memory for all of it is taken at once, where its length is known: a body that does not find
        // room goes to a file from its first byte.
        let fits = announced <= limit as u64 && share.grow(announced);
        Self {
            room,
            file: None,
            len: 0,
            limit: if fits { limit } else { 0 },
            announced,
            share,
            file_share: budget.files().map(Budget::share),
        }
    }

    /// Takes what a file of this length costs, where files are memory.
    fn may_be_as_long_as(&mut self, length: u64) -> bool {
        let is_in_memory = length <= self.limit as u64;
        let Some(share) = self.file_share.as_mut().filter(|_| !is_in_memory) else {
            return true;
        };
        share.grow(length.saturating_sub(share.bytes()))
    }

    fn push(&mut self, bytes: &[u8], settings: &crate::Settings) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let before = self.len;
        self.len += bytes.len() as u64;
        let is_in_memory = self.is_in_memory() && self.len <= self.limit as u64;
        if is_in_memory && !self.take(self.len) {
            self.limit = 0;
        }
        if !self.may_be_as_long_as(self.len) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if let Some(file) = &mut self.file {
            // A disk that others use as well is not filled to the brim.
            if before >> 20 != self.len >> 20 && !temp::has_room(&settings.temp_dir, 1 << 20) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            return file.write_all(bytes);
        }
        if self.is_in_memory() && self.len <= self.limit as u64 {
            let left = self.announced.saturating_sub(self.len);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            if left > 0 {
                self.room.room(bytes.len() + room_for(self.len, left) + 1);
            }
            self.room.push(bytes);
            return Ok(());
        }
        let mut file = temp::unlinked(&settings.temp_dir)?;
        file.write_all(self.room.bytes())?;
        file.write_all(bytes)?;
        self.room.clear();
        self.share.shrink(self.share.bytes());
        self.file = Some(file);
        Ok(())
    }

    /// Takes memory for a body of this length, where that was not known before: twice as much each
    /// time, for whoever only begins one has sent next to nothing.
    fn take(&mut self, length: u64) -> bool {
        let had = self.share.bytes();
        let wanted = length.max(had * 2).max(FIRST_ROOM as u64);
        length <= had || self.share.grow(wanted.min(self.limit as u64) - had)
    }

    /// Whether the body is in memory, and stays there if it has the length that was announced.
    fn is_in_memory(&self) -> bool {
        self.file.is_none() && self.announced <= self.limit as u64
    }

    fn finish(mut self) -> Body {
        if let Some(file) = self.file {
            return Body::File(file, self.len, self.file_share);
        }
        // A body of unknown length was given more than it needed.
        self.share
            .shrink(self.share.bytes().saturating_sub(self.len));
        Body::InMessage(self.share)
    }
}

#[cfg(test)]
mod tests {
    use canter_channel::request::{Facts, Writer};

    use super::*;

    #[test]
    fn s1_a_body_that_is_only_promised_costs_little_and_one_that_comes_is_moved_once() {
        const PROMISED: usize = 100 * 1024;
        let settings = super::super::tests::settings();
        let budget = Budget::new(1 << 20);
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, &Facts::default());
        let room = writer.body_room();
        let mut store = Store::new(room, PROMISED as u64, 128 << 10, &budget);
        let mut places = Vec::new();
        for at in 0..PROMISED {
            store.push(&[at as u8], &settings).unwrap();
            let message = store.room.room(0);
            let most = if at + 1 < FIRST_ROOM {
                FIRST_ROOM
            } else {
                PROMISED
            };
            assert!(message.capacity() < most + 256, "{at}");
            places.push(message.as_ptr());
        }
        places.dedup();
        assert!(places.len() <= 2, "{} places", places.len());
        let body = store.finish();
        assert!(matches!(body, Body::InMessage(share) if share.bytes() == PROMISED as u64));
    }

    #[test]
    fn s5_a_body_of_unknown_length_takes_of_the_budget_as_it_comes() {
        let settings = super::super::tests::settings();
        let (limit, budget) = (128_u64 << 10, Budget::new(1 << 18));
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, &Facts::default());
        let mut store = Store::new(writer.body_room(), 0, limit as usize, &budget);
        assert_eq!(budget.taken(), 0);
        for came in 1..=limit {
            store.push(b"a", &settings).unwrap();
            let taken = budget.taken();
            assert!(
                taken >= came && taken <= limit.min(2 * came.max(2048)),
                "{came}: {taken}"
            );
        }
        // What does not fit goes to a file, and gives back what it had.
        store.push(b"a", &settings).unwrap();
        assert_eq!(budget.taken(), 0);
        assert!(matches!(store.finish(), Body::File(_, length, _) if length == limit + 1));
        let mut others = budget.share();
        assert!(others.grow((1 << 18) - 3000));
        let (mut message, mut sent) = (Vec::new(), 0);
        let mut writer = Writer::new(&mut message, &Facts::default());
        let mut store = Store::new(writer.body_room(), 0, limit as usize, &budget);
        while store.file.is_none() {
            store.push(&[b'a'; 100], &settings).unwrap();
            sent += 100;
        }
        assert!(sent > 2000 && sent < 4100, "{sent}");
        assert!(matches!(store.finish(), Body::File(_, length, _) if length == sent));
    }
}
