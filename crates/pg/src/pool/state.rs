//! The state of a pool in words, for who waited in vain, and in numbers; and the addresses a host
//! had.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Connect;
use super::host::{Held, Host};
use super::one::Pool;
use super::stats::PoolStats;
use crate::wire::SqlError;

/// The addresses of a host. A name may answer with another part of a longer list each time, so
/// one that is missing once is not gone yet.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Vec<(IpAddr, u8)>);

impl Addresses {
    /// Takes in what a look-up found.
    pub(crate) fn saw(&mut self, now: &[IpAddr]) {
        for (address, missing) in &mut self.0 {
            *missing = if now.contains(address) {
                0
            } else {
                missing.saturating_add(1)
            };
        }
        for address in now {
            if !self.0.iter().any(|(known, _)| known == address) {
                self.0.push((*address, 0));
            }
        }
        // A bound against names that never answer twice alike.
        self.0.retain(|(_, missing)| *missing < 100);
    }

    /// Those it has, separated by commas.
    pub(crate) fn shown(&self) -> String {
        let present = self.0.iter().filter(|(_, missing)| *missing == 0);
        let words: Vec<_> = present.map(|(address, _)| address.to_string()).collect();
        words.join(",")
    }

    /// Whether it was one, and is none any more.
    pub(crate) fn is_gone(&self, address: IpAddr) -> bool {
        self.0
            .iter()
            .any(|(known, missing)| *known == address && *missing >= 2)
    }
}

impl<C: Connect> Host<C> {
    pub(crate) fn is_stale(&self, held: &Held<C>) -> bool {
        held.address
            .is_some_and(|address| self.addresses.borrow().is_gone(address))
    }

    /// The most pinned sessions: so many that others can still work.
    pub(crate) fn pin_cap(&self) -> u32 {
        self.settings
            .pin_cap()
            .unwrap_or_else(|| (self.size.cap() / 2).saturating_sub(self.lent()).max(1))
    }

    /// How many may be pinned when some turn out to be that could not wait for a place, being in a
    /// transaction or having called a function. One server is left to the others, unless a limit
    /// was set.
    pub(crate) fn pin_bound(&self) -> u32 {
        let set = self.settings.pin_cap();
        let but_one = self.size.cap().saturating_sub(self.lent() + 1);
        set.unwrap_or_else(|| self.pin_cap().max(but_one))
    }
}

impl<C: Connect> Pool<C> {
    /// What a client is told that waited for `limit` in vain.
    pub(crate) fn wait_error(&self, now: Instant, limit: Duration) -> SqlError {
        let detail = self.state(now);
        let waited = format!("{} s", limit.as_secs_f32());
        if let Some(refused) = &*self.last_refusal.borrow() {
            let error = &refused.error;
            return SqlError::error(
                error.code_str(),
                format!("no server connection within {waited}: {}", error.message),
            )
            .detail(match &error.detail {
                Some(theirs) => format!("{theirs} {detail}"),
                None => detail,
            })
            .hint("The client was held meanwhile; it may simply try again.");
        }
        let message = if self.is_paused() {
            format!(
                "database \"{}\" is paused; gave up after {waited}",
                self.key.database
            )
        } else {
            format!("no server connection became free within {waited}")
        };
        SqlError::error("53300", message).detail(detail).hint(
            "Shorten the transactions, or raise --db-connections if the server has room for more.",
        )
    }

    /// What a client is told that waits on.
    pub(crate) fn wait_notice(&self, now: Instant) -> SqlError {
        let message = if self.is_paused() {
            format!(
                "database \"{}\" is paused: the query waits",
                self.key.database
            )
        } else {
            "no server connection is free: the query waits for one".to_owned()
        };
        SqlError::error("00000", message).detail(self.state(now))
    }

    /// `12 of 12 connections in use by ...; longest transaction 4.2 s in SELECT ...; 31 waiting`
    pub(crate) fn state(&self, now: Instant) -> String {
        let (host, in_use) = (&self.host, self.in_use.borrow());
        let busy: usize = host
            .pools
            .borrow()
            .iter()
            .map(|pool| pool.in_use.borrow().len())
            .sum();
        let mut words = format!("{busy} of {} connections in use", host.size.cap());
        let mut clients = BTreeMap::<&str, u32>::new();
        for (_, one) in in_use.iter() {
            *clients.entry(one.client()).or_default() += 1;
        }
        let mut clients: Vec<_> = clients.into_iter().collect();
        clients.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (at, (client, count)) in clients.iter().take(3).enumerate() {
            words.push_str(if at == 0 { " by " } else { ", " });
            words.push_str(client);
            if *count > 1 {
                let _ = write!(words, " ({count})");
            }
        }
        let working = in_use.iter().filter(|(_, one)| !one.lent);
        if let Some((_, one)) = working.min_by_key(|(_, one)| one.since) {
            let age = now.saturating_duration_since(one.since).as_secs_f32();
            let _ = write!(words, "; longest transaction {age:.1} s");
            let text = one.text();
            if !text.is_empty() {
                let _ = write!(words, " in {text}");
            }
        }
        let _ = write!(words, "; {} waiting", host.waiting());
        if host.lent() > 0 {
            let _ = write!(words, "; {} lent", host.lent());
        }
        if host.pins.len() > 0 {
            let _ = write!(words, "; {} pinned", host.pins.len());
        }
        words
    }

    pub(crate) fn stats(self: &Rc<Self>) -> PoolStats {
        let (now, counters) = (Instant::now(), &self.counters);
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        PoolStats {
            host: self.host.name.clone(),
            database: self.key.database.to_string(),
            user: self.key.user.to_string(),
            cap: self.host.size.cap(),
            clients: self.clients.get(),
            waiting: self.waiting(),
            max_wait: self.max_wait(now),
            active: count(self.in_use.borrow().len()),
            idle: count(self.idle.borrow().len()),
            cancelling: count(
                self.in_use
                    .borrow()
                    .iter()
                    .filter(|(_, one)| one.aim.as_ref().is_some_and(|aim| aim.is_firing()))
                    .count(),
            ),
            looking: self.looking(),
            connecting: self.connecting.get(),
            closing: self.host.closing(),
            paused: self.is_paused(),
            disabled: self.is_disabled(),
            leases: counters.leases.get(),
            at_once: counters.at_once.get(),
            waits: counters.waits.get(),
            wait_timeouts: counters.wait_timeouts.get(),
            connects: counters.connects.get(),
            connect_failures: counters.connect_failures.get(),
            closes: counters.closes.get(),
            found_dead: counters.found_dead.get(),
            unsettled: counters.unsettled.get(),
            queries: counters.queries.get(),
            transactions: counters.transactions.get(),
            transaction_us: counters.transaction_us.get(),
            logins: counters.logins.get(),
            client_parses: counters.client_parses.get(),
            server_parses: counters.server_parses.get(),
            binds: counters.binds.get(),
            bytes_in: counters.bytes_in.get(),
            bytes_out: counters.bytes_out.get(),
            wait_time: counters.wait_time.read(),
            query_time: counters.query_time.read(),
            lease_time: counters.lease_time.read(),
            pins: self.host.pins.stats(&self.key.database, &self.key.user),
        }
    }
}
