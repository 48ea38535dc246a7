//! The commands of the console: what there is, what each needs, what was meant by a wrong one.
//! Pure. Leaves carrying them out to `act` and the tables to `show` and its kin.

use super::words::Word;
use crate::wire::SqlError;

/// What a person who is let in may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rights {
    /// Look.
    Look,
    /// Everything.
    All,
}

/// What `SHOW` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    ActiveSockets,
    Clients,
    Config,
    Databases,
    DnsHosts,
    DnsZones,
    Fds,
    Help,
    Lists,
    Mem,
    PeerPools,
    Peers,
    Pins,
    Pools,
    Servers,
    Sockets,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    Totals,
    Users,
    Version,
}

/// Every word after `SHOW`.
pub(super) const TOPICS: [(&str, Topic); 23] = [
    ("ACTIVE_SOCKETS", Topic::ActiveSockets),
    ("CLIENTS", Topic::Clients),
    ("CONFIG", Topic::Config),
    ("DATABASES", Topic::Databases),
    ("DNS_HOSTS", Topic::DnsHosts),
    ("DNS_ZONES", Topic::DnsZones),
    ("FDS", Topic::Fds),
    ("HELP", Topic::Help),
    ("LISTS", Topic::Lists),
    ("MEM", Topic::Mem),
    ("PEER_POOLS", Topic::PeerPools),
    ("PEERS", Topic::Peers),
    ("PINS", Topic::Pins),
    ("POOLS", Topic::Pools),
    ("SERVERS", Topic::Servers),
    ("SOCKETS", Topic::Sockets),
    ("STATE", Topic::State),
    ("STATS", Topic::Stats),
    ("STATS_AVERAGES", Topic::StatsAverages),
    ("STATS_TOTALS", Topic::StatsTotals),
    ("TOTALS", Topic::Totals),
    ("USERS", Topic::Users),
    ("VERSION", Topic::Version),
];

/// Settings of a PostgreSQL session that drivers ask for; the first four are reported at the start.
pub(super) const PARAMETERS: [(&str, &str); 9] = [
    ("server_version", "16.0 (Canter console)"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("DateStyle", "ISO, MDY"),
    ("TimeZone", "GMT"),
    ("integer_datetimes", "on"),
    ("default_transaction_isolation", "read committed"),
    ("transaction_isolation", "read committed"),
];

/// Other settings of a session that drivers set unasked; they mean nothing here.
const IGNORED: [&str; 9] = [
    "application_name",
    "bytea_output",
    "characteristics",
    "client_min_messages",
    "extra_float_digits",
    "intervalstyle",
    "names",
    "search_path",
    "statement_timeout",
];

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// At once.
    Now,
    /// When transactions have ended; idle clients are told to go.
    WhenServersAreFree,
    /// When all clients have left by themselves.
    WhenClientsHaveLeft,
}

/// A statement of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Show(Topic),
    /// A setting of the session and its value.
    Parameter(&'static str, &'static str),
    Set {
        key: String,
        value: String,
    },
    Pause(Option<String>),
    Resume(Option<String>),
    Suspend,
    Reconnect(Option<String>),
    Kill(Option<String>),
    KillClient(String),
    Disable(String),
    Enable(String),
    WaitClose(Option<String>),
    Reload,
    Shutdown(Shutdown),
    /// `SELECT 1`, `SELECT version()`: what programs ask to see whether somebody is there.
    Select(&'static str, &'static str),
    /// Of the client's own session, where it means nothing: the tag to answer with.
    Nothing(&'static str),
    Begin,
    Commit,
    Rollback,
}

/// The first words of statements, for advice.
const VERBS: [&str; 14] = [
    "SHOW",
    "SET",
    "PAUSE",
    "RESUME",
    "SUSPEND",
    "RECONNECT",
    "KILL",
    "KILL_CLIENT",
    "DISABLE",
    "ENABLE",
    "WAIT_CLOSE",
    "RELOAD",
    "SHUTDOWN",
    "SHOW HELP",
];

