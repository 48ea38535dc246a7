//! Owns which of this user's servers a command means: the one that is named, the one that runs the command, the
//! one that was started in this folder. Leaves asking it to `insight`.

use std::path::PathBuf;

use canter_base::{Exit, Fault};

use crate::admin;

/// Whether an address is HOST:PORT, and not a socket, the number of a process or a folder.
pub(crate) fn is_network(address: &str) -> bool {
    !address.contains('/') && !address.starts_with("unix:") && address.contains(':')
}

/// The socket that is meant: the one named, that of the server that runs this command, the only one there is,
/// or of several the one that was started in this folder.
pub(crate) fn socket(address: Option<&str>) -> Result<PathBuf, Fault> {
    if let Some(found) = given(address)? {
        return Ok(found);
    }
    let mut servers = admin::servers();
    if servers.len() > 1 {
        return one_at_home(&servers);
    }
    servers.pop().ok_or_else(nobody)
}

/// The same for what changes something: without an address it is no other server than that of this folder.
pub(crate) fn own_socket(address: Option<&str>) -> Result<PathBuf, Fault> {
    match given(address)? {
        Some(found) => Ok(found),
        None => one_at_home(&admin::servers()),
    }
}

/// How many servers were started in this folder; one where a server runs this command.
pub(crate) fn count_at_home() -> usize {
    match std::env::var_os("CANTER_SOCKET") {
        Some(_) => 1,
        None => at_home(&admin::servers()).len(),
    }
}

/// A server that a command takes where it was not said which, though it was started elsewhere: as `4711 in
/// /srv/shop`.
pub(crate) fn elsewhere(address: Option<&str>) -> Option<String> {
    if address.is_some() || std::env::var_os("CANTER_SOCKET").is_some() {
        return None;
    }
    match &*admin::servers() {
        only @ [_] if at_home(only).is_empty() => Some(listed(only)),
        _ => None,
    }
}

/// What the address says, or the server that runs this command.
fn given(address: Option<&str>) -> Result<Option<PathBuf>, Fault> {
    let Some(address) = address else {
        return match std::env::var_os("CANTER_SOCKET") {
            Some(path) if path.is_empty() => Err(Fault::new(
                Exit::Unreachable,
                "the server that runs this has no private socket",
            )
            .hint("its log says why, as it started")),
            path => Ok(path.map(PathBuf::from)),
        };
    };
    let path = address.strip_prefix("unix:").unwrap_or(address);
    if path.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Some(admin::folder().join(format!("{path}.sock"))));
    }
    let Ok(folder) = std::fs::canonicalize(path) else {
        return Ok(Some(path.into()));
    };
    if !folder.is_dir() {
        return Ok(Some(path.into()));
    }
    let mut servers = admin::servers();
    servers.retain(|socket| admin::home_of(socket).is_some_and(|home| home == folder));
    match (servers.pop(), servers.is_empty()) {
        (Some(only), true) => Ok(Some(only)),
        (None, _) => Err(usage(format!("no server was started in `{path}`"))
            .hint(format!("those of this user: {}", listed(&admin::servers())))),
        (Some(last), false) => {
            servers.push(last);
            Err(usage(format!("several servers were started in `{path}`"))
                .hint(format!("name one by its number: {}", listed(&servers))))
        }
    }
}

fn at_home(servers: &[PathBuf]) -> Vec<PathBuf> {
    let here = std::env::current_dir().ok();
    let servers = servers.iter();
    let mine = servers.filter(|socket| here.is_some() && admin::home_of(socket) == here);
    mine.cloned().collect()
}

fn one_at_home(servers: &[PathBuf]) -> Result<PathBuf, Fault> {
    if servers.is_empty() {
        return Err(nobody());
    }
    let mut mine = at_home(servers);
    match (mine.pop(), mine.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(usage(
            "it was not said which server: none was started in this folder".to_owned(),
        )
        .hint(format!("name one by its number: {}", listed(servers)))),
        (Some(_), false) => Err(
            usage("several servers were started in this folder".to_owned())
                .hint(format!("name one by its number: {}", listed(servers))),
        ),
    }
}

fn nobody() -> Fault {
    Fault::new(
        Exit::Unreachable,
        format!(
            "no server of this user runs here: {} has no socket",
            admin::folder().display()
        ),
    )
    .hint("start one with `canter serve`, or give the address of `--admin-bind`")
}

/// `4711 in /srv/shop, 4712 in /srv/blog`.
fn listed(servers: &[PathBuf]) -> String {
    let names = servers.iter().map(|socket| {
        let pid = socket.file_stem().unwrap_or_default().to_string_lossy();
        match admin::home_of(socket) {
            Some(home) => format!("{pid} in {}", home.display()),
            None => pid.into_owned(),
        }
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

fn usage(what: String) -> Fault {
    Fault::usage(what).from("command line")
}
