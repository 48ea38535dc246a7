//! Cache-Control of requests and responses (RFC 9111, section 5.2), and the targeted fields that
//! stand for it (RFC 9213): owns reading them. What follows from them is left to
//! [`crate::policy`].

use crate::lines::{Field, Lines};
use crate::structured::{self, Value};
use crate::text::{elements, is_token, seconds, trim, unquoted};

/// The field that only this cache listens to.
pub const OWN_FIELD: &str = "canter-cache-control";

/// The fields that stand for `Cache-Control`, the first one first (RFC 9213, section 2.2).
const TARGETED: [(&str, Source); 2] = [
    (OWN_FIELD, Source::Canter),
    ("cdn-cache-control", Source::Cdn),
];

/// Which field the directives came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// There was none.
    #[default]
    None,
    /// `Cache-Control`
    CacheControl,
    /// `Surrogate-Control` (of the Edge Architecture Specification)
    Surrogate,
    /// `CDN-Cache-Control`
    Cdn,
    /// `Canter-Cache-Control`
    Canter,
}

impl Source {
    /// A targeted field makes Cache-Control and Expires void (RFC 9213, section 2.2).
    pub const fn is_targeted(self) -> bool {
        matches!(self, Self::Surrogate | Self::Cdn | Self::Canter)
    }
}

/// What a response says about storing it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "directives that are there or not"
)]
pub struct ResponseControl {
    /// Where it was said.
    pub source: Source,
    /// `no-store`
    pub no_store: bool,
    /// `private`, with or without field names: a part that nobody else may see is reason enough.
    pub private: bool,
    /// `no-cache` for the whole response.
    pub no_cache: bool,
    /// The fields that `no-cache="…"` names, in lower case: they are not stored.
    pub no_cache_fields: Vec<Vec<u8>>,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `public`
    pub public: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `no-transform`
    pub no_transform: bool,
    /// `max-age`. One that cannot be read, or comes with two values, is zero (section 4.2.1).
    pub max_age: Option<u32>,
    /// `s-maxage`, read as `max-age` is.
    pub s_maxage: Option<u32>,
    /// `stale-while-revalidate` (RFC 5861, section 3)
    pub stale_while_revalidate: Option<u32>,
    /// `stale-if-error` (RFC 5861, section 4)
    pub stale_if_error: Option<u32>,
}

impl ResponseControl {
    /// Reads the field that counts for this cache.
    pub fn of(fields: &[Field<'_>]) -> Self {
        for (name, source) in TARGETED {
            if let Some(control) = targeted(fields, name, source) {
                return control;
            }
        }
        if let Some(control) = surrogate(fields) {
            return control;
        }
        let mut control = Self::default();
        for line in fields.values("cache-control") {
            control.source = Source::CacheControl;
            for element in elements(line) {
                control.note(element);
            }
        }
        control
    }

    /// Whether serving it stale is forbidden (RFC 9111, section 4.2.4); `s-maxage` says so as well
    /// (section 5.2.2.10).
    pub const fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }

    /// Whether the answer to a request with Authorization may be shared (section 3.5).
    pub const fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// A directive that restricts is believed however it is written; one that permits only when it
    /// is written well.
    fn note(&mut self, element: &[u8]) {
        let (name, argument) = split(element);
        let name = name.to_ascii_lowercase();
        let flag = argument.is_none();
        match name.as_slice() {
            b"no-store" => self.no_store = true,
            b"private" => self.private = true,
            b"no-cache" => self.note_no_cache(argument),
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = flag,
            b"no-transform" => self.no_transform = true,
            b"public" => self.public |= flag,
            b"max-age" => self.max_age = Some(lifetime(self.max_age, argument)),
            b"s-maxage" => self.s_maxage = Some(lifetime(self.s_maxage, argument)),
            b"stale-while-revalidate" => {
                self.stale_while_revalidate = Some(lifetime(self.stale_while_revalidate, argument));
            }
            b"stale-if-error" => {
                self.stale_if_error = Some(lifetime(self.stale_if_error, argument));
            }
            _ => {}
        }
    }

    fn note_no_cache(&mut self, argument: Option<&[u8]>) {
        let names = argument.and_then(unquoted);
        let names = names.as_deref().map(|list| elements(list).collect());
        match names {
            Some(names) if is_names(&names) => self
                .no_cache_fields
                .extend(names.iter().map(|name| name.to_ascii_lowercase())),
            _ => self.no_cache = true,
        }
    }
}

fn is_names(names: &Vec<&[u8]>) -> bool {
    !names.is_empty() && names.iter().all(|name| is_token(name))
}

/// A directive's name and what stands behind its `=`.
fn split(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = element.iter().position(|&byte| byte == b'=') else {
        // `private field` is no directive of the grammar, and meant as one.
        let name = element.split(|&byte| !crate::text::is_token_byte(byte));
        return (name.into_iter().next().unwrap_or_default(), None);
    };
    let (name, rest) = element.split_at(at);
    (trim(name), Some(rest.get(1..).unwrap_or_default()))
}