impl Command {
    /// What its sender must be allowed to.
    pub(super) fn needs(&self) -> Rights {
        match self {
            Self::Show(_)
            | Self::Parameter(..)
            | Self::Select(..)
            | Self::Nothing(_)
            | Self::Begin
            | Self::Commit
            | Self::Rollback => Rights::Look,
            Self::Set { .. }
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Suspend
            | Self::Reconnect(_)
            | Self::Kill(_)
            | Self::KillClient(_)
            | Self::Disable(_)
            | Self::Enable(_)
            | Self::WaitClose(_)
            | Self::Reload
            | Self::Shutdown(_) => Rights::All,
        }
    }

    /// The tag it is complete with.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Show(_) | Self::Parameter(..) => "SHOW",
            Self::Set { .. } => "SET",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Suspend => "SUSPEND",
            Self::Reconnect(_) => "RECONNECT",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Reload => "RELOAD",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Select(..) => "SELECT 1",
            Self::Nothing(tag) => tag,
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
        }
    }

    /// Reads one statement. Parameters must have been put in, but for a description.
    pub(super) fn read(words: &[Word]) -> Result<Self, SqlError> {
        let (verb, rest) = match words {
            [Word::Plain(verb), rest @ ..] => (verb.to_ascii_uppercase(), rest),
            _ => return Err(unknown(&text(words))),
        };
        let database = || optional(&verb, rest);
        Ok(match verb.as_str() {
            "SHOW" => return show(rest),
            "SET" => return set(rest),
            "SELECT" => return select(rest),
            "PAUSE" => Self::Pause(database()?),
            "RESUME" => Self::Resume(database()?),
            "RECONNECT" => Self::Reconnect(database()?),
            "KILL" => Self::Kill(database()?),
            "WAIT_CLOSE" => Self::WaitClose(database()?),
            "DISABLE" => Self::Disable(required(&verb, "a database", rest)?),
            "ENABLE" => Self::Enable(required(&verb, "a database", rest)?),
            "KILL_CLIENT" => Self::KillClient(required(&verb, "the id of a client", rest)?),
            "SUSPEND" => bare(&verb, rest, Self::Suspend)?,
            "RELOAD" => bare(&verb, rest, Self::Reload)?,
            "SHUTDOWN" => Self::Shutdown(match optional(&verb, rest)?.as_deref() {
                None => Shutdown::Now,
                Some(word) if word.eq_ignore_ascii_case("WAIT_FOR_SERVERS") => {
                    Shutdown::WhenServersAreFree
                }
                Some(word) if word.eq_ignore_ascii_case("WAIT_FOR_CLIENTS") => {
                    Shutdown::WhenClientsHaveLeft
                }
                Some(word) => {
                    let words = ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"];
                    return Err(wrong(
                        &format!("unknown kind of SHUTDOWN: {word}"),
                        word,
                        &words,
                    ));
                }
            }),
            "BEGIN" | "START" => Self::Begin,
            "COMMIT" | "END" => Self::Commit,
            "ROLLBACK" | "ABORT" => Self::Rollback,
            "RESET" => Self::Nothing("RESET"),
            "DISCARD" => Self::Nothing("DISCARD ALL"),
            "DEALLOCATE" => Self::Nothing("DEALLOCATE"),
            "CLOSE" => Self::Nothing("CLOSE CURSOR ALL"),
            "UNLISTEN" => Self::Nothing("UNLISTEN"),
            _ => return Err(unknown(&verb)),
        })
    }
}

fn show(rest: &[Word]) -> Result<Command, SqlError> {
    let name = match rest {
        [] => return Ok(Command::Show(Topic::Help)),
        // `SHOW TRANSACTION ISOLATION LEVEL`
        [first, second, third] if first.is("transaction") && second.is("isolation") => {
            let _ = third;
            "transaction_isolation".to_owned()
        }
        // `SHOW TIME ZONE`
        [first, second] if first.is("time") && second.is("zone") => "TimeZone".to_owned(),
        [Word::Plain(name) | Word::Quoted(name)] => name.clone(),
        _ => return Err(unknown(&format!("SHOW {}", text(rest)))),
    };
    if let Some((_, topic)) = TOPICS
        .iter()
        .find(|(topic, _)| topic.eq_ignore_ascii_case(&name))
    {
        return Ok(Command::Show(*topic));
    }
    if let Some((name, value)) = PARAMETERS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(&name))
    {
        return Ok(Command::Parameter(name, value));
    }
    let topics = TOPICS.map(|(topic, _)| topic);
    Err(wrong(
        &format!("there is nothing to show by the name {name}"),
        &name,
        &topics,
    ))
}

