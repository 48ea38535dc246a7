//! Keeping a response: owns what may be stored and shared, decided from its head alone
//! (RFC 9111, section 3), so that requests that wait for it know at once whether it is for them.
//! Lines of the kind "never" hold whatever a page rule says.

use canter_http::Method;
use canter_http::etag::EntityTag;
use canter_http::media_type::media_type;
use canter_http::status::reason_phrase;

use super::Asked;
use crate::block::{Edits, is_for_the_cache, line, write_block};
use crate::body::Body;
use crate::directives::ResponseControl;
use crate::entry::{Blob, Entry};
use crate::hash::fingerprint;
use crate::key::{Key, UrlParts};
use crate::life::{self, Life};
use crate::lines::{Field, Lines};
use crate::reason::Reason;
use crate::rule::{Mode, Rule, Settings, is_transient};
use crate::tags;
use crate::text::{MOST_SECONDS, elements, is_token};
use crate::time::Time;
use crate::vary::Names;

/// The head of an app's answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its reason phrase; may be empty.
    pub reason: &'a [u8],
    /// Its fields, as the app gave them.
    pub fields: &'a [Field<'a>],
    /// When the app was asked.
    pub asked: Time,
    /// When the head came.
    pub received: Time,
}

/// How a response is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its age and future.
    pub life: Life,
    /// Which page rule it came under; zero for none.
    pub rule: u32,
    status: u16,
    names: Names,
    values: Vec<u8>,
    etag: Vec<u8>,
    block: Vec<u8>,
    origin: Vec<u8>,
    tags: Vec<Vec<u8>>,
    length: Option<u64>,
    largest_body: u64,
}

impl Plan {
    /// The largest body it may have; what is longer is not to be collected.
    pub fn largest_body(&self) -> u64 {
        self.largest_body
    }

    /// The same with the tags of its page rule.
    #[must_use]
    pub fn with_tags(mut self, names: &[Vec<u8>]) -> Self {
        self.tags
            .extend(names.iter().map(|name| tags::site_tag(name)));
        self.tags.sort_unstable();
        self.tags.dedup();
        self
    }

    /// Makes the entry, now that the whole body is there.
    pub fn into_entry(self, key: &Key, body: Body) -> Result<Entry, Reason> {
        if self.length.is_some_and(|length| length != body.len()) {
            return Err(Reason::Incomplete);
        }
        if body.len() > self.largest_body {
            return Err(Reason::TooLarge);
        }
        let made = self.etag.is_empty() && self.status == 200 && !body.is_empty();
        let etag = if made {
            format!("\"{:032x}\"", fingerprint(body.chunks())).into_bytes()
        } else {
            self.etag
        };
        let blob = Blob {
            url: key.url(),
            inputs: key.inputs(),
            names: self.names.as_bytes(),
            values: &self.values,
            tags: &tags::write(&self.tags),
            etag: &etag,
            origin: &self.origin,
            block: &self.block,
        };
        Ok(Entry::new(self.status, &blob, made, body))
    }
}

