//! What lies in the tier that several machines share: owns names and form of entries, of what a URL
//! varies on, and of purges. Leaves the server to whoever speaks with it.
//!
//! Everything there may have been written by anybody. What is not whole is refused here; an entry is
//! then checked further by [`crate::wire`], and by its reader against the key that was asked for.

use crate::entry::Entry;
use crate::hash::{checksum, fingerprint};
use crate::key::{Key, LONGEST_KEY, push, take};
use crate::life::Life;
use crate::lines::Lines;
use crate::store::{Purge, Several};
use crate::time::Time;
use crate::vary;
use crate::wire::{self, Stored};

/// A place in the common log of purges. Another epoch is another log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which log.
    pub epoch: u64,
    /// How many purges it has had.
    pub seq: u64,
}

/// A purge as the machines tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeOrder {
    /// What is meant.
    pub purge: Purge,
    /// It may still be served while another is got.
    pub soft: bool,
    /// Who ordered it.
    pub by: u64,
}

/// What is stored under a name.
#[derive(Debug)]
pub enum Item {
    /// A response.
    Entry(Box<Stored>),
    /// On which fields the responses of this key vary; each lies under a name of its own.
    Names(Vec<u8>),
}

/// Begins everything; the last byte is the version of the form.
const MAGIC: &[u8; 8] = b"canters\x01";

/// The name of what is stored for a key.
pub fn name(key: &Key) -> u128 {
    fingerprint([&b"key"[..], key.url(), key.inputs()].into_iter())
}

/// The name of one variant of a key.
fn variant(key: &Key, names: &[u8], values: &[u8]) -> u128 {
    let lengths = [names.len().to_le_bytes(), values.len().to_le_bytes()];
    let parts = [
        &b"variant"[..],
        lengths.as_flattened(),
        names,
        values,
        key.url(),
        key.inputs(),
    ];
    fingerprint(parts.into_iter())
}

/// The name of the variant that is for this request; None when nobody can say.
pub fn variant_for(key: &Key, names: &[u8], request: &(impl Lines + ?Sized)) -> Option<u128> {
    let values = vary::values(names, request)?;
    Some(variant(key, names, &values))
}

/// What to write for an entry: names, and what lies under them.
pub fn write(entry: &Entry, life: &Life, rule: u32, made: Position) -> Vec<(u128, Vec<u8>)> {
    let Some(key) = entry.key() else {
        return Vec::new();
    };
    let bytes = sealed(b'e', made, &wire::write(entry, life, rule, true));
    if entry.vary().is_empty() {
        return vec![(name(&key), bytes)];
    }
    let names = sealed(b'n', made, entry.vary());
    let own = variant(&key, entry.vary(), entry.vary_values());
    vec![(own, bytes), (name(&key), names)]
}

fn sealed(kind: u8, made: Position, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 48);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.push(kind);
    out.extend_from_slice(&made.epoch.to_le_bytes());
    out.extend_from_slice(&made.seq.to_le_bytes());
    out.extend_from_slice(content);
    let sum = checksum(out.get(16..).unwrap_or_default());
    if let Some(place) = out.get_mut(8..16) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    out
}

/// The kind, the position and the content of something whole.
fn opened(bytes: &[u8]) -> Option<(u8, Position, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*sum) == checksum(rest)).then_some(())?;
    let (&kind, rest) = rest.split_first()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let made = Position {
        epoch: u64::from_le_bytes(*epoch),
        seq: u64::from_le_bytes(*seq),
    };
    Some((kind, made, rest))
}

/// Reads what lies under the name of a key or of a variant; None for whatever is not whole, or not of
/// this key.
pub fn read(bytes: &[u8], key: &Key, now: Time) -> Option<(Position, Item)> {
    let (kind, made, content) = opened(bytes)?;
    let item = match kind {
        b'e' => Item::Entry(Box::new(wire::read_for(content, key, now)?)),
        b'n' if vary::are_names(content) => Item::Names(content.to_vec()),
        _ => return None,
    };
    Some((made, item))
}

/// Whether an entry answers a request: a name is not proof.
pub fn is_for(entry: &Entry, request: &(impl Lines + ?Sized)) -> bool {
    let names = entry.vary();
    names.is_empty() || vary::values(names, request).is_some_and(|own| own == entry.vary_values())
}

