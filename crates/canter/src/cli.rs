//! The words of the command line before the options: which command, and help on it.
//!
//! Owns the table of commands. The options behind `serve` are read by `canter_base::options`.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use canter_base::Fault;
use canter_base::nearest::nearest;
use canter_base::options::{Row, long_help, short_help};

use crate::command::doctor;
use crate::command::insight::{self, Which};
use crate::command::profile;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Serve an app.
    Serve {
        /// The words behind `serve`.
        args: &'a [OsString],
    },
    /// Pool PostgreSQL connections and nothing else.
    Pool {
        /// The words behind `pool`.
        args: &'a [OsString],
    },
    /// Attack a server on this machine.
    Selftest {
        /// The words behind `selftest`.
        args: &'a [OsString],
    },
    /// Load a site and measure.
    Bench {
        /// The words behind `bench`.
        args: &'a [OsString],
    },
    /// Find the smallest configuration that is as good as the best.
    Tune {
        /// The words behind `tune`.
        args: &'a [OsString],
    },
    /// Ask a server on this machine what it knows.
    Insight {
        /// About what.
        which: Which,
        /// The words behind.
        args: &'a [OsString],
    },
    /// Ask a server on this machine why a page is not cached.
    Doctor {
        /// The words behind `doctor`.
        args: &'a [OsString],
    },
    /// See where a server on this machine spends its time.
    Profile {
        /// The words behind `profile`.
        args: &'a [OsString],
    },
    /// Remove pages from the cache of a running server.
    Purge {
        /// The words behind `purge`.
        args: &'a [OsString],
    },
    /// Make the encoded forms of static files.
    Compress {
        /// The words behind `static compress`.
        args: &'a [OsString],
    },
    /// Show the options `serve` would run with.
    Options {
        /// The words `serve` would get.
        args: Vec<OsString>,
        /// For a program instead of for a person.
        json: bool,
    },
    /// Explain.
    Help {
        /// What; everything in brief without it.
        topic: Option<Topic>,
    },
    /// Name the version.
    Version,
}

/// A command to explain, in how many words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `canter serve --help`.
    ServeBriefly,
    /// `canter help serve`.
    Serve,
    /// `canter pool --help`.
    PoolBriefly,
    /// `canter help pool`.
    Pool,
    /// `canter help selftest`.
    Selftest,
    /// `canter help bench`.
    Bench,
    /// `canter help tune`.
    Tune,
    /// `canter help top`.
    Top,
    /// `canter help queries`.
    Queries,
    /// `canter help check`.
    Check,
    /// `canter help doctor`.
    Doctor,
    /// `canter help profile`.
    Profile,
    /// `canter help purge`.
    Purge,
    /// `canter help static`.
    Static,
    /// `canter help options`.
    Options,
    /// `canter help help`.
    Help,
    /// `canter help version`.
    Version,
}

/// Every command: its word, what it does, and what explains it.
const COMMANDS: &[(&str, &str, Topic)] = &[
    (
        "serve",
        "serve a WSGI app: `canter serve mysite.wsgi`",
        Topic::Serve,
    ),
    (
        "pool",
        "pool PostgreSQL connections for other programs",
        Topic::Pool,
    ),
    (
        "selftest",
        "attack a server on this machine and see what holds",
        Topic::Selftest,
    ),
    (
        "bench",
        "load a site and see what it takes, and where it breaks",
        Topic::Bench,
    ),
    (
        "tune",
        "find the smallest configuration that is as good as the best",
        Topic::Tune,
    ),
    (
        "top",
        "show what a server on this machine is doing",
        Topic::Top,
    ),
    (
        "queries",
        "show what its SQL costs, where, and what helps",
        Topic::Queries,
    ),
    (
        "check",
        "fail when a route asks too many queries",
        Topic::Check,
    ),
    (
        "static",
        "compress static files ahead: `canter static compress`",
        Topic::Static,
    ),
    (
        "doctor",
        "say what would make the site faster, with the evidence",
        Topic::Doctor,
    ),
    (
        "profile",
        "see where requests spend their time, as a flame graph",
        Topic::Profile,
    ),
    (
        "purge",
        "remove pages from the cache of a running server",
        Topic::Purge,
    ),
    (
        "options",
        "show every option, its value and where it came from",
        Topic::Options,
    ),
    (
        "help",
        "explain a command: `canter help serve`",
        Topic::Help,
    ),
    ("version", "print the version", Topic::Version),
];

