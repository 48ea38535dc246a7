//! The words of the command line before the options: which command, and help on it.
//!
//! Owns the table of commands. The options behind `serve` are read by `canter_base::options`, and what the
//! commands do is in `command/`.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use canter_base::nearest::nearest;
use canter_base::options::{Row, long_help, short_help};
use canter_base::{Exit, Fault, flags};

use crate::command::insight::Which;
use crate::command::{bench, doctor, insight, profile, purge, selftest, tune};

/// One command: what is said of it, and what it does.
pub struct Command {
    word: &'static str,
    /// In the list of commands.
    meaning: &'static str,
    /// What `canter help WORD` prints.
    manual: fn() -> String,
    /// What `canter WORD --help` prints, where it is not the manual.
    brief: Option<fn() -> String>,
    /// Takes the words behind.
    pub run: fn(&[OsString]) -> Result<Exit, Fault>,
}

const COMMANDS: &[Command] = &[
    Command {
        word: "serve",
        meaning: "serve a WSGI app: `canter serve mysite.wsgi`",
        manual: || format!("{SERVE_USAGE}{SERVE_MANUAL}\n{}", long_help(|_| true)),
        brief: Some(|| briefly("serve", SERVE_USAGE, |_| true)),
        run: crate::serve,
    },
    Command {
        word: "pool",
        meaning: "pool PostgreSQL connections for other programs",
        manual: || format!("{POOL_USAGE}{POOL_MANUAL}\n{}", long_help(Row::is_for_pool)),
        brief: Some(|| briefly("pool", POOL_USAGE, Row::is_for_pool)),
        run: crate::pool,
    },
    Command {
        word: "selftest",
        meaning: "attack a server on this machine and see what holds",
        manual: || SELFTEST_MANUAL.to_owned(),
        brief: None,
        run: selftest::run,
    },
    Command {
        word: "bench",
        meaning: "load a site and see what it takes, and where it breaks",
        manual: || flags::BENCH.help(),
        brief: None,
        run: bench::run,
    },
    Command {
        word: "tune",
        meaning: "find the smallest configuration that is as good as the best",
        manual: || flags::TUNE.help(),
        brief: None,
        run: tune::run,
    },
    Command {
        word: "top",
        meaning: "show what a server on this machine is doing",
        manual: || insight::TOP_MANUAL.to_owned(),
        brief: None,
        run: |args| insight::run(Which::Top, args),
    },
    Command {
        word: "queries",
        meaning: "show what its SQL costs, where, and what helps",
        manual: || insight::QUERIES_MANUAL.to_owned(),
        brief: None,
        run: |args| insight::run(Which::Queries, args),
    },
    Command {
        word: "check",
        meaning: "fail when a route asks too many queries",
        manual: || insight::CHECK_MANUAL.to_owned(),
        brief: None,
        run: |args| insight::run(Which::Check, args),
    },
    Command {
        word: "static",
        meaning: "compress static files ahead: `canter static compress`",
        manual: || STATIC_MANUAL.to_owned(),
        brief: None,
        run: crate::static_files,
    },
    Command {
        word: "doctor",
        meaning: "say what would make the site faster, with the evidence",
        manual: || doctor::MANUAL.to_owned(),
        brief: None,
        run: doctor::run,
    },
    Command {
        word: "profile",
        meaning: "see where requests spend their time, as a flame graph",
        manual: || profile::MANUAL.to_owned(),
        brief: None,
        run: profile::run,
    },
    Command {
        word: "purge",
        meaning: "remove pages from the cache of a running server",
        manual: || PURGE_MANUAL.to_owned(),
        brief: None,
        run: purge::run,
    },
    Command {
        word: "options",
        meaning: "show every option, its value and where it came from",
        manual: || OPTIONS_MANUAL.to_owned(),
        brief: None,
        run: crate::options,
    },
    Command {
        word: "help",
        meaning: "explain a command: `canter help serve`",
        manual: || "canter help [COMMAND]\n\nExplains a command.\n".to_owned(),
        brief: None,
        run: |args| crate::print(&help(args)?),
    },
    Command {
        word: "version",
        meaning: "print the version",
        manual: || "canter version\n\nPrints the version.\n".to_owned(),
        brief: None,
        run: crate::version,
    },
];

