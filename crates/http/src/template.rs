//! A response head that is sent often and differs in its date alone: owns making it once and
//! writing it again. Leaves what is in it, and all checks, to [`crate::response`].

use crate::date::DATE_LENGTH;
use crate::response::{Answer, BodyFraming, RequestFacts, encode_head};
use crate::{Version, status};

/// Stands where the date will.
const BLANK: [u8; DATE_LENGTH] = [b'-'; DATE_LENGTH];

/// The head of a whole answer with content, for HTTP/1.1 on a connection that stays open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    bytes: Box<[u8]>,
    date_at: usize,
}

impl Template {
    /// The request that it answers: any other is answered with [`encode_head`].
    pub const REQUEST: RequestFacts = RequestFacts {
        is_head: false,
        version: Version::Http11,
        keep_alive: true,
    };

    /// None where the fields cannot be sent, bring a date of their own or close the connection.
    pub fn new<'a>(
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        length: u64,
    ) -> Option<Self> {
        let answer = Answer {
            status,
            reason: status::reason_phrase(status).as_bytes(),
            fields,
            length: Some(length),
            close: false,
        };
        let mut out = Vec::with_capacity(512);
        let plan = encode_head(&mut out, Self::REQUEST, answer, &BLANK).ok()?;
        let line = [b"\r\nDate: ", &BLANK[..], b"\r\n"].concat();
        let at = memchr::memmem::find(&out, &line)?;
        let is_plain = plan.framing == BodyFraming::Length(length) && !plan.close;
        is_plain.then(|| Self {
            bytes: out.into_boxed_slice(),
            date_at: at + b"\r\nDate: ".len(),
        })
    }

    /// Adds the head to `out`.
    pub fn write(&self, out: &mut Vec<u8>, date: &[u8; DATE_LENGTH]) {
        let at = out.len() + self.date_at;
        out.extend_from_slice(&self.bytes);
        if let Some(place) = out.get_mut(at..at + DATE_LENGTH) {
            place.copy_from_slice(date);
        }
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::format_date;

    type Fields<'a> = [(&'a [u8], &'a [u8])];

    fn both(fields: &Fields<'_>, date: u64) -> (Option<Vec<u8>>, Vec<u8>) {
        let date = format_date(date);
        let template = Template::new(200, fields.iter().copied(), 27).map(|template| {
            let mut out = b"before".to_vec();
            template.write(&mut out, &date);
            out.split_off(6)
        });
        let mut expected = Vec::new();
        let answer = Answer {
            status: 200,
            reason: b"OK",
            fields: fields.iter().copied(),
            length: Some(27),
            close: false,
        };
        let _ = encode_head(&mut expected, Template::REQUEST, answer, &date);
        (template, expected)
    }

    #[test]
    fn a_template_is_what_would_have_been_written() {
        let fields: &Fields<'_> = &[(b"ETag", b"\"a\""), (b"X", &BLANK), (b"Server", b"own")];
        for fields in [fields, &[]] {
            for date in [0, 1_700_000_000] {
                let (template, expected) = both(fields, date);
                assert_eq!(template, Some(expected));
            }
        }
    }

    #[test]
    fn what_is_not_the_same_each_time_has_no_template() {
        let own: [&Fields<'_>; 4] = [
            &[(b"Date", b"yesterday")],
            &[(b"Connection", b"close")],
            &[(b"Content-Length", b"28")],
            &[(b"X", b"a\nb")],
        ];
        for fields in own {
            assert_eq!(both(fields, 0).0, None);
        }
        assert_eq!(Template::new(304, [], 27), None);
        assert_eq!(Template::new(200, [(&b"date"[..], &BLANK[..])], 27), None);
    }
}