/// Decides whether an answer may be kept and shared. The key is that of the request; `seed` spreads
/// lifetimes and may be any number.
pub fn store<L: Lines + ?Sized>(
    asked: &Asked<'_, L>,
    key: &Key,
    answer: &Answer<'_>,
    rule: Option<&Rule>,
    settings: &Settings,
    seed: u64,
) -> Result<Plan, Reason> {
    let fields = answer.fields;
    let control = ResponseControl::of(fields);
    request_allows(asked, &control, settings)?;
    response_allows(answer, &control, settings)?;
    let names = Names::of(fields, asked.settled)?;
    let values = names.values(asked.lines)?;
    let life = lifetime(answer, &control, rule, settings, seed)?;
    if disagrees(asked.path, fields) {
        return Err(Reason::TypeMismatch);
    }
    if key.is_too_long() {
        return Err(Reason::KeyTooLarge);
    }
    let etag = own_tag(fields);
    is_useful(&life, &etag, &control, answer)?;
    let browser = rule
        .and_then(|rule| rule.browser_ttl)
        .map(|ttl| format!("max-age={ttl}"));
    let edits = Edits {
        without: &control.no_cache_fields,
        browser: browser.as_deref(),
    };
    let block = write_block(answer.status, answer.reason, fields, edits, answer.received);
    if block.len() > settings.largest_head {
        return Err(Reason::HeadTooLarge);
    }
    let length = fields.value_of("content-length");
    let length = length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    if length.is_some_and(|length| length > settings.largest_body) {
        return Err(Reason::TooLarge);
    }
    let url = UrlParts::read(key.url()).ok_or(Reason::KeyTooLarge)?;
    Ok(Plan {
        life,
        rule: rule.map_or(0, |rule| rule.id),
        status: answer.status,
        names,
        values,
        etag,
        block,
        origin: origin(fields, browser.is_some()),
        tags: tags::of(fields, &url).ok_or(Reason::TooManyTags)?,
        length,
        largest_body: settings.largest_body,
    })
}

/// Why an answer under no page rule is not kept, where the names of its fields tell: it does not say
/// for how long it is fresh, nor anything else that [`store`] looks for. None: ask [`store`].
///
/// Most answers of most apps end here, and nothing is built for them. `is_authorized` says that the
/// request had `Authorization`.
pub fn says_nothing<'a>(
    method: Method,
    is_authorized: bool,
    status: u16,
    mut fields: impl Iterator<Item = Field<'a>>,
    settings: &Settings,
) -> Option<Reason> {
    if method != Method::Get {
        return Some(Reason::Method);
    }
    let is_usual = !matches!(status, 0..=199 | 206 | 304) && status <= 999;
    let guesses = settings.heuristics || settings.obey_clients || settings.debug;
    if guesses || !is_usual || fields.any(|(name, value)| matters(name, value)) {
        return None;
    }
    Some(if is_authorized {
        Reason::Authorization
    } else if is_transient(status) {
        Reason::Status
    } else {
        Reason::NoFreshness
    })
}

/// Whether a field may make another reason of [`Reason::NoFreshness`], or none. By length first: the
/// names of most fields are not even compared.
fn matters(name: &[u8], value: &[u8]) -> bool {
    let is = |names: &[&str]| {
        let mut names = names.iter();
        names.any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    };
    match name.len() {
        4 => is(&["vary"]) && !is_plain_list(value),
        7 => is(&["expires"]),
        10 => is(&["set-cookie", "x-sendfile"]),
        13 => is(&["cache-control", "content-range"]),
        16 => is(&["x-accel-redirect"]),
        17 => is(&["cdn-cache-control", "surrogate-control"]),
        20 => is(&["canter-cache-control"]),
        23 => is(&["content-security-policy"]),
        35 => is(&["content-security-policy-report-only"]),
        _ => false,
    }
}

/// Few names that may select a stored response.
fn is_plain_list(value: &[u8]) -> bool {
    let mut count = 0;
    elements(value).all(|element| {
        count += 1;
        count <= 8
            && element.len() <= 64
            && is_token(element)
            && !element.contains(&b'*')
            && !element.eq_ignore_ascii_case(b"user-agent")
    })
}

fn request_allows<L: Lines + ?Sized>(
    asked: &Asked<'_, L>,
    control: &ResponseControl,
    settings: &Settings,
) -> Result<(), Reason> {
    // An answer to HEAD lacks the body; whoever fills from it asks with GET.
    if asked.method != Method::Get {
        return Err(Reason::Method);
    }
    if asked.has_body {
        return Err(Reason::RequestBody);
    }
    if asked.wants_upgrade {
        return Err(Reason::Upgrade);
    }
    if asked.is_personal {
        return Err(Reason::SessionCookie);
    }
    if asked.is_authorized() && !control.allows_authorized() {
        return Err(Reason::Authorization);
    }
    let wishes = crate::directives::RequestControl::of(asked.lines);
    if settings.obey_clients && wishes.no_store {
        return Err(Reason::RequestNoStore);
    }
    Ok(())
}

