//! Which requests go ahead of others: `/checkout/` or `cookie:sessionid`. Owns the grammar; who goes
//! ahead of whom is the dispatch's.

use super::value::{Value, Wrong};

/// A mark of requests that go ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Priority {
    /// Paths that begin so.
    Path(String),
    /// A cookie with this name and any value.
    Cookie(String),
}

impl Value for Priority {
    const KIND: &'static str = "PATH|cookie:NAME";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let is_plain =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        match text.split_once(':') {
            _ if text.starts_with('/') && is_plain(text) => Ok(Self::Path(text.to_owned())),
            Some(("cookie", name)) if is_plain(name) && !name.contains(['=', ';']) => {
                Ok(Self::Cookie(name.to_owned()))
            }
            _ => Err(Wrong::expected(
                "expected the beginning of a path, such as `/checkout/`, or `cookie:sessionid`",
            )),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Path(path) => path.clone(),
            Self::Cookie(name) => format!("cookie:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l7_a_priority_is_read_and_shown_alike() {
        for text in ["/", "/checkout/", "/a:b", "cookie:sessionid"] {
            assert_eq!(Priority::parse(text).unwrap().show(), text);
        }
        for bad in [
            "",
            "checkout",
            "cookie:",
            "cookie:a=b",
            "/a b",
            "header:x",
            "/\u{e9}",
        ] {
            assert!(Priority::parse(bad).is_err(), "{bad}");
        }
    }
}
