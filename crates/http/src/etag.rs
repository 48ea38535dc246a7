//! Entity tags (RFC 9110, section 8.8.3): owns reading and comparing them. What follows from a
//! comparison is left to [`crate::conditional`].

use crate::scan::trim_ows;

/// An entity tag: `"abc"`, or weak, `W/"abc"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// It stands for content that is equivalent, not equal.
    pub is_weak: bool,
    /// What stands between the quotation marks.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The tag that `text` is, all of it.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::split(text)?;
        rest.is_empty().then_some(tag)
    }

    /// The tag at the beginning of `text`, and what follows it.
    fn split(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, quoted) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let inside = quoted.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', inside)?;
        let (opaque, rest) = inside.split_at_checked(end)?;
        // `etagc`: no white space, no control byte. A comma is allowed.
        let fits = |&byte: &u8| byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80;
        let rest = rest.get(1..)?;
        opaque
            .iter()
            .all(fits)
            .then_some((Self { is_weak, opaque }, rest))
    }

    /// The tags of a list, up to where it breaks the grammar; none of `*`.
    pub fn list(text: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = text;
        std::iter::from_fn(move || {
            // Empty elements are allowed (RFC 9110, section 5.6.1.2).
            while let [b',' | b' ' | b'\t', after @ ..] = rest {
                rest = after;
            }
            let (tag, after) = Self::split(rest)?;
            rest = trim_ows(after);
            (rest.is_empty() || rest.starts_with(b",")).then_some(tag)
        })
    }

    /// Whether both stand for the same bytes (RFC 9110, section 8.8.3.2).
    pub fn is_same(&self, other: &EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// Whether both stand for the same thing, perhaps in other bytes.
    pub fn is_like(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// What the field of a condition lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagList<'a> {
    /// `*`: any tag there is.
    Any,
    /// These, not yet read.
    Tags(&'a [u8]),
}

impl<'a> TagList<'a> {
    /// The value of If-Match or If-None-Match.
    pub fn new(value: &'a [u8]) -> Self {
        match trim_ows(value) {
            b"*" => Self::Any,
            tags => Self::Tags(tags),
        }
    }

    /// Whether the list has a tag that `test` accepts; a list that breaks the grammar has none
    /// behind the break.
    pub fn has(self, test: impl Fn(&EntityTag<'a>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => EntityTag::list(tags).any(|tag| test(&tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_rfc_9110_section_8_8_3_has_it() {
        for (text, expected) in [
            (&b"\"xyzzy\""[..], Some((false, &b"xyzzy"[..]))),
            (b"W/\"xyzzy\"", Some((true, b"xyzzy"))),
            (b"\"\"", Some((false, b""))),
            (b"\"a,b\"", Some((false, b"a,b"))),
            (b"\"\xff\"", Some((false, b"\xff"))),
            (b"w/\"xyzzy\"", None),
            (b"xyzzy", None),
            (b"\"xyzzy", None),
            (b"\"a b\"", None),
            (b"\"a\"b", None),
            (b"W/", None),
            (b"", None),
        ] {
            let tag = EntityTag::parse(text).map(|tag| (tag.is_weak, tag.opaque));
            assert_eq!(tag, expected, "{text:?}");
        }
    }

    #[test]
    fn tags_compare_as_the_table_of_section_8_8_3_2() {
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let one = EntityTag::parse(one.as_bytes()).unwrap();
            let other = EntityTag::parse(other.as_bytes()).unwrap();
            assert_eq!((one.is_same(&other), one.is_like(&other)), (strong, weak));
            assert_eq!((other.is_same(&one), other.is_like(&one)), (strong, weak));
        }
    }

    #[test]
    fn a_list_is_walked_to_its_first_break() {
        let own = EntityTag::parse(b"\"b\"").unwrap();
        for (list, expected) in [
            (&b"*"[..], true),
            (b" * ", true),
            (b"\"b\"", true),
            (b"\"a\", W/\"b\"", true),
            (b"\"a\",\"b\"", true),
            (b",, \"a\" ,\t, \"b\" ,", true),
            (b"\"a\" \"b\"", false),
            (b"\"a,b\"", false),
            (b"a, \"b\"", false),
            (b"*, \"a\"", false),
            (b"", false),
        ] {
            assert_eq!(
                TagList::new(list).has(|tag| tag.is_like(&own)),
                expected,
                "{list:?}"
            );
        }
    }
}
