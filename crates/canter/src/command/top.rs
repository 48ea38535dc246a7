//! `canter top`: what a running server does, renewed every two seconds on a terminal.
//!
//! Owns the loop between keys, answers of the server and pictures. Leaves asking to `client`, the
//! terminal to `screen`, and what a picture looks like to `view`.

mod screen;
mod view;

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use canter_base::{Exit, Fault};
use serde_json::Value as Json;

use super::client::ask;
use super::print;
use screen::Screen;
use view::View;

/// Between two questions to the server.
const PICTURE: Duration = Duration::from_secs(2);
/// So soon after it a change of the window or an answer is seen.
const TURN: Duration = Duration::from_millis(200);

/// Runs it; `once` prints a text and ends.
pub fn run(address: Option<&str>, once: bool) -> Result<Exit, Fault> {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if once || !is_terminal {
        return plain(address, once);
    }
    // What is wrong with the address is told before the terminal is taken.
    let first = known(address)?;
    let mut screen = Screen::take().map_err(|error| {
        Fault::internal(format!("the terminal cannot be used: {error}"))
            .hint("`canter top --once` prints the same as text")
    })?;
    let (answers, _asking) = ask_for_ever(address);
    let mut view = View::new(first);
    loop {
        while let Ok(answer) = answers.try_recv() {
            view.hear(answer);
        }
        let drawn = screen.show(&view.picture(Screen::size()));
        let keys = drawn.and_then(|()| screen.keys(TURN));
        // A terminal that has gone is an end like any other.
        let Ok(keys) = keys else {
            return Ok(Exit::Ok);
        };
        if screen.is_over() || !keys.into_iter().all(|key| view.press(key)) {
            return Ok(Exit::Ok);
        }
    }
}

/// Where there is no terminal: the text, again and again or once.
fn plain(address: Option<&str>, once: bool) -> Result<Exit, Fault> {
    loop {
        let text = ask(address, "GET", "/-/canter/top.txt")?;
        let separator = if once { "" } else { "\n" };
        if !print(&format!("{text}{separator}"))? || once {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(PICTURE);
    }
}

fn known(address: Option<&str>) -> Result<Json, Fault> {
    let text = ask(address, "GET", "/-/canter/data.json")?;
    serde_json::from_str(&text)
        .map_err(|error| Fault::internal(format!("the server's answer is no JSON: {error}")))
}

/// Asks in a thread of its own, so that a server that takes its time does not hold up the keys. The
/// thread ends when the receiver has gone, or with the process.
fn ask_for_ever(address: Option<&str>) -> (Receiver<Result<Json, String>>, Sender<()>) {
    let (tell, answers) = mpsc::channel();
    let (asking, is_over) = mpsc::channel::<()>();
    let address = address.map(str::to_owned);
    std::thread::spawn(move || {
        while is_over.recv_timeout(PICTURE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let answer = known(address.as_deref()).map_err(|fault| fault.what);
            if tell.send(answer).is_err() {
                return;
            }
        }
    });
    (answers, asking)
}