/// `SET key = value`, `SET key TO value`.
fn set(rest: &[Word]) -> Result<Command, SqlError> {
    let rest = match rest {
        [first, rest @ ..] if (first.is("session") || first.is("local")) && rest.len() > 1 => rest,
        rest => rest,
    };
    let (key, rest) = match rest {
        [Word::Plain(key) | Word::Quoted(key), rest @ ..] => (key.clone(), rest),
        _ => return Err(syntax("SET needs a key and a value")),
    };
    let is_of_session = PARAMETERS.iter().map(|(name, _)| *name).chain(IGNORED);
    if is_of_session
        .into_iter()
        .any(|name| name.eq_ignore_ascii_case(&key))
    {
        return Ok(Command::Nothing("SET"));
    }
    let values = match rest {
        [Word::Sign('='), values @ ..] => values,
        [word, values @ ..] if word.is("to") => values,
        _ => return Err(syntax("SET needs `=` between key and value")),
    };
    match values {
        [Word::Plain(value) | Word::Quoted(value)] => Ok(Command::Set {
            key,
            value: value.clone(),
        }),
        [Word::Parameter(_)] => Ok(Command::Set {
            key,
            value: String::new(),
        }),
        _ => Err(syntax("SET needs one value")),
    }
}

fn select(rest: &[Word]) -> Result<Command, SqlError> {
    match rest {
        [Word::Plain(one)] if one == "1" => Ok(Command::Select("?column?", "1")),
        [Word::Plain(name), Word::Sign('('), Word::Sign(')')]
            if name.eq_ignore_ascii_case("version")
                || name.eq_ignore_ascii_case("pg_catalog.version") =>
        {
            Ok(Command::Select("version", super::show::VERSION))
        }
        // What asyncpg resets a session with.
        [Word::Plain(name), Word::Sign('('), Word::Sign(')')]
            if name.eq_ignore_ascii_case("pg_advisory_unlock_all") =>
        {
            Ok(Command::Select("pg_advisory_unlock_all", ""))
        }
        _ => Err(
            syntax("the console answers its own commands only, no queries")
                .hint("SHOW HELP lists them; for queries connect to a database."),
        ),
    }
}

fn optional(verb: &str, rest: &[Word]) -> Result<Option<String>, SqlError> {
    match rest {
        [] => Ok(None),
        [_] => argument(rest).map(Some),
        _ => Err(syntax(&format!("{verb} takes one word at most"))),
    }
}

fn required(verb: &str, what: &str, rest: &[Word]) -> Result<String, SqlError> {
    match rest {
        [_] => argument(rest),
        _ => Err(syntax(&format!("{verb} needs {what}"))),
    }
}

fn argument(rest: &[Word]) -> Result<String, SqlError> {
    match rest {
        [Word::Plain(word) | Word::Quoted(word)] => Ok(word.clone()),
        [Word::Parameter(_)] => Ok(String::new()),
        _ => Err(syntax("a name was expected")),
    }
}

fn bare(verb: &str, rest: &[Word], command: Command) -> Result<Command, SqlError> {
    if rest.is_empty() {
        Ok(command)
    } else {
        Err(syntax(&format!("{verb} takes nothing behind it")))
    }
}

fn syntax(words: &str) -> SqlError {
    SqlError::error("42601", words)
}

fn unknown(verb: &str) -> SqlError {
    let shown: String = verb.chars().take(40).collect();
    wrong(&format!("unknown command: {shown}"), &shown, &VERBS)
}

