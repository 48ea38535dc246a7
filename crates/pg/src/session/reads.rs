//! Reads that go to a replica: one request at a time, kept until its answer is known to be good,
//! run again on the primary when it is not (H2, H6).
//!
//! Owns what of the client's bytes the relay may see while a replica serves it, and what follows from
//! the first words of the answer. Which replica is `crate::replica`'s to say.

mod words;

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use super::{Input, Session};
use crate::pool::{Attached, Lease, Pool};
use crate::replica::{Choice, Floor, Group, Replicas, Why};
use crate::wire::TxStatus;
use words::{Verdict, lone_statement, reports, request, runs_nothing, verdict};

/// What a session knows of its reads; only there when replicas are configured.
pub(super) struct Reads {
    group: Rc<Group>,
    /// Pools of the replicas, as far as they were wanted.
    pools: Vec<Option<Attached>>,
    floor: Floor,
    attempt: Option<Attempt>,
    /// Wanted, but no server of it was idle.
    wanted: Option<Wanted>,
    /// The next request failed on a replica.
    again: bool,
    /// What the primary serves is a read up to so many bytes; anything more may write.
    plain: usize,
    writes: bool,
}

/// A server of a replica is in hand.
struct Attempt {
    busy: Busy,
    /// The request that is on trial: its length, and how much of it the relay has got.
    length: usize,
    fed: usize,
    /// The answer is good: the request is forgotten.
    good: bool,
    /// The relay has got all of a request, and no byte of the next.
    whole: bool,
}

struct Wanted {
    at: usize,
    length: usize,
}

/// Counts as one of a replica's reads.
struct Busy {
    group: Rc<Group>,
    at: usize,
}

impl Busy {
    fn new(group: &Rc<Group>, at: usize) -> Self {
        group.state.borrow_mut().began(at);
        Self {
            group: Rc::clone(group),
            at,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.group.state.borrow_mut().ended(self.at);
    }
}

impl Reads {
    pub(super) fn new(group: Rc<Group>) -> Box<Self> {
        let mut floor = Floor::default();
        // What it wrote with an earlier connection is not known here.
        floor.wrote(Instant::now());
        Box::new(Self {
            group,
            pools: Vec::new(),
            floor,
            attempt: None,
            wanted: None,
            again: false,
            plain: 0,
            writes: false,
        })
    }
}

impl Session {
    /// The part of the client's bytes that may go to the relay now.
    pub(super) fn portion(&self) -> Option<Range<usize>> {
        let data = self.client_in.data();
        let Some(attempt) = self.attempt() else {
            return Some(0..data.len());
        };
        if !attempt.good {
            return (attempt.fed < attempt.length).then_some(attempt.fed..attempt.length);
        }
        // A transaction on a replica. What follows its end must not get there with it.
        if self.relay.is_mid_message() {
            return Some(0..data.len());
        }
        // Nor what follows a lone read: its server goes back first.
        let over = self
            .lease
            .as_ref()
            .is_some_and(|held| self.relay.may_release(&held.lease.known));
        if over || attempt.whole && !self.relay.is_settled() {
            return None;
        }
        Some(0..request(data).unwrap_or(data.len()))
    }

    /// The relay took `used` bytes of a portion.
    pub(super) fn took(&mut self, used: usize) {
        let leased = self.lease.is_some();
        if let Some(held) = &mut self.lease {
            held.taken += used;
        }
        let Some(reads) = &mut self.reads else {
            return self.client_in.consume(used);
        };
        match &mut reads.attempt {
            Some(attempt) if leased && !attempt.good => {
                attempt.fed += used;
                // Goes on listening, to notice a client that leaves.
                self.needed = self.client_in.data().len() + 1;
                return;
            }
            Some(attempt) if leased => {
                attempt.whole = request(self.client_in.data()) == Some(used);
            }
            _ if leased => {
                if used > reads.plain && !reads.writes {
                    reads.writes = true;
                    Group::writes(&self.shared, self.handle.owner());
                }
                reads.plain = reads.plain.saturating_sub(used);
            }
            _ => {}
        }
        self.client_in.consume(used);
    }

