//! The tables of `SHOW` about pools: POOLS, DATABASES, USERS, LISTS, PINS, STATE and the small
//! ones. Leaves connections to `sockets`, numbers over time to `statistics` and settings to
//! `config`.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::time::Instant;

use super::command::Topic;
use super::table::{Cell, Column, Kind, Table};
use super::{config, sockets, statistics};
use crate::pool::{Pool, PoolStats};
use crate::pooler::Shared;
use crate::target::Addr;
use crate::wire::SqlError;

/// Monitors look for the first number to know which columns there are.
pub(super) const VERSION: &str = concat!(
    "PgBouncer 1.25.1 compatible: Canter ",
    env!("CARGO_PKG_VERSION")
);

use Kind::{Int4, Int8, Text};

const POOLS: &[Column] = &[
    ("database", Text),
    ("user", Text),
    ("cl_active", Int4),
    ("cl_waiting", Int4),
    ("cl_active_cancel_req", Int4),
    ("cl_waiting_cancel_req", Int4),
    ("sv_active", Int4),
    ("sv_active_cancel", Int4),
    ("sv_being_canceled", Int4),
    ("sv_idle", Int4),
    ("sv_used", Int4),
    ("sv_tested", Int4),
    ("sv_login", Int4),
    ("maxwait", Int4),
    ("maxwait_us", Int4),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
];
const DATABASES: &[Column] = &[
    ("name", Text),
    ("host", Text),
    ("port", Int4),
    ("database", Text),
    ("force_user", Text),
    ("pool_size", Int4),
    ("min_pool_size", Int4),
    ("reserve_pool_size", Int4),
    ("server_lifetime", Int4),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
    ("max_connections", Int4),
    ("current_connections", Int4),
    ("max_client_connections", Int4),
    ("current_client_connections", Int4),
    ("paused", Int4),
    ("disabled", Int4),
];
const USERS: &[Column] = &[
    ("name", Text),
    ("pool_size", Text),
    ("reserve_pool_size", Text),
    ("pool_mode", Text),
    ("max_user_connections", Int4),
    ("current_connections", Int4),
    ("max_user_client_connections", Int4),
    ("current_client_connections", Int4),
];
const PINS: &[Column] = &[
    ("client", Text),
    ("database", Text),
    ("user", Text),
    ("reason", Text),
    ("age", Int8),
    ("sql", Text),
];
const LISTS: &[Column] = &[("list", Text), ("items", Int4)];
const STATE: &[Column] = &[("key", Text), ("value", Text)];
const DNS_HOSTS: &[Column] = &[("hostname", Text), ("ttl", Int8), ("addrs", Text)];
const DNS_ZONES: &[Column] = &[("zonename", Text), ("serial", Int8), ("count", Int4)];
const MEM: &[Column] = &[
    ("name", Text),
    ("size", Int4),
    ("used", Int4),
    ("free", Int4),
    ("memtotal", Int4),
];
const PEERS: &[Column] = &[
    ("peer_id", Int4),
    ("host", Text),
    ("port", Int4),
    ("pool_size", Int4),
];
const PEER_POOLS: &[Column] = &[
    ("peer_id", Int4),
    ("cl_active_cancel_req", Int4),
    ("cl_waiting_cancel_req", Int4),
    ("sv_active_cancel", Int4),
    ("sv_login", Int4),
];

/// The columns, known before there are rows; none for what answers in other ways.
pub(super) fn columns(topic: Topic) -> &'static [Column] {
    match topic {
        Topic::ActiveSockets | Topic::Sockets => sockets::SOCKETS,
        Topic::Clients | Topic::Servers => sockets::CONNECTIONS,
        Topic::Config => config::COLUMNS,
        Topic::Databases => DATABASES,
        Topic::DnsHosts => DNS_HOSTS,
        Topic::DnsZones => DNS_ZONES,
        Topic::Fds | Topic::Help => &[],
        Topic::Lists => LISTS,
        Topic::Mem => MEM,
        Topic::PeerPools => PEER_POOLS,
        Topic::Peers => PEERS,
        Topic::Pins => PINS,
        Topic::Pools => POOLS,
        Topic::State => STATE,
        Topic::Stats => statistics::STATS,
        Topic::StatsAverages => statistics::AVERAGES,
        Topic::StatsTotals => statistics::TOTALS_BY_DATABASE,
        Topic::Totals => statistics::TOTALS,
        Topic::Users => USERS,
        Topic::Version => &[("version", Text)],
    }
}

