//! Bytes that nobody should send. `check` takes any, from either side, and must neither panic nor
//! loop; the seeds are real conversations, the rest is what mutation makes of them.

use super::driver::*;

/// Feeds `bytes` to a relay: each chunk goes to the side its first byte names.
fn check(bytes: &[u8]) {
    let mut d = Driver::with(Cut::Random(5), &[("timezone", "UTC")], true);
    d.client(&q("begin"))
        .client(&q("select 1"))
        .server(&cz("BEGIN", b'T'));
    for chunk in bytes.split(|byte| *byte == 0xfe) {
        let Some((side, chunk)) = chunk.split_first() else {
            continue;
        };
        if side % 2 == 0 {
            d.client(chunk);
        } else if d.leased {
            d.server(chunk);
        }
        if let Some(error) = d.broken.take()
            && d.lose(&error) != crate::relay::Lost::Lives
        {
            return;
        }
        if d.fatal.is_some() || d.left {
            break;
        }
    }
    // However it ended, it can be left.
    for _ in 0..4 {
        if d.leased && d.leave() == crate::relay::Leaving::Wait {
            d.server(&cz("X", b'I'));
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let client = |bytes: Vec<u8>| [vec![0], bytes, vec![0xfe]].concat();
    let server = |bytes: Vec<u8>| [vec![1], bytes, vec![0xfe]].concat();
    vec![
        [
            server([row(&["1"]), cz("SELECT 1", b'T')].concat()),
            client(q("commit")),
            server(cz("COMMIT", b'I')),
            client(q("set role x")),
            server(cz("SET", b'I')),
            server([row(&["s", "role", "x"]), cz("SELECT", b'I')].concat()),
        ]
        .concat(),
        [
            client(
                [
                    parse("s", "select 1"),
                    bind("", "s"),
                    execute(""),
                    SYNC.to_vec(),
                ]
                .concat(),
            ),
            server([PARSED, BOUND, &cz("SELECT 1", b'T')].concat()),
            client(
                [
                    close('S', "s"),
                    describe('S', "s"),
                    describe('P', ""),
                    SYNC.to_vec(),
                ]
                .concat(),
            ),
            server([e("26000", "x"), z(b'E')].concat()),
        ]
        .concat(),
        [
            client(q("copy t from stdin")),
            server([cz("SELECT 1", b'T'), message(b'G', b"\0\0\0")].concat()),
            client([message(b'd', b"1\n"), message(b'c', b""), SYNC.to_vec()].concat()),
            server(cz("COPY 1", b'I')),
            client(b"X\0\0\0\x04".to_vec()),
        ]
        .concat(),
        [
            server([e("57P01", "x"), z(b'I')].concat()),
            client(
                [
                    message(b'F', b"\0\0\0\x01\0\0\0\0\0\0"),
                    q("deallocate all"),
                ]
                .concat(),
            ),
            server([message(b'V', b"\xff\xff\xff\xff"), z(b'I')].concat()),
            server(message(b'S', b"TimeZone\0UTC\0")),
        ]
        .concat(),
    ]
}

#[test]
fn i4_seeds_of_the_fuzzer_pass() {
    for seed in seeds() {
        check(&seed);
    }
}

#[test]
fn i4_random_mutations_neither_panic_nor_loop() {
    let seeds = seeds();
    let mut state = 0x5eed;
    for _ in 0..4_000 {
        let mut bytes = seeds[random(&mut state) as usize % seeds.len()].clone();
        for _ in 0..=random(&mut state) % 6 {
            let at = random(&mut state) as usize % bytes.len().max(1);
            match random(&mut state) % 5 {
                0 => bytes[at] = random(&mut state) as u8,
                1 => bytes.insert(at, random(&mut state) as u8),
                2 => drop(bytes.drain(at..(at + random(&mut state) as usize % 9).min(bytes.len()))),
                3 => bytes[at] ^= 1 << (random(&mut state) % 8),
                _ => {
                    let other = &seeds[random(&mut state) as usize % seeds.len()];
                    let from = random(&mut state) as usize % other.len();
                    bytes.splice(at..at, other[from..].iter().copied().take(40));
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        check(&bytes);
    }
}