/// Writes a purge.
pub fn write_purge(order: &PurgeOrder) -> Vec<u8> {
    let mut out = Vec::new();
    let optional = |out: &mut Vec<u8>, host: &Option<Vec<u8>>| match host {
        Some(host) => {
            out.push(1);
            push(out, host);
        }
        None => out.push(0),
    };
    match &order.purge {
        Purge::Url(key) => {
            out.push(b'u');
            push(&mut out, key.url());
        }
        Purge::Path { host, path } => {
            out.push(b'p');
            optional(&mut out, host);
            push(&mut out, path);
        }
        Purge::Prefix { host, path } => {
            out.push(b'b');
            optional(&mut out, host);
            push(&mut out, path);
        }
        Purge::Host(host) => {
            out.push(b'h');
            push(&mut out, host);
        }
        Purge::Tag(tag) => {
            out.push(b't');
            push(&mut out, tag);
        }
        Purge::Several(several) => {
            out.push(b's');
            push(&mut out, several.bytes());
        }
        Purge::Everything => out.push(b'a'),
    }
    let kind = if order.soft { b's' } else { b'h' };
    let by = Position {
        epoch: order.by,
        seq: 0,
    };
    sealed(kind, by, &out)
}

/// Reads a purge; None for what is none.
pub fn read_purge(bytes: &[u8]) -> Option<PurgeOrder> {
    let (kind, by, content) = opened(bytes)?;
    let soft = match kind {
        b's' => true,
        b'h' => false,
        _ => return None,
    };
    let (word, rest) = content.split_first()?;
    let host = |rest| -> Option<(Option<Vec<u8>>, &[u8])> {
        let (host, rest) = crate::key::take_optional(rest)?;
        Some((host.map(<[u8]>::to_vec), rest))
    };
    let (purge, rest) = match word {
        b'u' => {
            let (url, rest) = take(rest)?;
            (Purge::Url(Key::from_parts(url, b"")?), rest)
        }
        b'p' | b'b' => {
            let (host, rest) = host(rest)?;
            let (path, rest) = take(rest)?;
            let path = path.to_vec();
            let purge = match word {
                b'p' => Purge::Path { host, path },
                _ => Purge::Prefix { host, path },
            };
            (purge, rest)
        }
        b'h' => take(rest).map(|(host, rest)| (Purge::Host(host.to_vec()), rest))?,
        b't' => take(rest).map(|(tag, rest)| (Purge::Tag(tag.to_vec()), rest))?,
        b's' => {
            let (bits, rest) = take(rest)?;
            (Purge::Several(Several::from_bytes(bits)?), rest)
        }
        b'a' => (Purge::Everything, rest),
        _ => return None,
    };
    (rest.is_empty() && content.len() <= LONGEST_KEY * 2).then_some(PurgeOrder {
        purge,
        soft,
        by: by.epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Scheme;

    #[test]
    fn purges_are_read_back_and_every_cut_or_changed_one_refused() {
        let key = Key::new(Scheme::Https, b"a.org", b"/x", Some(b"b=1"));
        let host = Some(b"a.org".to_vec());
        let path = b"/x".to_vec();
        for purge in [
            Purge::Url(key),
            Purge::Path {
                host: host.clone(),
                path: path.clone(),
            },
            Purge::Prefix { host: None, path },
            Purge::Host(b"a.org".to_vec()),
            Purge::Tag(b"tnews".to_vec()),
            Purge::Several(Several::default()),
            Purge::Everything,
        ] {
            let order = PurgeOrder {
                purge,
                soft: true,
                by: 7,
            };
            let bytes = write_purge(&order);
            assert_eq!(read_purge(&bytes), Some(order));
            for at in 0..bytes.len() {
                assert_eq!(read_purge(&bytes[..at]), None, "cut at {at}");
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert_eq!(read_purge(&changed), None, "changed at {at}");
            }
        }
    }

    #[test]
    fn a_key_and_its_variants_have_names_of_their_own() {
        let key = Key::new(Scheme::Http, b"a", b"/", None);
        let other = Key::new(Scheme::Http, b"a", b"/", Some(b""));
        assert_ne!(name(&key), name(&other));
        assert_ne!(variant(&key, b"ab", b"c"), variant(&key, b"a", b"bc"));
        assert_ne!(variant(&key, b"", b""), name(&key));
    }
}
