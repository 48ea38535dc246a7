//! Owns turning the flags of `canter bench` into a plan. Leaves files of reports and conditions to
//! the command.

use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use canter_base::flags::Given;
use canter_base::options::Value as _;
use canter_base::{Exit, Fault};
use canter_load::scenario::{Order, Request, Scenario, is_field};
use canter_load::schedule::{Load, stages};
use canter_load::target::{Door, Site};
use canter_load::{Login, Plan, source};
use canter_trust::Trust;
use rustls::ClientConfig;

/// Most users: each has a connection, and one machine has not many more ports.
const MOST_USERS: usize = 20_000;

/// A wrong value of a flag.
pub(crate) fn wrong(long: &str, text: &str, why: &str) -> Fault {
    Fault::usage(format!("`--{long}` is `{text}`: {why}")).from("command line")
}

/// The value of a flag as a time.
pub(crate) fn duration(given: &Given, long: &str) -> Result<Option<Duration>, Fault> {
    let read = |text| Duration::parse(text).map_err(|why| wrong(long, text, &why.expected));
    given.value(long).map(read).transpose()
}

/// The value of a flag as a whole number in a range.
pub(crate) fn number<T>(given: &Given, long: &str, least: T, most: T) -> Result<Option<T>, Fault>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let read = |text: &str| {
        let number = text
            .parse()
            .ok()
            .filter(|number| *number >= least && *number <= most);
        number.ok_or_else(|| {
            wrong(
                long,
                text,
                &format!("expected a number from {least} to {most}"),
            )
        })
    };
    given.value(long).map(read).transpose()
}

/// A text file.
pub(crate) fn text(path: &str) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &str, error: &std::io::Error) -> Fault {
    Fault::new(Exit::File, format!("cannot read `{path}`: {error}"))
        .from("command line")
        .hint("check the path; it counts from the folder in which canter is started")
}

/// Where `canter serve` is if nothing else was said.
pub(super) const USUAL_URL: &str = "http://127.0.0.1:8000/";

/// Reads the flags.
pub(crate) fn read(given: &Given) -> Result<Plan, Fault> {
    if given.words.len() > 1 {
        // As of other load testers' `-q 100`.
        let is_number = |word: &String| word.bytes().all(|byte| byte.is_ascii_digit());
        let hint = if given.words.iter().any(is_number) {
            "a number needs a flag before it that takes one: `--users 100`, `--rate 100/s`; `-q` shows no progress"
        } else {
            "several pages of one site go into a file for `--url-list`; two sites are compared by `--compare`"
        };
        return Err(Fault::usage("more than one URL")
            .from("command line")
            .hint(hint));
    }
    let url = given.words.first().map_or(USUAL_URL, String::as_str);
    of_url(given, url)
}

/// Reads the flags for one URL.
pub(crate) fn of_url(given: &Given, url: &str) -> Result<Plan, Fault> {
    let bad_url = |why: String| Fault::usage(format!("`{url}`: {why}")).from("command line");
    let (mut site, path) = Site::parse(url).map_err(bad_url)?;
    site.socket = given.value("unix-socket").map(PathBuf::from);
    let door = site
        .resolve()
        .map_err(|why| {
            Fault::new(Exit::Unreachable, why).from(format!("URL `{url}`")).hint(
                "check the spelling of the name; for a server on this machine take its address, such as \
                 `http://127.0.0.1:8000/`",
            )
        })?;
    let scenario = scenario(given, &site, path)?;
    let load = load(given, &scenario)?;
    let http2 = given.has("http2");
    let tls = if site.tls {
        Some(Arc::new(rules(&trust(given, &door), http2)?))
    } else {
        None
    };
    let mut plan = Plan::new(site, door, scenario, load);
    plan.tls = tls;
    plan.http2 = http2;
    plan.requests = number(given, "requests", 1, u64::MAX)?;
    plan.warmup = duration(given, "warmup")?.unwrap_or_default();
    plan.timeout = duration(given, "timeout")?.unwrap_or(plan.timeout);
    plan.think = duration(given, "think")?.unwrap_or_default();
    plan.keep_alive = !given.has("no-keep-alive");
    plan.slow = super::share(given, "slow")?.unwrap_or(0.0);
    plan.login = login(given)?;
    plan.cookies = given.has("cookies") || given.has("har") || plan.login.is_some();
    plan.redirects = number(given, "follow", 0, 20)?.unwrap_or(0);
    plan.threads = number(given, "threads", 1, 64)?.unwrap_or(1);
    plan.connections = number(given, "connections", 1, MOST_USERS)?.unwrap_or(plan.connections);
    plan.max_body = super::size(given, "max-body")?.unwrap_or(plan.max_body);
    plan.random_arrivals = given.has("random-arrivals");
    plan.speed = speed(given)?;
    if given.has("speed") && !matches!(plan.load, Load::Replay(_)) {
        return Err(Fault::usage("`--speed` is how fast an `--access-log` is replayed, and none is")
            .from("command line")
            .hint("name the log, and leave out `--users`, `--ramp` and `--rate`, which have a speed of their own"));
    }
    plan.seed = number(given, "seed", 0, u64::MAX)?.unwrap_or(1);
    if plan.timeout.is_zero() {
        return Err(wrong("timeout", "0", "nothing is answered in no time"));
    }
    Ok(plan)
}