/// What the response itself rules out, for ever and for every rule.
fn response_allows(
    answer: &Answer<'_>,
    control: &ResponseControl,
    settings: &Settings,
) -> Result<(), Reason> {
    let fields = answer.fields;
    let understood = !reason_phrase(answer.status).is_empty();
    if matches!(answer.status, 0..=199 | 304) || answer.status > 999 {
        return Err(Reason::StatusNever);
    }
    if answer.status == 206 || fields.values("content-range").any(names_a_part) {
        return Err(Reason::Partial);
    }
    // Set-Cookie2 is nobody's any more (RFC 6265, section 1).
    if fields.has("set-cookie") {
        return Err(Reason::SetCookie);
    }
    if control.private {
        return Err(Reason::Private);
    }
    if control.must_understand && !understood {
        return Err(Reason::MustUnderstand);
    }
    // Who understands the status may ignore it (RFC 9111, section 5.2.2.3).
    if control.no_store && !control.must_understand {
        return Err(Reason::NoStore);
    }
    if fields.has("x-sendfile") || fields.has("x-accel-redirect") {
        return Err(Reason::Pointer);
    }
    if settings.debug {
        return Err(Reason::Debug);
    }
    if !settings.store_nonces && has_nonce(fields) {
        return Err(Reason::CspNonce);
    }
    Ok(())
}

