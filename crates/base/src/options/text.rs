//! Texts with a rule: header names and `KEY=VALUE` pairs. Owns the rule and what may be shown.

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
    fn a_header_name_is_letters_digits_and_hyphens() {
        assert!(HeaderName::parse("X-Request-Id").is_ok());
        for bad in ["", "X Request", "X:Y", "X_Y", "X\r\nY"] {
            assert!(HeaderName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
