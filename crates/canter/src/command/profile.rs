//! `canter profile`: has the workers of a running server sampled for a while and writes down where
//! the time went.
//!
//! Owns its command line, waiting for the end, and the file. Sampling is the workers', the forms are
//! the front's.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use canter_base::flags::misread;
use canter_base::{Exit, Fault};
use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};
use serde_json::Value as Json;

use super::client::ask;
use super::text;

/// `canter help profile`.
pub const MANUAL: &str = "\
canter profile [TIME] [ADDRESS] [OPTIONS]

Samples where the threads of a running server's workers are, for TIME (`30s` if it is left out), and
writes a flame graph that opens in a browser. The workers sample themselves: no other right is
needed, and nothing is paid for while no profile is made. ADDRESS is the path of a socket or
HOST:PORT of `--admin-bind`; it may be left out when one server runs.

  --mode wall|gil   wall: all time of requests, waiting included. gil: only computing, which is what
                    needs the interpreter's lock (`wall`)
  --route ROUTE     requests of this route only, such as `/api/orders/`
  --rate N          samples in a second, up to 1000 (`100`)
  -o, --output FILE where to write it; `.svg` is a flame graph, `.json` is for speedscope, `.txt` has
                    a line for each stack, as other tools read it (`canter-profile.svg`)
";

/// Between two questions how far it is.
const QUESTION: Duration = Duration::from_millis(250);
/// Longer than the front waits for its workers.
const PATIENCE: Duration = Duration::from_secs(15);

/// The words of the command line.
#[derive(Debug, PartialEq)]
struct Asked {
    time: Duration,
    address: Option<String>,
    mode: String,
    route: Option<String>,
    rate: u32,
    output: PathBuf,
}

/// Runs it.
pub fn run(args: &[OsString]) -> Result<Exit, Fault> {
    let asked = read(args)?;
    let form = form(&asked)?;
    let address = asked.address.as_deref();
    ask(address, "POST", &query(&asked))?;
    let end = Instant::now() + asked.time + PATIENCE;
    let known = loop {
        let text = ask(address, "GET", "/-/canter/profile.json")?;
        let known: Json = serde_json::from_str(&text)
            .map_err(|error| Fault::internal(format!("the server's answer is no JSON: {error}")))?;
        show(&known);
        if known["state"] == "done" {
            break known;
        }
        if known["state"] != "running" || Instant::now() > end {
            return Err(
                Fault::new(Exit::Unreachable, "the profile was lost".to_owned())
                    .hint("the server was started anew meanwhile; ask again"),
            );
        }
        sleep(QUESTION);
    };
    let text = ask(address, "GET", &format!("/-/canter/profile.{form}"))?;
    std::fs::write(&asked.output, text).map_err(|error| {
        let what = format!("cannot write `{}`: {error}", asked.output.display());
        Fault::new(Exit::File, what).from("`--output`")
    })?;
    summary(&known, &asked)
}

fn read(args: &[OsString]) -> Result<Asked, Fault> {
    let wrong = |error: lexopt::Error| misread("profile", &error);
    let mut parser = Parser::from_args(args);
    let mut asked = Asked {
        time: Duration::from_secs(30),
        address: None,
        mode: "wall".to_owned(),
        route: None,
        rate: 100,
        output: "canter-profile.svg".into(),
    };
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Value(word) => {
                let word = word.to_string_lossy().into_owned();
                match time(&word) {
                    Some(time) => asked.time = time,
                    None if asked.address.is_some() => {
                        return Err(usage(format!("unexpected `{word}`"))
                            .hint("a time and one address are all that stands without a dash"));
                    }
                    None => asked.address = Some(word),
                }
            }
            Long("mode") => {
                asked.mode = text("profile", &mut parser)?;
                if !matches!(asked.mode.as_str(), "wall" | "gil") {
                    return Err(usage(format!("`--mode` is `{}`", asked.mode))
                        .hint("it is `wall` or `gil`"));
                }
            }
            Long("route") => asked.route = Some(text("profile", &mut parser)?),
            Long("rate") => {
                let text = text("profile", &mut parser)?;
                asked.rate = text
                    .parse()
                    .ok()
                    .filter(|rate| (1..=1000).contains(rate))
                    .ok_or_else(|| {
                        usage(format!("`--rate` is `{text}`")).hint("it is from 1 to 1000")
                    })?;
            }
            Short('o') | Long("output") => asked.output = text("profile", &mut parser)?.into(),
            other => return Err(wrong(other.unexpected())),
        }
    }
    Ok(asked)
}

