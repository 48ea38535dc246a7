//! Faults for people and the exit codes: what is wrong, where it came from, what to do about it.
//!
//! Owns the wording frame and the one table of exit codes. Whoever finds the fault words it;
//! only `canter`'s `main` prints it and exits.

use std::fmt::{self, Write as _};

/// Something a person must act on. Printed once, by `main`, which then exits with `exit`.
///
/// ```
/// use canter_base::{Exit, Fault};
/// let fault = Fault::new(Exit::Bind, "cannot listen on `127.0.0.1:8000`: address in use")
///     .from("flag `--bind`")
///     .hint("stop the other program, or choose a port with `--bind :8001`");
/// assert_eq!(fault.exit.code(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong: lower case, no full stop, names in backticks.
    pub what: String,
    /// The layer, file or setting it came from.
    pub origin: Option<String>,
    /// What the reader can do.
    pub hint: Option<String>,
    /// How the process ends.
    pub exit: Exit,
}

impl Fault {
    /// A fault without origin and hint.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            origin: None,
            hint: None,
            exit,
        }
    }

    /// A wrong option, argument or setting.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// A fault of ours: something that cannot happen happened.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Exit::Internal, what)
            .hint("this is a bug in Canter; please report it with the lines above")
    }

    /// Says where the wrong thing came from.
    #[must_use]
    pub fn from(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The lines for standard error, each ended by a newline. `colour` only on a terminal; it
    /// never carries meaning.
    pub fn render(&self, colour: bool) -> String {
        let (red, cyan, plain) = if colour {
            ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let mut text = format!("{red}canter:{plain} {}\n", printable(&self.what));
        for (label, part) in [("from", &self.origin), ("hint", &self.hint)] {
            if let Some(part) = part {
                let _ = writeln!(text, "  {cyan}{label}:{plain} {}", printable(part));
            }
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

/// A value from outside must not move the cursor or recolour the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\n        "),
            character if character.is_control() => out.extend(character.escape_default()),
            character => out.push(character),
        }
    }
    out
}

macro_rules! exits {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $word:literal;)+) => {
        /// How a `canter` process ends. One meaning for each code; see `docs/reference/exit-codes.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exit {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Exit {
            /// Every way to end, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The number given to the parent process.
            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code),+ }
            }

            /// A few words for a table.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// One or more sentences: when this happens and what to look at.
            pub fn meaning(self) -> String {
                match self { $(Self::$name => [$($doc),+].map(str::trim).join(" ")),+ }
            }
        }
    };
}

exits! {
    /// The command did what was asked; for `serve`: it was told to stop and did. Requests
    /// that had begun were finished, except those that took longer than `--graceful-timeout`,
    /// which the log counts.
    Ok = 0, "done";
    /// Canter itself failed in a way it should not have. Please report it with the log.
    Internal = 1, "internal fault";
    /// A command, option, variable or configuration key is unknown or has a bad value. Nothing
    /// was started.
    Usage = 2, "usage";
    /// The app could not be loaded: its module does not exist, raises while it is imported, or
    /// has no such attribute. The Python traceback is in the log.
    App = 3, "app failed to load";
    /// An address could not be bound: in use, privileged, or not an address of this machine.
    Bind = 4, "cannot listen";
    /// A file or directory could not be read or written: missing, or permission denied.
    File = 5, "unreadable file";
    /// Every worker died before it could take a request, again and again, so that the start was
    /// given up.
    CrashLoop = 6, "app never became ready";
    /// No usable Python was found, or the one found is too old or lacks the `canter` package.
    Python = 7, "no usable Python";
    /// What was asked for did not hold: the server that `canter selftest` attacked fell to something, a
    /// condition of `canter bench` or a limit of `canter check` was passed, `canter bench` measured nothing or
    /// only itself, `canter tune` found nothing that works, or `canter doctor` found something to do, or a page that is not kept.
    Verdict = 8, "check failed";
    /// A server that the command needs does not answer, cannot answer yet (503), or does not let this user ask.
    Unreachable = 9, "no server there";
}

/// `docs/reference/exit-codes.md`, printed from the table above.
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Exit codes\n\n<!-- Generated by `cargo xtask docs` from `crates/base/src/fault.rs`. -->\n\n\
         Scripts and service managers can tell by the code what kind of help is needed: codes 2, \
         3, 5 and 7 need a person, so starting again at once will not help; what stands behind 4 may pass.\n\n\
         A process that ends by a signal has no code of its own; shells show 128 plus the number \
         of the signal. `canter serve` ends with 130 where a second Ctrl-C has cut it short.\n\n| code | name | meaning |\n| --- | --- | --- |\n",
    );
    for exit in Exit::ALL {
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            exit.code(),
            exit.title(),
            exit.meaning()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_prints_what_where_and_hint_on_lines_of_their_own() {
        let fault = Fault::usage("no such option `--wrokers`")
            .from("command line")
            .hint("try");
        assert_eq!(
            fault.render(false),
            "canter: no such option `--wrokers`\n  from: command line\n  hint: try\n"
        );
        assert_eq!(Fault::usage("x").render(false), "canter: x\n");
    }

    #[test]
    fn colour_adds_no_words() {
        let fault = Fault::usage("x").hint("y");
        let mut bare = fault.render(true);
        for code in ["\x1b[1;31m", "\x1b[1;36m", "\x1b[0m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, fault.render(false));
    }

    #[test]
    fn control_characters_in_a_value_reach_no_terminal() {
        let text = Fault::usage("bad value `\x1b[2Jx\r`").render(false);
        assert_eq!(text, "canter: bad value `\\u{1b}[2Jx\\r`\n");
    }

    #[test]
    fn exit_codes_are_distinct_ascending_and_explained() {
        for pair in Exit::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code());
        }
        for exit in Exit::ALL {
            assert!(exit.meaning().ends_with('.'), "{exit:?}");
            assert!(reference_page().contains(&exit.meaning()), "{exit:?}");
        }
    }
}
