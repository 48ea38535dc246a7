//! What must not be shown: the password, and the name of a target made from its contents.
//! Leaves the choice of what is secret to the target.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::OnceLock;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::{Target, TargetId};

/// A password. Prints as `***`; its bytes are cleared when it goes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps `bytes`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves, for a login only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Seen from outside, so that the writes above are not left out as dead.
        std::hint::black_box(&self.0);
    }
}

/// A keyed hash over everything that is in the target. The key is made at the first use, so an id
/// means nothing to another process and no password can be found by trying ids.
pub(super) fn id(target: &Target) -> TargetId {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0; 32];
        if SystemRandom::new().fill(&mut key).is_err() {
            for part in key.chunks_mut(8) {
                part.copy_from_slice(&RandomState::new().hash_one(0_u8).to_le_bytes());
            }
        }
        key
    });
    let mut keyed = Keyed(hmac::Context::with_key(&hmac::Key::new(
        hmac::HMAC_SHA256,
        key,
    )));
    target.hash(&mut keyed);
    let tag = keyed.0.sign();
    let short = tag.as_ref().first_chunk().copied().unwrap_or_default();
    TargetId(short)
}

struct Keyed(hmac::Context);

impl Hasher for Keyed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    // The whole tag is taken, never this.
    fn finish(&self) -> u64 {
        0
    }
}