fn usage(what: String) -> Fault {
    Fault::usage(what).from("command line")
}

/// `30s`, `500ms`, `2m`, or a number of seconds.
fn time(word: &str) -> Option<Duration> {
    let at = word
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(word.len());
    let (number, unit) = word.split_at_checked(at)?;
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" | "" => number,
        "m" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

fn form(asked: &Asked) -> Result<&'static str, Fault> {
    match asked.output.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => Ok("svg"),
        Some("json") => Ok("speedscope.json"),
        Some("txt" | "collapsed" | "folded") => Ok("txt"),
        _ => Err(usage(format!("`--output` is `{}`", asked.output.display()))
            .hint("it ends with `.svg`, `.json` or `.txt`")),
    }
}

fn query(asked: &Asked) -> String {
    let mut query = format!(
        "/-/canter/profile?seconds={}&mode={}&rate={}",
        asked.time.as_secs_f64(),
        asked.mode,
        asked.rate
    );
    if let Some(route) = &asked.route {
        query.push_str("&route=");
        for byte in route.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                query.push(char::from(byte));
            } else {
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
    query
}

/// How far it is, on a terminal only.
fn show(known: &Json) {
    let mut out = io::stderr();
    if out.is_terminal() {
        let seconds = |key: &str| known[key].as_f64().unwrap_or(0.0) / 1e3;
        let _ = write!(
            out,
            "\r\x1b[K{} of {} s, {} workers",
            seconds("elapsed_ms").floor(),
            seconds("of_ms"),
            known["workers"]
        );
        if known["state"] == "done" {
            let _ = write!(out, "\r\x1b[K");
        }
    }
}

fn summary(known: &Json, asked: &Asked) -> Result<Exit, Fault> {
    let sampled = known["sampled_ms"].as_f64().unwrap_or(0.0);
    let mut text = String::new();
    let _ = writeln!(text, "{}", known["title"].as_str().unwrap_or_default());
    if sampled == 0.0 {
        text.push_str(
            "no request ran meanwhile: ask for one, or load the site with `canter bench`\n",
        );
    }
    for row in known["dearest"].as_array().into_iter().flatten() {
        let own = row["self_ms"].as_f64().unwrap_or(0.0);
        let share = 100.0 * own / sampled.max(f64::MIN_POSITIVE);
        let name = row["function"].as_str().unwrap_or_default();
        let _ = writeln!(text, "{share:>5.1} %  {name}");
    }
    let _ = writeln!(text, "written to {}", asked.output.display());
    io::stdout().write_all(text.as_bytes()).map_err(|error| {
        Fault::new(
            Exit::File,
            format!("cannot write to standard output: {error}"),
        )
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, Fault> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        read(&words)
    }

    #[test]
    fn d9_a_command_line_becomes_a_question_to_the_server() {
        let all = asked("500ms 127.0.0.1:9000 --mode gil --route /api/<pk>/ --rate 50 -o p.json");
        let all = all.unwrap();
        assert_eq!(all.address.as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(form(&all).unwrap(), "speedscope.json");
        assert_eq!(
            query(&all),
            "/-/canter/profile?seconds=0.5&mode=gil&rate=50&route=/api/%3Cpk%3E/"
        );
        let usual = asked("").unwrap();
        assert_eq!((usual.time.as_secs(), form(&usual).unwrap()), (30, "svg"));
        assert_eq!(asked("2m").unwrap().time.as_secs(), 120);
        assert_eq!(asked("45").unwrap().time.as_secs(), 45);
        assert_eq!(
            asked("/run/1.sock").unwrap().address.as_deref(),
            Some("/run/1.sock")
        );
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for line in ["30 a b", "--mode cpu", "--rate 0", "--rate many", "--once"] {
            assert!(asked(line).is_err(), "{line}");
        }
        assert!(form(&asked("-o picture.png").unwrap()).is_err());
    }
}
