//! Owns a walk over a header block (RFC 7541, section 6) that tells whether it is one, without
//! decoding it: no strings, and of the table only how many entries it can have, which name a path or another
//! pseudo-field, and which make a request malformed that names them. Of what the fields say it looks for a fragment in paths, and for
//! what no name and no value may have in it.
//! Leaves that to `fragment` and `mend`, and the rest to the library that decodes them. Sans-IO.

use crate::conform::Breach;
use crate::fragment::Search;
use crate::mend::{Mend, Of};

/// Entries of the static table (section 2.3.1).
const STATIC_ENTRIES: u32 = 61;
/// What the dynamic table may be resized to: we never announce another size.
const LARGEST_TABLE: u32 = 4096;
/// What an entry counts at least, for it counts 32 bytes more than it has (section 4.1).
const SMALLEST_ENTRY: u32 = 32;
/// Entries of the static table whose name begins with a colon (appendix A).
const PSEUDO: std::ops::RangeInclusive<u32> = 1..=14;
/// Those whose name is `:path`, and the name as it is and coded.
const PATHS: std::ops::RangeInclusive<u32> = 4..=5;
const PATH: &[u8] = b":path";
const CODED_PATH: &[u8] = &[0xb9, 0x58, 0xd3, 0x3f];
/// The colon, coded: the first seven bits of a name (appendix B).
const CODED_COLON: u8 = 0x5c;

