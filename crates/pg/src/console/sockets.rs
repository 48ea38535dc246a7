//! `SHOW CLIENTS`, `SERVERS`, `SOCKETS` and `ACTIVE_SOCKETS`: one row for each connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::time::Instant;

use super::table::{Cell, Column, Kind, Table};
use super::time::{stamp, stamp_of};
use crate::cancel::Seat;
use crate::pool::{Pool, ServerRow};
use crate::pooler::Shared;
use crate::session::Activity;

use Kind::{Int4, Text};

/// `SHOW SOCKETS`; all but the last seven are those of `CLIENTS` and `SERVERS`.
pub(super) const SOCKETS: &[Column] = &[
    ("type", Text),
    ("user", Text),
    ("database", Text),
    ("replication", Text),
    ("state", Text),
    ("addr", Text),
    ("port", Int4),
    ("local_addr", Text),
    ("local_port", Int4),
    ("connect_time", Text),
    ("request_time", Text),
    ("wait", Int4),
    ("wait_us", Int4),
    ("close_needed", Int4),
    ("ptr", Text),
    ("link", Text),
    ("remote_pid", Int4),
    ("tls", Text),
    ("application_name", Text),
    ("prepared_statements", Int4),
    ("id", Int4),
    ("recv_pos", Int4),
    ("pkt_pos", Int4),
    ("pkt_remain", Int4),
    ("send_pos", Int4),
    ("send_remain", Int4),
    ("pkt_avail", Int4),
    ("send_avail", Int4),
];
/// Positions in buffers, which we do not have.
const INSIDE: usize = 7;
/// `SHOW CLIENTS` and `SHOW SERVERS`.
pub(super) const CONNECTIONS: &[Column] = SOCKETS.split_at(SOCKETS.len() - INSIDE).0;

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Clients,
    Servers,
    All,
    Active,
}

/// Fills a table of `CONNECTIONS` or `SOCKETS`.
pub(super) fn fill(table: &mut Table, shared: &Rc<Shared>, which: Which) {
    let mut servers: Vec<(Rc<Pool>, ServerRow)> = Vec::new();
    for pool in shared.pools.of(None) {
        let rows = pool.server_rows();
        servers.extend(rows.into_iter().map(|row| (Rc::clone(&pool), row)));
    }
    servers.sort_by_key(|(_, row)| row.facts.id);
    // Which server a client has, by the number of its session.
    let links: HashMap<i32, u64> = servers
        .iter()
        .filter_map(|(_, row)| Some((row.client.as_ref()?.0, row.facts.id)))
        .collect();
    if which != Which::Servers {
        let mut seats = shared.sessions.all();
        seats.sort_by_key(|seat| seat.id());
        for seat in seats {
            let link = links.get(&seat.id()).copied();
            if which != Which::Active || link.is_some() {
                client(table, &seat, link);
            }
        }
    }
    if which != Which::Clients {
        for (pool, row) in &servers {
            if which != Which::Active || row.is_active {
                server(table, pool, row);
            }
        }
    }
}

fn client(table: &mut Table, seat: &Seat, link: Option<u64>) {
    let handle = &seat.handle;
    let Some(about) = handle.about() else {
        return;
    };
    let activity = handle.activity();
    let asked = handle.last_asked();
    let waits = match (activity, asked) {
        (Activity::Waiting, Some(asked)) => asked.elapsed(),
        _ => std::time::Duration::ZERO,
    };
    let state = match activity {
        Activity::Waiting => "waiting",
        _ if link.is_some() || about.is_console => "active",
        _ => "idle",
    };
    let request = match (about.is_console, asked) {
        (true, _) => stamp_of(Instant::now()),
        (false, Some(asked)) => stamp_of(asked),
        (false, None) => stamp(about.connected),
    };
    push(
        table,
        vec![
            "C".into(),
            (*about.user).into(),
            (*about.database).into(),
            "none".into(),
            state.into(),
            address(about.address).into(),
            port(about.address).into(),
            address(about.local).into(),
            port(about.local).into(),
            stamp(about.connected).into(),
            request.into(),
            waits.as_secs().into(),
            waits.subsec_micros().into(),
            0.into(),
            format!("C-{}", seat.id()).into(),
            link.map_or_else(String::new, |id| format!("S-{id}")).into(),
            about.process.unwrap_or_default().into(),
            about.tls.as_deref().unwrap_or_default().into(),
            (*about.application).into(),
            handle.prepared().into(),
            seat.id().into(),
        ],
    );
}

fn server(table: &mut Table, pool: &Pool, row: &ServerRow) {
    let state = match (row.is_cancelling, row.is_active) {
        (true, true) => "active_cancel",
        (true, false) => "being_canceled",
        (false, true) => "active",
        (false, false) => "idle",
    };
    let facts = &row.facts;
    let (link, application) = match &row.client {
        Some((id, name)) => (format!("C-{id}"), (**name).to_owned()),
        None => Default::default(),
    };
    // Over a unix socket there is a port all the same: it is part of the socket's name.
    let unix_port = || pool.target.borrow().hosts.first().map(|host| host.port);
    push(
        table,
        vec![
            "S".into(),
            (*pool.key.user).into(),
            (*pool.key.database).into(),
            "none".into(),
            state.into(),
            address(facts.address).into(),
            facts
                .address
                .map_or_else(unix_port, |address| Some(address.port()))
                .unwrap_or_default()
                .into(),
            address(facts.local).into(),
            port(facts.local).into(),
            stamp(facts.connected).into(),
            stamp_of(row.since).into(),
            0.into(),
            0.into(),
            row.closes.into(),
            format!("S-{}", facts.id).into(),
            link.into(),
            row.pid.unwrap_or_default().into(),
            (*facts.tls).into(),
            application.into(),
            facts.prepared.get().into(),
            facts.id.into(),
        ],
    );
}

fn push(table: &mut Table, mut row: Vec<Cell>) {
    row.resize(table.columns.len(), 0.into());
    table.rows.push(row);
}

/// As PgBouncer: `unix` where there is no address.
fn address(address: Option<SocketAddr>) -> String {
    address.map_or_else(
        || "unix".to_owned(),
        |address| address.ip().to_canonical().to_string(),
    )
}

fn port(address: Option<SocketAddr>) -> u16 {
    address.map_or(0, |address| address.port())
}