/// Finds the command.
pub fn parse(args: &[OsString]) -> Result<Command<'_>, Fault> {
    let Some((word, rest)) = args.split_first() else {
        return Ok(Command::Help { topic: None });
    };
    let asks_help = rest
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| is_help(word));
    match word.to_str() {
        Some("serve") if asks_help => Ok(explain(Topic::ServeBriefly)),
        Some("serve") => Ok(Command::Serve { args: rest }),
        Some("pool") if asks_help => Ok(explain(Topic::PoolBriefly)),
        Some("pool") => Ok(Command::Pool { args: rest }),
        Some("selftest") if asks_help => Ok(explain(Topic::Selftest)),
        Some("selftest") => Ok(Command::Selftest { args: rest }),
        Some("bench") if asks_help => Ok(explain(Topic::Bench)),
        Some("bench") => Ok(Command::Bench { args: rest }),
        Some("tune") if asks_help => Ok(explain(Topic::Tune)),
        Some("tune") => Ok(Command::Tune { args: rest }),
        Some("top") if asks_help => Ok(explain(Topic::Top)),
        Some("queries") if asks_help => Ok(explain(Topic::Queries)),
        Some("check") if asks_help => Ok(explain(Topic::Check)),
        Some(word @ ("top" | "queries" | "check")) => Ok(Command::Insight {
            which: match word {
                "top" => Which::Top,
                "queries" => Which::Queries,
                _ => Which::Check,
            },
            args: rest,
        }),
        Some("doctor") if asks_help => Ok(explain(Topic::Doctor)),
        Some("doctor") => Ok(Command::Doctor { args: rest }),
        Some("profile") if asks_help => Ok(explain(Topic::Profile)),
        Some("profile") => Ok(Command::Profile { args: rest }),
        Some("purge") if asks_help => Ok(explain(Topic::Purge)),
        Some("purge") => Ok(Command::Purge { args: rest }),
        Some("static") if asks_help || rest.is_empty() => Ok(explain(Topic::Static)),
        Some("static") => match rest.split_first() {
            Some((word, args)) if word == "compress" => Ok(Command::Compress { args }),
            _ => Err(unexpected(rest.first().unwrap_or(word))
                .hint("the word behind `static` is `compress`")),
        },
        Some("options") if asks_help => Ok(explain(Topic::Options)),
        Some("options") => {
            let json = rest.iter().any(|word| word == "--json");
            let args = rest
                .iter()
                .filter(|word| *word != "--json")
                .cloned()
                .collect();
            Ok(Command::Options { args, json })
        }
        Some("help") => Ok(Command::Help {
            topic: topic(rest)?,
        }),
        Some("--help" | "-h") => Ok(Command::Help { topic: None }),
        Some("version") if asks_help => Ok(explain(Topic::Version)),
        Some("version" | "--version" | "-V") => match rest.first() {
            None => Ok(Command::Version),
            Some(extra) => Err(unexpected(extra)),
        },
        _ => Err(unknown(&word.to_string_lossy())),
    }
}

fn explain<'a>(topic: Topic) -> Command<'a> {
    Command::Help { topic: Some(topic) }
}

/// What `help` prints.
pub fn help(topic: Option<&Topic>) -> String {
    match topic {
        None => overview(),
        Some(Topic::ServeBriefly) => format!(
            "{SERVE_USAGE}\n{}\n`canter help serve` explains each option.\n",
            short_help(|_| true)
        ),
        Some(Topic::Serve) => format!("{SERVE_USAGE}{SERVE_MANUAL}\n{}", long_help(|_| true)),
        Some(Topic::PoolBriefly) => format!(
            "{POOL_USAGE}\n{}\n`canter help pool` explains each option.\n",
            short_help(Row::is_for_pool)
        ),
        Some(Topic::Pool) => format!("{POOL_USAGE}{POOL_MANUAL}\n{}", long_help(Row::is_for_pool)),
        Some(Topic::Selftest) => SELFTEST_MANUAL.to_owned(),
        Some(Topic::Bench) => canter_base::flags::BENCH.help(),
        Some(Topic::Tune) => canter_base::flags::TUNE.help(),
        Some(Topic::Top) => insight::TOP_MANUAL.to_owned(),
        Some(Topic::Queries) => insight::QUERIES_MANUAL.to_owned(),
        Some(Topic::Check) => insight::CHECK_MANUAL.to_owned(),
        Some(Topic::Doctor) => doctor::MANUAL.to_owned(),
        Some(Topic::Profile) => profile::MANUAL.to_owned(),
        Some(Topic::Purge) => PURGE_MANUAL.to_owned(),
        Some(Topic::Static) => STATIC_MANUAL.to_owned(),
        Some(Topic::Options) => OPTIONS_MANUAL.to_owned(),
        Some(Topic::Help) => "canter help [COMMAND]\n\nExplains a command.\n".to_owned(),
        Some(Topic::Version) => "canter version\n\nPrints the version.\n".to_owned(),
    }
}

