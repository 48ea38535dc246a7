//! The macro behind the options table and what a row of it is. Owns no option.

use super::value::{Reading, Shape};

/// What is known of an option beside its type.
#[derive(Debug)]
pub struct Row {
    /// The field of `Config`: `max_requests`.
    pub field: &'static str,
    /// One letter for the command line.
    pub short: Option<char>,
    /// The default as it would be written; empty when there is none.
    pub default: &'static str,
    /// What happens without a value, when there is no default.
    pub unset: &'static str,
    /// Where help lists it.
    pub group: Group,
    /// The manual: the first line is the one-line help, the rest are paragraphs.
    pub doc: &'static [&'static str],
    /// A value that shows the use.
    pub example: &'static str,
    /// Gunicorn's names for an option of the same meaning; each is accepted as well.
    pub gunicorn: &'static [&'static str],
    /// Flags without a value that stand for this option with one.
    pub shorthand: &'static [(&'static str, &'static str)],
    /// Whether a value may stand in a file.
    pub in_file: bool,
    /// The first version that had it.
    pub since: &'static str,
    /// How it is given.
    pub shape: Shape,
    /// What separates several values in one text; `None` where a text is one value.
    pub separator: Option<char>,
    /// The word for a value in help.
    pub kind: &'static str,
    /// The words allowed, when there are few.
    pub choices: &'static [(&'static str, &'static str)],
    /// Reads texts as the option's type: the values as shown to people, or the wrong text.
    pub check: fn(&[String]) -> Reading<Vec<String>>,
}

impl Row {
    /// Flag without the hyphens, and key in a file: `max-requests`.
    pub fn name(&self) -> String {
        self.words().replace('_', "-")
    }

    /// `CANTER_MAX_REQUESTS`.
    pub fn variable(&self) -> String {
        format!("CANTER_{}", self.words().to_ascii_uppercase())
    }

    /// A name that Rust keeps for itself has an underscore behind it.
    fn words(&self) -> &'static str {
        self.field.trim_end_matches('_')
    }

    /// One line of help.
    pub fn summary(&self) -> &'static str {
        self.doc.first().map_or("", |line| line.trim())
    }

    /// The paragraphs after the summary, each joined to one line.
    pub fn manual(&self) -> Vec<String> {
        let lines = self.doc.get(1..).unwrap_or_default();
        lines
            .split(|line| line.trim().is_empty())
            .filter(|paragraph| !paragraph.is_empty())
            .map(|paragraph| {
                paragraph
                    .iter()
                    .map(|line| line.trim())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    /// What help shows behind the flag: ` COUNT`, `[=CHOICE]` where the flag may stand alone, or
    /// nothing.
    pub fn value_usage(&self) -> String {
        let may_be_bare = self.shorthand.iter().any(|(flag, _)| *flag == self.name());
        match self.shape {
            Shape::Switch => String::new(),
            Shape::One | Shape::Many if may_be_bare => format!("[={}]", self.kind),
            Shape::One | Shape::Many => format!(" {}", self.kind),
        }
    }

    /// The default as texts, as if a layer had given it.
    pub fn default_texts(&self) -> Vec<String> {
        if self.default.is_empty() {
            Vec::new()
        } else {
            vec![self.default.to_owned()]
        }
    }

    /// Whether `canter pool` has this option, too.
    pub fn is_for_pool(&self) -> bool {
        self.group == Group::Database && self.field != "db_pool" || POOL_TOO.contains(&self.field)
    }

    /// Whether this name, spelled with hyphens, means this option.
    pub fn answers_to(&self, name: &str) -> bool {
        self.name() == name
            || self
                .gunicorn
                .iter()
                .any(|known| known.replace('_', "-") == name)
    }
}

/// Options of `canter pool` outside of the group [`Group::Database`].
const POOL_TOO: &[&str] = &[
    "backlog",
    "unix_socket_mode",
    "graceful_timeout",
    "log_level",
    "log_format",
    "chdir",
    "check_config",
    "config",
    "pid",
    "name",
    "umask",
];

/// Chapters of help and of the reference page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Where requests come in.
    Listening,
    /// Encryption towards clients.
    Tls,
    /// Processes and threads.
    Workers,
    /// How long things may take.
    Time,
    /// How large things may be.
    Limits,
    /// Who stands in front.
    Proxies,
    /// What is answered without the app.
    Files,
    /// Pages that are answered again without the app.
    Pages,
    /// The pool of PostgreSQL connections.
    Database,
    /// What is written.
    Logging,
    /// What app and how it is imported.
    Application,
    /// While writing the app.
    Development,
    /// The command itself.
    Running,
}

impl Group {
    /// In the order of help.
    pub const ALL: &[Self] = &[
        Self::Listening,
        Self::Tls,
        Self::Workers,
        Self::Time,
        Self::Limits,
        Self::Proxies,
        Self::Files,
        Self::Pages,
        Self::Database,
        Self::Logging,
        Self::Application,
        Self::Development,
        Self::Running,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Listening => "Listening",
            Self::Tls => "TLS",
            Self::Workers => "Workers",
            Self::Time => "Time limits",
            Self::Limits => "Size limits",
            Self::Proxies => "Proxies and health",
            Self::Files => "Static files, compression",
            Self::Pages => "Page cache",
            Self::Database => "Database",
            Self::Logging => "Logging",
            Self::Application => "Application",
            Self::Development => "Development",
            Self::Running => "Running",
        }
    }
}

/// Declares `Config` and `ROWS` from one list; see `table.rs` for the form of a row.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty = $default:literal {
            group: $group:ident,
            example: $example:literal,
            since: $since:literal
            $(, short: $short:literal)?
            $(, unset: $unset:literal)?
            $(, gunicorn: [$($gunicorn:literal),+])?
            $(, shorthand: [$($flag:literal => $value:literal),+])?
            $(, in_file: $in_file:literal)?
            $(,)?
        }
    )+) => {
        /// Every option with its type, ready to use. Built by `resolve`.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(clippy::struct_excessive_bools)]
        pub struct Config {
            /// The app named on the command line; `None` means: find the project beside `manage.py`.
            pub app: Option<App>,
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        /// Every option, in the order of help.
        pub static ROWS: &[Row] = &[$(Row {
            field: stringify!($field),
            short: first(&[$($short)?]),
            default: $default,
            unset: concat!($($unset)?),
            group: Group::$group,
            doc: &[$($doc),+],
            example: $example,
            gunicorn: &[$($($gunicorn),+)?],
            shorthand: &[$($(($flag, $value)),+)?],
            in_file: !matches!(&[$($in_file)?] as &[bool], [false]),
            since: $since,
            shape: <$type as Field>::SHAPE,
            separator: <$type as Field>::SEPARATOR,
            kind: <$type as Field>::KIND,
            choices: <$type as Field>::CHOICES,
            check: |texts| <$type as Field>::read(texts).map(|value| Field::show(&value)),
        },)+];

        impl Config {
            /// Builds the fields from the texts that won, asked for by field name.
            pub(super) fn build(
                app: Option<App>,
                texts: impl Fn(&str) -> Vec<String>,
            ) -> Reading<Self> {
                Ok(Self {
                    app,
                    $($field: <$type as Field>::read(&texts(stringify!($field)))?,)+
                })
            }
        }
    };
}
pub(super) use options;

/// The only element, if there is one.
pub(super) const fn first(letters: &[char]) -> Option<char> {
    match letters {
        [letter, ..] => Some(*letter),
        [] => None,
    }
}