/// An error with the nearest of the words that would have been right.
pub(super) fn wrong(what: &str, word: &str, right: &[&str]) -> SqlError {
    let shown: String = what.chars().take(100).collect();
    let error = syntax(&shown);
    let word = word.to_ascii_uppercase();
    let near = right
        .iter()
        .map(|right| (distance(&word, &right.to_ascii_uppercase()), right))
        .min();
    match near {
        Some((far, right)) if far <= 3 && far < right.len() => error.hint(format!(
            "Did you mean {right}? SHOW HELP lists what there is."
        )),
        _ => error.hint("SHOW HELP lists what there is."),
    }
}

fn text(words: &[Word]) -> String {
    let words = words.iter().map(|word| match word {
        Word::Plain(word) | Word::Quoted(word) => word.clone(),
        Word::Parameter(number) => format!("${number}"),
        Word::Sign(sign) => sign.to_string(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// How many letters must be put in, taken out or changed (Levenshtein); words over 40 letters
/// are far from everything.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    if one.chars().count() > 40 || other.len() > 40 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut corner = above;
        let mut left = above + 1;
        let mut next = vec![left];
        for (at, theirs) in other.iter().enumerate() {
            let up = row.get(at + 1).copied().unwrap_or(usize::MAX - 1);
            let change = corner + usize::from(letter != *theirs);
            left = change.min(up + 1).min(left + 1);
            corner = up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::words::statements;
    use super::*;

    fn read(text: &str) -> Result<Command, SqlError> {
        Command::read(&statements(text).remove(0))
    }

    #[test]
    fn i1_each_command_is_read_in_any_case() {
        let shop = || Some("shop".to_owned());
        let rows = [
            ("show pools", Command::Show(Topic::Pools)),
            ("SHOW", Command::Show(Topic::Help)),
            ("Show \"stats_totals\";", Command::Show(Topic::StatsTotals)),
            (
                "SHOW transaction isolation level",
                Command::Parameter("transaction_isolation", "read committed"),
            ),
            ("PAUSE", Command::Pause(None)),
            ("pause shop", Command::Pause(shop())),
            ("RESUME 'shop'", Command::Resume(shop())),
            ("KILL \"shop\"", Command::Kill(shop())),
            ("KILL_CLIENT 17", Command::KillClient("17".into())),
            ("DISABLE shop", Command::Disable("shop".into())),
            ("WAIT_CLOSE", Command::WaitClose(None)),
            ("SHUTDOWN", Command::Shutdown(Shutdown::Now)),
            (
                "shutdown wait_for_clients",
                Command::Shutdown(Shutdown::WhenClientsHaveLeft),
            ),
            (
                "SET query_timeout = '5'",
                Command::Set {
                    key: "query_timeout".into(),
                    value: "5".into(),
                },
            ),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE", Command::Begin),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn i1_a_wrong_word_is_42601_with_the_nearest_right_one() {
        let rows = [
            ("SHOW POLS", Some("POOLS")),
            ("SHOW client", Some("CLIENTS")),
            ("PUASE", Some("PAUSE")),
            ("SHUTDOWN WAIT_FOR_CLIENT", Some("WAIT_FOR_CLIENTS")),
            ("UPDATE shop SET x = 1", None),
            ("SHOW something quite different", None),
            ("DISABLE", None),
            ("PAUSE a b", None),
            ("RELOAD now", None),
            ("SET x", None),
            ("SELECT * FROM pg_class", None),
            ("= 1", None),
        ];
        for (text, near) in rows {
            let error = read(text).unwrap_err();
            assert_eq!(error.code_str(), "42601", "{text}");
            if let Some(near) = near {
                let hint = error.hint.unwrap_or_default();
                assert!(
                    hint.contains(&format!("Did you mean {near}?")),
                    "{text}: {hint}"
                );
            }
        }
    }

    #[test]
    fn i1_whatever_changes_something_needs_all_rights() {
        // CVE-2026-6667: one command lacked the check. Each is in one table here.
        for verb in VERBS {
            let text = match verb {
                "SET" => "SET a = 1".to_owned(),
                "KILL_CLIENT" | "DISABLE" | "ENABLE" => format!("{verb} x"),
                verb => verb.to_owned(),
            };
            let needs = read(&text).unwrap().needs();
            assert_eq!(needs == Rights::Look, verb.starts_with("SHOW"), "{verb}");
        }
    }
}
