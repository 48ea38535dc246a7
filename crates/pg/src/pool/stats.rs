//! What a pool did: counters and histograms in fixed buckets, cheap enough for each query.
//! Leaves printing them to the console and the metrics of the program.

use std::cell::Cell;
use std::time::Duration;

use super::pins::PinStats;

/// Upper bounds of the buckets in microseconds; what took longer falls into one more.
pub const BOUNDS_US: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How long something took, in fixed buckets up to a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// One count for each of `BOUNDS_US`, and one for what took longer.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |all, one| all.saturating_add(*one))
    }

    /// Adds what another has counted.
    pub fn add(&mut self, more: &Self) {
        for (count, more) in self.counts.iter_mut().zip(more.counts) {
            *count = count.saturating_add(more);
        }
        self.sum_us = self.sum_us.saturating_add(more.sum_us);
    }
}

/// The counting side of a `Histogram`.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    counts: [Cell<u64>; BOUNDS_US.len() + 1],
    sum_us: Cell<u64>,
}

impl Recorder {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get(bucket) {
            count.set(count.get().wrapping_add(1));
        }
        self.sum_us.set(self.sum_us.get().wrapping_add(us));
    }

    pub(crate) fn read(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|at| self.counts.get(at).map_or(0, Cell::get)),
            sum_us: self.sum_us.get(),
        }
    }
}

/// Counters of one pool, all since its start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Servers handed out.
    pub(crate) leases: Cell<u64>,
    /// Of these, at once.
    pub(crate) at_once: Cell<u64>,
    /// Times that a client began to wait.
    pub(crate) waits: Cell<u64>,
    /// Waits that ended in the time-out error.
    pub(crate) wait_timeouts: Cell<u64>,
    pub(crate) connects: Cell<u64>,
    pub(crate) connect_failures: Cell<u64>,
    pub(crate) closes: Cell<u64>,
    /// Idle servers found dead before they were handed out.
    pub(crate) found_dead: Cell<u64>,
    /// Servers closed since something was under way on them when they were to be given back.
    pub(crate) unsettled: Cell<u64>,
    pub(crate) queries: Cell<u64>,
    pub(crate) transactions: Cell<u64>,
    pub(crate) transaction_us: Cell<u64>,
    /// Clients that logged in.
    pub(crate) logins: Cell<u64>,
    /// Named statements that clients prepared, that servers were sent, and uses of them.
    pub(crate) client_parses: Cell<u64>,
    pub(crate) server_parses: Cell<u64>,
    pub(crate) binds: Cell<u64>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    /// From asking for a server until it was there; leases that did not wait are not in it.
    pub(crate) wait_time: Recorder,
    /// From sending a query until `ReadyForQuery`.
    pub(crate) query_time: Recorder,
    /// How long servers were held.
    pub(crate) lease_time: Recorder,
}

/// Counts one more.
pub(crate) fn bump(counter: &Cell<u64>) {
    add(counter, 1);
}

/// Counts several more.
pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get().wrapping_add(more));
}

impl Counters {
    /// Bytes came from a client.
    #[inline]
    pub(crate) fn received(&self, bytes: usize) {
        add(&self.bytes_in, bytes as u64);
    }

    /// Bytes went to a client.
    #[inline]
    pub(crate) fn sent(&self, bytes: usize) {
        add(&self.bytes_out, bytes as u64);
    }
}

/// One pool at one moment, and its counters since the start.
#[derive(Debug, Clone, Default)]
pub struct PoolStats {
    /// Where: `db.example.com:5432`.
    pub host: String,
    /// The database on it.
    pub database: String,
    /// The role of its server connections.
    pub user: String,
    /// The most server connections of this host at present.
    pub cap: u32,
    /// Clients attached.
    pub clients: u32,
    /// Clients waiting for a server.
    pub waiting: u32,
    /// How long the one at the head of the queue has waited.
    pub max_wait: Duration,
    /// Servers in use.
    pub active: u32,
    /// Servers idle.
    pub idle: u32,
    /// Servers that a cancel request is under way to.
    pub cancelling: u32,
    /// Servers that are asked something of ours.
    pub looking: u32,
    /// Servers being opened.
    pub connecting: u32,
    /// Servers of the host being closed.
    pub closing: u32,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Servers handed out.
    pub leases: u64,
    /// Of these, at once.
    pub at_once: u64,
    /// Times that a client began to wait.
    pub waits: u64,
    /// Waits that ended in an error.
    pub wait_timeouts: u64,
    /// Servers opened.
    pub connects: u64,
    /// Servers that could not be opened.
    pub connect_failures: u64,
    /// Servers closed.
    pub closes: u64,
    /// Idle servers found dead before they were handed out.
    pub found_dead: u64,
    /// Servers closed since something was under way on them when they were to be given back.
    pub unsettled: u64,
    /// Queries answered.
    pub queries: u64,
    /// Transactions ended, statements outside of any included.
    pub transactions: u64,
    /// Time that servers spent in transactions, in microseconds.
    pub transaction_us: u64,
    /// Clients that logged in.
    pub logins: u64,
    /// Named statements that clients prepared.
    pub client_parses: u64,
    /// Named statements that servers were sent.
    pub server_parses: u64,
    /// Uses of named statements.
    pub binds: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Waits for a server; leases that did not wait are not in it.
    pub wait_time: Histogram,
    /// Queries, from sending until `ReadyForQuery`.
    pub query_time: Histogram,
    /// How long servers were held.
    pub lease_time: Histogram,
    /// Sessions that hold a server outside of transactions.
    pub pins: Vec<PinStats>,
}