/// What a command line asks for.
pub enum Asked<'a> {
    /// A command, with the words behind it.
    Run(&'static Command, &'a [OsString]),
    /// Help.
    Explain(String),
}

/// Finds the command.
pub fn parse(args: &[OsString]) -> Result<Asked<'_>, Fault> {
    let Some((word, rest)) = args.split_first() else {
        return Ok(Asked::Explain(overview()));
    };
    let word = match word.to_str() {
        Some("--help" | "-h") => return Ok(Asked::Explain(overview())),
        Some("--version" | "-V") => OsStr::new("version"),
        _ => word,
    };
    let command = find(word)?;
    let asks_help = rest
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| is_help(word));
    if asks_help {
        return Ok(Asked::Explain(command.brief.unwrap_or(command.manual)()));
    }
    Ok(Asked::Run(command, rest))
}

/// What `canter help` and the words behind it print.
fn help(rest: &[OsString]) -> Result<String, Fault> {
    match rest {
        [] => Ok(overview()),
        [word] => Ok((find(word)?.manual)()),
        [_, extra, ..] => Err(unexpected(extra)),
    }
}

fn find(word: &OsStr) -> Result<&'static Command, Fault> {
    let known = COMMANDS.iter().find(|command| word == command.word);
    known.ok_or_else(|| unknown(&word.to_string_lossy()))
}

/// The options of a command in a line each.
fn briefly(word: &str, usage: &str, is_one: fn(&Row) -> bool) -> String {
    let options = short_help(is_one);
    format!("{usage}\n{options}\n`canter help {word}` explains each option.\n")
}

/// What `canter version` prints.
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
the options again, and connects anew where the database has moved.
";

const SELFTEST_MANUAL: &str = "\
canter selftest [URL] [OPTIONS]

Attacks a server on this machine (Canter or any other) with slow clients, broken requests and
hostile HTTP/2, asks it for ordinary pages meanwhile, and prints a table of what held. URL is
http://127.0.0.1:8000/ if left out; addresses that are not loopback are refused. Takes about four
minutes. Exit code 8 says that the server fell to something.

  -c, --connections COUNT   connections of each slow attack; 400 if left out
      --big PATH            a path with a large response, for the attack by slow readers
      --only WORDS          only these attacks: ids, their letter, or beginnings of names, `S1,H`
      --patience TIME       how much longer an ordinary page may take meanwhile; 50ms if left out
      --process PID         measure the memory of this process and its children
      --json                for a program
";

/// What `canter help static` prints.
pub const STATIC_MANUAL: &str = "\
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

Asks a server for pages to be fetched anew: the one of this user that was started in this folder, or one
that runs with `--cache-token`. No other is taken for it. A URL is a path, on all hosts and with any query, or a whole address.
Pages are still shown while they are fetched anew, and when the app fails, unless `--hard` is given.

      --prefix PATH     all paths that begin so
      --host HOST       a whole host
      --tag TAG         pages with this tag (`Surrogate-Key`, `Cache-Tag`, `tags` of a rule)
      --all             everything
      --hard            forget the pages at once
      --address WHICH   another server of this user here: the number of its process, the folder in
                        which it was started, or the path of its private socket
      --server URL      one elsewhere, such as `http://127.0.0.1:8000`
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
    for Command { word, meaning, .. } in COMMANDS {
        let _ = writeln!(text, "  {word:<10}{meaning}");
    }
    text.push_str(
        "\n`canter serve --help` lists the options; `canter help serve` explains them.\n",
    );
    text
}

fn is_help(word: &OsStr) -> bool {
    word == "--help" || word == "-h"
}

/// A word that nothing is done with.
pub fn unexpected(word: &OsStr) -> Fault {
    Fault::usage(format!("unexpected `{}`", word.display()))
        .from("command line")
        .hint("`canter help` lists the commands")
}

