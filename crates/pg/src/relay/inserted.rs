//! `RESET` in a simple query: what the client's own start-up values are put back with stands right
//! behind it, so that what follows finds them and what undoes it undoes both (D6).
//!
//! Owns the text with those insertions, and hiding that they are there: their answers, and how far
//! they move the positions in errors. The extended protocol is `super::takers`'.

use super::{Label, Params};
use crate::sql::{Reset, Seen};
use crate::wire::build;

/// So much is inserted into one text.
const MOST: usize = 64 << 10;

/// What was inserted into a query that is under way.
#[derive(Debug)]
pub(super) struct Inserted {
    /// Statements answered so far.
    done: u32,
    /// The numbers of ours, the next one last.
    ours: Vec<u32>,
    /// Behind how many characters of the client's text each stands, and how long it is.
    places: Vec<(usize, usize)>,
}

impl Inserted {
    /// The text to send for the client's, if anything is to be put back, its characters can be
    /// counted, and it does not grow out of proportion.
    pub(super) fn into(
        text: &[u8],
        resets: &[Reset],
        start: &Label,
        params: &Params,
    ) -> Option<(Vec<u8>, Self)> {
        if resets.len() > Seen::RESETS_MOST {
            return None;
        }
        let mut out = Vec::with_capacity(text.len() + 256);
        let mut inserted = Self {
            done: 0,
            ours: Vec::new(),
            places: Vec::new(),
        };
        let (mut from, mut characters) = (0, 0);
        let mut grown = 0;
        for reset in resets {
            let behind = start.behind_reset(reset.name.as_deref());
            if behind.is_empty() {
                continue;
            }
            let before = text.get(from..reset.end)?;
            if !before.is_ascii() && !params.is_utf8() {
                return None;
            }
            out.extend_from_slice(before);
            from = reset.end;
            // What is not closed may end in a comment.
            let (first, last): (&[u8], &[u8]) = if reset.is_closed {
                (b" ", b";")
            } else {
                (b"\n;", b"")
            };
            let length = out.len();
            out.extend_from_slice(&[first, &behind.join(&b";"[..]), last].concat());
            let is_begun = |byte: &&u8| **byte & 0xc0 != 0x80;
            characters += before.iter().filter(is_begun).count();
            grown += out.len() - length;
            if grown > MOST {
                return None;
            }
            inserted.places.push((characters, out.len() - length));
            for _ in &behind {
                let ours = u32::try_from(inserted.ours.len()).ok()?;
                inserted.ours.push(reset.statement + 1 + ours);
            }
        }
        if inserted.ours.is_empty() {
            return None;
        }
        out.extend_from_slice(text.get(from..)?);
        inserted.ours.reverse();
        Some((out, inserted))
    }

    /// Whether this message of the answer belongs to a statement of ours.
    pub(super) fn hides(&mut self, tag: u8) -> bool {
        let is_ours = self.ours.last() == Some(&self.done);
        if tag == b'C' {
            self.done += 1;
            if is_ours {
                self.ours.pop();
            }
        }
        is_ours
    }

    /// Appends an error with its position in the client's own text.
    pub(super) fn encode_error(&self, body: &[u8], out: &mut Vec<u8>) {
        build::message(out, b'E', |out| {
            for (tag, value) in crate::wire::Diagnostic(body).fields() {
                out.push(tag);
                match std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()) {
                    Some(position) if tag == b'P' => {
                        build::cstr(out, self.position(position).to_string().as_bytes());
                    }
                    _ => build::cstr(out, value),
                }
            }
            out.push(0);
        });
    }

    /// Positions count characters from 1.
    fn position(&self, sent: usize) -> usize {
        let mut moved = 0;
        for (characters, length) in &self.places {
            if sent > characters + moved + length {
                moved += length;
            }
        }
        sent - moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql;

    fn into(text: &str, start: &[(&str, &str)]) -> Option<(String, Inserted)> {
        let seen = sql::scan(text.as_bytes(), true);
        let start = Label::new(start.iter().copied());
        let (sent, inserted) =
            Inserted::into(text.as_bytes(), &seen.resets, &start, &Params::default())?;
        Some((String::from_utf8(sent).unwrap(), inserted))
    }

    #[test]
    fn d6_start_values_stand_behind_each_reset_of_a_text() {
        let start = [("lock_timeout", "1s"), ("timezone", "Europe/Paris")];
        let tz = "SET \"timezone\" TO 'Europe/Paris'";
        let lock = "SET \"lock_timeout\" TO '1s'";
        for (text, expected) in [
            ("reset timezone; one", format!("reset timezone; {tz}; one")),
            (
                "one; SET TIME ZONE DEFAULT --;",
                format!("one; SET TIME ZONE DEFAULT --;\n;{tz}"),
            ),
            (
                "reset all;reset timezone;",
                format!("reset all; {lock};{tz};reset timezone; {tz};"),
            ),
            ("reset timezone", format!("reset timezone\n;{tz}")),
        ] {
            assert_eq!(into(text, &start).unwrap().0, expected);
        }
        for text in [
            "reset work_mem; one",
            "set timezone = 'x'; one",
            "reset timezone; '",
        ] {
            assert!(into(text, &start).is_none(), "{text}");
        }
    }

    #[test]
    fn d6_answers_of_what_was_inserted_are_hidden() {
        let start = [("lock_timeout", "1s"), ("timezone", "UTC")];
        let (_, mut inserted) = into("one; reset all; reset timezone; two", &start).unwrap();
        let hidden = [0; 7].map(|_| inserted.hides(b'C'));
        assert_eq!(hidden, [false, false, true, true, false, true, false]);
    }

    #[test]
    fn d6_a_text_of_very_many_resets_is_left_as_it_is() {
        let start = [("timezone", "Europe/Paris")];
        assert!(into(&"reset all;".repeat(64), &start).is_some());
        assert!(into(&"reset all;".repeat(65), &start).is_none());
        let seen = sql::scan("reset all;".repeat(100_000).as_bytes(), true);
        assert_eq!(seen.resets.len(), 65);
        let long = "x".repeat(1 << 10);
        let start = [("app.name", &*long)];
        assert!(into(&"reset all;".repeat(60), &start).is_some());
        assert!(into(&"reset all;".repeat(64), &start).is_none());
    }

    #[test]
    fn d6_positions_in_errors_are_those_of_the_clients_text() {
        let text = "select 'é'; reset timezone; select 1; reset timezone; nonsense";
        let (sent, inserted) = into(text, &[("timezone", "UTC")]).unwrap();
        let at = |text: &str, word: &str| text[..text.find(word).unwrap()].chars().count() + 1;
        for word in ["reset", "select 1", "nonsense"] {
            assert_eq!(inserted.position(at(&sent, word)), at(text, word), "{word}");
        }
    }
}
