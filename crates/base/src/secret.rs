//! Owns holding a secret against what somebody says it is.
//! Leaves making secrets and what they open to the others.

use std::hint::black_box;

/// Whether both are the same, without telling by its time how much of them is: only whether they are of
/// one length.
pub fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
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
}
