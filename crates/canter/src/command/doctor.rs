//! `canter doctor`: asks the server that runs on this machine about itself, and says what to do.
//!
//! Owns its command line; each question is a module of its own below this one.

mod advice;
mod cache;
mod checks;
mod habits;
mod known;
mod plans;
mod profiled;
mod site;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use canter_base::flags::misread;
use canter_base::{Exit, Fault};
use lexopt::Parser;
use lexopt::prelude::{Long, Value};

use super::which;

/// `canter help doctor`.
pub const MANUAL: &str = "\
canter doctor [ADDRESS] [--format text|json]
canter doctor --cache URL [ADDRESS]

Reads the Django settings in the running app, and what was measured since it runs, has the database explain
the five dearest reads without running them, tries how long a connection takes where each request makes one, and
says what to do: what does harm, then the greatest gain in time first, each with its evidence, the setting to
change, and what that gains or why nobody knows. Exit code 8 says that there is something to do.

With --cache it asks a server of this user on this machine why a page is not answered from the cache: fetches it from
the app as a visitor would who is not signed in, and names the middleware, the template tag or the
field that makes it private, where that is in the code, and what to do. URL is a path such as `/news/`,
or a whole address. ADDRESS is the path of a socket or HOST:PORT of `--admin-bind`; it may be left out
when one server runs. Exit code 8 says that the page is not kept.

  --format json  the advice as a list, for programs
  --cache URL    why this page is not answered from the cache, or for how long it is
";

/// What the words ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    address: Option<String>,
    cache: Option<String>,
    as_json: bool,
}

/// Runs it.
pub fn run(args: &[OsString]) -> Result<Exit, Fault> {
    let asked = read(args)?;
    if let Some(server) = which::elsewhere(asked.address.as_deref()) {
        // Beside the advice, which programs may read.
        let _ = writeln!(
            std::io::stderr().lock(),
            "No server was started in this folder: what follows is about process {server}."
        );
    }
    match &asked.cache {
        Some(url) => cache::run(asked.address.as_deref(), url),
        None => site::run(asked.address.as_deref(), asked.as_json),
    }
}

fn read(args: &[OsString]) -> Result<Asked, Fault> {
    let wrong = |error: lexopt::Error| misread("doctor", &error);
    let mut parser = Parser::from_args(args);
    let mut asked = Asked::default();
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Value(address) => asked.address = Some(address.to_string_lossy().into_owned()),
            Long("cache") => {
                let url = parser.value().map_err(wrong)?;
                asked.cache = Some(url.to_string_lossy().into_owned());
            }
            Long("format") => {
                let format = parser
                    .value()
                    .map_err(wrong)?
                    .to_string_lossy()
                    .into_owned();
                asked.as_json = match format.as_str() {
                    "text" => false,
                    "json" => true,
                    other => {
                        return Err(Fault::usage(format!("`--format` is `{other}`"))
                            .from("command line")
                            .hint("it is `text` or `json`"));
                    }
                };
            }
            other => return Err(wrong(other.unexpected())),
        }
    }
    match &asked.address {
        Some(word) if asked.cache.is_none() && is_page(word) => {
            Err(Fault::usage(format!("there is no socket `{word}`"))
                .from("command line")
                .hint(format!("about a page: `canter doctor --cache {word}`")))
        }
        _ => Ok(asked),
    }
}

/// Whether it reads as the path of a page, and as nothing else.
fn is_page(word: &str) -> bool {
    word.starts_with('/') && !Path::new(word).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_to_look_at_and_where() {
        let words =
            |text: &str| -> Vec<OsString> { text.split_whitespace().map(OsString::from).collect() };
        let asked = read(&words("--cache /news/ 127.0.0.1:9000")).unwrap();
        assert_eq!(asked.cache.as_deref(), Some("/news/"));
        assert_eq!(asked.address.as_deref(), Some("127.0.0.1:9000"));
        assert!(read(&words("--cache")).is_err() && read(&words("--cash /")).is_err());
        assert!(read(&words("/news/")).is_err() && read(&words("/tmp")).is_ok());
        assert!(read(&words("--format json")).unwrap().as_json);
        assert!(read(&words("--format xml")).is_err());
    }
}