/// With another status than 206 the field means nothing (RFC 9110, section 14.4). Where it names a
/// part all the same, the app forgot the status.
fn names_a_part(value: &[u8]) -> bool {
    let unit = value.split_at_checked(5);
    unit.is_some_and(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes"))
}

fn has_nonce(fields: &[Field<'_>]) -> bool {
    [
        "content-security-policy",
        "content-security-policy-report-only",
    ]
    .into_iter()
    .flat_map(|name| fields.values(name))
    .any(|value| {
        value
            .windows(7)
            .any(|part| part.eq_ignore_ascii_case(b"'nonce-"))
    })
}

/// For how long, and who says so.
fn lifetime(
    answer: &Answer<'_>,
    control: &ResponseControl,
    rule: Option<&Rule>,
    settings: &Settings,
    seed: u64,
) -> Result<Life, Reason> {
    let fields = answer.fields;
    let of_rule = rule
        .filter(|rule| rule.mode != Mode::Bypass)
        .and_then(|rule| rule.ttl_of(answer.status));
    let overrides = rule.is_some_and(|rule| rule.mode == Mode::Override);
    let stated = control.s_maxage.or(control.max_age).or_else(|| {
        let void = control.source.is_targeted();
        (!void).then(|| life::expires(fields, answer.received))?
    });
    let mut life = Life {
        received: answer.received,
        initial_age: life::initial_age(fields, answer.asked, answer.received),
        lifetime: 0,
        while_revalidate: control.stale_while_revalidate.unwrap_or(0),
        if_error: control.stale_if_error.unwrap_or(settings.stale_if_error),
        never_stale: control.forbids_stale(),
        always_validate: control.no_cache,
        allows_authorized: control.allows_authorized(),
        ..Life::default()
    };
    let ruled = of_rule.filter(|_| !control.no_cache && (overrides || stated.is_none()));
    if let (Some(ttl), Some(rule)) = (ruled, rule) {
        life.by_rule = true;
        // Counted from now on, and the age told is the true one.
        let ttl = jittered(ttl, settings.jitter_percent, seed);
        life.lifetime = ttl.saturating_add(life.initial_age).min(MOST_SECONDS);
        let grace = rule.grace.or(control.stale_while_revalidate);
        life.while_revalidate = grace.unwrap_or(settings.grace);
        let on_error = rule.stale_if_error.or(control.stale_if_error);
        life.if_error = on_error.unwrap_or(settings.stale_if_error);
        // The owner's word stands above what the app said about lifetimes, all of it.
        life.never_stale &= !overrides;
        return Ok(life);
    }
    life.lifetime = match stated {
        Some(stated) => stated,
        None if control.no_cache => 0,
        None if may_guess(answer.status, control, settings) => {
            life::heuristic(fields, answer.received).ok_or(Reason::NoFreshness)?
        }
        None if is_transient(answer.status) => return Err(Reason::Status),
        None => return Err(Reason::NoFreshness),
    };
    if let Some(rule) = rule {
        let grace = rule
            .grace
            .filter(|_| control.stale_while_revalidate.is_none());
        life.while_revalidate = grace.unwrap_or(life.while_revalidate);
        let on_error = rule
            .stale_if_error
            .filter(|_| control.stale_if_error.is_none());
        life.if_error = on_error.unwrap_or(life.if_error);
    }
    Ok(life)
}

/// Statuses for which a lifetime may be guessed (RFC 9110, section 15.1), and any other that the
/// app calls public (RFC 9111, section 4.2.2).
fn may_guess(status: u16, control: &ResponseControl, settings: &Settings) -> bool {
    let usual = matches!(
        status,
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    );
    settings.heuristics && (usual || control.public)
}

fn jittered(ttl: u32, percent: u8, seed: u64) -> u32 {
    let most = u64::from(ttl) * u64::from(percent.min(100)) / 100;
    let less = if most == 0 { 0 } else { seed % (most + 1) };
    ttl.saturating_sub(u32::try_from(less).unwrap_or(0)).max(1)
}

/// Cache deception: a page rule that covers `/account/` also covers `/account/x.css`, which the app
/// may answer with the account. What looks like a file and is a page is not kept.
fn disagrees(path: &[u8], fields: &[Field<'_>]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else {
        return false;
    };
    let Some(extension) = name
        .get(dot..)
        .and_then(|ext| std::str::from_utf8(ext).ok())
    else {
        return false;
    };
    let expected = media_type(&format!("x{}", extension.to_ascii_lowercase()));
    if expected.starts_with("application/octet-stream") {
        return false;
    }
    let stated = fields.value_of("content-type").unwrap_or_default();
    let essence = |text: &[u8]| {
        let end = text.iter().position(|&byte| byte == b';');
        let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        crate::text::trim(text).to_ascii_lowercase()
    };
    let (expected, stated) = (essence(expected.as_bytes()), essence(stated));
    let is_page = |kind: &[u8]| kind == b"text/html" || kind == b"application/xhtml+xml";
    // Scripts, styles and data have several names each; pages are what must not hide behind them.
    is_page(&stated) && !is_page(&expected)
}

/// The app's entity tag, when it is one.
fn own_tag(fields: &[Field<'_>]) -> Vec<u8> {
    let mut values = fields.values("etag");
    let first = values
        .next()
        .filter(|value| EntityTag::parse(value).is_some());
    let alone = values.next().is_none();
    first.filter(|_| alone).unwrap_or_default().to_vec()
}

/// What is never fresh must be good for something else.
fn is_useful(
    life: &Life,
    etag: &[u8],
    control: &ResponseControl,
    answer: &Answer<'_>,
) -> Result<(), Reason> {
    // A date says less than a tag about whose page it was.
    if life.always_validate && etag.is_empty() {
        return Err(Reason::NoCache);
    }
    let now = answer.received;
    let validator = !etag.is_empty() || life::date(answer.fields, "last-modified", now).is_some();
    let grace = control.stale_while_revalidate.max(control.stale_if_error);
    let useful = life.may_serve_stale(now, grace.unwrap_or(0));
    if life.is_fresh(now) || validator || useful {
        return Ok(());
    }
    Err(Reason::AlreadyStale)
}

/// What the app said about storing that the block does not have: needed again when it says with a
/// 304 that this still holds.
fn origin(fields: &[Field<'_>], browser: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        let replaced = browser
            && [&b"cache-control"[..], b"expires"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own));
        if replaced || is_for_the_cache(name) {
            line(&mut out, name, value);
        }
    }
    out
}
