//! `canter tune --observe`: looks at a running server and says what it would change.
//!
//! Owns finding the server and looking at it from time to time. Leaves what follows to
//! `canter_tune::observe`; nothing is changed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use canter_base::flags::Given;
use canter_base::options::Value as _;
use canter_base::{Exit, Fault};
use canter_load::inside::{SNAPSHOT, snapshot};
use canter_load::target::Door;
use canter_tune::observe::{Look, observe};

use super::super::bench::{self, files, plan};
use crate::command::which;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks for `--time`; Ctrl-C ends it with what was seen.
pub(super) fn run(given: &Given) -> Result<Exit, Fault> {
    let time = plan::duration(given, "time")?.unwrap_or(Duration::from_secs(10));
    if time < LOOK {
        return Err(plan::wrong(
            "time",
            &time.show(),
            "nothing is seen in so short a time; a second is the least",
        ));
    }
    let file = match given.value("json") {
        Some(path) if path != "-" => Some((path.to_owned(), files::create(path)?)),
        _ => None,
    };
    let door = door(given)?;
    let stop = super::on_signals()?;
    let begin = Instant::now();
    let mut looks = Vec::new();
    loop {
        looks.push(look(&door, begin)?);
        if begin.elapsed() >= time || stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(LOOK.min(time.saturating_sub(begin.elapsed())));
    }
    let seen = observe(&looks).ok_or_else(|| {
        Fault::new(Exit::Unreachable, "the server has no worker at the moment")
            .hint("look again once it has started")
    })?;
    match (given.value("json"), file) {
        (Some(_), Some((path, mut file))) => {
            std::io::Write::write_all(&mut file, seen.json().as_bytes()).map_err(|error| {
                Fault::new(Exit::File, format!("cannot write `{path}`: {error}"))
            })?;
            bench::print(&seen.text());
        }
        (Some(_), None) => bench::print(&seen.json()),
        _ => bench::print(&seen.text()),
    }
    Ok(Exit::Ok)
}

fn look(door: &Door, begin: Instant) -> Result<Look, Fault> {
    let told = snapshot(door, SNAPSHOT).ok_or_else(|| {
        Fault::new(Exit::Unreachable, format!("{door} tells nothing about itself")).hint(
            "it has to be a Canter with `--insight` on: give the path of its socket, or the HOST:PORT of `--admin-bind`",
        )
    })?;
    Ok(Look {
        told,
        at: begin.elapsed().as_secs_f64(),
    })
}

/// The server that is meant: the one named, or the only one of this user.
fn door(given: &Given) -> Result<Door, Fault> {
    let word = given.words.first().map(String::as_str);
    match word {
        Some(address) if which::is_network(address) => {
            let found = std::net::ToSocketAddrs::to_socket_addrs(&address)
                .ok()
                .and_then(|mut all| all.next());
            found.map(Door::Address).ok_or_else(|| {
                Fault::usage(format!("`{address}` is no address")).from("command line").hint(
                    "with `--observe` the word is a running server: HOST:PORT of `--admin-bind`, or the path of a socket",
                )
            })
        }
        other => which::socket(other).map(Door::Socket),
    }
}
