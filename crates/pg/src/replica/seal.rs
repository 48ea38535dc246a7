//! The position that a visitor carries from one request to the next (H4), as a text that only we
//! can have written. Leaves cookies to the web.
//!
//! It is signed with what every process before the same database knows, so that it holds beyond a
//! restart and on another machine. Who forged one could only make its own reads go to the primary,
//! or miss its own writes.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, pbkdf2};

use super::{Lsn, Rules};
use crate::target::{Secret, Target};

/// What follows the longest lag and the longest silence of a replica that still gets reads: one
/// question more, and clocks of several machines.
const SLACK: Duration = Duration::from_secs(5);

/// Rounds of PBKDF2 (RFC 8018) between the database's password and the key: every visitor sees
/// what the key signs, and must not find a weak password by trying.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();

/// Signs positions and reads them again.
#[derive(Debug, Clone)]
pub struct Seal {
    key: hmac::Key,
    life: Duration,
}

impl Seal {
    /// For the replicas of `primary`. Takes a part of a second.
    pub fn new(primary: &Target, rules: &Rules) -> Self {
        let password = primary.password.as_ref();
        let password = password.map(Secret::expose).unwrap_or_default();
        let salt = format!("canter visitor\0{}\0{}", primary.user, primary.dbname);
        let mut key = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, ROUNDS, salt.as_bytes(), password, &mut key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            // Older writes are on every replica that gets reads.
            life: rules.max_lag + rules.longest_silence + SLACK,
        }
    }

    /// How long a position has to be carried.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// The text to carry; `None` stands for a position that nobody could tell, which no replica
    /// has.
    pub fn write(&self, lsn: Option<Lsn>, now: SystemTime) -> String {
        let seconds = seconds(now);
        let lsn = lsn.map_or(u64::MAX, |lsn| lsn.0);
        let mut text = format!("{lsn:x}.{seconds:x}");
        let tag = hmac::sign(&self.key, text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(tag, &mut text);
        text
    }

    /// Reads a text that came back; `None` when it is not ours, or too old to matter.
    pub fn read(&self, text: &str, now: SystemTime) -> Option<Lsn> {
        let (said, tag) = text.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key, said.as_bytes(), &tag).ok()?;
        let (lsn, written) = said.split_once('.')?;
        let written = u64::from_str_radix(written, 16).ok()?;
        let age = seconds(now).abs_diff(written);
        let lsn = u64::from_str_radix(lsn, 16).ok()?;
        (age <= self.life.as_secs()).then_some(Lsn(lsn))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(password: &str) -> Seal {
        let url = format!("postgresql://u:{password}@h/d");
        Seal::new(&Target::from_url(&url).unwrap(), &Rules::default())
    }

    #[test]
    fn h4_a_position_is_carried_and_read_by_who_knows_the_database() {
        let now = SystemTime::now();
        let lsn = "16/B374D848".parse().unwrap();
        let text = seal("p").write(Some(lsn), now);
        assert_eq!(seal("p").read(&text, now), Some(lsn));
        assert_eq!(seal("q").read(&text, now), None);
        assert_eq!(
            seal("p").read(&seal("p").write(None, now), now),
            Some(Lsn(u64::MAX))
        );
    }

    #[test]
    fn h4_what_was_changed_or_is_too_old_counts_for_nothing() {
        let (seal, now) = (seal("p"), SystemTime::now());
        let text = seal.write(Some(Lsn(5)), now);
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            if let Ok(other) = std::str::from_utf8(&other) {
                assert_eq!(seal.read(other, now), None, "{other}");
            }
            assert_eq!(seal.read(&text[..at], now), None, "{at}");
        }
        let second = Duration::from_secs(1);
        assert_eq!(seal.read(&text, now + seal.life()), Some(Lsn(5)));
        assert_eq!(seal.read(&text, now + seal.life() + 2 * second), None);
        assert_eq!(seal.read(&text, now - seal.life() - 2 * second), None);
    }
}
