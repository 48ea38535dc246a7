//! Field lines as the cache reads them: owns finding those of one name in a request head or in a
//! list. Receiving them is left to the front.

use canter_http::{Head, KnownName};

/// A field's name and value.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Field lines in the order they came.
pub trait Lines {
    /// The values of the lines with this name, which is in lower case.
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]>;

    /// Whether there is such a line.
    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of the first such line.
    fn value_of<'s>(&'s self, name: &'s str) -> Option<&'s [u8]> {
        self.values(name).next()
    }
}

impl Lines for [Field<'_>] {
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let same = move |(own, _): &&Field<'_>| own.eq_ignore_ascii_case(name.as_bytes());
        self.iter().filter(same).map(|(_, value)| *value)
    }
}

impl<const N: usize> Lines for [Field<'_>; N] {
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.as_slice().values(name)
    }
}

impl Lines for Vec<Field<'_>> {
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.as_slice().values(name)
    }
}

/// The lines of a request head, with its buffer.
#[derive(Debug, Clone, Copy)]
pub struct RequestLines<'a> {
    /// The decoded head.
    pub head: &'a Head,
    /// The bytes its spans refer to.
    pub buf: &'a [u8],
}

impl Lines for RequestLines<'_> {
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let known = KnownName::classify(name.as_bytes());
        let absent = known != KnownName::Other && !self.head.has(known);
        let fields: &[_] = if absent { &[] } else { &self.head.fields };
        let same = move |field: &&canter_http::Field| {
            field.known == known
                && (known != KnownName::Other
                    || field
                        .name
                        .of(self.buf)
                        .eq_ignore_ascii_case(name.as_bytes()))
        };
        fields
            .iter()
            .filter(same)
            .map(|field| field.value.of(self.buf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_http::{HeadDecoder, Limits, Progress};

    #[test]
    fn lines_of_a_name_are_found_whatever_its_case() {
        let buf = b"GET / HTTP/1.1\r\nHost: a\r\nX-Foo: 1\r\nCOOKIE: a=1\r\nx-foo: 2\r\n\r\n";
        let mut head = Head::new();
        let progress = HeadDecoder::new().decode(&Limits::default(), buf, &mut head);
        assert_eq!(progress, Ok(Progress::Complete));
        let lines = RequestLines { head: &head, buf };
        let all = |name| lines.values(name).collect::<Vec<_>>();
        assert_eq!(all("x-foo"), [b"1", b"2"]);
        assert_eq!(all("cookie"), [b"a=1"]);
        assert!(!lines.has("accept") && !lines.has("x-bar"));
        let list: &[Field<'_>] = &[(b"Vary", b"A"), (b"vary", b"B")];
        assert_eq!(list.values("vary").collect::<Vec<_>>(), [b"A", b"B"]);
        assert_eq!(list.value_of("vary"), Some(&b"A"[..]));
    }
}
