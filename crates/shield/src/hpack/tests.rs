//! Owns the rows of header blocks: which are blocks, and which are of a malformed request, however they are cut.
//! Leaves what becomes of their bytes to `mend`.

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
        &[0x00, 7, b':', b's', b'c', b'h', b'e', b'm', b'e', 1, b'b'],
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
        (b"\x00\x05xpath\x02/#", Ok(false)),
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
        // Pseudo-fields are those of the specification.
        (&[], b"\x00\x05:TEST\x01a", true),
        (&[], b"\x00\x05:pata\x01a", true),
        (&[], b"\x00\x06:path2\x01a", true),
        (&[], b"\x00\x04:pat\x01a", true),
        (&[], b"\x00\x0a:authority\x01a", false),
        (&[], b"\x00\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f\x01a", false),
        (&[], b"\x00\x85\xb8\x82\x4e\x5a\x4b\x01a", false),
        (&[], b"\x00\x87\xb9\x5d\x87\x49\xc8\x7a\x3f\x01a", false),
        (&[], b"\x00\x85\xb8\x84\x8d\x36\xa3\x01a", false),
        (&[&b"\x40\x05:TEST\x01a"[..]], b"\x0f\x2f\x01a", true),
        // A method is a token, whoever names it.
        (&[], b"\x02\x03GET\x00\x07:method\x03PUT", false),
        (&[], b"\x02\x03G/T", true),
        (&[], b"\x00\x07:method\x03G T", true),
        (&[], b"\x00\x85\xb9\x49\x53\x39\xe4\x03G T", true),
        (&[&b"\x42\x01A"[..]], b"\x0f\x2f\x01/", true),
        (&[&b"\x43\x01A"[..], b"\x44\x01/"], b"\x0f\x2f\x01/", false),
        // What is beyond ASCII is no text of a path, and one of a value.
        (&[], b"\x04\x02/\xff", true),
        (&[], b"\x01\x02a\xe4", true),
        (&[], b"\x00\x01a\x02a\xe4", false),
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