/// The table of a topic at this moment.
pub(super) fn table(topic: Topic, shared: &Rc<Shared>, suspended: bool) -> Result<Table, SqlError> {
    let mut table = Table::new(columns(topic));
    match topic {
        Topic::ActiveSockets => sockets::fill(&mut table, shared, sockets::Which::Active),
        Topic::Sockets => sockets::fill(&mut table, shared, sockets::Which::All),
        Topic::Clients => sockets::fill(&mut table, shared, sockets::Which::Clients),
        Topic::Servers => sockets::fill(&mut table, shared, sockets::Which::Servers),
        Topic::Config => config::fill(&mut table, &shared.settings),
        Topic::Databases => databases(&mut table, shared),
        Topic::DnsHosts => dns(&mut table, shared),
        Topic::Fds => {
            let words = "descriptors are not handed out over the console";
            return Err(SqlError::error("0A000", words)
                .hint("SHOW SOCKETS lists connections without them."));
        }
        Topic::Lists => lists(&mut table, shared),
        Topic::Mem => memory(&mut table),
        Topic::Pins => pins(&mut table, shared),
        Topic::Pools => pools(&mut table, &stats(shared)),
        Topic::State => state(&mut table, shared, suspended),
        Topic::Stats | Topic::StatsAverages | Topic::StatsTotals | Topic::Totals => {
            statistics::fill(topic, &mut table, shared);
        }
        Topic::Users => users(&mut table, &stats(shared)),
        Topic::Version => table.push([VERSION.into()]),
        Topic::DnsZones | Topic::Help | Topic::PeerPools | Topic::Peers => {}
    }
    Ok(table)
}

/// Of all pools, by database and user.
pub(super) fn stats(shared: &Rc<Shared>) -> Vec<PoolStats> {
    let mut all = shared.pools.stats();
    all.sort_by(|one, other| (&one.database, &one.user).cmp(&(&other.database, &other.user)));
    all
}

fn pools(table: &mut Table, all: &[PoolStats]) {
    for pool in all {
        table.push([
            (*pool.database).into(),
            (*pool.user).into(),
            pool.clients.saturating_sub(pool.waiting).into(),
            pool.waiting.into(),
            pool.cancelling.into(),
            0.into(),
            pool.active.into(),
            pool.cancelling.into(),
            // Those that wait for a cancel to be through are counted with those that are looked at.
            0.into(),
            pool.idle.into(),
            0.into(),
            pool.looking.into(),
            pool.connecting.into(),
            pool.max_wait.as_secs().into(),
            pool.max_wait.subsec_micros().into(),
            "transaction".into(),
            Cell::Null,
        ]);
    }
}

/// What `SHOW DATABASES` adds up for one database.
#[derive(Default)]
struct Database {
    host: String,
    port: u16,
    cap: u32,
    least: usize,
    servers: usize,
    clients: u32,
}

fn databases(table: &mut Table, shared: &Rc<Shared>) {
    let mut all = BTreeMap::<String, Database>::new();
    if let Some(target) = shared.default_target() {
        let database = all.entry(target.dbname.clone()).or_default();
        database.cap = shared.settings.connections().unwrap_or_default();
        place(&target, database);
    }
    for pool in shared.pools.of(None) {
        let database = all.entry(pool.key.database.to_string()).or_default();
        place(&pool.target.borrow(), database);
        database.cap = pool.host.size.cap();
        database.least += pool.least();
        database.servers += pool.servers();
        database.clients = database.clients.saturating_add(pool.clients.get());
    }
    let settings = &shared.settings;
    for (name, database) in all {
        let (paused, disabled) = shared.pools.standing(&name);
        table.push([
            (*name).into(),
            database.host.into(),
            database.port.into(),
            (*name).into(),
            Cell::Null,
            database.cap.into(),
            database.least.into(),
            0.into(),
            settings.lifetime().as_secs().into(),
            Cell::Null,
            Cell::Null,
            settings.connections().unwrap_or_default().into(),
            database.servers.into(),
            settings.max_clients().into(),
            database.clients.into(),
            paused.into(),
            disabled.into(),
        ]);
    }
}

