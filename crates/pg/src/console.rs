//! The admin database: PgBouncer's console, answered here over the PostgreSQL protocol to psql, to
//! drivers and to monitors. Leaves proving who comes to `access`, and what is shown and commanded
//! to the pools and sessions themselves.

mod act;
mod command;
mod config;
mod extended;
mod orders;
mod show;
mod sockets;
mod statistics;
mod table;
mod talk;
#[cfg(test)]
mod tests;
mod time;
mod words;

pub(crate) use command::Rights;
pub use command::Shutdown;
pub use orders::{Answer, Order};
pub(crate) use talk::{Visitor, run};

use std::cell::Cell;

use crate::settings::Settings;

/// The names of the admin database: PgBouncer's, and ours.
const NAMES: [&str; 2] = ["pgbouncer", "canter"];

/// What sessions of the console share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) orders: orders::Orders,
    /// Paused by SUSPEND.
    suspended: Cell<bool>,
    /// After SHUTDOWN: there is no way back.
    ending: Cell<bool>,
}

pub(crate) use statistics::Minutes;

/// Whether this database is the console.
pub(crate) fn is_console(database: &str) -> bool {
    NAMES.contains(&database)
}

/// What a client may do that came in as `user`, when the database's own user is `own`.
///
/// `proved` is what the door knows of it: nobody is let in on his word alone. One that runs as the
/// user that we run as could do anything to us, and may use the name of the console too.
pub(crate) fn rights(
    settings: &Settings,
    own: Option<&str>,
    user: &str,
    proved: Proved,
) -> Option<Rights> {
    let named = |users: &[String]| users.iter().any(|known| known == user);
    let is_own = own == Some(user) || named(&settings.admin_users);
    let is_someone = proved != Proved::Nothing;
    let is_us = proved == Proved::Process && is_console(user);
    if is_someone && (is_own || is_us) {
        Some(Rights::All)
    } else if is_someone && named(&settings.stats_users) {
        Some(Rights::Look)
    } else {
        None
    }
}

/// What a client has proved at its door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proved {
    /// Nothing: everybody is let in there.
    Nothing,
    /// That it is the user it says.
    User,
    /// That it runs as the user that we run as, or as root.
    Process,
}
