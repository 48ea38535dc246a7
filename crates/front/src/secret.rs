//! Owns making secrets. Leaves comparing them to `canter_base::secret`, and what each opens to its user.

use std::hash::{BuildHasher, RandomState};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_secrets_are_the_same() {
        let (one, other) = (random_hex_128(), random_hex_128());
        assert!(one != other && one.len() == 32);
    }
}
