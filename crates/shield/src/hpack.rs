//! Owns a walk over a header block (RFC 7541, section 6) that tells whether it is one, without
//! decoding it: no strings, and of the table only how many entries it can have, which name a method or another
//! pseudo-field, and which make a request malformed that names them. Of what the fields say it looks for what no name and
//! no value of that name may have in it.
//! Leaves that to `mend`, and the rest to the library that decodes them. Sans-IO.

use crate::conform::Breach;
use crate::mend::{Mend, Of};

/// Entries of the static table (section 2.3.1).
const STATIC_ENTRIES: u32 = 61;
/// What the dynamic table may be resized to: we never announce another size.
const LARGEST_TABLE: u32 = 4096;
/// What an entry counts at least, for it counts 32 bytes more than it has (section 4.1).
const SMALLEST_ENTRY: u32 = 32;
/// Entries of the static table whose name begins with a colon (appendix A).
const PSEUDO: std::ops::RangeInclusive<u32> = 1..=14;
/// Those whose name is `:method`.
const METHODS: std::ops::RangeInclusive<u32> = 2..=3;
/// The names that begin with a colon (RFC 9113, section 8.3; RFC 8441, section 4), as they are and coded.
const NAMES: [[&[u8]; 2]; 6] = [
    [b":method", b"\xb9\x49\x53\x39\xe4"],
    [b":path", b"\xb9\x58\xd3\x3f"],
    [b":authority", b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f"],
    [b":scheme", b"\xb8\x82\x4e\x5a\x4b"],
    [b":status", b"\xb8\x84\x8d\x36\xa3"],
    [b":protocol", b"\xb9\x5d\x87\x49\xc8\x7a\x3f"],
];
/// The first of them, in the lowest bit.
const METHOD: u8 = 1;
/// The colon, coded: the first seven bits of a name (appendix B).
const CODED_COLON: u8 = 0x5c;

/// How many entries the dynamic table can have at most. What was put in is counted, and what a
/// smaller table cannot hold; how long the entries are, and so which were dropped, is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    entries: u32,
    room: u32,
    /// Which are named `:method`, the newest in the lowest bit: dropping the oldest changes no index of the
    /// others.
    methods: u128,
    /// The same of those whose name begins with a colon, of those whose name may not be one, and of those whose value.
    pseudo: u128,
    bad_names: u128,
    bad_values: u128,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: 0,
            room: LARGEST_TABLE / SMALLEST_ENTRY,
            methods: 0,
            pseudo: 0,
            bad_names: 0,
            bad_values: 0,
        }
    }
}

impl Table {
    fn insert(&mut self) {
        self.entries = self.room.min(self.entries + 1);
    }

    /// The entry that was put in last is whole.
    fn keep(&mut self, field: Field) {
        for (of, is_one) in [
            (&mut self.methods, field.is_method),
            (&mut self.pseudo, field.is_pseudo),
            (&mut self.bad_names, field.has_bad_name),
            (&mut self.bad_values, field.has_bad_value),
        ] {
            *of = *of << 1 | u128::from(is_one);
        }
    }

    fn resize(&mut self, bytes: u32) {
        self.room = bytes / SMALLEST_ENTRY;
        self.entries = self.entries.min(self.room);
    }
}

/// Whether the entry with this index is one of these.
fn is_among(entries: u128, index: u32) -> bool {
    let newer = index.checked_sub(STATIC_ENTRIES + 1);
    newer.is_some_and(|newer| entries.checked_shr(newer).unwrap_or(0) & 1 == 1)
}

/// Which of [`NAMES`] have this piece behind `came` bytes, and are as long as these and the `left` ones.
fn names_with(is_coded: bool, (came, left): (u32, u32), piece: &[u8]) -> u8 {
    let mut names = 0;
    for (at, forms) in NAMES.iter().enumerate() {
        let name = forms[usize::from(is_coded)];
        let rest = name.get(came as usize..).unwrap_or_default();
        let is_one = rest.len() == left as usize && rest.starts_with(piece);
        names |= u8::from(is_one) << at;
    }
    names
}

