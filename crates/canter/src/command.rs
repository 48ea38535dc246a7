//! One file for each command of `canter`, and what several of them need: asking a server that runs
//! (`client`, `which`), a value of the command line, standard output.

pub mod bench;
pub mod client;
pub mod compress;
pub mod doctor;
pub mod findings;
pub mod insight;
pub mod options;
pub mod pool;
pub mod profile;
pub mod purge;
pub mod selftest;
pub mod serve;
pub mod top;
pub mod tune;
pub mod which;

use std::io::{self, Write as _};

use canter_base::{Exit, Fault};

pub use serve::sockets;

/// The value of an option, for people to read and to write.
fn text(command: &str, parser: &mut lexopt::Parser) -> Result<String, Fault> {
    let value = parser.value();
    let value = value.map_err(|error| canter_base::flags::misread(command, &error))?;
    Ok(value.to_string_lossy().into_owned())
}

/// Writes to standard output. False when nobody reads any more.
fn print(text: &str) -> Result<bool, Fault> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fault::new(
            Exit::File,
            format!("cannot write to standard output: {error}"),
        )),
    }
}
