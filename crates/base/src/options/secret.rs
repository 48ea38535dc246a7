//! A word that opens something. Owns that it is never shown.

use super::value::{Value, Wrong};

/// A word that opens something.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

impl Value for Secret {
    const KIND: &'static str = "TEXT";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.len() < 16 || text.len() > 512 || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Wrong::expected(
                "expected 16 characters or more, without spaces",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        assert!(Secret::parse("short").is_err() && Secret::parse("0123456789 abcdef").is_err());
        let secret = Secret::parse("0123456789abcdef").unwrap();
        assert_eq!(
            format!("{secret:?}{}{}", secret.show(), Secret::blame("x")),
            "………"
        );
    }
}
