//! Texts with a rule: header names, media types and `KEY=VALUE` pairs. Owns the rule and what may be shown.

use super::value::{Value, Wrong};

/// The name of an HTTP header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName(pub String);

impl Value for HeaderName {
    const KIND: &'static str = "HEADER";

    fn parse(text: &str) -> Result<Self, Wrong> {
        // RFC 9110 section 5.6.2 allows more; these are the ones every proxy passes on.
        let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(token) {
            return Err(Wrong::expected(
                "expected a header name such as `X-Request-Id`",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A media type in lower case, `chemical/x-pdb`, or all of a kind, `chemical/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePattern(pub String);

impl Value for TypePattern {
    const KIND: &'static str = "TYPE";

    fn parse(text: &str) -> Result<Self, Wrong> {
        // RFC 6838, section 4.2.
        let name = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
            !text.is_empty() && text.len() <= 127 && text.bytes().all(fits)
        };
        match text.split_once('/') {
            Some((kind, rest)) if name(kind) && (rest == "*" || name(rest)) => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(Wrong::expected(
                "expected a type such as `chemical/x-pdb` or `chemical/*`",
            )),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// What whoever may load this site with `canter bench` has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchToken(pub String);

impl Value for BenchToken {
    const KIND: &'static str = "TOKEN";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(16..=128).contains(&text.len()) || !text.bytes().all(sound) {
            return Err(Wrong::expected(
                "expected 16 to 128 letters, digits, `-` or `_`",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        "…".to_owned()
    }

    fn blame(_: &str) -> String {
        "…".to_owned()
    }
}

/// A word that opens something; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

impl Value for Token {
    const KIND: &'static str = "TOKEN";

    fn parse(text: &str) -> Result<Self, Wrong> {
        // What stands in a URL and in a header as it is (RFC 6750 section 2.1).
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if text.len() < 16 || text.len() > 256 || !text.bytes().all(plain) {
            return Err(Wrong::expected(
                "expected 16 to 256 letters, digits, `-`, `.`, `_` or `~`",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        "…".to_owned()
    }

    fn blame(_text: &str) -> String {
        "…".to_owned()
    }
}

/// A variable for the app's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The name.
    pub key: String,
    /// The value; never shown, for it may be a secret.
    pub value: String,
}

impl Value for KeyValue {
    const KIND: &'static str = "KEY=VALUE";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !text.contains('\0') => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(Wrong::expected("expected `KEY=VALUE`")),
        }
    }

    fn show(&self) -> String {
        format!("{}=…", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_splits_at_the_first_equals_sign_and_hides_its_value() {
        let pair = KeyValue::parse("DSN=a=b,c").unwrap();
        assert_eq!((pair.key.as_str(), pair.value.as_str()), ("DSN", "a=b,c"));
        assert_eq!(Value::show(&pair), "DSN=…");
        for bad in ["", "DSN", "=x", "A=\0"] {
            assert!(KeyValue::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_type_is_two_names_or_all_of_a_kind() {
        for (text, kept) in [("Chemical/X-PDB", "chemical/x-pdb"), ("model/*", "model/*")] {
            assert_eq!(TypePattern::parse(text).unwrap().0, kept);
        }
        for bad in ["", "*/*", "text", "text/", "/x", "a/b/c", "a/b;c=d", "a/b*"] {
            assert!(TypePattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_long_and_never_shown() {
        let token = BenchToken::parse("0123456789abcdef").unwrap();
        assert_eq!(Value::show(&token), "…");
        for bad in ["", "short", "0123456789abcde/", "0123456789abcde\n"] {
            assert!(BenchToken::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_header_name_is_letters_digits_and_hyphens() {
        assert!(HeaderName::parse("X-Request-Id").is_ok());
        for bad in ["", "X Request", "X:Y", "X_Y", "X\r\nY"] {
            assert!(HeaderName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
