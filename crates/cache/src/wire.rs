//! Entries as bytes, for the tiers below memory: owns the format, and refusing whatever is not
//! whole. Files and sockets are left to others.
//!
//! What is read may have been written by an older release, cut by a full disk, or put there by
//! somebody else. So everything that later code relies on is checked here: the checksum, every
//! length, and that the fields are such as [`crate::policy::store()`] would have kept. Numbers are
//! little-endian.

use canter_http::coding::Coding;
use canter_http::etag::EntityTag;

use crate::block::{Edits, read_block, read_lines, stored};
use crate::body::Body;
use crate::entry::{Blob, Entry};
use crate::hash::checksum;
use crate::key::{Key, LONGEST_KEY, LONGEST_URL, UrlParts, push, take};
use crate::life::Life;
use crate::text::MOST_SECONDS;
use crate::time::Time;
use crate::vary::is_selection;

/// Begins every entry; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"canter\0\x01";

/// How far ahead the clock of whoever wrote an entry may be, in seconds.
const CLOCKS_DIFFER: u64 = 60;

/// An entry that was read.
#[derive(Debug)]
pub struct Stored {
    /// The response.
    pub entry: Entry,
    /// Its age and future.
    pub life: Life,
    /// Which page rule it came under.
    pub rule: u32,
}

/// Writes an entry. Encoded forms go with it when `with_forms` says so.
pub fn write(entry: &Entry, life: &Life, rule: u32, with_forms: bool) -> Vec<u8> {
    let size = entry.cost() + 128;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&rule.to_le_bytes());
    write_life(&mut out, life);
    out.extend_from_slice(&entry.status().to_le_bytes());
    out.push(u8::from(entry.has_made_tag()));
    for part in entry.blob().parts() {
        push(&mut out, part);
    }
    write_body(&mut out, entry.body());
    for (coding, body) in entry.forms().iter().filter(|_| with_forms) {
        out.push(coding_byte(coding));
        write_body(&mut out, body);
    }
    seal(&mut out);
    out
}

/// Writes the checksum to its place in an entry.
#[doc(hidden)]
pub fn seal(bytes: &mut [u8]) {
    let sum = checksum(bytes.get(16..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(8..16) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Reads an entry; None for whatever is not one, or not to be believed at this time. It is the
/// caller's to compare the key with the one that was asked for, as with `of`.
pub fn read(bytes: &[u8], now: Time) -> Option<Stored> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*sum) != checksum(rest) {
        return None;
    }
    let (rule, rest) = rest.split_first_chunk::<4>()?;
    let (life, rest) = read_life(rest, now)?;
    let (status, rest) = rest.split_first_chunk::<2>()?;
    let status = u16::from_le_bytes(*status);
    let (&made_tag, mut rest) = rest.split_first()?;
    let mut parts = [&b""[..]; 8];
    for part in &mut parts {
        (*part, rest) = take(rest)?;
    }
    let [url, inputs, names, values, tags, etag, origin, block] = parts;
    let blob = Blob {
        url,
        inputs,
        names,
        values,
        tags,
        etag,
        origin,
        block,
    };
    is_sound(&blob, status, made_tag).then_some(())?;
    let (body, mut rest) = read_body(rest)?;
    let mut entry = Entry::new(status, &blob, made_tag == 1, body);
    while let Some((&byte, after)) = rest.split_first() {
        let coding = Coding::ENCODED
            .into_iter()
            .find(|&coding| coding_byte(coding) == byte)?;
        let (form, after) = read_body(after)?;
        if entry.is_encoded() || entry.forms().get(coding).is_some() {
            return None;
        }
        entry = entry.with_form(coding, form);
        rest = after;
    }
    Some(Stored {
        entry,
        life,
        rule: u32::from_le_bytes(*rule),
    })
}

/// The URL side of the key and the tags of an entry whose first bytes these are; None when they are too
/// few or not of one. Nothing of it is believed: it serves to find what may be meant by a purge.
pub fn peek(bytes: &[u8]) -> Option<(&[u8], impl Iterator<Item = &[u8]>)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let mut rest = rest.get(8 + 4 + LIFE + 2 + 1..)?;
    let mut parts = [&b""[..]; 5];
    for part in &mut parts {
        (*part, rest) = take(rest)?;
    }
    let [url, _, _, _, tags] = parts;
    Some((url, crate::tags::each(tags)))
}

