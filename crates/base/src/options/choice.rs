//! Options with a few words to choose from. Each word has its meaning beside it, for help and docs.

use std::path::PathBuf;

use super::value::{Value, Wrong};
use crate::nearest::nearest;

macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $($variant:ident = $word:literal $(| $other:literal)*, $meaning:literal;)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)+
        }

        impl Value for $name {
            const KIND: &'static str = "CHOICE";
            const CHOICES: &'static [(&'static str, &'static str)] = &[$(($word, $meaning)),+];

            fn parse(text: &str) -> Result<Self, Wrong> {
                match text {
                    $($word $(| $other)* => Ok(Self::$variant),)+
                    _ => Err(wrong_choice(text, Self::CHOICES)),
                }
            }

            fn show(&self) -> String {
                match self { $(Self::$variant => $word.to_owned()),+ }
            }
        }
    };
}

/// Lists the words, and the nearest one if the text looks like a slip.
fn wrong_choice(text: &str, choices: &[(&str, &str)]) -> Wrong {
    let words: Vec<String> = choices
        .iter()
        .map(|(word, _)| format!("`{word}`"))
        .collect();
    let wrong = match words.as_slice() {
        [] => Wrong::expected("expected nothing"),
        [only] => Wrong::expected(format!("expected {only}")),
        [rest @ .., last] => Wrong::expected(format!("expected {} or {last}", rest.join(", "))),
    };
    match nearest(text, choices.iter().map(|(word, _)| *word)) {
        Some(word) => wrong.hint(format!("did you mean `{word}`?")),
        None => wrong,
    }
}

choice! {
    /// Where HTTP/2 is spoken.
    Http2 {
        Auto = "auto" | "on", "over TLS, with clients that ask for it";
        Plain = "plain", "without TLS as well, with clients that begin so (prior knowledge)";
        Off = "off" | "none", "nowhere";
    }
}

choice! {
    /// Whether static files are answered without the app.
    Static {
        Auto = "auto" | "on", "those that Django's settings name";
        Off = "off" | "none", "only those that other options name";
    }
}

choice! {
    /// Whether answers of the app are compressed.
    Compress {
        On = "on" | "auto", "here; the app is not told what the client can decode";
        AfterApp = "after-app", "here where the app has not done so; it is told";
        Off = "off" | "none", "as the app sends them";
    }
}

choice! {
    /// Whether pages are kept and answered again without the app.
    Cache {
        On = "on" | "auto" | "true" | "yes" | "1", "what the app or a rule says may be shared";
        Off = "off" | "none" | "false" | "no" | "0", "nothing";
    }
}

choice! {
    /// In which words trusted proxies speak of the client.
    ForwardedHeader {
        XForwarded = "x-forwarded" | "x-forwarded-for", "`X-Forwarded-For` and its kin";
        Forwarded = "forwarded", "`Forwarded` (RFC 7239)";
    }
}

choice! {
    /// What Canter runs on.
    PlatformName {
        Auto = "auto", "what the environment shows";
        Heroku = "heroku", "a Heroku dyno";
        Fly = "fly", "a Fly.io machine";
        Render = "render", "a Render web service";
        Railway = "railway", "a Railway service";
        Kubernetes = "kubernetes", "a Kubernetes pod";
        Docker = "docker", "a container";
        Systemd = "systemd", "a systemd service";
        None = "none", "no platform: the defaults as they are";
    }
}

choice! {
    /// Who is shut out when they keep misbehaving.
    Ban {
        Auto = "auto" | "on", "clients with public addresses";
        All = "all", "everybody but trusted proxies";
        Off = "off" | "none", "nobody";
    }
}

choice! {
    /// Whether workers are forked from a process that has imported the app.
    Preload {
        Auto = "auto", "fork when it is safe after the import, and say so when it is not";
        On = "on" | "true" | "yes" | "1", "always fork, even with threads or sockets open";
        Off = "off" | "false" | "no" | "0", "every worker imports the app itself";
    }
}

choice! {
    /// Whether the app's PostgreSQL connections are pooled.
    DbPool {
        Auto = "auto" | "on" | "true" | "yes" | "1", "pool every PostgreSQL connection of Django";
        Off = "off" | "false" | "no" | "0", "every thread opens connections of its own";
    }
}

choice! {
    /// How a client of the pool proves who it is.
    DbAuth {
        Scram = "scram" | "scram-sha-256", "a password that is never sent (SCRAM-SHA-256)";
        Md5 = "md5", "the older way for drivers that cannot do SCRAM";
        Plain = "plain" | "password", "the password itself; only over TLS or a unix socket";
        Trust = "trust" | "any", "nothing is asked; only where this machine alone gets in";
        Cert = "cert", "a TLS client certificate, see `--db-tls-ca`";
    }
}

choice! {
    /// How a line of the access log is written.
    AccessLogFormat {
        Common = "common", "the Common Log Format of Apache and nginx";
        Combined = "combined", "common, with referrer and user agent";
        Json = "json", "one JSON object on each line";
        Logfmt = "logfmt", "`key=value` pairs, as Heroku writes them";
    }
}

/// The kinds of worker of other servers that name what Canter does anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerClass {
    /// Accepted, needs nothing: a slow client never holds a worker.
    Sync,
    /// Accepted, needs nothing: threads are added when requests wait.
    Gthread,
}

