//! A 304 from the app: owns what of it goes into the stored response (RFC 9111, sections 3.2 and
//! 4.3.4).

use canter_http::date::format_date;
use canter_http::etag::EntityTag;

use super::{Answer, Asked, store};
use crate::block::{read_block, read_lines};
use crate::entry::Entry;
use crate::life::Life;
use crate::lines::{Field, Lines};
use crate::reason::Reason;
use crate::rule::{Rule, Settings};

/// What a 304 comes to.
#[derive(Debug)]
pub enum Freshened {
    /// Put this in place of what is stored.
    Updated(Box<Entry>, Life),
    /// It may not be kept any longer: the stored body answers this request, and is then dropped.
    Refused(Reason),
    /// It is not about what is stored: drop that and ask again, without validators.
    Mismatch,
}

/// Fields that describe the stored content and not the moment.
const KEPT: [&str; 5] = [
    "content-length",
    "content-encoding",
    "content-range",
    "transfer-encoding",
    "trailer",
];

/// Merges a 304 into what is stored, and judges the result as if it had just come.
pub fn freshen<L: Lines + ?Sized>(
    entry: &Entry,
    asked: &Asked<'_, L>,
    answer: &Answer<'_>,
    rule: Option<&Rule>,
    settings: &Settings,
    seed: u64,
) -> Freshened {
    let (Some((_, reason, block)), Some(key)) = (read_block(entry.block()), entry.key()) else {
        return Freshened::Mismatch;
    };
    let own_tag = entry.validators().if_none_match;
    if !is_about(own_tag, answer.fields) {
        return Freshened::Mismatch;
    }
    let date = format_date(answer.received.seconds());
    let mut fields: Vec<Field<'_>> = Vec::with_capacity(block.len() + answer.fields.len() + 2);
    let origin = read_lines(entry.origin()).unwrap_or_default();
    let is_replaced = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        answer.fields.has(&name) && !KEPT.contains(&name.as_str())
    };
    let in_origin = |name: &[u8]| {
        let is = |(own, _): &Field<'_>| own.eq_ignore_ascii_case(name);
        origin.iter().any(is)
    };
    let stored = block.iter().filter(|(name, _)| !in_origin(name));
    fields.extend(
        stored
            .chain(&origin)
            .filter(|(name, _)| !is_replaced(name) && !name.eq_ignore_ascii_case(b"date")),
    );
    fields.extend(answer.fields.iter().filter(|(name, _)| {
        !KEPT
            .iter()
            .any(|kept| name.eq_ignore_ascii_case(kept.as_bytes()))
    }));
    if !answer.fields.has("date") {
        fields.push((b"Date", &date));
    }
    if let Some(tag) = own_tag.filter(|_| !answer.fields.has("etag")) {
        fields.push((b"ETag", tag));
    }
    let merged = Answer {
        status: entry.status(),
        reason,
        fields: &fields,
        ..*answer
    };
    let plan = match store(asked, &key, &merged, rule, settings, seed) {
        Ok(plan) => plan,
        Err(reason) => return Freshened::Refused(reason),
    };
    let life = plan.life;
    match plan.into_entry(&key, entry.body().clone()) {
        Ok(mut updated) => {
            for (coding, form) in entry.forms().iter() {
                updated = updated.with_form(coding, form.clone());
            }
            Freshened::Updated(Box::new(updated), life)
        }
        Err(reason) => Freshened::Refused(reason),
    }
}

/// A 304 with a strong tag that is not the stored one speaks of something else (section 4.3.4).
fn is_about(own: Option<&[u8]>, fields: &[Field<'_>]) -> bool {
    let told = fields.value_of("etag").and_then(EntityTag::parse);
    let own = own.and_then(EntityTag::parse);
    match (own, told) {
        (Some(own), Some(told)) => own.is_like(&told) || told.is_weak,
        _ => true,
    }
}
