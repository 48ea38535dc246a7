//! Owns how the pooler's numbers become those that insight shows: one sum for the dashboard, and each
//! database for metrics.
//! Leaves counting to the pooler, and names of metrics to `canter_insight`.

use std::collections::BTreeMap;

use canter_insight::show::{Connections, Pool, Spread};
use canter_pg::{BOUNDS_US, Histogram, PoolStats, PoolerStats};

/// Databases that are told apart: clients name them.
const MOST: usize = 50;
const OTHERS: &str = "(others)";

/// All pools together.
pub fn summed(stats: &PoolerStats) -> Pool {
    let mut pool = Pool::default();
    for one in &stats.pools {
        pool.servers.0 += used(one) + one.idle;
        pool.servers.1 += used(one);
        pool.clients.0 += one.clients;
        pool.clients.1 += one.waiting;
        pool.waited_us = pool.waited_us.saturating_add(one.wait_time.sum_us);
    }
    pool
}

/// One for each server and database, whatever the roles are; beyond the bound the busiest have a name of
/// their own.
pub fn connections(stats: &PoolerStats) -> Vec<Connections> {
    let mut by_name = BTreeMap::<String, Vec<&PoolStats>>::new();
    for pool in &stats.pools {
        let name = format!("{}/{}", pool.host, pool.database);
        by_name.entry(name).or_default().push(pool);
    }
    let mut ranked: Vec<_> = by_name.into_iter().collect();
    let leases = |pools: &[&PoolStats]| pools.iter().map(|pool| pool.leases).sum::<u64>();
    // In the order of their names where they are equally busy.
    ranked.sort_by_key(|(_, pools)| std::cmp::Reverse(leases(pools)));
    let rest = ranked.split_off(ranked.len().min(MOST));
    if !rest.is_empty() {
        let rest = rest.into_iter().flat_map(|(_, pools)| pools);
        ranked.push((OTHERS.to_owned(), rest.collect()));
    }
    let told = ranked
        .into_iter()
        .map(|(name, pools)| together(name, &pools));
    told.collect()
}

/// Servers that nobody can have now: those that are asked something of ours, too.
fn used(pool: &PoolStats) -> u32 {
    pool.active + pool.looking
}

fn together(name: String, pools: &[&PoolStats]) -> Connections {
    let mut all = Connections {
        name,
        ..Connections::default()
    };
    let (mut wait, mut used_for) = (Histogram::default(), Histogram::default());
    for pool in pools {
        all.used += used(pool);
        all.idle += pool.idle;
        all.max = all.max.max(pool.cap);
        all.pending += pool.waiting;
        all.timeouts = all.timeouts.saturating_add(pool.wait_timeouts);
        wait.add(&pool.wait_time);
        // The pooler's own histogram has only those that had to wait.
        if let Some(first) = wait.counts.first_mut() {
            *first = first.saturating_add(pool.at_once);
        }
        used_for.add(&pool.lease_time);
    }
    (all.wait, all.used_for) = (spread(&wait), spread(&used_for));
    all
}

fn spread(histogram: &Histogram) -> Spread {
    Spread {
        bounds_us: &BOUNDS_US,
        counts: histogram.counts.to_vec(),
        total_us: histogram.sum_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(database: &str, user: &str, leases: u64) -> PoolStats {
        PoolStats {
            host: "db:5432".into(),
            database: database.into(),
            user: user.into(),
            leases,
            at_once: leases,
            active: 2,
            looking: 1,
            idle: 3,
            cap: 9,
            waiting: 4,
            wait_timeouts: 5,
            ..PoolStats::default()
        }
    }

    #[test]
    fn d3_the_roles_of_a_database_are_one_pool_and_who_did_not_wait_is_counted() {
        let mut waited = pool("shop", "app", 7);
        waited.wait_time.counts[3] = 2;
        waited.wait_time.sum_us = 1_800;
        waited.lease_time.counts[18] = 9;
        let stats = PoolerStats {
            pools: vec![pool("blog", "app", 1), waited, pool("shop", "admin", 8)],
            ..PoolerStats::default()
        };
        let told = connections(&stats);
        let names: Vec<_> = told.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["db:5432/shop", "db:5432/blog"]);
        let shop = &told[0];
        let numbers = (shop.used, shop.idle, shop.max, shop.pending, shop.timeouts);
        assert_eq!(numbers, (6, 6, 9, 8, 10));
        assert_eq!((shop.wait.counts[0], shop.wait.counts[3]), (15, 2));
        assert_eq!((shop.wait.total_us, shop.used_for.counts[18]), (1_800, 9));
        assert_eq!(shop.wait.counts.len(), shop.wait.bounds_us.len() + 1);
        assert_eq!(summed(&stats).servers, (18, 9));
    }

    #[test]
    fn d3_names_that_clients_make_up_share_one() {
        let stats = PoolerStats {
            pools: (0..200).map(|n| pool(&format!("d{n}"), "a", n)).collect(),
            ..PoolerStats::default()
        };
        let told = connections(&stats);
        assert_eq!(
            (told.len(), told[0].name.as_str()),
            (MOST + 1, "db:5432/d199")
        );
        let rest = &told[MOST];
        assert_eq!((rest.name.as_str(), rest.idle), (OTHERS, 3 * 150));
    }
}