impl Value for WorkerClass {
    const KIND: &'static str = "CHOICE";
    const CHOICES: &'static [(&'static str, &'static str)] = &[
        (
            "sync",
            "accepted, needs nothing: a slow client never holds a worker",
        ),
        (
            "gthread",
            "accepted, needs nothing: threads are added when requests wait",
        ),
    ];

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "sync" => Ok(Self::Sync),
            "gthread" => Ok(Self::Gthread),
            other => Err(match worker_class_not_yet(other) {
                Some(hint) => Wrong::expected("not available yet").hint(hint),
                None => wrong_choice(other, Self::CHOICES),
            }),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Sync => "sync",
            Self::Gthread => "gthread",
        }
        .to_owned()
    }
}

/// Words people bring along for `--worker-class`, with what to say to each.
fn worker_class_not_yet(text: &str) -> Option<&'static str> {
    let name = text
        .rsplit(['.', ':'])
        .next()
        .unwrap_or(text)
        .to_ascii_lowercase();
    if ["gevent", "eventlet", "geventwebsocketworker", "tornado"].contains(&name.as_str()) {
        Some(
            "leave the option out: Canter runs as many waiting requests at once as gevent would, \
             in threads, without patching the app",
        )
    } else if name.contains("uvicorn") || name.contains("asgi") || name.contains("async") {
        Some("ASGI apps are not served yet; serve the project's WSGI app: `mysite.wsgi`")
    } else {
        None
    }
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Standard,
    /// Appended to this file.
    File(PathBuf),
    /// Nowhere.
    Nowhere,
}

impl Value for LogTarget {
    const KIND: &'static str = "PATH";
    const CHOICES: &'static [(&'static str, &'static str)] = &[
        ("-", "standard output"),
        ("none", "no access log"),
        ("PATH", "append to this file"),
    ];

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "-" => Ok(Self::Standard),
            "none" | "None" => Ok(Self::Nowhere),
            path => <PathBuf as Value>::parse(path).map(Self::File),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Standard => "-".to_owned(),
            Self::Nowhere => "none".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl Value for crate::log::Level {
    const KIND: &'static str = "CHOICE";
    const CHOICES: &'static [(&'static str, &'static str)] = &[
        ("error", "what failed"),
        ("warn", "what a person should look at"),
        ("info", "starts, stops and changes"),
        ("debug", "each decision"),
    ];

    fn parse(text: &str) -> Result<Self, Wrong> {
        // Gunicorn's words for the same levels.
        match text.to_ascii_lowercase().as_str() {
            "critical" => Ok(Self::Error),
            "warning" => Ok(Self::Warn),
            word => Self::ALL
                .iter()
                .copied()
                .find(|level| level.word() == word)
                .ok_or_else(|| wrong_choice(text, Self::CHOICES)),
        }
    }

    fn show(&self) -> String {
        self.word().to_owned()
    }
}

impl Value for crate::log::Format {
    const KIND: &'static str = "CHOICE";
    const CHOICES: &'static [(&'static str, &'static str)] = &[
        ("human", "aligned for reading, coloured on a terminal"),
        ("json", "one JSON object on each line"),
        ("logfmt", "`key=value` pairs"),
    ];

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            "logfmt" => Ok(Self::Logfmt),
            _ => Err(wrong_choice(text, Self::CHOICES)),
        }
    }

    fn show(&self) -> String {
        self.word().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Format, Level};

    fn every_word_is_read_back<T: Value>() {
        for (word, _) in T::CHOICES {
            let value = T::parse(word).map_err(|wrong| wrong.expected).unwrap();
            assert_eq!(value.show(), *word);
        }
    }

    #[test]
    fn every_choice_is_read_back_as_it_is_shown() {
        every_word_is_read_back::<Preload>();
        every_word_is_read_back::<Static>();
        every_word_is_read_back::<Compress>();
        every_word_is_read_back::<ForwardedHeader>();
        every_word_is_read_back::<PlatformName>();
        every_word_is_read_back::<DbPool>();
        every_word_is_read_back::<DbAuth>();
        every_word_is_read_back::<AccessLogFormat>();
        every_word_is_read_back::<WorkerClass>();
        every_word_is_read_back::<Level>();
        every_word_is_read_back::<Format>();
        every_word_is_read_back::<LogTarget>();
    }

    #[test]
    fn a_wrong_word_lists_the_right_ones_and_the_nearest() {
        let wrong = <AccessLogFormat as Value>::parse("cobined").unwrap_err();
        assert_eq!(
            wrong.expected,
            "expected `common`, `combined`, `json` or `logfmt`"
        );
        assert_eq!(wrong.hint.as_deref(), Some("did you mean `combined`?"));
    }

    #[test]
    fn worker_classes_of_other_servers_get_an_answer_of_their_own() {
        for name in [
            "gevent",
            "asgi",
            "uvicorn.workers.UvicornWorker",
            "uvicorn_worker.UvicornH11Worker",
        ] {
            assert!(worker_class_not_yet(name).is_some(), "{name}");
        }
        assert_eq!(worker_class_not_yet("gtrhead"), None);
    }
}