/// Reads an entry that must be the one for this key.
pub fn read_for(bytes: &[u8], key: &Key, now: Time) -> Option<Stored> {
    let stored = read(bytes, now)?;
    let entry = &stored.entry;
    (entry.url() == key.url() && entry.inputs() == key.inputs()).then_some(stored)
}

/// Whether the parts are such as are made here.
fn is_sound(blob: &Blob<'_>, status: u16, made_tag: u8) -> bool {
    let Some((stated, _, fields)) = read_block(blob.block) else {
        return false;
    };
    let kept = stored(&fields, Edits::default()).count();
    let mut tags = blob.tags;
    while !tags.is_empty() {
        let Some((_, rest)) = take(tags) else {
            return false;
        };
        tags = rest;
    }
    stated == status
        && !matches!(status, 206 | 304)
        && made_tag <= 1
        && kept == fields.len()
        && UrlParts::read(blob.url).is_some()
        && blob.url.len() <= LONGEST_URL
        && blob.url.len() + blob.inputs.len() <= LONGEST_KEY
        && is_selection(blob.names, blob.values)
        && (blob.etag.is_empty() || EntityTag::parse(blob.etag).is_some())
        && read_lines(blob.origin).is_some()
}

fn coding_byte(coding: Coding) -> u8 {
    match coding {
        Coding::Identity => b'i',
        Coding::Gzip => b'g',
        Coding::Brotli => b'b',
        Coding::Zstd => b'z',
    }
}

fn write_body(out: &mut Vec<u8>, body: &Body) {
    out.extend_from_slice(&body.len().to_le_bytes());
    for chunk in body.chunks() {
        out.extend_from_slice(chunk);
    }
}

fn read_body(bytes: &[u8]) -> Option<(Body, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let (body, rest) = rest.split_at_checked(len)?;
    Some((Body::new(body.to_vec()), rest))
}

const NEVER_STALE: u8 = 1;
const ALWAYS_VALIDATE: u8 = 2;
const ALLOWS_AUTHORIZED: u8 = 4;
const BY_RULE: u8 = 8;
const EXPIRED: u8 = 16;

/// Bytes of a life.
const LIFE: usize = 8 + 4 * 4 + 1;

/// Failures to get another are this process's alone.
fn write_life(out: &mut Vec<u8>, life: &Life) {
    out.extend_from_slice(&life.received.millis().to_le_bytes());
    for count in [
        life.initial_age,
        life.lifetime,
        life.while_revalidate,
        life.if_error,
    ] {
        out.extend_from_slice(&count.to_le_bytes());
    }
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        flag(life.never_stale, NEVER_STALE)
            | flag(life.always_validate, ALWAYS_VALIDATE)
            | flag(life.allows_authorized, ALLOWS_AUTHORIZED)
            | flag(life.by_rule, BY_RULE)
            | flag(life.expired, EXPIRED),
    );
}

/// A time to come would make an entry that never gets old.
fn read_life(bytes: &[u8], now: Time) -> Option<(Life, &[u8])> {
    let (received, mut rest) = bytes.split_first_chunk::<8>()?;
    let received = Time::from_millis(u64::from_le_bytes(*received));
    let mut counts = [0_u32; 4];
    for count in &mut counts {
        let (number, after) = rest.split_first_chunk::<4>()?;
        *count = u32::from_le_bytes(*number);
        rest = after;
    }
    let (&flags, rest) = rest.split_first()?;
    let known = NEVER_STALE | ALWAYS_VALIDATE | ALLOWS_AUTHORIZED | BY_RULE | EXPIRED;
    let believable = received <= now.plus_seconds(CLOCKS_DIFFER)
        && counts.iter().all(|&count| count <= MOST_SECONDS)
        && flags & !known == 0;
    let [initial_age, lifetime, while_revalidate, if_error] = counts;
    let life = Life {
        received,
        initial_age,
        lifetime,
        while_revalidate,
        if_error,
        never_stale: flags & NEVER_STALE != 0,
        always_validate: flags & ALWAYS_VALIDATE != 0,
        allows_authorized: flags & ALLOWS_AUTHORIZED != 0,
        by_rule: flags & BY_RULE != 0,
        expired: flags & EXPIRED != 0,
        // What is invalidated is not written.
        invalidated: false,
        aged: false,
        failures: 0,
        retry_at: Time::default(),
    };
    believable.then_some((life, rest))
}
