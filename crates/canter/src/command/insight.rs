//! `canter top`, `canter queries` and `canter check`: ask the server that runs on this machine what
//! it knows, over its private socket.
//!
//! Owns their command lines. What is known comes from the front in the form in which it is printed; asking
//! is `client`'s, and the judgement of `check` stands below this one.

mod check;

use std::ffi::OsString;
use std::path::PathBuf;

use canter_base::flags::misread;
use canter_base::{Exit, Fault};
use lexopt::Parser;
use lexopt::prelude::{Long, Value};

use super::findings::{self, Act};
use super::{client, print, text};

/// `canter help top`.
pub const TOP_MANUAL: &str = "\
canter top [ADDRESS] [--once] [--token TOKEN]

Shows what a server of this user on this machine is doing, every two seconds: requests, latencies,
the queue, memory, the routes and findings that take most of the time. ADDRESS is HOST:PORT of
`--admin-bind`, the number of a server's process, the folder in which it was started, or the path of its
socket; it may be left out when one server runs, and means that of this folder when several do.

  --once           print it once and end; what is no terminal gets the same text every two seconds
  --token TOKEN    the server's `--admin-token`, where it asks for one, as at HOST:PORT of a container;
                   or set CANTER_ADMIN_TOKEN, where other users do not see it

Keys: q ends, s sorts the routes by the next column, the arrows, PageUp and PageDown choose a route,
of which the lowest lines tell where its time goes and what was found. It needs no mouse and no colours.
";

/// `canter help queries`.
pub const QUERIES_MANUAL: &str = "\
canter queries [ADDRESS] [--format text|json|sarif]
canter queries [ADDRESS] --acknowledge NAME | --unacknowledge NAME
canter queries [ADDRESS] --explain NAME [--analyze]

Shows what was found wrong with the SQL of requests: which route, which line, which statement, how
often, what it costs in an hour, and the call that helps. The dearest comes first.

  --acknowledge NAME      accept a finding: it is shown as such, comes last, and does not fail
                          `canter check`; names are kept in canter-acknowledged.txt in the folder in
                          which the server was started
  --unacknowledge NAME    take that back
  --explain NAME          ask the database how it would run the statement of a finding, without
                          values; PostgreSQL from 16 on, and SQLite
  --token TOKEN           the server's `--admin-token`, where it asks for one; or CANTER_ADMIN_TOKEN
  --analyze               with --explain: run it, with the values of its next run, in a transaction
                          that only reads and is rolled back
";

/// `canter help check`.
pub const CHECK_MANUAL: &str = "\
canter check [ADDRESS] [OPTIONS]

For tests of a site: fails with exit code 8 when something was found wrong since the server started.

  --max-queries N          no request may ask more than N queries
  --route ROUTE            look at this route only, such as `/api/orders/`; it must have been asked
                           for; may be given several times
  --baseline FILE          findings that are accepted, one name on each line
  --write-baseline FILE    accept what is found now
  --token TOKEN            the server's `--admin-token`, where it asks for one; or CANTER_ADMIN_TOKEN
";

/// Which of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `canter top`.
    Top,
    /// `canter queries`.
    Queries,
    /// `canter check`.
    Check,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Top => "top",
            Self::Queries => "queries",
            Self::Check => "check",
        }
    }
}

/// The words of the command line.
#[derive(Default)]
struct Asked {
    address: Option<String>,
    once: bool,
    format: Option<String>,
    max_queries: Option<u64>,
    routes: Vec<String>,
    baseline: Option<PathBuf>,
    write_baseline: Option<PathBuf>,
    act: Option<Act>,
    analyze: bool,
    token: Option<String>,
}

/// Runs one of them.
pub fn run(which: Which, args: &[OsString]) -> Result<Exit, Fault> {
    let mut asked = read(which, args)?;
    if let Some(token) = asked.token.take() {
        client::use_token(token);
    }
    match which {
        Which::Top => super::top::run(asked.address.as_deref(), asked.once),
        Which::Queries => {
            if let Some(act) = &asked.act {
                return findings::run(asked.address.as_deref(), act);
            }
            let format = asked.format.as_deref().unwrap_or("text");
            let ending = match format {
                "text" => "txt",
                "json" | "sarif" => format,
                other => {
                    return Err(usage(format!("`--format` is `{other}`"))
                        .hint("it is one of `text`, `json` and `sarif`"));
                }
            };
            let path = format!("/-/canter/findings.{ending}");
            let text = client::ask(asked.address.as_deref(), "GET", &path)?;
            print(&text)?;
            Ok(Exit::Ok)
        }
        Which::Check => check::run(&asked),
    }
}

fn usage(what: String) -> Fault {
    Fault::usage(what).from("command line")
}

fn read(which: Which, args: &[OsString]) -> Result<Asked, Fault> {
    let wrong = |error: lexopt::Error| misread(which.name(), &error);
    let mut parser = Parser::from_args(args);
    let mut asked = Asked::default();
    let is_check = which == Which::Check;
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Value(address) => asked.address = Some(address.to_string_lossy().into_owned()),
            Long("once") if which == Which::Top => asked.once = true,
            Long("token") => asked.token = Some(text(which.name(), &mut parser)?),
            Long("format") if which == Which::Queries => {
                asked.format = Some(text(which.name(), &mut parser)?);
            }
            Long("acknowledge") if which == Which::Queries => {
                asked.act = Some(Act::Acknowledge(text(which.name(), &mut parser)?));
            }
            Long("unacknowledge") if which == Which::Queries => {
                asked.act = Some(Act::Unacknowledge(text(which.name(), &mut parser)?));
            }
            Long("explain") if which == Which::Queries => {
                asked.act = Some(Act::Explain(text(which.name(), &mut parser)?, false));
            }
            Long("analyze") if which == Which::Queries => asked.analyze = true,
            Long("max-queries") if is_check => {
                let text = text(which.name(), &mut parser)?;
                let most = text.parse().map_err(|_| {
                    usage(format!("`--max-queries` is `{text}`, but must be a number"))
                        .hint("the most queries a request may ask, such as `--max-queries 10`")
                })?;
                asked.max_queries = Some(most);
            }
            Long("route") if is_check => asked.routes.push(text(which.name(), &mut parser)?),
            Long("baseline") if is_check => {
                asked.baseline = Some(text(which.name(), &mut parser)?.into());
            }
            Long("write-baseline") if is_check => {
                asked.write_baseline = Some(text(which.name(), &mut parser)?.into());
            }
            other => return Err(wrong(other.unexpected())),
        }
    }
    if asked.analyze {
        match &mut asked.act {
            Some(Act::Explain(_, analyze)) => *analyze = true,
            _ => {
                return Err(usage("`--analyze` is nothing by itself".to_owned())
                    .hint("it goes with `--explain NAME`"));
            }
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for (which, line) in [
            (Which::Top, "--format json"),
            (Which::Queries, "--once"),
            (Which::Check, "--max-queries many"),
            (Which::Check, "--explain aa"),
            (Which::Queries, "--analyze"),
            (Which::Queries, "--acknowledge aa --analyze"),
        ] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert!(read(which, &words).is_err(), "{line}");
        }
    }
}