/// Words that other programs have for it, and what is done here.
const HABITS: &[(&[&str], &str)] = &[
    (
        &["runserver", "run", "start", "dev", "up"],
        "`canter serve`; with `--reload` while you develop",
    ),
    (
        &["status", "ps", "monitor", "stats"],
        "`canter top` shows what a server is doing",
    ),
    (
        &["stop", "quit", "kill", "down"],
        "Ctrl-C where it runs, or SIGTERM to its process: requests are finished first",
    ),
    (
        &["reload", "restart"],
        "SIGHUP to its process reads the code again, and no request is lost",
    ),
];

fn unknown(word: &str) -> Fault {
    let names = COMMANDS.iter().map(|command| command.word);
    let fault = Fault::usage(format!("no command is called `{word}`")).from("command line");
    if let Some((_, instead)) = HABITS.iter().find(|(words, _)| words.contains(&word)) {
        fault.hint(*instead)
    } else if let Some(near) = nearest(word, names) {
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

    /// The command and the words behind it, or the first line of what is explained.
    fn asked(line: &str) -> (String, Vec<OsString>) {
        let words = words(line);
        match parse(&words).unwrap() {
            Asked::Run(command, rest) => (command.word.to_owned(), rest.to_vec()),
            Asked::Explain(text) => (text.lines().next().unwrap().to_owned(), Vec::new()),
        }
    }

    fn hint(line: &str) -> String {
        let words = words(line);
        let fault = match parse(&words) {
            Ok(Asked::Run(command, rest)) => (command.run)(rest).unwrap_err(),
            Ok(Asked::Explain(text)) => panic!("{text}"),
            Err(fault) => fault,
        };
        fault.hint.unwrap_or_default()
    }

    #[test]
    fn each_command_is_found_with_its_words() {
        for (line, word, rest) in [
            ("serve -w 3 mysite.wsgi", "serve", "-w 3 mysite.wsgi"),
            ("serve -- --help", "serve", "-- --help"),
            ("options --json -w 3", "options", "--json -w 3"),
            ("static compress -q", "static", "compress -q"),
            ("help serve", "help", "serve"),
            ("version", "version", ""),
            ("--version", "version", ""),
            ("-V", "version", ""),
        ] {
            assert_eq!(asked(line), (word.to_owned(), words(rest)), "{line}");
        }
    }

    #[test]
    fn help_is_brief_behind_a_command_and_whole_in_its_manual() {
        for line in ["", "--help", "-h"] {
            assert!(
                asked(line).0.starts_with("Canter serves a Django site"),
                "{line}"
            );
        }
        for (line, first) in [
            ("serve -w 3 --help", "canter serve [OPTIONS] [MODULE[:APP]]"),
            ("pool --help", "canter pool [OPTIONS]"),
            ("help --help", "canter help [COMMAND]"),
        ] {
            assert_eq!(asked(line).0, first, "{line}");
        }
        for word in ["serve", "pool"] {
            let brief = find(OsStr::new(word)).unwrap().brief.unwrap()();
            let manual = help(&words(word)).unwrap();
            assert!(brief.len() < manual.len() / 2, "{word}");
            assert!(brief.contains(&format!("canter help {word}")), "{word}");
        }
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
            (
                "runserver",
                "`canter serve`; with `--reload` while you develop",
            ),
            ("status", "`canter top` shows what a server is doing"),
            ("version 3", "`canter help` lists the commands"),
            ("help serve 3", "`canter help` lists the commands"),
            ("static squeeze", "the word behind `static` is `compress`"),
        ] {
            assert_eq!(hint(line), expected, "{line}");
        }
    }

    #[test]
    fn canter_alone_shows_two_things_to_try_and_every_command() {
        let text = overview();
        assert!(text.contains("  canter serve mysite.wsgi ") && text.contains("  canter serve  "));
        for Command {
            word,
            meaning,
            manual,
            ..
        } in COMMANDS
        {
            assert!(text.contains(&format!("  {word:<10}{meaning}\n")), "{word}");
            assert!(manual().starts_with(&format!("canter {word}")), "{word}");
        }
    }
}
