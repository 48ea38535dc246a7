//! Owns the message in which a worker tells what a request cost: its route, its statements by
//! group, and the texts of what is named for the first time.
//! Leaves measuring to the worker, and what follows from it to `canter-insight`.
//!
//! Layout, little-endian: the numbers, then the route, then five lists, each with its length first.
//! It is told as far as there is room; nothing depends on it.

use crate::wire::{Malformed, Reader};

/// The longest text in a report.
const MOST_TEXT: usize = 2048;
/// The longest list.
const MOST_ROWS: usize = 128;

/// What helps against a statement at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// The statement's name.
    pub statement: u64,
    /// The place's.
    pub place: u64,
    /// Why it is repeated, as `canter-insight` writes its `Repeat`.
    pub repeat: u8,
    /// For people.
    pub text: String,
}

/// What a request cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The pattern of its address; empty where the app does not tell.
    pub route: String,
    /// Statements.
    pub queries: u32,
    /// Those of them that were written.
    pub writes: u32,
    /// Microseconds in statements.
    pub sql_us: u64,
    /// Microseconds in transactions between statements.
    pub held_us: u64,
    /// Kilobytes by which the process has grown; negative where it has shrunk.
    pub grown_kb: i64,
    /// Statement, place; count, different values, repeats; total, longest, price in microseconds.
    pub groups: Vec<[u64; 8]>,
    /// Name, bits, text.
    pub statements: Vec<(u64, u8, String)>,
    /// Name, text.
    pub places: Vec<(u64, String)>,
    /// What helps.
    pub advice: Vec<Advice>,
    /// How long statements took, by kind: what `canter-insight` counts in `operations`.
    pub times: Vec<[u64; 12]>,
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(MOST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn put_list<T>(out: &mut Vec<u8>, rows: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    let count = rows.len().min(MOST_ROWS);
    out.push(count as u8);
    for row in rows.iter().take(count) {
        put(out, row);
    }
}

fn text(rest: &mut Reader<'_>) -> Result<String, Malformed> {
    let len = usize::from(rest.u16()?);
    if len > MOST_TEXT {
        return Err(Malformed);
    }
    Ok(String::from_utf8_lossy(rest.bytes(len)?).into_owned())
}

fn list<T>(
    rest: &mut Reader<'_>,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = usize::from(rest.u8()?);
    if count > MOST_ROWS {
        return Err(Malformed);
    }
    (0..count).map(|_| read(rest)).collect()
}

fn put_numbers<const COUNT: usize>(out: &mut Vec<u8>, numbers: &[u64; COUNT]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn numbers<const COUNT: usize>(rest: &mut Reader<'_>) -> Result<[u64; COUNT], Malformed> {
    let mut numbers = [0; COUNT];
    for number in &mut numbers {
        *number = rest.u64()?;
    }
    Ok(numbers)
}

impl Report {
    /// The message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 64 * self.groups.len());
        let counts = u64::from(self.queries) | u64::from(self.writes) << 32;
        let grown = self.grown_kb.cast_unsigned();
        for number in [counts, self.sql_us, self.held_us, grown] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_text(&mut out, &self.route);
        put_list(&mut out, &self.groups, put_numbers);
        put_list(&mut out, &self.statements, |out, (name, bits, text)| {
            out.extend_from_slice(&name.to_le_bytes());
            out.push(*bits);
            put_text(out, text);
        });
        put_list(&mut out, &self.places, |out, (name, text)| {
            out.extend_from_slice(&name.to_le_bytes());
            put_text(out, text);
        });
        put_list(&mut out, &self.advice, |out, advice| {
            out.extend_from_slice(&advice.statement.to_le_bytes());
            out.extend_from_slice(&advice.place.to_le_bytes());
            out.push(advice.repeat);
            put_text(out, &advice.text);
        });
        put_list(&mut out, &self.times, put_numbers);
        out
    }

    /// Reads what [`Report::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        let counts = rest.u64()?;
        Ok(Self {
            queries: counts as u32,
            writes: (counts >> 32) as u32,
            sql_us: rest.u64()?,
            held_us: rest.u64()?,
            grown_kb: rest.u64()?.cast_signed(),
            route: text(&mut rest)?,
            groups: list(&mut rest, numbers)?,
            statements: list(&mut rest, |rest| Ok((rest.u64()?, rest.u8()?, text(rest)?)))?,
            places: list(&mut rest, |rest| Ok((rest.u64()?, text(rest)?)))?,
            advice: list(&mut rest, |rest| {
                Ok(Advice {
                    statement: rest.u64()?,
                    place: rest.u64()?,
                    repeat: rest.u8()?,
                    text: text(rest)?,
                })
            })?,
            times: list(&mut rest, numbers)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            route: "/api/orders/".to_owned(),
            queries: 176,
            writes: 2,
            sql_us: 7_000_000_000,
            held_us: 9,
            grown_kb: -4,
            groups: vec![[1, 2, 3, 4, 5, 6, 7, u64::MAX]],
            statements: vec![(1, 3, "SELECT ?".to_owned())],
            places: vec![(2, "views.py\n4\nlist\nx".to_owned())],
            advice: vec![Advice {
                statement: 1,
                place: 2,
                repeat: 1,
                text: "é".to_owned(),
            }],
            times: vec![[1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, u64::MAX]],
        }
    }

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        assert_eq!(Report::read(&report().to_bytes()), Ok(report()));
        assert_eq!(
            Report::read(&Report::default().to_bytes()),
            Ok(Report::default())
        );
    }

    #[test]
    fn a_cut_or_garbled_report_is_malformed_and_never_a_panic() {
        let bytes = report().to_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Report::read(&bytes[..cut]), Err(Malformed), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut garbled = bytes.clone();
            garbled[at] ^= 0xff;
            let _ = Report::read(&garbled);
        }
    }

    #[test]
    fn long_texts_and_lists_are_cut() {
        let long = Report {
            route: "é".repeat(MOST_TEXT),
            groups: vec![[0; 8]; 500],
            ..report()
        };
        let read = Report::read(&long.to_bytes()).unwrap();
        assert!(read.route.len() <= MOST_TEXT && read.groups.len() == MOST_ROWS);
    }
}
