//! What a type must know to be an option: how it is read, shown and named in help.
//!
//! Owns the traits and the plain types (numbers, booleans, strings, paths). Types with a grammar
//! of their own live beside this file.

use std::path::PathBuf;

/// Why a text is not a value of the type asked for. Reads after "invalid value `x` for `y`: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What would have been right.
    pub expected: String,
    /// What to do, when there is more to say.
    pub hint: Option<String>,
}

impl Wrong {
    /// Without a hint.
    pub fn expected(expected: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            hint: None,
        }
    }

    /// With one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// How flags and files give an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// Any number of values.
    Many,
    /// `--name` or `--no-name`.
    Switch,
}

/// A value read, or the text that is wrong and why.
pub type Reading<T> = Result<T, (String, Wrong)>;

/// One value of an option.
pub trait Value: Sized {
    /// The word that stands for a value in help: `SIZE`, `PATH`.
    const KIND: &'static str;
    /// What separates values in a variable or in one flag; `None` when a value may hold anything.
    const SEPARATOR: Option<char> = None;
    /// Words that stand for "not set" where the option may be absent.
    const ABSENT: &'static [&'static str] = &[];
    /// Every word allowed with its meaning, when there are few.
    const CHOICES: &'static [(&'static str, &'static str)] = &[];
    /// Reads a value.
    fn parse(text: &str) -> Result<Self, Wrong>;
    /// The value as a person would write it; secrets are masked.
    fn show(&self) -> String;
    /// A wrong text as a fault may quote it; secrets are masked.
    fn blame(text: &str) -> String {
        text.to_owned()
    }
}

/// The type of a `Config` field: a value, an optional value or a list of values.
pub trait Field: Sized {
    /// How flags and files give it.
    const SHAPE: Shape;
    /// See `Value::SEPARATOR`; `None` too where there is never more than one value.
    const SEPARATOR: Option<char> = None;
    /// See `Value::KIND`.
    const KIND: &'static str;
    /// See `Value::CHOICES`.
    const CHOICES: &'static [(&'static str, &'static str)];
    /// Reads the texts one layer gave; on error says which text is wrong.
    fn read(texts: &[String]) -> Reading<Self>;
    /// The values as a person would write them.
    fn show(&self) -> Vec<String>;
}

/// A flag given twice means the last one, as in every other command.
fn last(texts: &[String]) -> &str {
    texts.last().map_or("", String::as_str)
}

fn parse<T: Value>(text: &str) -> Reading<T> {
    T::parse(text).map_err(|wrong| (T::blame(text), wrong))
}

impl<T: Value> Field for T {
    const SHAPE: Shape = Shape::One;
    const KIND: &'static str = T::KIND;
    const CHOICES: &'static [(&'static str, &'static str)] = T::CHOICES;

    fn read(texts: &[String]) -> Reading<Self> {
        parse(last(texts))
    }

    fn show(&self) -> Vec<String> {
        vec![Value::show(self)]
    }
}

impl<T: Value> Field for Option<T> {
    const SHAPE: Shape = Shape::One;
    const KIND: &'static str = T::KIND;
    const CHOICES: &'static [(&'static str, &'static str)] = T::CHOICES;

    fn read(texts: &[String]) -> Reading<Self> {
        match texts {
            [] => Ok(None),
            texts if T::ABSENT.contains(&last(texts)) => Ok(None),
            texts => parse(last(texts)).map(Some),
        }
    }

    fn show(&self) -> Vec<String> {
        self.iter().map(Value::show).collect()
    }
}

impl<T: Value> Field for Vec<T> {
    const SHAPE: Shape = Shape::Many;
    const SEPARATOR: Option<char> = T::SEPARATOR;
    const KIND: &'static str = T::KIND;
    const CHOICES: &'static [(&'static str, &'static str)] = T::CHOICES;

    fn read(texts: &[String]) -> Reading<Self> {
        let mut values = Vec::new();
        for text in texts {
            match T::SEPARATOR {
                Some(separator) => {
                    let parts = text.split(separator).map(str::trim);
                    for part in parts.filter(|part| !part.is_empty()) {
                        values.push(parse(part)?);
                    }
                }
                None => values.push(parse(text)?),
            }
        }
        Ok(values)
    }

    fn show(&self) -> Vec<String> {
        self.iter().map(Value::show).collect()
    }
}

/// On or off. A type of its own because its flag takes no value.
impl Field for bool {
    const SHAPE: Shape = Shape::Switch;
    const KIND: &'static str = "BOOL";
    const CHOICES: &'static [(&'static str, &'static str)] = &[];

    fn read(texts: &[String]) -> Reading<Self> {
        let text = last(texts);
        switch(text).ok_or_else(|| {
            (
                text.to_owned(),
                Wrong::expected("expected `true` or `false`"),
            )
        })
    }

    fn show(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

/// The spellings of yes and no that variables and files commonly carry.
pub fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

impl Value for u32 {
    const KIND: &'static str = "COUNT";
    const ABSENT: &'static [&'static str] = &["auto", "0"];

    fn parse(text: &str) -> Result<Self, Wrong> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let wrong = || Wrong::expected("expected a whole number such as `4`");
        if digits {
            text.parse().map_err(|_| wrong())
        } else {
            Err(wrong())
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "TEXT";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() || text.contains('\0') {
            return Err(Wrong::expected("expected some text"));
        }
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "PATH";
    const SEPARATOR: Option<char> = Some(',');

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() || text.contains('\0') {
            return Err(Wrong::expected("expected a path"));
        }
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn an_optional_count_is_absent_when_zero_auto_or_not_given() {
        for (given, value) in [
            (&[][..], None),
            (&["0"][..], None),
            (&["auto"], None),
            (&["3", "7"], Some(7)),
        ] {
            assert_eq!(
                Option::<u32>::read(&texts(given)).unwrap(),
                value,
                "{given:?}"
            );
        }
    }

    #[test]
    fn a_count_is_digits_only() {
        for bad in ["", "-1", "+1", "1.5", "4294967296", "0x10", "１"] {
            assert!(<u32 as Value>::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_takes_repeated_and_separated_values() {
        let paths = Vec::<PathBuf>::read(&texts(&["a, b", "c"])).unwrap();
        assert_eq!(Field::show(&paths), ["a", "b", "c"]);
        assert!(Vec::<PathBuf>::read(&texts(&[""])).unwrap().is_empty());
    }

    #[test]
    fn a_switch_knows_the_common_spellings_only() {
        for (text, value) in [
            ("yes", Some(true)),
            ("OFF", Some(false)),
            ("2", None),
            ("", None),
        ] {
            assert_eq!(switch(text), value, "{text}");
        }
    }
}