/// The field that has begun.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
struct Field {
    /// It is put into the dynamic table.
    is_kept: bool,
    is_method: bool,
    /// Its name begins with a colon.
    is_pseudo: bool,
    /// Which of [`NAMES`] it may be, as far as it has come; one where it is whole.
    names: u8,
    has_bad_name: bool,
    has_bad_value: bool,
    mend: Mend,
}

/// How far a block has been walked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    table: Table,
    is_trailers: bool,
    /// A field has begun: the table's size may not change any more.
    has_fields: bool,
    expects: Expects,
    field: Field,
    /// What has come is of no request: one of its fields may not be.
    is_malformed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    /// The first byte of a field or of a change of the table's size.
    Field,
    /// The first byte of a string.
    String(Part),
    /// More bytes of a number.
    Number { of: Number, value: u32, shift: u32 },
    /// So many bytes of a string, after those that have come.
    Bytes {
        part: Part,
        came: u32,
        left: u32,
        is_coded: bool,
    },
}

/// What a string is of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Name,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// Of a whole field in the tables.
    Field,
    /// Of a name in the tables, of a field that is put into the dynamic one or not; 0 when the name
    /// follows.
    Name {
        is_kept: bool,
    },
    TableSize,
    Length {
        part: Part,
        is_coded: bool,
    },
}

impl Walk {
    /// At the start of a block; `table` is what the blocks before left.
    pub fn new(is_trailers: bool, table: Table) -> Self {
        Self {
            table,
            is_trailers,
            has_fields: false,
            expects: Expects::Field,
            field: Field::default(),
            is_malformed: false,
        }
    }

