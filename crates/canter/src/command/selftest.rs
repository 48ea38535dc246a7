//! `canter selftest`: attacks a server on this machine and says what held.
//!
//! Owns its command line and progress. Leaves the attacks to `canter_selftest`.

use std::ffi::OsString;
use std::io::Write as _;
use std::time::Duration;

use canter_base::flags::misread;
use canter_base::options::Value as _;
use canter_base::{Exit, Fault};
use canter_selftest::{Format, Plan, Target};
use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use super::text;

/// Most connections of an attack; more would test this machine instead of the server.
const MOST: usize = 10_000;

/// Runs the attacks; exit code 8 when the server fell to one.
pub fn run(args: &[OsString]) -> Result<Exit, Fault> {
    let (plan, format) = read(args)?;
    let _ = canter_sys::machine::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Fault::internal(format!("cannot start the event loop: {error}")))?;
    let report = runtime.block_on(canter_selftest::run(&plan, |attack| {
        let _ = writeln!(
            std::io::stderr().lock(),
            "{:<4} {}: {}",
            attack.id(),
            attack.name(),
            attack.what()
        );
    }));
    let report = report.map_err(|why| {
        Fault::new(Exit::Unreachable, why).hint("start the server first, and give its address")
    })?;
    let _ = std::io::stdout()
        .lock()
        .write_all(report.render(format).as_bytes());
    Ok(if report.is_sound() {
        Exit::Ok
    } else {
        Exit::Verdict
    })
}

fn read(args: &[OsString]) -> Result<(Plan, Format), Fault> {
    let usage = |what: String| Fault::usage(what).from("command line");
    let wrong = |error: lexopt::Error| misread("selftest", &error);
    let mut parser = Parser::from_args(args);
    let mut plan = Plan::new(target("127.0.0.1:8000")?);
    let mut format = Format::Text;
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Value(url) => plan.target = target(&url.to_string_lossy())?,
            Long("connections") | Short('c') => {
                let text = text("selftest", &mut parser)?;
                let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
                plan.connections = count.ok_or_else(|| {
                    usage(format!(
                        "`--connections` is `{text}`, but must be from 1 to {MOST}"
                    ))
                })?;
            }
            Long("big") => {
                let path = text("selftest", &mut parser)?;
                if !path.starts_with('/') {
                    return Err(usage(format!(
                        "`--big` is `{path}`, but a path begins with `/`"
                    )));
                }
                plan.big = Some(path);
            }
            Long("only") => {
                let words = text("selftest", &mut parser)?;
                plan.only = words
                    .split(',')
                    .map(|word| word.trim().to_owned())
                    .collect();
            }
            Long("patience") => {
                let text = text("selftest", &mut parser)?;
                plan.patience = Duration::parse(&text).map_err(|wrong| {
                    usage(format!("`--patience` is `{text}`: {}", wrong.expected))
                })?;
            }
            Long("process") => {
                let text = text("selftest", &mut parser)?;
                plan.process = Some(text.parse().map_err(|_| {
                    usage(format!(
                        "`--process` is `{text}`, but must be the number of a process"
                    ))
                })?);
            }
            Long("json") => format = Format::Json,
            other => return Err(wrong(other.unexpected())),
        }
    }
    if let Some((word, hint)) = plan.unmet() {
        return Err(usage(format!(
            "`--only` is `{word}`, which is no attack that can be tried"
        ))
        .hint(hint));
    }
    Ok((plan, format))
}

fn target(url: &str) -> Result<Target, Fault> {
    Target::parse(url).map_err(|refused| Fault::usage(refused.to_string()).from("command line"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let line = "localhost:9000/x -c 2000 --big /large --only S1,h2 --patience 100ms --json";
        let (plan, format) = read(&words(line)).unwrap();
        assert_eq!(plan.target.url(), "http://localhost:9000/x");
        assert_eq!((plan.connections, format), (2000, Format::Json));
        assert_eq!(plan.big.as_deref(), Some("/large"));
        assert_eq!(plan.only, ["S1", "h2"]);
        assert_eq!(plan.patience, Duration::from_millis(100));
        for line in [
            "example.org",
            "-c 0",
            "-c 20000",
            "--big large",
            "--patience soon",
            "--process x",
            "--nonsense",
            "--only",
            "--only S99",
            "--only S1,",
            "--only S4",
        ] {
            assert!(read(&words(line)).is_err(), "{line}");
        }
    }
}
