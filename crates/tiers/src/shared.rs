//! The tier that several machines share: owns one connection to a Valkey or Redis server, what is asked
//! and written there, and hearing of the purges of others.
//!
//! Nothing here may cost a request more than a few milliseconds. A look-up that is not answered in time
//! is a miss; while one is late no other is begun; a server that stays silent is left, and tried again
//! less and less often. What is written is handed over and forgotten, as far as there is room.
//!
//! ```text
//! request ─▶ load ──┐                   ┌─▶ replies, in order ─▶ who waits
//! stored  ─▶ keep ──┼─▶ out ═ server ═ came
//! purged  ─▶ purge ─┘                   └─▶ messages ─▶ the log is asked for ─▶ purges here
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future as _;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use canter_base::options::CacheServer;
use canter_base::{info, warn};
use canter_cache::shelf::{self, Item, Position, PurgeOrder};
use canter_cache::store::Several;
use canter_cache::wire::Stored;
use canter_cache::{Entry, Key, Life, Lines, Purge, Time};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::link::Link;
use crate::log::{Heard, KEPT, Verdict};
use crate::resp::{self, Value};
use crate::state::{Due, FEW, Names, State, position, random, refusal};

/// Reaching the server may take this long, with TLS and password.
const CONNECT: Duration = Duration::from_secs(3);
/// A server that owes an answer for this long is left.
const SILENCE: Duration = Duration::from_secs(2);
/// Between two looks whether it is still there, and whether a purge was missed.
const LOOK: Duration = Duration::from_secs(1);
/// How long until a lost server is tried again, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Bytes that wait to be sent.
const MOST_OUT: usize = 8 << 20;
/// A larger entry is not shared.
const LARGEST: usize = 4 << 20;
/// Purges of our own that the server has not taken yet, before they are put together.
const MOST_OWN: usize = 4096;
/// What has come and is no whole reply yet: more than the longest we ask for, the whole log with an address
/// of two kilobytes in each purge, and less than a server lets wait for one who subscribes (32 MB).
const MOST_CAME: usize = 24 << 20;
/// Between two looks whether the server has taken our purges, at the end.
const PAUSE: Duration = Duration::from_millis(2);
/// Nothing is kept longer.
const LONGEST: u64 = 7 * 86_400;
/// Pieces taken from the socket in one turn.
const PIECES: usize = 16;

/// What is done here when somebody else purges.
type Apply = Box<dyn Fn(&Purge, bool)>;

/// The shared tier; a clone is another handle to it.
#[derive(Clone)]
pub struct Shared(Rc<Inner>);

struct Inner {
    server: CacheServer,
    names: Names,
    /// This machine, among those that purge.
    me: u64,
    apply: Apply,
    state: RefCell<State>,
    counts: Counts,
}

