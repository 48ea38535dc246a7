//! `canter top`, `canter queries` and `canter check`: ask the server that runs on this machine what
//! it knows, over its private socket.
//!
//! Owns their command lines, finding the server, and the judgement of `check`. What is known comes
//! from the front in the form in which it is printed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use canter_base::flags::misread;
use canter_base::{Exit, Fault};
use canter_load::once::{Request, request};
use canter_load::target::Door;
use lexopt::Parser;
use lexopt::prelude::{Long, Value};
use serde_json::Value as Json;

use super::findings::{self, Act};
use super::{text, which};

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

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Bytes of an answer: far more than the longest, which is a profile.
const LONGEST: u64 = 64 << 20;

/// What opens a server that asks for it: given once, for all that this process asks.
static TOKEN: OnceLock<String> = OnceLock::new();

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
        let _ = TOKEN.set(token);
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
            let text = get(&asked, &format!("/-/canter/findings.{ending}"))?;
            print(&text)?;
            Ok(Exit::Ok)
        }
        Which::Check => check(&asked),
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

/// What `check` finds wrong, one line each; empty when all is well.
fn complaints(known: &Json, asked: &Asked, accepted: &BTreeSet<String>) -> Vec<String> {
    let list = |key: &str| known[key].as_array().cloned().unwrap_or_default();
    let word = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let is_meant = |route: &str| {
        let path = route.split_once(' ').map_or(route, |(_, path)| path);
        asked.routes.is_empty() || asked.routes.iter().any(|it| it == route || it == path)
    };
    let mut found = Vec::new();
    for wanted in &asked.routes {
        let was_asked = list("routes").iter().any(|route| {
            let label = word(&route["route"]);
            label == *wanted || label.ends_with(&format!(" {wanted}"))
        });
        if !was_asked {
            found.push(format!("{wanted}: no request has come to this route"));
        }
    }
    for route in list("routes") {
        let (label, most) = (word(&route["route"]), route["queries_max"].as_u64());
        if let (Some(limit), Some(most)) = (asked.max_queries, most)
            && most > limit
            && is_meant(&label)
        {
            found.push(format!(
                "{label}: {most} queries in a request, more than {limit}"
            ));
        }
    }
    for finding in list("findings") {
        let (id, label) = (word(&finding["id"]), word(&finding["route"]));
        let is_acknowledged = finding["acknowledged"] == true;
        if is_acknowledged || accepted.contains(&id) || !is_meant(&label) {
            continue;
        }
        let mut line = format!(
            "{label}: {}, {} times",
            word(&finding["title"]),
            finding["count"]
        );
        let file = word(&finding["file"]);
        if !file.is_empty() {
            let _ = write!(line, " at {file}:{}", finding["line"]);
        }
        let _ = write!(line, " [{id}]");
        let advice = word(&finding["advice"]);
        if !advice.is_empty() {
            let _ = write!(line, "\n    {advice}");
        }
        found.push(line);
    }
    found
}