/// What `version` prints.
pub fn version() -> String {
    format!("canter {}\n", env!("CARGO_PKG_VERSION"))
}

const SERVE_USAGE: &str = "\
canter serve [OPTIONS] [MODULE[:APP]]

Serves a WSGI app such as a Django site. Without a module, the project beside `manage.py`.
";

const SERVE_MANUAL: &str = "
APP is the name of the app in the module; `application` if left out.

Each option can also be a variable (`CANTER_WORKERS`) or a key in `canter.toml` or in the table
`[tool.canter]` of `pyproject.toml`. A flag beats a variable, a variable beats a file.
";

const POOL_USAGE: &str = "\
canter pool [OPTIONS]

Pools the connections to one PostgreSQL database, for programs that `canter serve` does not run:
a Celery worker, a cron job, psql.
";

const POOL_MANUAL: &str = "
The database is that of `DATABASE_URL`. Programs get the pool by another host and port in that URL:

  canter pool --bind-postgres 127.0.0.1:6432 --db-connections 12
  DATABASE_URL=postgresql://user:password@127.0.0.1:6432/name celery -A mysite worker

Each option can also be a variable (`CANTER_DB_CONNECTIONS`) or a key in `canter.toml` or in the
table `[tool.canter]` of `pyproject.toml`. SIGTERM lets transactions finish and stops; SIGHUP reads
the database's URL again and replaces the connections to it.
";

const SELFTEST_MANUAL: &str = "\
canter selftest [URL] [OPTIONS]

Attacks a server on this machine (Canter or any other) with slow clients, broken requests and
hostile HTTP/2, asks it for ordinary pages meanwhile, and prints a table of what held. URL is
http://127.0.0.1:8000/ if left out; addresses that are not loopback are refused. Takes about three
minutes. Exit code 8 says that the server fell to something.

  -c, --connections COUNT   connections of each slow attack; 400 if left out
      --big PATH            a path with a large response, for the attack by slow readers
      --only WORDS          only these attacks: ids or beginnings of names, `S1,h2`
      --patience TIME       how much longer an ordinary page may take meanwhile; 50ms if left out
      --process PID         measure the memory of this process and its children
      --json                for a program
";

const STATIC_MANUAL: &str = "\
canter static compress [DIR] [OPTIONS]

Makes the gzip, brotli and zstd forms of static files, beside them, at the highest levels and on
all cores. Run it after `manage.py collectstatic`; `canter serve` sends each client the shortest
form that it takes. DIR is STATIC_ROOT of the project in this folder if left out. Files that are
compressed by themselves, such as images, are passed over, and so are forms that are there already
or would be hardly shorter. A form is as old as its file: one that is older is never sent.

  -j, --jobs COUNT    files at once; as many as there are cores if left out
      --only WORDS    only these forms: `gzip`, `br`, `zstd`
      --force         make again what is there
  -q, --quiet         say nothing
";

const PURGE_MANUAL: &str = "\
canter purge [URL...] [OPTIONS]

Asks a server for pages to be fetched anew: the one of this user that runs on this machine, or one
that runs with `--cache-token`. A URL is a path, on all hosts and with any query, or a whole address.
Pages are still shown while they are fetched anew, and when the app fails, unless `--hard` is given.

      --prefix PATH     all paths that begin so
      --host HOST       a whole host
      --tag TAG         pages with this tag (`Surrogate-Key`, `Cache-Tag`, `tags` of a rule)
      --all             everything
      --hard            forget the pages at once
      --server URL      where it is, such as `http://127.0.0.1:8000`; if left out, the only server of
                        this user here
      --token TEXT      its `--cache-token`, for `--server`; better in the variable
                        `CANTER_CACHE_TOKEN`
";

const OPTIONS_MANUAL: &str = "\
canter options [OPTIONS OF `canter serve`] [--json]

Shows every option of `canter serve` with its value and where the value came from: a flag, a
variable, a file, the platform or the default. Takes the same options as `canter serve`, so
putting `options` for `serve` in a command line shows what it would do. Nothing is started.

  --json    for a program: one object with a list of options and a list of notices
