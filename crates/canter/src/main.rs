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

use crate::cli::Asked;

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
        Asked::Run(command, rest) => (command.run)(rest),
        Asked::Explain(text) => print(&text),
    }
}

/// `canter serve`.
fn serve(args: &[OsString]) -> Result<Exit, Fault> {
    let resolved = resolved(args)?;
    start_log(&resolved);
    command::serve::run(&resolved)
}

/// `canter pool`.
fn pool(args: &[OsString]) -> Result<Exit, Fault> {
    let resolved = resolved(args)?;
    start_log(&resolved);
    let args = args.to_vec();
    command::pool::run(&resolved, Rc::new(move || self::resolved(&args)))
}

/// `canter static`.
fn static_files(args: &[OsString]) -> Result<Exit, Fault> {
    match args.split_first() {
        None => print(cli::STATIC_MANUAL),
        Some((word, rest)) if word == "compress" => command::compress::run(rest),
        Some((word, _)) => {
            Err(cli::unexpected(word).hint("the word behind `static` is `compress`"))
        }
    }
}

/// `canter options`.
fn options(args: &[OsString]) -> Result<Exit, Fault> {
    let (json, others): (Vec<OsString>, Vec<OsString>) =
        args.iter().cloned().partition(|word| word == "--json");
    print(&command::options::text(
        &resolved(&others)?,
        !json.is_empty(),
    ))
}

/// `canter version`.
fn version(args: &[OsString]) -> Result<Exit, Fault> {
    match args.first() {
        None => print(&cli::version()),
        Some(extra) => Err(cli::unexpected(extra)),
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
        patience: std::time::Duration::ZERO,
    });
    for notice in &resolved.notices {
        canter_base::info!(notice);
    }
    for name in &resolved.passed_over {
        canter_base::debug!("this variable is no option of Canter", name = name);
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