/// TLS towards the site, with the protocol to ask for.
fn rules(trust: &Trust<'_>, http2: bool) -> Result<ClientConfig, Fault> {
    let mut rules = canter_trust::config(trust).map_err(|why| {
        let fault = Fault::new(Exit::File, why);
        match trust {
            Trust::System => fault.hint("name a file of authorities with `--cacert FILE`"),
            Trust::Anybody | Trust::File(_) => fault,
        }
    })?;
    rules.alpn_protocols = vec![if http2 { "h2" } else { "http/1.1" }.into()];
    Ok(rules)
}

fn trust<'a>(given: &'a Given, door: &Door) -> Trust<'a> {
    match given.value("cacert") {
        Some(path) => Trust::File(Path::new(path)),
        None if given.has("insecure") || door.is_local() => Trust::Anybody,
        None => Trust::System,
    }
}

fn speed(given: &Given) -> Result<f64, Fault> {
    let Some(text) = given.value("speed") else {
        return Ok(1.0);
    };
    let number = text
        .parse()
        .ok()
        .filter(|speed| (0.001..=10_000.0).contains(speed));
    number.ok_or_else(|| wrong("speed", text, "expected a factor such as `2` or `0.5`"))
}

fn login(given: &Given) -> Result<Option<Login>, Fault> {
    let Some(path) = given.value("login") else {
        return match given.value("login-data") {
            None => Ok(None),
            Some(_) => Err(Fault::usage("`--login-data` needs `--login`")
                .from("command line")
                .hint("the page that has the form, such as `--login /accounts/login/`")),
        };
    };
    let fields = given.value("login-data").ok_or_else(|| {
        Fault::usage("`--login` needs `--login-data`")
            .from("command line")
            .hint("such as `--login-data 'username=user&password=secret'`")
    })?;
    let mut login = Login::parse(path, fields).map_err(|why| {
        Fault::usage(format!("`--login` with `--login-data`: {why}"))
            .from("command line")
            .hint("such as `--login /login/ --login-data 'username=user{n}&password=secret'`")
    })?;
    login.headers = headers(given)?;
    Ok(Some(login))
}

fn load(given: &Given, scenario: &Scenario) -> Result<Load, Fault> {
    let otherwise = match duration(given, "duration")? {
        Some(time) => time,
        // A number of requests ends a run by itself.
        None if given.has("requests") => Duration::from_secs(24 * 3600),
        None if given.has("compare") => Duration::from_secs(3),
        None => Duration::from_secs(10),
    };
    let named: Vec<&str> = ["users", "ramp", "rate"]
        .into_iter()
        .filter(|long| given.has(long))
        .collect();
    if let [one, other, ..] = named.as_slice() {
        return Err(
            Fault::usage(format!("`--{one}` and `--{other}` are two different loads"))
                .from("command line")
                .hint("users wait for their answers, arrivals of `--rate` do not: choose one"),
        );
    }
    let read = |long: &str| {
        let text = given.value(long).unwrap_or_default();
        stages(text, otherwise, long == "rate").map_err(|why| wrong(long, text, &why))
    };
    let load = match named.first() {
        Some(&"rate") => Load::Rate(read("rate")?),
        Some(long) => Load::Users(read(long)?),
        None => match &scenario.order {
            Order::Log(log) => {
                let last = log.last().map_or(0, |(_, at)| *at);
                let time = f64::from(last) / 1000.0 / speed(given)?;
                Load::Replay(Duration::from_secs_f64(time.max(0.001)))
            }
            _ => Load::Users(
                stages("10", otherwise, false).map_err(|why| wrong("users", "10", &why))?,
            ),
        },
    };
    match load.most_users() {
        Some(most) if most > MOST_USERS => Err(Fault::usage(format!(
            "{most} users are more than {MOST_USERS}"
        ))
        .from("command line")),
        _ => Ok(load),
    }
}