";

fn overview() -> String {
    let mut text =
        String::from("Canter serves a Django site, or any WSGI app, with one command.\n\n");
    text.push_str(
        "Try:\n  canter serve mysite.wsgi    serve the app in the module `mysite.wsgi`\n",
    );
    text.push_str(
        "  canter serve                beside `manage.py`: find the project and serve it\n",
    );
    text.push_str("\nCommands:\n");
    for (word, meaning, _) in COMMANDS {
        let _ = writeln!(text, "  {word:<10}{meaning}");
    }
    text.push_str(
        "\n`canter serve --help` lists the options; `canter help serve` explains them.\n",
    );
    text
}

fn topic(rest: &[OsString]) -> Result<Option<Topic>, Fault> {
    let Some((word, more)) = rest.split_first() else {
        return Ok(None);
    };
    if let Some(extra) = more.first() {
        return Err(unexpected(extra));
    }
    if is_help(word) {
        return Ok(Some(Topic::Help));
    }
    let known = COMMANDS.iter().find(|(name, _, _)| word == name);
    known
        .map(|(_, _, topic)| Some(*topic))
        .ok_or_else(|| unknown(&word.to_string_lossy()))
}

fn is_help(word: &OsStr) -> bool {
    word == "--help" || word == "-h"
}

fn unexpected(word: &OsStr) -> Fault {
    Fault::usage(format!("unexpected `{}`", word.display()))
        .from("command line")
        .hint("`canter help` lists the commands")
}

fn unknown(word: &str) -> Fault {
    let names = COMMANDS.iter().map(|(name, _, _)| *name);
    let fault = Fault::usage(format!("no command is called `{word}`")).from("command line");
    if let Some(near) = nearest(word, names) {
        fault.hint(format!("did you mean `canter {near}`?"))
    } else if word.starts_with('-') {
        fault.hint(format!("options follow the command: `canter serve {word}`"))
    } else if word.contains(['.', ':']) {
        fault.hint(format!("to serve an app: `canter serve {word}`"))
    } else {
        fault.hint("`canter help` lists the commands")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn hint(line: &str) -> String {
        parse(&words(line)).unwrap_err().hint.unwrap_or_default()
    }

    #[test]
    fn each_command_is_found_with_its_words() {
        let serve = words("serve -w 3 mysite.wsgi");
        assert_eq!(parse(&serve).unwrap(), Command::Serve { args: &serve[1..] });
        assert_eq!(
            parse(&words("options --json -w 3")).unwrap(),
            Command::Options {
                args: words("-w 3"),
                json: true
            }
        );
        for line in ["version", "--version", "-V"] {
            assert_eq!(parse(&words(line)).unwrap(), Command::Version);
        }
        for (line, topic) in [
            ("", None),
            ("help", None),
            ("--help", None),
            ("serve -w 3 --help", Some(Topic::ServeBriefly)),
            ("help serve", Some(Topic::Serve)),
            ("pool --help", Some(Topic::PoolBriefly)),
            ("help pool", Some(Topic::Pool)),
            ("options -h", Some(Topic::Options)),
        ] {
            assert_eq!(
                parse(&words(line)).unwrap(),
                Command::Help { topic },
                "{line}"
            );
        }
        let literal = words("serve -- --help");
        assert_eq!(
            parse(&literal).unwrap(),
            Command::Serve {
                args: &literal[1..]
            }
        );
    }

    #[test]
    fn a_wrong_word_gets_the_hint_that_helps() {
        for (line, expected) in [
            ("sevre", "did you mean `canter serve`?"),
            ("help optoins", "did you mean `canter options`?"),
            ("mysite.wsgi", "to serve an app: `canter serve mysite.wsgi`"),
            (
                "--bind",
                "options follow the command: `canter serve --bind`",
            ),
            ("frobnicate", "`canter help` lists the commands"),
            ("version 3", "`canter help` lists the commands"),
        ] {
            assert_eq!(hint(line), expected, "{line}");
        }
    }

    #[test]
    fn canter_alone_shows_two_things_to_try_and_every_command() {
        let text = help(None);
        assert!(text.contains("  canter serve mysite.wsgi ") && text.contains("  canter serve  "));
        for (word, meaning, topic) in COMMANDS {
            assert!(text.contains(&format!("  {word:<10}{meaning}\n")), "{word}");
            assert!(
                help(Some(topic)).starts_with(&format!("canter {word}")),
                "{word}"
            );
        }
    }
}
