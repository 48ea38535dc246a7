//! What a request gets of content whose length and validators are known: all of it, parts of it, or
//! only word that it has not changed (RFC 9110, sections 13.2.2 and 14.2). Owns joining conditions
//! and ranges; sending is left to the front.

use crate::Method;
use crate::conditional::{Conditions, Validators, Verdict};
use crate::range::{Piece, Ranges, Span, multipart, parse_ranges};

/// What is known of the content.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Its bytes.
    pub length: u64,
    /// Its type, which each part of several repeats.
    pub content_type: &'a str,
    /// What it is known by.
    pub validators: Validators<'a>,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// 200 with everything.
    Whole,
    /// 206 with one part.
    Part(Span),
    /// 206 with several.
    Parts {
        /// The body.
        pieces: Vec<Piece>,
        /// Its length.
        length: u64,
        /// Its type.
        content_type: String,
    },
    /// 304
    NotModified,
    /// 412
    Failed,
    /// 416
    Unsatisfiable,
}

impl Selected {
    /// The status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::Whole => 200,
            Self::Part(_) | Self::Parts { .. } => 206,
            Self::NotModified => 304,
            Self::Failed => 412,
            Self::Unsatisfiable => 416,
        }
    }

    /// The value of `Content-Range`, where there is to be one.
    pub fn content_range(&self, total: u64) -> Option<String> {
        match self {
            Self::Part(span) => Some(span.content_range(total)),
            Self::Unsatisfiable => Some(format!("bytes */{total}")),
            _ => None,
        }
    }
}

/// Chooses. `now` is in seconds since 1970; `boundary` makes a text that the content does not have.
pub fn select(
    conditions: &Conditions,
    method: Method,
    content: &Content<'_>,
    now: u64,
    boundary: impl FnOnce() -> String,
) -> Selected {
    match conditions.judge(method, &content.validators, now) {
        Verdict::Proceed => {}
        Verdict::NotModified => return Selected::NotModified,
        Verdict::Failed => return Selected::Failed,
    }
    // Ranges are defined for GET alone (RFC 9110, section 14.2).
    let range = conditions.wanted_range(&content.validators, now);
    let Some(range) = range.filter(|_| method == Method::Get) else {
        return Selected::Whole;
    };
    match parse_ranges(range, content.length) {
        Ranges::Whole => Selected::Whole,
        Ranges::Unsatisfiable => Selected::Unsatisfiable,
        Ranges::Parts(spans) => match spans.as_slice() {
            [span] => Selected::Part(*span),
            spans => {
                let boundary = boundary();
                let (pieces, length, content_type) =
                    multipart(spans, content.length, content.content_type, &boundary);
                Selected::Parts {
                    pieces,
                    length,
                    content_type,
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::EntityTag;

    fn content() -> Content<'static> {
        Content {
            length: 100,
            content_type: "text/plain",
            validators: Validators {
                etag: EntityTag::parse(b"\"v1\""),
                modified: Some(1000),
            },
        }
    }

    fn chosen(method: Method, lines: &[(&str, &str)]) -> Selected {
        let mut conditions = Conditions::default();
        for (name, value) in lines {
            let value = Some(value.as_bytes().to_vec());
            match *name {
                "range" => conditions.range = value,
                "if-range" => conditions.if_range = value,
                "if-match" => conditions.if_match = value,
                _ => conditions.if_none_match = value,
            }
        }
        select(&conditions, method, &content(), 1_000_000, || {
            "edge".to_owned()
        })
    }

    #[test]
    fn conditions_come_before_ranges() {
        use Method::{Get, Head};
        for (method, lines, status) in [
            (Get, &[][..], 200),
            (Get, &[("range", "bytes=0-9")], 206),
            (Head, &[("range", "bytes=0-9")], 200),
            (Get, &[("range", "bytes=100-")], 416),
            (
                Get,
                &[("range", "bytes=0-9"), ("if-none-match", "\"v1\"")],
                304,
            ),
            (
                Get,
                &[("range", "bytes=100-"), ("if-none-match", "\"v1\"")],
                304,
            ),
            (Get, &[("range", "bytes=0-9"), ("if-match", "\"v0\"")], 412),
            (Get, &[("range", "bytes=0-9"), ("if-range", "\"v1\"")], 206),
            (Get, &[("range", "bytes=0-9"), ("if-range", "\"v0\"")], 200),
            // A range that would be refused is not looked at (section 13.1.5).
            (Get, &[("range", "bytes=100-"), ("if-range", "\"v0\"")], 200),
            (Get, &[("range", "bytes=0-0,-1")], 206),
        ] {
            assert_eq!(chosen(method, lines).status(), status, "{lines:?}");
        }
    }

    #[test]
    fn a_part_says_where_it_is_from() {
        let one = chosen(Method::Get, &[("range", "bytes=-1")]);
        assert_eq!(one.content_range(100).as_deref(), Some("bytes 99-99/100"));
        let none = chosen(Method::Get, &[("range", "bytes=100-")]);
        assert_eq!(none.content_range(100).as_deref(), Some("bytes */100"));
        let several = chosen(Method::Get, &[("range", "bytes=0-0,-1")]);
        assert_eq!(several.content_range(100), None);
        assert!(matches!(several, Selected::Parts { content_type, .. }
            if content_type == "multipart/byteranges; boundary=edge"));
    }
}