    /// Whether nothing may be written to the client: the answer may have to be taken back.
    pub(super) fn is_on_trial(&self) -> bool {
        self.attempt().is_some_and(|attempt| !attempt.good)
    }

    /// Whether a server of a replica is in hand.
    pub(super) fn is_on_replica(&self) -> bool {
        self.attempt().is_some()
    }

    fn attempt(&self) -> Option<&Attempt> {
        // Without a server, it is what is left of an earlier one.
        self.lease.as_ref()?;
        self.reads.as_ref()?.attempt.as_ref()
    }

    /// The client's next request needs a server: whether it got one of a replica, or waits for one.
    pub(super) fn read_from_replica(&mut self) -> Option<bool> {
        let wanted = self.choose()?;
        let reads = self.reads.as_mut()?;
        let pool = pool_of(reads, &self.shared, &self.pool.key, wanted.at)?;
        let Some(lease) = pool.try_lease(self.relay.label(), &self.who) else {
            reads.wanted = Some(wanted);
            return Some(false);
        };
        self.attach_replica(lease, &wanted);
        Some(true)
    }

    /// Where the next request goes; `None` is the primary.
    fn choose(&mut self) -> Option<Wanted> {
        self.reads_released();
        let bound = self.relay.told() != TxStatus::Idle || !self.client_out.is_empty();
        if self.reads.as_ref()?.group.is_retired() {
            let group = Group::of(&self.shared, self.pool.key.target);
            self.reads = group.map(Reads::new);
        }
        let reads = self.reads.as_mut()?;
        let bound = std::mem::take(&mut reads.again) || bound;
        let data = self.client_in.data();
        reads.plain = 0;
        let length = request(data)?;
        if runs_nothing(data.get(..length)?) {
            reads.plain = length;
            return None;
        }
        let (text, seen) = lone_statement(&self.relay, data.get(..length)?)?;
        let (group, owner) = (Rc::clone(&reads.group), self.handle.owner());
        let choose = |replicas: &mut Replicas, floor: &mut Floor| {
            replicas.choose((text, &seen), bound, floor, Instant::now())
        };
        let choice = group.with_floor(&self.shared, owner, &mut reads.floor, choose);
        match choice {
            Choice::Replica(at) => Some(Wanted { at, length }),
            Choice::Primary(Why::NoRead | Why::Bound) => None,
            Choice::Primary(Why::Learned | Why::Fresh | Why::NoReplica) => {
                reads.plain = length;
                None
            }
        }
    }

    fn attach_replica(&mut self, lease: Lease, wanted: &Wanted) {
        if let Some(reads) = &mut self.reads {
            reads.attempt = Some(Attempt {
                busy: Busy::new(&reads.group, wanted.at),
                length: wanted.length,
                fed: 0,
                good: false,
                whole: true,
            });
        }
        self.attach(lease);
    }

    /// The pool of the replica that was wanted.
    pub(super) fn wanted_pool(&self) -> Option<Rc<Pool>> {
        let reads = self.reads.as_ref()?;
        let pool = reads.pools.get(reads.wanted.as_ref()?.at)?.as_ref()?;
        Some(Rc::clone(pool))
    }

    /// A server of that pool is there.
    pub(super) fn attach_wanted(&mut self, lease: Lease) {
        if let Some(wanted) = self.reads.as_mut().and_then(|reads| reads.wanted.take()) {
            self.attach_replica(lease, &wanted);
        }
    }

    /// There is none to be had: the primary serves the read.
    pub(super) fn waited_in_vain(&mut self) {
        let pool = self.wanted_pool();
        let Some(reads) = &mut self.reads else { return };
        let Some(wanted) = reads.wanted.take() else {
            return;
        };
        reads.plain = wanted.length;
        if pool.is_some_and(|pool| pool.servers() == 0) {
            reads
                .group
                .state
                .borrow_mut()
                .replica_failed(wanted.at, Instant::now());
        }
    }