/// Zero for what cannot be read and for a second, different value: stale is always allowed
/// (RFC 9111, section 4.2.1).
fn lifetime(before: Option<u32>, argument: Option<&[u8]>) -> u32 {
    let value = argument
        .and_then(unquoted)
        .and_then(|digits| seconds(&digits))
        .unwrap_or(0);
    if before.is_some_and(|before| before != value) {
        0
    } else {
        value
    }
}

/// A targeted field, when it is there, well formed and not empty (RFC 9213, section 2.1): one that
/// is not counts as absent as a whole.
fn targeted(fields: &[Field<'_>], name: &str, source: Source) -> Option<ResponseControl> {
    let mut lines = fields.values(name);
    let mut joined = lines.next()?.to_vec();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line);
    }
    let members = structured::dictionary(&joined).filter(|members| !members.is_empty())?;
    let mut control = ResponseControl {
        source,
        ..ResponseControl::default()
    };
    for (key, value) in members {
        let is_set = value != Value::False;
        let count = match value {
            Value::Integer(count) => u32::try_from(count).ok(),
            _ => None,
        };
        let saturated = match value {
            Value::Integer(count) if count > i64::from(crate::text::MOST_SECONDS) => {
                Some(crate::text::MOST_SECONDS)
            }
            _ => count,
        };
        let place = match key.as_slice() {
            b"max-age" => &mut control.max_age,
            b"s-maxage" => &mut control.s_maxage,
            b"stale-while-revalidate" => &mut control.stale_while_revalidate,
            b"stale-if-error" => &mut control.stale_if_error,
            other => {
                control.set_flag(other, is_set);
                continue;
            }
        };
        // A value of another type makes the field one that cannot be understood.
        *place = Some(saturated?);
    }
    Some(control)
}

impl ResponseControl {
    fn set_flag(&mut self, name: &[u8], is_set: bool) {
        match name {
            b"no-store" => self.no_store = is_set,
            b"private" => self.private = is_set,
            b"no-cache" => self.no_cache = is_set,
            b"must-revalidate" => self.must_revalidate = is_set,
            b"proxy-revalidate" => self.proxy_revalidate = is_set,
            b"public" => self.public = is_set,
            b"must-understand" => self.must_understand = is_set,
            b"no-transform" => self.no_transform = is_set,
            _ => {}
        }
    }
}

/// `Surrogate-Control: max-age=3600+600, content="ESI/1.0"`: the grace behind the plus is what is
/// now called stale-while-revalidate. Without `max-age` or `no-store` it says nothing here.
fn surrogate(fields: &[Field<'_>]) -> Option<ResponseControl> {
    let mut control = ResponseControl {
        source: Source::Surrogate,
        ..ResponseControl::default()
    };
    for line in fields.values("surrogate-control") {
        for element in elements(line) {
            // `;for` names one surrogate among several, which is never this one.
            if element.contains(&b';') {
                continue;
            }
            let (name, argument) = split(element);
            if name.eq_ignore_ascii_case(b"no-store")
                || name.eq_ignore_ascii_case(b"no-store-remote")
            {
                control.no_store = true;
            } else if name.eq_ignore_ascii_case(b"max-age") {
                let argument = argument.unwrap_or_default();
                let mut parts = argument.splitn(2, |&byte| byte == b'+');
                control.max_age = Some(lifetime(control.max_age, parts.next()));
                control.stale_while_revalidate = parts.next().and_then(seconds);
            } else {
                control.note(element);
            }
        }
    }
    (control.no_store || control.max_age.is_some()).then_some(control)
}

/// What a request says about the cache (RFC 9111, section 5.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "directives that are there or not"
)]
pub struct RequestControl {
    /// `no-cache`, or `Pragma: no-cache` where there is no Cache-Control (section 5.4).
    pub no_cache: bool,
    /// `no-store`
    pub no_store: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Option<u32>,
    /// `min-fresh`
    pub min_fresh: Option<u32>,
    /// `max-stale`; without an argument any age will do.
    pub max_stale: Option<u32>,
    /// Whether there was a Cache-Control at all.
    pub is_there: bool,
}

impl RequestControl {
    /// Reads it. Directives that nobody knows, and values that cannot be read, say nothing.
    pub fn of(lines: &(impl Lines + ?Sized)) -> Self {
        let mut control = Self::default();
        for line in lines.values("cache-control") {
            control.is_there = true;
            for element in elements(line) {
                control.note(element);
            }
        }
        if !control.is_there {
            control.no_cache = lines
                .values("pragma")
                .flat_map(elements)
                .any(|element| element.eq_ignore_ascii_case(b"no-cache"));
        }
        control
    }

    fn note(&mut self, element: &[u8]) {
        let (name, argument) = split(element);
        let name = name.to_ascii_lowercase();
        let count = argument
            .and_then(unquoted)
            .and_then(|digits| seconds(&digits));
        match name.as_slice() {
            b"no-cache" => self.no_cache = true,
            b"no-store" => self.no_store = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = count.or(self.max_age),
            b"min-fresh" => self.min_fresh = count.or(self.min_fresh),
            b"max-stale" if argument.is_none() => {
                self.max_stale = Some(crate::text::MOST_SECONDS);
            }
            b"max-stale" => self.max_stale = count.or(self.max_stale),
            _ => {}
        }
    }
}
