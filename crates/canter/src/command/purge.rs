//! `canter purge`: removes pages from the cache of a running server.
//!
//! Owns its command line and the one request that it makes. Leaves what is purged to the server.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::ToSocketAddrs as _;
use std::time::Duration;

use canter_base::flags::misread;
use canter_base::{Exit, Fault};
use canter_load::once::{Request, request};
use canter_load::target::Door;
use lexopt::Parser;
use lexopt::prelude::{Long, Value};
use serde_json::Value as Json;

use super::{client, which};

const DEFAULT_SERVER: &str = "http://127.0.0.1:8000";
const TOKEN: &str = "CANTER_CACHE_TOKEN";
const LIMIT: Duration = Duration::from_secs(10);
/// More than the server ever answers here.
const LONGEST: u64 = 64 * 1024;

/// What the words ask for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    place: Place,
    query: String,
}

/// Where the server is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// On this machine, by its private socket: that of this folder, or the one that is named.
    Here(Option<String>),
    /// At an address, for whoever knows the token.
    At { server: String, token: String },
}

/// Asks the server to purge, and says how many pages that were.
pub fn run(args: &[OsString]) -> Result<Exit, Fault> {
    let wish = read(args, std::env::var(TOKEN).ok(), which::count_at_home())?;
    let count = match &wish.place {
        Place::Here(address) => ask_here(address.as_deref(), &wish.query)?,
        Place::At { server, token } => ask(server, token, &wish.query)?,
    };
    let _ = writeln!(std::io::stdout().lock(), "{count} pages");
    Ok(Exit::Ok)
}