/// How many entries the dynamic table can have at most. What was put in is counted, and what a
/// smaller table cannot hold; how long the entries are, and so which were dropped, is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    entries: u32,
    room: u32,
    /// Which are named `:path`, the newest in the lowest bit: dropping the oldest changes no index of the
    /// others.
    paths: u128,
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
            paths: 0,
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
            (&mut self.paths, field.is_path),
            (&mut self.pseudo, field.is_pseudo),
            (&mut self.bad_names, field.has_bad_name),
            (&mut self.bad_values, field.has_bad_value),
        ] {
            *of = *of << 1 | u128::from(is_one);
        }
    }

    fn names_path(self, index: u32) -> bool {
        is_among(self.paths, index)
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

/// The field that has begun.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
struct Field {
    /// It is put into the dynamic table.
    is_kept: bool,
    /// Its name is `:path`, as far as that has come.
    is_path: bool,
    /// Its name begins with a colon, which only those of the specification do.
    is_pseudo: bool,
    has_bad_name: bool,
    has_bad_value: bool,
    search: Search,
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
        let field = &mut self.field;
        if part == Part::Value {
            // The library would take what stands before it for the target, HTTP/1.1 refuses it.
            let is_found = field.is_path && field.search.finds(piece, is_coded);
            let of = if field.is_pseudo {
                Of::PseudoValue
            } else {
                Of::Value
            };
            let has_other = field.mend.run(of, is_coded, piece);
            field.has_bad_value |= is_found || has_other;
            self.is_malformed |= is_found || has_other;
            return Ok(());
        }
        if came == 0 {
            let first = piece
                .first()
                .map(|&byte| if is_coded { byte >> 1 } else { byte });
            let colon = if is_coded { CODED_COLON } else { b':' };
            field.is_pseudo = first == Some(colon);
            if field.is_pseudo && self.is_trailers {
                return Err(Breach::Protocol);
            }
        }
        let path = if is_coded { CODED_PATH } else { PATH };
        let rest = path.get(came as usize..).unwrap_or_default();
        field.is_path &= (came + left) as usize == path.len() && rest.starts_with(piece);
        if !field.is_pseudo {
            let is_bad = field.mend.run(Of::Name, is_coded, piece);
            field.has_bad_name |= is_bad;
            self.is_malformed |= is_bad;
        }
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
            // Where it follows, each of its bytes may say otherwise.
            self.field.is_path =
                value == 0 || PATHS.contains(&value) || self.table.names_path(value);
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
            Number::Length { part, .. } if value == 0 => {
                self.field.is_path &= part == Part::Value;
                Ok(self.after(part))
            }
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
mod tests {
    use super::*;

    /// Whether a block is of a malformed request.
    fn walk(is_trailers: bool, bytes: &[u8]) -> Result<bool, Breach> {
        walk_after(&[], is_trailers, bytes)
    }

    /// A block on a connection that has had the other blocks.
    fn walk_after(before: &[&[u8]], is_trailers: bool, bytes: &[u8]) -> Result<bool, Breach> {
        let mut table = Table::default();
        for block in before {
            let mut walk = Walk::new(false, table);
            walk.feed(&mut block.to_vec()).unwrap();
            table = walk.end().unwrap().0;
        }
        let mut whole = Walk::new(is_trailers, table);
        let result = whole.feed(&mut bytes.to_vec());
        let result = result.and_then(|()| whole.end());
        let mut cut = Walk::new(is_trailers, table);
        let mut bytes = bytes.to_vec();
        let pieces = bytes.chunks_mut(1).try_for_each(|byte| cut.feed(byte));
        let cut = pieces.and_then(|()| cut.end());
        assert_eq!(cut.map(|end| end.1), result.map(|end| end.1));
        result.map(|end| end.1)
    }

    #[test]
    fn the_examples_of_the_specification_are_blocks() {
        // RFC 7541, appendices C.2.1 to C.2.4, C.3.1 to C.3.3 and C.4.1 to C.4.3.
        for connection in [
            &["400a637573746f6d2d6b65790d637573746f6d2d686561646572"][..],
            &["040c2f73616d706c652f70617468"],
            &["100870617373776f726406736563726574"],
            &["82"],
            &[
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            &[
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
        ] {
            let mut before: Vec<Vec<u8>> = Vec::new();
            for text in connection {
                let bytes: Vec<u8> = (0..text.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                    .collect();
                let blocks: Vec<&[u8]> = before.iter().map(Vec::as_slice).collect();
                assert_eq!(walk_after(&blocks, false, &bytes), Ok(false), "{text}");
                for end in 1..bytes.len() {
                    // Cut anywhere, it is a block of fewer fields or none; never a panic.
                    let _ = walk_after(&blocks, false, &bytes[..end]);
                }
                before.push(bytes);
            }
        }
    }

    #[test]
    fn an_index_is_of_an_entry_that_can_be_there() {
        // Put into the table, named by the static one and by itself.
        let (named, new) = (&[0x44, 1, b'/'][..], &[0x40, 1, b'a', 1, b'b'][..]);
        let first = [0xbe];
        for (before, block, is_there) in [
            (&[][..], &first[..], false),
            (&[named], &first, true),
            (&[named], &[0xbf], false),
            (&[named, new], &[0xbf], true),
            (&[], &[&[0x44, 1, b'/'][..], &first].concat(), true),
            // A name, of a field that is kept or not, may not be that of the field itself.
            (&[], &[0x7e, 1, b'/'], false),
            (&[named], &[0x7e, 1, b'/'], true),
            (&[named], &[0x0f, 0x2f, 1, b'/'], true),
            (&[named], &[0x0f, 0x30, 1, b'/'], false),
            // Not kept: without indexing, and never indexed.
            (
                &[&[0x00, 1, b'a', 1, b'b'], &[0x10, 1, b'a', 1, b'b']],
                &first,
                false,
            ),
            // The table was emptied, and is what it was again.
            (&[named, &[0x20]], &first, false),
            (&[named, &[0x20, 0x3f, 0xe1, 0x1f]], &first, false),
            (&[named, &[0x20, 0x3f, 0xe1, 0x1f], new], &first, true),
        ] {
            let expected = if is_there {
                Ok(false)
            } else {
                Err(Breach::Compression)
            };
            let result = walk_after(before, false, block);
            assert_eq!(result, expected, "{block:x?} after {before:x?}");
        }
        // No more of them than the smallest entries that 4096 bytes have room for.
        let many = vec![&[0x40, 0, 0][..]; 200];
        assert_eq!(walk_after(&many, false, &[0xff, 0x3e]), Ok(false));
        assert_eq!(
            walk_after(&many, false, &[0xff, 0x3f]),
            Err(Breach::Compression)
        );
    }

    #[test]
    fn what_is_no_block_is_found() {
        let long_value = [&[0x00, 1, b'a', 0x7f, 0x80, 0x01][..], &[b'x'; 255]].concat();
        assert_eq!(walk(false, &long_value), Ok(false));
        for bytes in [
            &[0x40][..],
            &[0x80],
            &[0x00, 1, b'a', 5, b'b'],
            &[0xff, 0x7f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x3f, 0xff, 0x7f],
            &long_value[..200],
        ] {
            assert_eq!(walk(false, bytes), Err(Breach::Compression), "{bytes:x?}");
        }
    }

    #[test]
    fn pseudo_fields_have_no_place_in_trailers() {
        for bytes in [
            &[0x82][..],
            &[0x44, 1, b'/'],
            &[0x00, 2, b':', b'a', 1, b'b'],
            // ":path", coded.
            &[0x00, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 1, b'/'],
        ] {
            assert_eq!(walk(true, bytes), Err(Breach::Protocol), "{bytes:x?}");
            assert_eq!(walk(false, bytes), Ok(false), "{bytes:x?}");
        }
        assert_eq!(walk(true, &[0x00, 1, b'a', 1, b':']), Ok(false));
    }

    #[test]
    fn h8_a_path_has_no_fragment_however_its_name_and_value_are_written() {
        let fragment = Ok(true);
        for (block, expected) in [
            // Name by the static table, as it is, coded; value as it is and coded.
            (&b"\x04\x04/a#b"[..], fragment),
            (b"\x45\x04/a#b", fragment),
            (b"\x00\x05:path\x04/a#b", fragment),
            (b"\x40\x05:path\x83\x63\xfe\xbf", fragment),
            (b"\x10\x84\xb9\x58\xd3\x3f\x83\x63\xfe\xbf", fragment),
            (b"\x04\x01#", fragment),
            // Another field may have one.
            (b"\x00\x05:pata\x02/#", Ok(false)),
            (b"\x00\x06:path2\x02/#", Ok(false)),
            (b"\x00\x04:pat\x02/#", Ok(false)),
            (b"\x00\x00\x02/#", Ok(false)),
            (b"\x0f\x04\x83\x63\xfe\xbf", Ok(false)),
            (b"\x04\x83\x63\xfe\xff", Ok(false)),
            (b"\x04\x04/a%b\x00\x01a\x02#b", Ok(false)),
        ] {
            assert_eq!(walk(false, block), expected, "{block:x?}");
        }
    }

    #[test]
    fn h8_a_path_that_an_earlier_block_has_named_has_no_fragment_either() {
        // ":path: /" and then "a: b" in the dynamic table.
        let named: &[u8] = b"\x44\x01/\x40\x01a\x01b";
        let ends = |block: &[u8]| walk_after(&[named], false, block);
        assert_eq!(ends(b"\x0f\x30\x02/#"), Ok(true));
        assert_eq!(ends(b"\x0f\x2f\x02/#"), Ok(false));
        // A third one moves both.
        assert_eq!(ends(b"\x40\x01c\x01d\x0f\x30\x02/#"), Ok(false));
        assert_eq!(ends(b"\x40\x01c\x01d\x0f\x31\x02/#"), Ok(true));
        // Named by one that named it.
        assert_eq!(ends(b"\x7f\x00\x01/\x0f\x2f\x02/#"), Ok(true));
        // The oldest that a table can have.
        let later: Vec<&[u8]> = std::iter::once(named)
            .chain(std::iter::repeat_n(&b"\x40\x01a\x01b"[..], 126))
            .collect();
        assert_eq!(walk_after(&later, false, b"\x0f\xae\x01\x02/#"), Ok(true));
    }

    #[test]
    fn h8_what_no_name_and_no_value_may_have_in_it_makes_a_request_malformed() {
        let kept: &[u8] = b"\x40\x01A\x01b";
        for (before, block, is_malformed) in [
            (&[][..], &b"\x00\x06x-test\x03a\tb"[..], false),
            (&[], b"\x00\x06X-Test\x01a", true),
            (&[], b"\x00\x06x-test\x02a\n", true),
            (&[], b"\x04\x03/\0a", true),
            // Coded: "A", and a line feed.
            (&[], b"\x00\x81\x87\x01a", true),
            (&[], b"\x00\x01a\x84\xff\xff\xff\xf3", true),
            // A pseudo-field that is none is the library's to judge, and what a name means.
            (&[], b"\x00\x05:TEST\x01a", false),
            // Whoever refers to the name of an earlier block, or to the field.
            (&[kept], b"\xbe", true),
            (&[kept], b"\x0f\x2f\x01a", true),
            (&[kept, b"\x40\x01a\x01b"], b"\xbe", false),
            (&[kept, b"\x40\x01a\x01b"], b"\xbf", true),
            (&[b"\x40\x01a\x01\n"], b"\xbe", true),
            (&[b"\x40\x01a\x01\n"], b"\x0f\x2f\x01a", false),
            (&[b"\x44\x02/#"], b"\xbe", true),
            (&[b"\x44\x02/#"], b"\x0f\x2f\x01/", false),
        ] {
            let found = walk_after(before, false, block);
            assert_eq!(found, Ok(is_malformed), "{block:x?} after {before:x?}");
        }
        // Trailers are looked at like them.
        assert_eq!(walk(true, b"\x00\x01A\x01b"), Ok(true));
        assert_eq!(walk_after(&[kept], true, b"\xbe"), Ok(true));
        assert_eq!(walk(true, b"\x00\x01a\x01b"), Ok(false));
    }
}