fn scenario(given: &Given, site: &Site, path: String) -> Result<Scenario, Fault> {
    let sources: Vec<&str> = ["url-list", "access-log", "har"]
        .into_iter()
        .filter(|long| given.has(long))
        .collect();
    if let [one, other, ..] = sources.as_slice() {
        let what = format!("`--{one}` and `--{other}` both say what is asked for");
        return Err(Fault::usage(what).from("command line"));
    }
    let writes = given.has("allow-writes");
    let mut scenario = match sources.first() {
        None => single(given, path)?,
        Some(long) => {
            let file = given.value(long).unwrap_or_default();
            let fault = |why: String| Fault::usage(format!("`{file}`: {why}")).from("command line");
            match *long {
                "url-list" => source::url_list(&text(file)?, site).map_err(fault)?,
                "har" => source::har(&text(file)?, site, writes).map_err(fault)?,
                _ => {
                    let open = fs::File::open(file).map_err(|error| unreadable(file, &error))?;
                    // Line by line: a log may be larger than memory.
                    let lines = std::io::BufReader::new(open)
                        .split(b'\n')
                        .map_while(Result::ok);
                    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
                    source::access_log(lines, writes).map_err(fault)?
                }
            }
        }
    };
    for (name, value) in headers(given)? {
        for request in &mut scenario.requests {
            request
                .fields
                .retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            request.fields.push((name.clone(), value.clone()));
        }
    }
    Ok(scenario)
}

fn headers(given: &Given) -> Result<Vec<(String, String)>, Fault> {
    let read = |field: &String| {
        let pair = field
            .split_once(':')
            .map(|(name, value)| (name.trim(), value.trim()));
        let pair = pair.filter(|(name, value)| is_field(name, value));
        let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
        pair.ok_or_else(|| {
            wrong(
                "header",
                field,
                "expected a field such as `Accept: text/html`",
            )
        })
    };
    given.values("header").iter().map(read).collect()
}

fn single(given: &Given, path: String) -> Result<Scenario, Fault> {
    let mut request = Request::get(path);
    if let Some(data) = given.value("data") {
        request.body = match data.strip_prefix('@') {
            None => data.as_bytes().to_vec(),
            Some(file) => fs::read(file).map_err(|error| unreadable(file, &error))?,
        };
        "POST".clone_into(&mut request.method);
        let form = "application/x-www-form-urlencoded";
        request
            .fields
            .push(("Content-Type".to_owned(), form.to_owned()));
    }
    if let Some(method) = given.value("method") {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(wrong("method", method, "expected a method such as `GET`"));
        }
        request.method = method.to_ascii_uppercase();
    }
    Ok(Scenario {
        requests: vec![request],
        order: Order::Weighted,
        left_out: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_base::flags::BENCH;

    fn plan(line: &str) -> Result<Plan, Fault> {
        let words: Vec<_> = line
            .split_whitespace()
            .map(std::ffi::OsString::from)
            .collect();
        read(&BENCH.read(&words)?)
    }

    #[test]
    fn flags_become_a_plan() {
        let line = "127.0.0.1:9/x --ramp 1-250:60s --timeout 5s -H A:b --slow 5% --data a=b -t 2";
        let plan = plan(line).unwrap();
        assert_eq!(
            (plan.load.time(), plan.load.most_users()),
            (Duration::from_secs(60), Some(250))
        );
        assert_eq!(plan.scenario.requests[0].label(), "POST /x");
        assert!(
            plan.scenario.requests[0]
                .fields
                .contains(&("A".to_owned(), "b".to_owned()))
        );
        assert!((plan.slow - 0.05).abs() < 1e-9 && plan.threads == 2);
    }

    #[test]
    fn a_name_that_nobody_knows_is_told_with_what_to_do() {
        // A label of more than 63 bytes is no name (RFC 1035, 2.3.4): no resolver is asked.
        let name = "a".repeat(64);
        let fault = plan(&format!("http://{name}/")).unwrap_err();
        assert!(fault.what.contains(&name) && fault.exit == Exit::Unreachable);
        assert!(fault.hint.is_some_and(|hint| hint.contains("spelling")));
    }

    #[test]
    fn wrong_flags_are_refused_by_name() {
        for (line, name) in [
            ("ftp://x/", "ftp"),
            ("127.0.0.1:0", "no host"),
            ("127.0.0.1:9 127.0.0.1:10", "more than one URL"),
            ("127.0.0.1:9 --users 0", "--users"),
            ("127.0.0.1:9 --users 99999", "99999"),
            ("127.0.0.1:9 --users 5 --rate 5/s", "two different loads"),
            ("127.0.0.1:9 --timeout 0s", "--timeout"),
            ("127.0.0.1:9 --slow 500%", "--slow"),
            ("127.0.0.1:9 --login /l", "--login-data"),
            ("127.0.0.1:9 --login /l --login-data a=b&c", "field 2"),
            ("127.0.0.1:9 --login-data a=b", "--login"),
            ("127.0.0.1:9 --speed 2", "--access-log"),
            ("127.0.0.1:9 -H nonsense", "--header"),
            ("127.0.0.1:9 --method 1", "--method"),
            ("127.0.0.1:9 --url-list /nonexistent", "/nonexistent"),
            ("127.0.0.1:9 --url-list a --har b", "both"),
            ("127.0.0.1:9 --max-body huge", "--max-body"),
        ] {
            let fault = plan(line).unwrap_err();
            assert!(fault.what.contains(name), "{line}: {}", fault.what);
        }
    }
}