/// Reads the words; `here` is how many servers of this user were started in this folder.
fn read(args: &[OsString], token: Option<String>, here: usize) -> Result<Wish, Fault> {
    let wrong = |error: lexopt::Error| misread("purge", &error);
    let mut parser = Parser::from_args(args);
    let (mut server, mut token, mut address) = (None, token, None);
    let mut is_named = false;
    let mut query = String::new();
    let mut add = |name: &str, value: OsString| {
        let between = if query.is_empty() { "" } else { "&" };
        let _ = write!(query, "{between}{name}=");
        escape(&value.to_string_lossy(), &mut query);
    };
    let (mut is_hard, mut is_any) = (false, false);
    while let Some(arg) = parser.next().map_err(wrong)? {
        is_any |= !matches!(arg, Long("server" | "token" | "hard" | "address"));
        match arg {
            Value(url) => add("url", url),
            Long("prefix") => add("prefix", parser.value().map_err(wrong)?),
            Long("host") => add("host", parser.value().map_err(wrong)?),
            Long("tag") => add("tag", parser.value().map_err(wrong)?),
            Long("all") => add("all", "1".into()),
            Long("hard") => is_hard = true,
            Long("address") => {
                let value = parser.value().map_err(wrong)?;
                address = Some(value.to_string_lossy().into_owned());
            }
            Long("server") => {
                let value = parser.value().map_err(wrong)?;
                server = Some(value.to_string_lossy().into_owned());
            }
            Long("token") => {
                let value = parser.value().map_err(wrong)?;
                (token, is_named) = (Some(value.to_string_lossy().into_owned()), true);
            }
            other => return Err(wrong(other.unexpected())),
        }
    }
    if !is_any {
        return Err(Fault::usage("it was not said what to purge")
            .from("command line")
            .hint("a URL, `--prefix`, `--host`, `--tag` or `--all`"));
    }
    if is_hard {
        add("hard", "1".into());
    }
    let is_away = server.is_some() || is_named;
    if is_away && address.is_some() {
        return Err(Fault::usage(
            "`--address` is a server of this user here, `--server` one elsewhere",
        )
        .from("command line")
        .hint("give one of the two"));
    }
    if address.is_some() || !is_away && (here == 1 || token.is_none()) {
        let place = Place::Here(address);
        return Ok(Wish { place, query });
    }
    let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    let token = token.ok_or_else(|| {
        Fault::usage("there is no token")
            .from("command line")
            .hint(format!(
                "`--token`, or the variable `{TOKEN}`: as the server's `--cache-token`"
            ))
    })?;
    let server = server.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let place = Place::At { server, token };
    Ok(Wish { place, query })
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn ask_here(address: Option<&str>, query: &str) -> Result<u64, Fault> {
    let network = address.filter(|address| which::is_network(address));
    let place = match network {
        Some(address) => address.to_owned(),
        None => format!("unix:{}", which::own_socket(address)?.display()),
    };
    let answer = client::tell(Some(&place), &format!("/-/canter/purge?{query}"))?;
    let told: Json = serde_json::from_str(&answer).unwrap_or_default();
    told["purged"].as_u64().ok_or_else(|| {
        let what = told["error"].as_str().unwrap_or(&answer);
        Fault::new(
            Exit::Unreachable,
            format!("the server does not purge: {what}"),
        )
    })
}

fn ask(server: &str, token: &str, query: &str) -> Result<u64, Fault> {
    let place = server.strip_prefix("http://").ok_or_else(|| {
        Fault::usage(format!("`--server` is `{server}`"))
            .from("command line")
            .hint(format!(
                "an address such as `{DEFAULT_SERVER}`, reached from this machine"
            ))
    })?;
    let place = place.trim_end_matches('/');
    let lost = |error: std::io::Error| {
        Fault::new(
            Exit::Unreachable,
            format!("`{server}` does not answer: {error}"),
        )
    };
    let doors: Vec<Door> = place
        .to_socket_addrs()
        .map_err(lost)?
        .map(Door::Address)
        .collect();
    let asked = Request {
        method: "POST",
        path: &format!("/-/purge?{query}"),
        host: place,
        fields: &[
            ("Authorization", &format!("Bearer {token}")),
            ("Content-Length", "0"),
        ],
        patience: LIMIT,
        longest: LONGEST,
    };
    let answer = request(&doors, &asked).map_err(lost)?;
    let body = String::from_utf8_lossy(&answer.body);
    // Behind the line with the status.
    let last = body.trim().lines().last().unwrap_or_default();
    match (answer.status, last.parse()) {
        (200, Ok(count)) => Ok(count),
        (401, _) => Err(Fault::new(
            Exit::Unreachable,
            "the server has another token",
        )),
        (status, _) => Err(Fault::new(
            Exit::Unreachable,
            format!("the server answered {status}: {}", body.trim()),
        )
        .hint("it purges pages where it runs with `--cache-token`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(words: &str) -> Result<Wish, Fault> {
        let args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        read(&args, Some("t".to_owned()), 0)
    }

    #[test]
    fn the_words_become_one_query() {
        let found = wish("/a?b=c --tag x&y --prefix /n/ --hard --server http://h:1").unwrap();
        assert_eq!(found.query, "url=/a%3Fb%3Dc&tag=x%26y&prefix=/n/&hard=1");
        let (server, token) = ("http://h:1".to_owned(), "t".to_owned());
        assert_eq!(found.place, Place::At { server, token });
        for wrong in ["", "--hard", "--tag", "--regex x"] {
            assert!(wish(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_only_server_here_is_meant_unless_another_is_named() {
        let token = || Some("t".to_owned());
        for (words, token, here, is_here) in [
            ("--all", None, 1, true),
            ("--all", None, 0, true),
            ("--all", token(), 1, true),
            ("--all", token(), 2, false),
            ("--all", token(), 0, false),
            ("--all --server http://h:1", token(), 1, false),
            ("--all --token x", None, 1, false),
            ("--all --address 4711", token(), 0, true),
        ] {
            let args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
            let found = read(&args, token, here).unwrap();
            let place = matches!(found.place, Place::Here(_));
            assert_eq!(place, is_here, "{words} {here}");
        }
        assert!(wish("--all --address 4711 --server http://h:1").is_err());
        let named = ["--all".into(), "--server".into(), "http://h:1".into()];
        assert!(read(&named, None, 1).is_err());
    }
}
