//! Owns the flags of the commands that measure, `canter bench` and `canter tune`: declared once, read, explained and
//! printed as a reference page from here. Leaves their meaning to the command.
//!
//! They are no options of `serve`: they say what one measurement is to be, not how a site is served, so
//! they come from the command line alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;

use lexopt::Arg;

use crate::fault::Fault;
use crate::nearest::nearest;

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name without the dashes.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// The word that stands for its value; empty when it has none.
    pub value: &'static str,
    /// One plain sentence, then details.
    pub manual: &'static str,
}

/// A command with its flags.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The word behind `canter`.
    pub name: &'static str,
    /// The line that shows how it is called.
    pub usage: &'static str,
    /// What it does.
    pub about: &'static str,
    /// In the order of the manual, under headings.
    pub groups: &'static [(&'static str, &'static [Flag])],
}

const fn flag(long: &'static str, value: &'static str, manual: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        value,
        manual,
    }
}

const fn letter(short: char, flag: Flag) -> Flag {
    Flag {
        short: Some(short),
        ..flag
    }
}

mod elsewhere;
mod table;
mod tune;
pub use table::BENCH;
pub use tune::TUNE;

/// What was given on a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Words that are no flags.
    pub words: Vec<String>,
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Given {
    /// The value of a flag; the last one when there are several.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.values(long).last().map(String::as_str)
    }

    /// Every value of a flag.
    pub fn values(&self, long: &str) -> &[String] {
        self.values.get(long).map_or(&[], Vec::as_slice)
    }

    /// Whether a flag was given.
    pub fn has(&self, long: &str) -> bool {
        self.values.contains_key(long)
    }
}

/// What lexopt found wrong with the words of a command, in ours.
pub fn misread(command: &str, error: &lexopt::Error) -> Fault {
    let what = match error {
        lexopt::Error::MissingValue {
            option: Some(option),
        } => format!("`{option}` needs a value"),
        lexopt::Error::UnexpectedValue { option, .. } => format!("`{option}` takes no value"),
        lexopt::Error::UnexpectedOption(option) => format!("there is no option `{option}`"),
        other => other.to_string(),
    };
    Fault::usage(what)
        .from("command line")
        .hint(format!("`canter help {command}` shows how it is used"))
}

impl Tool {
    /// Every flag.
    pub fn flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.groups.iter().flat_map(|(_, flags)| flags.iter())
    }

    /// Reads a command line.
    pub fn read(&self, args: &[OsString]) -> Result<Given, Fault> {
        let wrong = |error: lexopt::Error| misread(self.name, &error);
        let mut parser = lexopt::Parser::from_args(args);
        let mut given = Given::default();
        while let Some(arg) = parser.next().map_err(wrong)? {
            let found = match &arg {
                Arg::Value(word) => {
                    given.words.push(word.to_string_lossy().into_owned());
                    continue;
                }
                Arg::Long(name) => self.flags().find(|flag| flag.long == *name),
                Arg::Short(letter) => self.flags().find(|flag| flag.short == Some(*letter)),
            };
            let Some(flag) = found else {
                let fault = wrong(arg.clone_unexpected());
                let (name, typed) = match arg {
                    Arg::Long(name) => (name.to_owned(), format!("--{name}")),
                    Arg::Short(letter) => (String::new(), format!("-{letter}")),
                    Arg::Value(_) => (String::new(), String::new()),
                };
                if let Some(ours) = elsewhere::ours(&typed) {
                    return Err(fault.hint(ours));
                }
                let near = nearest(&name, self.flags().map(|flag| flag.long));
                return Err(match near {
                    Some(near) => fault.hint(format!("did you mean `--{near}`?")),
                    None => fault.hint(format!("`canter help {}` lists the flags", self.name)),
                });
            };
            let value = if flag.value.is_empty() {
                String::new()
            } else {
                let value = parser.value().map_err(wrong)?;
                value.to_string_lossy().into_owned()
            };
            given.values.entry(flag.long).or_default().push(value);
        }
        Ok(given)
    }

    /// What `canter help` prints.
    pub fn help(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.usage, self.about);
        for (heading, flags) in self.groups {
            let _ = write!(text, "\n{heading}\n");
            for flag in *flags {
                let _ = writeln!(text, "  {}", flag.spelling());
                for line in wrapped(flag.manual, 88) {
                    let _ = writeln!(text, "      {line}");
                }
            }
        }
        text
    }

    /// The page in `docs/reference/`.
    pub fn reference_page(&self) -> String {
        let mut page = format!(
            "# canter {}\n\n<!-- Generated by `cargo xtask docs` from the tables in `crates/base/src/flags/`. -->\
             \n\n    {}\n\n{}\n",
            self.name, self.usage, self.about
        );
        for (heading, flags) in self.groups {
            let _ = write!(
                page,
                "\n## {heading}\n\n| flag | meaning |\n| --- | --- |\n"
            );
            for flag in *flags {
                let manual = flag.manual.replace('|', "\\|");
                let _ = writeln!(page, "| `{}` | {manual} |", flag.spelling());
            }
        }
        page
    }
}

impl Flag {
    fn spelling(&self) -> String {
        let mut text = String::new();
        if let Some(letter) = self.short {
            let _ = write!(text, "-{letter}, ");
        }
        let _ = write!(text, "--{}", self.long);
        if !self.value.is_empty() {
            let _ = write!(text, " {}", self.value);
        }
        text
    }
}

/// An argument that nobody expected, as lexopt words it.
trait Unexpected {
    fn clone_unexpected(&self) -> lexopt::Error;
}

impl Unexpected for Arg<'_> {
    fn clone_unexpected(&self) -> lexopt::Error {
        let arg: Arg<'_> = match self {
            Self::Short(letter) => Arg::Short(*letter),
            Self::Long(name) => Arg::Long(name),
            Self::Value(value) => Arg::Value(value.clone()),
        };
        arg.unexpected()
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn flags_are_read_with_their_values() {
        let given = BENCH
            .read(&words(
                "http://a/ --users 5 -H a:b -H c:d --rate=100/s --json x",
            ))
            .unwrap();
        assert_eq!((given.words.len(), given.value("users")), (1, Some("5")));
        assert_eq!(given.values("header"), ["a:b", "c:d"]);
        assert!(given.has("rate") && !given.has("html"));
    }

    #[test]
    fn an_unknown_flag_gets_the_nearest_name() {
        let fault = BENCH.read(&words("--uesrs 5")).unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("did you mean `--users`?"));
        assert!(BENCH.read(&words("--users")).is_err());
        assert!(BENCH.read(&words("-9")).is_err());
    }

    #[test]
    fn names_and_letters_are_distinct_and_explained() {
        for tool in [BENCH, TUNE] {
            let (mut names, mut letters) = (Vec::new(), Vec::new());
            for flag in tool.flags() {
                assert!(!names.contains(&flag.long), "{}", flag.long);
                names.push(flag.long);
                if let Some(letter) = flag.short {
                    assert!(!letters.contains(&letter), "{letter}");
                    letters.push(letter);
                }
                assert!(flag.manual.ends_with('.'), "{}", flag.long);
                assert!(
                    tool.help().contains(flag.long) && tool.reference_page().contains(flag.long)
                );
            }
        }
    }
}