/// What was counted since the start.
#[derive(Debug, Default)]
struct Counts {
    hits: Cell<u64>,
    misses: Cell<u64>,
    ignored: Cell<u64>,
    late: Cell<u64>,
    skipped: Cell<u64>,
    stored: Cell<u64>,
    dropped: Cell<u64>,
    refused: Cell<u64>,
    lost: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Shared {
    /// Begins to reach the server; `apply` purges here what others purge. Call inside a local runtime.
    pub fn start(server: CacheServer, apply: impl Fn(&Purge, bool) + 'static) -> Self {
        let name = |word: &str| format!("{}:{word}", server.prefix).into_bytes();
        let shared = Self(Rc::new(Inner {
            names: Names {
                place: name("purges"),
                log: name("purge-log"),
                channel: name("purged"),
                prefix: format!("{}:page:", server.prefix),
            },
            server,
            me: random(),
            apply: Box::new(apply),
            state: RefCell::default(),
            counts: Counts::default(),
        }));
        tokio::task::spawn_local(shared.clone().run());
        shared
    }

    /// Up to which purge this machine has heard; None while it cannot know. What is made from now on
    /// is stored with this.
    pub fn position(&self) -> Option<Position> {
        let state = self.0.state.borrow();
        state.log.position().filter(|_| state.is_up)
    }

    /// What is stored for a request, if the server says so in time.
    pub async fn load<L: Lines>(&self, key: &Key, request: &L, now: Time) -> Option<Stored> {
        let found = self.look(key, request, now).await;
        let counts = &self.0.counts;
        count(if found.is_some() {
            &counts.hits
        } else {
            &counts.misses
        });
        found
    }

    async fn look<L: Lines>(&self, key: &Key, request: &L, now: Time) -> Option<Stored> {
        let (mut made, mut item) = self.get(shelf::name(key), key, now).await?;
        if let Item::Names(names) = &item {
            let variant = shelf::variant_for(key, names, request)?;
            (made, item) = self.get(variant, key, now).await?;
        }
        let Item::Entry(mut stored) = item else {
            count(&self.0.counts.ignored);
            return None;
        };
        if !shelf::is_for(&stored.entry, request) {
            count(&self.0.counts.ignored);
            return None;
        }
        match self.0.state.borrow().log.judge(made, &stored.entry) {
            Verdict::Good => {}
            Verdict::Stale => stored.life.expired = true,
            Verdict::Gone => return None,
        }
        Some(*stored)
    }

    /// What lies under a name, with the log known up to the moment it was read.
    async fn get(&self, name: u128, key: &Key, now: Time) -> Option<(Position, Item)> {
        let inner = &*self.0;
        let limit = inner.server.timeout;
        let (place, content) = {
            let mut state = inner.state.borrow_mut();
            let is_late = state
                .due
                .front()
                .is_some_and(|(since, _)| since.elapsed() > limit);
            if !state.is_up || is_late || state.out.len() > MOST_OUT {
                count(&inner.counts.skipped);
                return None;
            }
            let (most, name) = (LARGEST.to_string(), inner.name(name));
            let parts: [&[u8]; 4] = [b"GETRANGE", &name, b"0", most.as_bytes()];
            let place = state.ask(&[b"HMGET", &inner.names.place, b"epoch", b"seq"]);
            (place, state.ask(&parts))
        };
        let both = async { Some((place.await.ok()?, content.await.ok()?)) };
        let Ok(answered) = tokio::time::timeout(limit, both).await else {
            count(&inner.counts.late);
            return None;
        };
        let (place, content) = answered?;
        let there = position(&place)?;
        if !self.hears(there) {
            let heard = inner.state.borrow_mut().listen(&inner.names);
            if !matches!(tokio::time::timeout(limit, heard).await, Ok(Ok(()))) {
                count(&inner.counts.late);
                return None;
            }
        }
        let content = content.text().filter(|content| !content.is_empty());
        if let Some(content) = content {
            let read = shelf::read(content, key, now);
            if read.is_none() {
                count(&inner.counts.ignored);
            }
            return read;
        }
        None
    }

    fn hears(&self, there: Position) -> bool {
        let known = self.0.state.borrow().log.position();
        known.is_some_and(|known| known.epoch == there.epoch && known.seq >= there.seq)
    }

    /// Hands an entry over, to be written when there is time. `made` is the position when the app was
    /// asked for it.
    pub fn keep(&self, entry: &Entry, life: &Life, rule: u32, made: Option<Position>, now: Time) {
        let inner = &*self.0;
        let mut state = inner.state.borrow_mut();
        let Some(made) = made.filter(|_| state.is_up && entry.body().len() < LARGEST as u64) else {
            return count(&inner.counts.dropped);
        };
        let useful = life.useless_from().seconds_since(now).clamp(1, LONGEST);
        for (name, bytes) in shelf::write(entry, life, rule, made) {
            if state.out.len() + bytes.len() > MOST_OUT || bytes.len() > LARGEST {
                return count(&inner.counts.dropped);
            }
            let (name, seconds) = (inner.name(name), useful.to_string());
            state.send(
                &[b"SET", &name, &bytes, b"EX", seconds.as_bytes()],
                Due::Stored,
            );
        }
    }

    /// Tells the other machines of a purge, now or when the server is reached again.
    pub fn purge(&self, purge: &Purge, soft: bool) {
        let inner = &*self.0;
        if purge.names_nothing() {
            return;
        }
        let order = |purge, soft| {
            shelf::write_purge(&PurgeOrder {
                purge,
                soft,
                by: inner.me,
            })
        };
        let mut state = inner.state.borrow_mut();
        if state.own.len() >= MOST_OWN {
            // In one, at the next connection.
            let together = order(together(&state.own, purge), false);
            state.own = VecDeque::from([together]);
            state.untold.clear();
            state.is_overrun = state.is_told;
            return;
        }
        let bytes = order(purge.clone(), soft);
        if !state.is_told && !state.untold.insert(bytes.clone()) {
            return;
        }
        state.own.push_back(bytes.clone());
        if state.is_up {
            state.tell(&inner.names, &bytes);
        }
    }

    /// Waits until the server has taken the purges of this machine, for so long at most.
    pub async fn finish(&self, limit: Duration) {
        let is_done = || {
            let state = self.0.state.borrow();
            state.own.is_empty() || !state.is_up
        };
        let done = async {
            while !is_done() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        // Those that it has not taken are lost with this process.
        let _ = tokio::time::timeout(limit, done).await;
    }

    /// What was counted, for Prometheus.
    pub fn metrics(&self) -> String {
        use std::fmt::Write as _;
        let counts = &self.0.counts;
        let up = u64::from(self.0.state.borrow().is_up);
        let mut text = format!(
            "# HELP canter_cache_shared_up Whether the shared tier of the page cache answers.\n\
             # TYPE canter_cache_shared_up gauge\ncanter_cache_shared_up {up}\n\
             # HELP canter_cache_shared_total What came of look-ups and writes there.\n\
             # TYPE canter_cache_shared_total counter\n"
        );
        for (word, cell) in [
            ("hit", &counts.hits),
            ("miss", &counts.misses),
            ("ignored", &counts.ignored),
            ("late", &counts.late),
            ("skipped", &counts.skipped),
            ("stored", &counts.stored),
            ("dropped", &counts.dropped),
            ("refused", &counts.refused),
            ("lost", &counts.lost),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "canter_cache_shared_total{{what=\"{word}\"}} {}",
                cell.get()
            );
        }
        text
    }

    /// Reaches the server, again and again, and stays with it as long as it answers.
    async fn run(self) {
        let mut wait = BACK_OFF.0;
        let mut told: Option<String> = None;
        loop {
            let opened = tokio::time::timeout(CONNECT, self.open()).await;
            let opened = opened.unwrap_or_else(|_| Err("it does not answer".to_owned()));
            let reason = match opened {
                Ok(mut link) => {
                    let server = self.0.server.shown();
                    info!("the shared cache answers", server = server.as_str());
                    told = None;
                    let since = Instant::now();
                    let mut look = interval(LOOK);
                    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    let reason =
                        std::future::poll_fn(|cx| self.poll(&mut link, &mut look, cx)).await;
                    count(&self.0.counts.lost);
                    // One that is lost again and again is not reached ten times in a second.
                    if since.elapsed() > BACK_OFF.1 {
                        wait = BACK_OFF.0;
                    }
                    reason
                }
                Err(reason) => reason,
            };
            self.0.state.borrow_mut().reset();
            if told.as_ref() != Some(&reason) {
                let server = self.0.server.shown();
                warn!(
                    "the shared cache is not used: pages come from memory and from the app until it \
                     answers",
                    server = server.as_str(),
                    reason = reason.as_str()
                );
                told = Some(reason);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }

    /// Reaches it, says who we are, and learns the log.
    async fn open(&self) -> Result<Link, String> {
        let inner = &*self.0;
        let mut link = Link::open(&inner.server).await?;
        let heard = {
            let mut state = inner.state.borrow_mut();
            state.reset();
            inner.greet(&mut state)
        };
        let (greetings, heard) = heard;
        let mut said = std::pin::pin!(async {
            for greeting in greetings {
                if let Ok(Value::Error(error)) = greeting.await {
                    return Err(refusal(&error));
                }
            }
            heard
                .await
                .map_err(|_| "its log of purges cannot be read".to_owned())
        });
        let mut look = interval(CONNECT);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(reason) = self.poll(&mut link, &mut look, cx) {
                // What it said last tells more than that it has closed.
                return match said.as_mut().poll(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Err(reason)),
                };
            }
            said.as_mut().poll(cx)
        })
        .await?;
        let mut state = inner.state.borrow_mut();
        state.is_up = true;
        // What was purged since the greeting.
        for order in state.own.clone() {
            state.tell(&inner.names, &order);
        }
        drop(state);
        Ok(link)
    }

