//! The program `canter`: reads the command line, runs one command, prints its fault, exits.
//!
//! This is the only place that reads the environment and that ends the process. What the commands
//! do is in `command/`.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use canter_base::log;
use canter_base::options::{Inputs, Resolved, resolve};
use canter_base::{Exit, Fault};

use crate::cli::Command;

mod acme;
mod admin;
mod cli;
mod command;
mod front_process;
mod pooling;
mod tiers;
mod tls;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&args) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(fault) => {
            let text = fault.render(io::stderr().is_terminal());
            // Nobody is left to be told when this fails.
            let _ = io::stderr().lock().write_all(text.as_bytes());
            ExitCode::from(fault.exit.code())
        }
    }
}

fn run(args: &[OsString]) -> Result<Exit, Fault> {
    match cli::parse(args)? {
        Command::Serve { args } => {
            let resolved = resolved(args)?;
            start_log(&resolved);
            command::serve::run(&resolved)
        }
        Command::Pool { args } => {
            let resolved = resolved(args)?;
            start_log(&resolved);
            let args = args.to_vec();
            command::pool::run(&resolved, Rc::new(move || self::resolved(&args)))
        }
        Command::Selftest { args } => command::selftest::run(args),
        Command::Bench { args } => command::bench::run(args),
        Command::Tune { args } => command::tune::run(args),
        Command::Insight { which, args } => command::insight::run(which, args),
        Command::Doctor { args } => command::doctor::run(args),
        Command::Profile { args } => command::profile::run(args),
        Command::Purge { args } => command::purge::run(args),
        Command::Compress { args } => command::compress::run(args),
        Command::Options { args, json } => print(&command::options::text(&resolved(&args)?, json)),
        Command::Help { topic } => print(&cli::help(topic.as_ref())),
        Command::Version => print(&cli::version()),
    }
}

/// The options of `serve` or `pool`, from everything outside that they can come from.
fn resolved(args: &[OsString]) -> Result<Resolved, Fault> {
    let env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let read_file = |path: &Path| std::fs::read_to_string(path);
    resolve(Inputs {
        args,
        env: &env,
        read_file: &read_file,
        process_id: std::process::id(),
    })
}

fn start_log(resolved: &Resolved) {
    log::init(log::Settings {
        level: resolved.config.log_level,
        format: resolved.config.log_format,
        colour: io::stderr().is_terminal(),
    });
    for notice in &resolved.notices {
        canter_base::info!(notice);
    }
}

/// Writes to standard output. A reader that has seen enough (`canter help | head`) is no fault.
fn print(text: &str) -> Result<Exit, Fault> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(Exit::Ok),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Fault::new(
            Exit::File,
            format!("cannot write to standard output: {error}"),
        )),
    }
}
