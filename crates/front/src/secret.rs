//! Owns what keeps a secret secret: making one, and holding one against what somebody says it is.
//! Leaves what each opens to its user.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

/// 128 bits from the system's source of randomness (getrandom(2)), in hexadecimal digits.
pub(crate) fn random_hex_128() -> String {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // A system without the call: the keys of a fresh hasher are from the same source.
            Err(_) => return format!("{:016x}{:016x}", fresh(), fresh()),
        }
    }
    format!("{:032x}", u128::from_le_bytes(bytes))
}

fn fresh() -> u64 {
    RandomState::new().hash_one(crate::request::random())
}

/// Whether both are the same, without telling by its time how much of them is: only whether they are of
/// one length.
pub(crate) fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
    one.len() == other.len() && black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_or_not() {
        assert!(constant_time_eq(b"abc", b"abc") && constant_time_eq(b"", b""));
        for other in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!constant_time_eq(other, b"abc"), "{other:?}");
        }
    }

    #[test]
    fn no_two_secrets_are_the_same() {
        let (one, other) = (random_hex_128(), random_hex_128());
        assert!(one != other && one.len() == 32);
    }
}