    /// Moves bytes both ways; ready, with the reason, when the connection is of no use any more.
    fn poll(&self, link: &mut Link, look: &mut Interval, cx: &mut Context<'_>) -> Poll<String> {
        for piece in 0..=PIECES {
            match link.poll_receive(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                Poll::Pending => break,
            }
            if let Err(reason) = self.take_all(&mut link.came) {
                return Poll::Ready(reason);
            }
            if piece == PIECES {
                cx.waker().wake_by_ref();
            }
        }
        let mut state = self.0.state.borrow_mut();
        while look.poll_tick(cx).is_ready() {
            if state.is_up {
                let parts: [&[u8]; 4] = [b"HMGET", &self.0.names.place, b"epoch", b"seq"];
                state.send(&parts, Due::Look);
            }
        }
        if state.is_overrun {
            return Poll::Ready("it does not take purges as fast as they come".to_owned());
        }
        let oldest = state.due.front().map(|(since, _)| since.elapsed());
        if oldest.is_some_and(|age| age > SILENCE) {
            return Poll::Ready("it has stopped answering".to_owned());
        }
        let out = std::mem::take(&mut state.out);
        match link.poll_send(cx, &out) {
            Ok(sent) => state.out = out.get(sent..).unwrap_or_default().to_vec(),
            Err(error) => return Poll::Ready(error.to_string()),
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes all whole replies.
    fn take_all(&self, came: &mut Vec<u8>) -> Result<(), String> {
        let mut at = 0;
        loop {
            let rest = came.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match resp::read(rest) {
                Ok(Some((value, length))) => {
                    at += length;
                    self.take(value)?;
                }
                Ok(None) => break,
                Err(resp::Broken) => {
                    return Err("what it sends is not Valkey's protocol".to_owned());
                }
            }
        }
        came.drain(..at);
        if came.len() > MOST_CAME {
            let log = String::from_utf8_lossy(&self.0.names.log).into_owned();
            return Err(format!(
                "it sends more than was asked for: if others write to `{log}`, delete that there"
            ));
        }
        Ok(())
    }

    fn take(&self, value: Value) -> Result<(), String> {
        let inner = &*self.0;
        if let Value::Push(items) = &value {
            let is_purge = items.first().and_then(Value::text) == Some(b"message");
            if is_purge {
                inner.state.borrow_mut().ask_for_log(&inner.names, FEW);
            }
            return Ok(());
        }
        let due = inner.state.borrow_mut().due.pop_front();
        let Some((_, due)) = due else {
            return Err("it answers what nobody asked".to_owned());
        };
        match due {
            // Whoever asked may have left.
            Due::Reply(asked) => drop(asked.send(value)),
            Due::Passed => {
                if let Value::Error(error) = value {
                    inner.state.borrow_mut().refused = Some(refusal(&error));
                }
            }
            Due::Stored => count(match value {
                Value::Error(_) => &inner.counts.refused,
                _ => &inner.counts.stored,
            }),
            Due::Purged => {
                let mut state = inner.state.borrow_mut();
                if !matches!(value, Value::List(_)) {
                    count(&inner.counts.refused);
                    let why = state.refused.take().unwrap_or_default();
                    return Err(format!("it does not take purges: {why}"));
                }
                // Those of an overrun are gone already.
                if !state.is_overrun {
                    state.own.pop_front();
                }
            }
            Due::Look => {
                let there = position(&value);
                if !there.is_some_and(|there| self.hears(there)) {
                    inner.state.borrow_mut().ask_for_log(&inner.names, FEW);
                }
            }
            Due::Heard(asked) => return self.hear(&value, asked),
        }
        Ok(())
    }

    /// Takes the end of the log, and does what it says.
    fn hear(&self, value: &Value, asked: usize) -> Result<(), String> {
        let inner = &*self.0;
        let [_, place, log] = value.items() else {
            let why = inner.state.borrow_mut().refused.take();
            let why = why.unwrap_or_else(|| "its log of purges cannot be read".to_owned());
            return Err(why);
        };
        let Some(there) = position(place) else {
            return Err("its log of purges cannot be read".to_owned());
        };
        let end: Vec<&[u8]> = log.items().iter().filter_map(Value::text).collect();
        let mut state = inner.state.borrow_mut();
        state.asking = None;
        let heard = state.log.take(there, &end, asked, inner.me);
        let purges = match heard {
            Heard::More => {
                state.ask_for_log(&inner.names, KEPT);
                return Ok(());
            }
            Heard::Purges(purges) => purges,
        };
        let waiting = std::mem::take(&mut state.hearing);
        let again = std::mem::take(&mut state.again);
        drop(state);
        for (purge, soft) in purges {
            (inner.apply)(&purge, soft);
        }
        for waiting in waiting {
            // Whoever waited may have left.
            let _ = waiting.send(());
        }
        if again {
            inner.state.borrow_mut().ask_for_log(&inner.names, FEW);
        }
        Ok(())
    }
}

/// Purges in one; everything where one of them is no single thing.
fn together(own: &VecDeque<Vec<u8>>, last: &Purge) -> Purge {
    let mut several = Several::default();
    let own = own.iter().map(|bytes| shelf::read_purge(bytes));
    let mut own = own.map(|order| order.map(|order| order.purge));
    let is_whole = own.all(|purge| purge.is_some_and(|purge| purge.add_to(&mut several)));
    if is_whole && last.add_to(&mut several) {
        Purge::Several(several)
    } else {
        Purge::Everything
    }
}

impl Inner {
    fn name(&self, name: u128) -> Vec<u8> {
        format!("{}{name:032x}", self.names.prefix).into_bytes()
    }

    /// The first words; what must not be refused of them, and word of when the log is known.
    fn greet(&self, state: &mut State) -> (Vec<oneshot::Receiver<Value>>, oneshot::Receiver<()>) {
        let server = &self.server;
        let mut replies = Vec::new();
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &server.password {
            let user = if server.user.is_empty() {
                "default"
            } else {
                &server.user
            };
            hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
        }
        replies.push(state.ask(&hello));
        if server.database > 0 {
            replies.push(state.ask(&[b"SELECT", server.database.to_string().as_bytes()]));
        }
        let epoch = random().to_string();
        let place = &self.names.place;
        replies.push(state.ask(&[b"HSETNX", place, b"epoch", epoch.as_bytes()]));
        // Its reply is a message, unless it is refused.
        resp::command(&mut state.out, &[b"SUBSCRIBE", &self.names.channel]);
        // Before anything is taken from there, the others must have heard of our purges: one that
        // is not taken is told again at the next connection, and until then there is none.
        state.is_told = true;
        state.untold.clear();
        for order in state.own.clone() {
            state.tell(&self.names, &order);
        }
        let heard = state.listen_from(&self.names, KEPT);
        (replies, heard)
    }
}