/// The first host stands for all.
fn place(target: &crate::target::Target, database: &mut Database) {
    if let Some(host) = target.hosts.first() {
        database.host = match &host.addr {
            Addr::Name(name) => name.clone(),
            Addr::Ip(address, _) => address.to_string(),
            Addr::Unix(folder) => folder.display().to_string(),
        };
        database.port = host.port;
    }
}

fn users(table: &mut Table, all: &[PoolStats]) {
    let mut users = BTreeMap::<&str, (u32, u32)>::new();
    for pool in all {
        let (servers, clients) = users.entry(&pool.user).or_default();
        *servers = servers.saturating_add(pool.active + pool.idle + pool.connecting + pool.looking);
        *clients = clients.saturating_add(pool.clients);
    }
    for (name, (servers, clients)) in users {
        table.push([
            name.into(),
            "".into(),
            "".into(),
            Cell::Null,
            0.into(),
            servers.into(),
            0.into(),
            clients.into(),
        ]);
    }
}

fn lists(table: &mut Table, shared: &Rc<Shared>) {
    let all = stats(shared);
    let distinct = |of: fn(&PoolStats) -> &str| {
        let mut names: Vec<_> = all.iter().map(of).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    let servers: u32 = all
        .iter()
        .map(|pool| pool.active + pool.idle + pool.connecting + pool.looking)
        .sum();
    let clients = shared.clients.get();
    let rows: [(&str, Cell); 14] = [
        ("databases", distinct(|pool| &pool.database).into()),
        ("users", distinct(|pool| &pool.user).into()),
        ("peers", 0.into()),
        ("pools", all.len().into()),
        ("peer_pools", 0.into()),
        ("free_clients", 0.into()),
        ("used_clients", clients.into()),
        (
            "login_clients",
            clients.saturating_sub(shared.sessions.len()).into(),
        ),
        ("free_servers", 0.into()),
        ("used_servers", servers.into()),
        ("dns_names", names(shared).len().into()),
        ("dns_zones", 0.into()),
        ("dns_queries", 0.into()),
        ("dns_pending", 0.into()),
    ];
    for (name, items) in rows {
        table.push([name.into(), items]);
    }
}

fn pins(table: &mut Table, shared: &Rc<Shared>) {
    for pool in stats(shared) {
        for pin in pool.pins {
            table.push([
                pin.client.into(),
                pin.database.into(),
                (*pool.user).into(),
                pin.reasons.into(),
                pin.age.as_secs().into(),
                pin.text.into(),
            ]);
        }
    }
}

fn state(table: &mut Table, shared: &Rc<Shared>, suspended: bool) {
    let paused = shared.pools.is_all_paused();
    let yes = |is: bool| Cell::from(if is { "yes" } else { "no" });
    table.push(["active".into(), yes(!paused)]);
    table.push(["paused".into(), yes(paused && !suspended)]);
    table.push(["suspended".into(), yes(paused && suspended)]);
}

/// Host names and one pool of each.
fn names(shared: &Rc<Shared>) -> BTreeMap<String, Rc<Pool>> {
    let mut names = BTreeMap::new();
    for pool in shared.pools.of(None) {
        for host in &pool.target.borrow().hosts {
            if let Addr::Name(name) = &host.addr {
                names.insert(name.clone(), Rc::clone(&pool));
            }
        }
    }
    names
}

fn dns(table: &mut Table, shared: &Rc<Shared>) {
    let now = Instant::now();
    for (name, pool) in names(shared) {
        let next = pool.host.look_at.get().saturating_duration_since(now);
        let addresses = pool.host.addresses.borrow().shown();
        table.push([name.into(), next.as_secs().into(), addresses.into()]);
    }
}

/// What the process has, in pages of memory.
fn memory(table: &mut Table) {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kilobytes = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("Rss:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0_u64);
    let bytes = kilobytes.saturating_mul(1024);
    table.push([
        "process".into(),
        page.into(),
        (bytes / page).into(),
        0.into(),
        bytes.into(),
    ]);
}
