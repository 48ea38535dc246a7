//! A result of the console: columns with PostgreSQL's types, rows, and their bytes in text or
//! binary. Leaves what is in them to whoever fills them.

use crate::wire::build;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int4,
    Int8,
    Numeric,
}

impl Kind {
    fn oid(self) -> u32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
        }
    }

    fn size(self) -> i16 {
        match self {
            Self::Text | Self::Numeric => -1,
            Self::Int4 => 4,
            Self::Int8 => 8,
        }
    }
}

/// Name and type of a column.
pub(super) type Column = (&'static str, Kind);

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    Number(i64),
    Null,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Cell {
    fn from(is: bool) -> Self {
        Self::Number(is.into())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Cell {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Columns and rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "{row:?}");
        self.rows.push(row.into());
    }

    /// Appends the rows as `DataRow` messages.
    pub(super) fn data_rows(&self, formats: Formats<'_>, out: &mut Vec<u8>) {
        for row in &self.rows {
            build::message(out, b'D', |out| {
                count(row.len(), out);
                for (at, (cell, (_, kind))) in row.iter().zip(&self.columns).enumerate() {
                    push(cell, *kind, formats.is_binary(at), out);
                }
            });
        }
    }
}

/// Appends a `RowDescription`.
pub(super) fn describe(columns: &[Column], formats: Formats<'_>, out: &mut Vec<u8>) {
    build::message(out, b'T', |out| {
        count(columns.len(), out);
        for (at, (name, kind)) in columns.iter().enumerate() {
            build::cstr(out, name.as_bytes());
            // Of no table, no attribute.
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&kind.oid().to_be_bytes());
            out.extend_from_slice(&kind.size().to_be_bytes());
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&u16::from(formats.is_binary(at)).to_be_bytes());
        }
    });
}

/// The formats a `Bind` asks for: none for text, one for all, or one for each column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Formats<'a>(pub(super) &'a [bool]);

impl Formats<'_> {
    fn is_binary(self, column: usize) -> bool {
        match self.0 {
            [all] => *all,
            each => each.get(column).copied().unwrap_or_default(),
        }
    }
}

fn count(number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

fn push(cell: &Cell, kind: Kind, binary: bool, out: &mut Vec<u8>) {
    let (text, number);
    let bytes: &[u8] = match (cell, kind) {
        (Cell::Null, _) => return out.extend_from_slice(&(-1_i32).to_be_bytes()),
        (Cell::Text(text), _) => text.as_bytes(),
        (Cell::Number(one), Kind::Int4) if binary => {
            let one = i32::try_from(*one).unwrap_or(i32::MAX);
            number = one.to_be_bytes().to_vec();
            &number
        }
        (Cell::Number(one), Kind::Int8) if binary => {
            number = one.to_be_bytes().to_vec();
            &number
        }
        (Cell::Number(one), Kind::Numeric) if binary => {
            number = numeric(*one);
            &number
        }
        (Cell::Number(one), _) => {
            text = one.to_string();
            text.as_bytes()
        }
    };
    let length = i32::try_from(bytes.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// PostgreSQL's binary `numeric`: digits to the base of 10,000, the highest first.
fn numeric(number: i64) -> Vec<u8> {
    let mut digits = Vec::new();
    let mut left = number.unsigned_abs();
    while left > 0 {
        digits.push(u16::try_from(left % 10_000).unwrap_or(0));
        left /= 10_000;
    }
    let weight = digits.len().saturating_sub(1);
    let sign = if number < 0 { 0x4000 } else { 0 };
    let head = [digits.len(), weight, sign, 0];
    let head = head.map(|part| u16::try_from(part).unwrap_or(0));
    head.into_iter()
        .chain(digits.into_iter().rev())
        .flat_map(u16::to_be_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_cells_in_text_and_binary() {
        let mut table = Table::new(&[
            ("a", Kind::Text),
            ("b", Kind::Int4),
            ("c", Kind::Int8),
            ("d", Kind::Numeric),
        ]);
        table.push(["x".into(), 5.into(), 6_u64.into(), 7_u64.into()]);
        table.push([
            Cell::Null,
            true.into(),
            (-1_i64).into(),
            123_456_789_u64.into(),
        ]);
        let (mut text, mut binary) = (Vec::new(), Vec::new());
        table.data_rows(Formats(&[]), &mut text);
        table.data_rows(Formats(&[true]), &mut binary);
        let expected: &[&[u8]] = &[
            b"D\0\0\0\x1a\0\x04\0\0\0\x01x\0\0\0\x015\0\0\0\x016\0\0\0\x017",
            b"D\0\0\0\x22\0\x04\xff\xff\xff\xff\0\0\0\x011\0\0\0\x02-1\0\0\0\x09123456789",
        ];
        assert_eq!(text, expected.concat());
        let numbers: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 2, 0, 0, 0, 0, 0, 1, 9, 41, 26, 133];
        assert!(binary.ends_with(&numbers), "{binary:?}");
        assert_eq!(numeric(0), [0; 8]);
        assert_eq!(numeric(7), [0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn i1_a_description_names_types_and_formats() {
        let mut out = Vec::new();
        describe(&[("n", Kind::Int4)], Formats(&[true]), &mut out);
        let expected = b"T\0\0\0\x1a\0\x01n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01";
        assert_eq!(out, expected);
    }
}