    /// The next bytes of the block. Of a request that is malformed they may come to say something else, as
    /// long as that.
    pub fn feed(&mut self, mut bytes: &mut [u8]) -> Result<(), Breach> {
        while let Some(&byte) = bytes.first() {
            self.expects = match self.expects {
                Expects::Field => self.first_byte(byte)?,
                Expects::String(part) => {
                    let is_coded = byte & 0x80 != 0;
                    self.number(Number::Length { part, is_coded }, byte, 7)?
                }
                Expects::Number { of, value, shift } => {
                    // Longer than any number here can be.
                    if shift > 14 {
                        return Err(Breach::Compression);
                    }
                    let value = value + (u32::from(byte & 0x7f) << shift);
                    if byte & 0x80 == 0 {
                        self.read(of, value)?
                    } else {
                        let shift = shift + 7;
                        Expects::Number { of, value, shift }
                    }
                }
                Expects::Bytes {
                    part,
                    came,
                    left,
                    is_coded,
                } => {
                    let taken = bytes.len().min(left as usize);
                    let (piece, rest) = bytes.split_at_mut(taken);
                    bytes = rest;
                    self.string(part, is_coded, (came, left), piece)?;
                    self.expects = match left - taken as u32 {
                        0 => self.after(part),
                        left => Expects::Bytes {
                            part,
                            came: came + taken as u32,
                            left,
                            is_coded,
                        },
                    };
                    continue;
                }
            };
            bytes = bytes.get_mut(1..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether it is of trailers.
    pub fn is_trailers(&self) -> bool {
        self.is_trailers
    }

    /// The block is over; the table for the next, and whether it was of a malformed request.
    pub fn end(self) -> Result<(Table, bool), Breach> {
        if self.expects == Expects::Field {
            Ok((self.table, self.is_malformed))
        } else {
            Err(Breach::Compression)
        }
    }

    /// A piece of a string, of which `came` bytes came before and `left` are left with it.
    fn string(
        &mut self,
        part: Part,
        is_coded: bool,
        (came, left): (u32, u32),
        piece: &mut [u8],
    ) -> Result<(), Breach> {
        let is_whole = came == 0 && left as usize == piece.len();
        let field = &mut self.field;
        if part == Part::Value {
            let of = match (field.is_method, field.is_pseudo) {
                (true, _) => Of::Method,
                (false, true) => Of::Target,
                (false, false) => Of::Value,
            };
            let is_bad = field.mend.run(of, is_coded, is_whole, piece);
            field.has_bad_value |= is_bad;
            self.is_malformed |= is_bad;
            return Ok(());
        }
        if came == 0 {
            let first = piece
                .first()
                .map(|&byte| if is_coded { byte >> 1 } else { byte });
            let colon = if is_coded { CODED_COLON } else { b':' };
            field.is_pseudo = first == Some(colon);
            field.names = u8::MAX;
            if field.is_pseudo && self.is_trailers {
                return Err(Breach::Protocol);
            }
        }
        if field.is_pseudo {
            field.names &= names_with(is_coded, (came, left), piece);
            field.is_method = field.names == METHOD;
        }
        let is_unknown = field.is_pseudo && field.names == 0;
        // Of an unknown one whose colon has been passed on, it is the library that says so.
        let is_bad = if field.is_pseudo && !(is_unknown && is_whole) {
            is_unknown
        } else {
            field.is_pseudo = false;
            field.mend.run(Of::Name, is_coded, is_whole, piece)
        };
        field.has_bad_name |= is_bad;
        self.is_malformed |= is_bad;
        Ok(())
    }

    /// What follows a string.
    fn after(&mut self, part: Part) -> Expects {
        match part {
            Part::Name => {
                self.field.mend = Mend::default();
                Expects::String(Part::Value)
            }
            Part::Value => {
                if self.field.is_kept {
                    self.table.keep(self.field);
                }
                Expects::Field
            }
        }
    }

    /// Which kind of field it is, and the prefix of its number (section 6).
    fn first_byte(&mut self, byte: u8) -> Result<Expects, Breach> {
        let changes_size = (0x20..0x40).contains(&byte);
        if changes_size && self.has_fields {
            // Only at the beginning (section 4.2).
            return Err(Breach::Compression);
        }
        self.has_fields |= !changes_size;
        self.field = Field {
            is_kept: (0x40..0x80).contains(&byte),
            ..Field::default()
        };
        match byte {
            0x80.. => self.number(Number::Field, byte, 7),
            0x40.. => self.number(Number::Name { is_kept: true }, byte, 6),
            0x20.. => self.number(Number::TableSize, byte, 5),
            _ => self.number(Number::Name { is_kept: false }, byte, 4),
        }
    }

    /// The first byte of a number, in its lowest bits (section 5.1).
    fn number(&mut self, of: Number, byte: u8, bits: u32) -> Result<Expects, Breach> {
        let full = (1_u32 << bits) - 1;
        let value = u32::from(byte) & full;
        if value < full {
            return self.read(of, value);
        }
        let shift = 0;
        Ok(Expects::Number { of, value, shift })
    }

    /// What follows a number.
    fn read(&mut self, of: Number, value: u32) -> Result<Expects, Breach> {
        let is_index = matches!(of, Number::Field | Number::Name { .. });
        if is_index && self.is_trailers && PSEUDO.contains(&value) {
            return Err(Breach::Protocol);
        }
        // Section 2.3.3.
        if is_index && value > STATIC_ENTRIES + self.table.entries {
            return Err(Breach::Compression);
        }
        if matches!(of, Number::Name { .. }) {
            self.field.is_method = METHODS.contains(&value) || is_among(self.table.methods, value);
            self.field.is_pseudo = PSEUDO.contains(&value) || is_among(self.table.pseudo, value);
        }
        if is_index && is_among(self.table.bad_names, value) {
            (self.field.has_bad_name, self.is_malformed) = (true, true);
        }
        if matches!(of, Number::Field) {
            self.is_malformed |= is_among(self.table.bad_values, value);
        }
        match of {
            Number::Name { is_kept: true } => self.table.insert(),
            Number::TableSize => self.table.resize(value),
            _ => {}
        }
        match of {
            Number::Field if value == 0 => Err(Breach::Compression),
            Number::TableSize if value > LARGEST_TABLE => Err(Breach::Compression),
            Number::Field | Number::TableSize => Ok(Expects::Field),
            Number::Name { .. } if value == 0 => Ok(Expects::String(Part::Name)),
            Number::Name { .. } => Ok(Expects::String(Part::Value)),
            Number::Length { part, .. } if value == 0 => Ok(self.after(part)),
            Number::Length { part, is_coded } => Ok(Expects::Bytes {
                part,
                came: 0,
                left: value,
                is_coded,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