    /// Judges the first words of a replica's answer, before the client has seen any.
    pub(super) fn judge(&mut self) {
        if !self
            .attempt()
            .is_some_and(|attempt| !attempt.good && attempt.fed == attempt.length)
        {
            return;
        }
        match verdict(self.client_out.data()) {
            Verdict::Open => {}
            Verdict::Good => self.trust(),
            Verdict::Failed(code) => {
                let settled = self.lease.as_ref().is_some_and(|held| {
                    self.relay.is_settled() && held.lease.known.status == TxStatus::Idle
                });
                let is_quiet = self.server_in.is_empty() && self.server_out.is_empty();
                self.run_again(Some(code), settled && is_quiet);
            }
        }
    }

    /// The answer goes to the client; the request is done with.
    fn trust(&mut self) {
        let Some(attempt) = self.reads.as_mut().and_then(|reads| reads.attempt.as_mut()) else {
            return;
        };
        attempt.good = true;
        self.client_in.consume(attempt.fed);
    }

    /// A replica went away under a request of which the client has seen nothing: true, and the
    /// primary serves it.
    pub(super) fn lost_on_trial(&mut self) -> bool {
        let on_trial = self.is_on_trial();
        if on_trial {
            self.run_again(None, false);
        }
        on_trial
    }

    /// As if the request had not been read yet. `reusable`: the server owes nothing.
    fn run_again(&mut self, code: Option<[u8; 5]>, reusable: bool) {
        let Some(reads) = &mut self.reads else { return };
        let Some(attempt) = reads.attempt.take() else {
            return;
        };
        reads.again = true;
        let mut state = reads.group.state.borrow_mut();
        if code.is_some_and(|code| code == *b"25006") {
            let request = self
                .client_in
                .data()
                .get(..attempt.length)
                .unwrap_or_default();
            if let Some((text, _)) = lone_statement(&self.relay, request) {
                state.learn(text);
            }
        } else if code.is_none_or(|code| code.starts_with(b"57P") || code.starts_with(b"08")) {
            state.replica_failed(attempt.busy.at, Instant::now());
        }
        drop(state);
        // What a server reports of its parameters is noted as told.
        let reports = reports(self.client_out.data());
        self.client_out.clear();
        self.client_out.tail().extend_from_slice(&reports);
        self.server_out.clear();
        self.server_in = Input::default();
        self.relay.rewind();
        if let Some(held) = self.lease.take() {
            let mut lease = held.lease;
            if reusable {
                lease.busy = false;
                lease.give_back();
            } else {
                lease.close();
            }
        }
        self.handle.set_activity(super::Activity::Idle);
    }

    /// The server goes back: what the primary was given to write is to be seen from now on.
    pub(super) fn reads_released(&mut self) {
        let Some(reads) = &mut self.reads else { return };
        reads.attempt = None;
        if std::mem::take(&mut reads.writes) {
            let group = Rc::clone(&reads.group);
            group.has_written(&self.shared, self.handle.owner(), &mut reads.floor);
        }
    }
}

/// The pool of a replica for this client's database and user, if that is the user we log in as.
fn pool_of<'a>(
    reads: &'a mut Reads,
    shared: &crate::pooler::Shared,
    key: &crate::pool::PoolKey,
    at: usize,
) -> Option<&'a Attached> {
    while reads.pools.len() <= at {
        reads.pools.push(None);
    }
    let place = reads.pools.get_mut(at)?;
    if place.is_none() {
        let id = reads.group.target(at)?;
        let target = shared.pools.target(id)?;
        if *target.user != *key.user {
            return None;
        }
        *place = Some(
            shared
                .pools
                .pool(id, &key.database, &key.user)
                .ok()?
                .attach(),
        );
    }
    place.as_ref()
}