fn check(asked: &Asked) -> Result<Exit, Fault> {
    let text = get(asked, "/-/canter/findings.json")?;
    let known: Json = serde_json::from_str(&text)
        .map_err(|error| Fault::internal(format!("the server's answer is no JSON: {error}")))?;
    if let Some(path) = &asked.write_baseline {
        let ids: BTreeSet<&str> = known["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|finding| finding["id"].as_str())
            .collect();
        let mut text =
            "# Findings that `canter check` accepts, one name on each line.\n".to_owned();
        for id in &ids {
            text += id;
            text.push('\n');
        }
        std::fs::write(path, text).map_err(|error| by_file(path, &error))?;
        print(&format!(
            "{} findings written to {}\n",
            ids.len(),
            path.display()
        ))?;
        return Ok(Exit::Ok);
    }
    let accepted = match &asked.baseline {
        Some(path) => std::fs::read_to_string(path).map_err(|error| by_file(path, &error))?,
        None => String::new(),
    };
    let lines = accepted.lines().map(str::trim);
    let accepted = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            line.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let found = complaints(&known, asked, &accepted);
    if found.is_empty() {
        print("nothing new to mend\n")?;
        return Ok(Exit::Ok);
    }
    print(&(found.join("\n") + "\n"))?;
    Ok(Exit::Verdict)
}

fn by_file(path: &std::path::Path, error: &io::Error) -> Fault {
    Fault::new(
        Exit::File,
        format!("cannot use `{}`: {error}", path.display()),
    )
    .from("`--baseline` or `--write-baseline`")
}

/// False when nobody reads any more.
pub(super) fn print(text: &str) -> Result<bool, Fault> {
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

/// The body of the server's answer.
fn get(asked: &Asked, path: &str) -> Result<String, Fault> {
    ask(asked.address.as_deref(), "GET", path)
}

/// Tells it to do something: its answer, which is JSON also where it did not.
pub(super) fn tell(address: Option<&str>, path: &str) -> Result<String, Fault> {
    let (status, body) = reach(address, "POST", path)?;
    if !body.starts_with('{') {
        return Err(unwilling(status));
    }
    Ok(body)
}

/// The body of the answer of the server at `address`, or of the only one that runs.
pub(super) fn ask(address: Option<&str>, method: &str, path: &str) -> Result<String, Fault> {
    let (status, body) = reach(address, method, path)?;
    let refusal = || format!("the server refuses: {}", body.trim());
    match status {
        200..=299 => Ok(body),
        400 | 409 => Err(Fault::usage(refusal())),
        // It would not refuse for ever.
        503 => Err(Fault::new(Exit::Unreachable, refusal())),
        _ => Err(unwilling(status)),
    }
}

fn unwilling(status: u16) -> Fault {
    Fault::new(Exit::Unreachable, format!("the server answers {status}")).hint(
        "ask as the user who runs it, at an address of `--admin-bind`, or with its `--admin-token` \
             (CANTER_ADMIN_TOKEN)",
    )
}

/// Status and body.
fn reach(address: Option<&str>, method: &str, path: &str) -> Result<(u16, String), Fault> {
    exchange(address, method, path).map_err(|error| match error {
        Trouble::Fault(fault) => fault,
        Trouble::Io(error) => {
            let fault = Fault::new(
                Exit::Unreachable,
                format!("the server does not answer: {error}"),
            )
            .hint("give its address: the path of a socket, or the HOST:PORT of `--admin-bind`");
            match address {
                Some(address) => fault.from(format!("address `{address}`")),
                None => fault,
            }
        }
    })
}

enum Trouble {
    Fault(Fault),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn exchange(address: Option<&str>, method: &str, path: &str) -> Result<(u16, String), Trouble> {
    let doors = match address.filter(|address| which::is_network(address)) {
        Some(address) => address.to_socket_addrs()?.map(Door::Address).collect(),
        None => vec![Door::Socket(
            which::socket(address).map_err(Trouble::Fault)?,
        )],
    };
    // The private socket of this user's servers asks for none.
    let key = match address.and_then(|_| token()) {
        Some(token) => format!("Bearer {}", readable(token)?),
        None => String::new(),
    };
    let fields = [
        // The mark of what does something: no page of another site can send it.
        (method == "POST").then_some(("X-Canter", "1")),
        (!key.is_empty()).then_some(("Authorization", key.as_str())),
    ];
    let fields: Vec<_> = fields.into_iter().flatten().collect();
    let asked = Request {
        method,
        path,
        host: "localhost",
        fields: &fields,
        patience: PATIENCE,
        longest: LONGEST,
    };
    let answer = request(&doors, &asked)?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Ok((answer.status, body))
}

fn token() -> Option<String> {
    let given = TOKEN.get().cloned();
    given.or_else(|| {
        std::env::var("CANTER_ADMIN_TOKEN")
            .ok()
            .filter(|it| !it.is_empty())
    })
}

/// Nothing else than a token gets into the request.
fn readable(token: String) -> Result<String, Trouble> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    let fault = usage("the token has a character that no token has".to_owned())
        .hint("it is the word of the server's `--admin-token`, without spaces");
    Err(Trouble::Fault(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Json {
        serde_json::from_str(
            r#"{"routes": [{"route": "GET /api/orders/", "queries_max": 61},
                           {"route": "GET /", "queries_max": 2}],
                "findings": [{"id": "aa", "route": "GET /api/orders/", "title": "one query for each row",
                              "count": 20, "file": "v.py", "line": 4, "advice": "do it"}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn c6_what_is_over_the_budget_or_new_is_complained_of() {
        let asked = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            read(Which::Check, &words).unwrap()
        };
        let none = BTreeSet::new();
        let lines = complaints(&known(), &asked("--max-queries 10"), &none);
        assert_eq!(
            lines,
            [
                "GET /api/orders/: 61 queries in a request, more than 10",
                "GET /api/orders/: one query for each row, 20 times at v.py:4 [aa]\n    do it"
            ]
        );
        let mut accepted = known();
        accepted["findings"][0]["acknowledged"] = Json::Bool(true);
        assert!(complaints(&accepted, &asked(""), &none).is_empty());
        let baseline = BTreeSet::from(["aa".to_owned()]);
        let lines = |line: &str| complaints(&known(), &asked(line), &baseline);
        assert_eq!(lines("--max-queries 61"), [""; 0]);
        assert_eq!(lines("--max-queries 10 --route /"), [""; 0]);
        assert_eq!(lines("--max-queries 10 --route /api/orders/").len(), 1);
        let mut nowhere = known();
        nowhere["findings"][0]["file"] = Json::String(String::new());
        let lines_of = complaints(&nowhere, &asked("--route /api/orders/"), &none);
        assert_eq!(
            lines_of,
            ["GET /api/orders/: one query for each row, 20 times [aa]\n    do it"]
        );
        assert_eq!(
            lines("--route /nowhere/"),
            ["/nowhere/: no request has come to this route"]
        );
    }

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
