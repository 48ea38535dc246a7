//! Owns turning a parsed head into the message that the app gets: who the client is, which fields
//! pass, and the request id.
//! Leaves parsing to `canter-http`, trust in peers to `forwarded`.

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use canter_base::options::ForwardedHeader;
use canter_channel::request::{Facts, Writer};
use canter_encode::{Coding, tag};
use canter_http::{Field, FieldClass, Head, KnownName, Reject, Version, target};
use canter_insight::traceparent::Context;

use crate::forwarded::{self, Client, Words};
use crate::ignored_fields::{self, Untrusted};

/// The longest request id that is taken over from a client.
const LONGEST_ID: usize = 128;

/// A number that differs each time, for what is shown to strangers: a counter under the keyed hash of
/// the standard library (`SipHash`), so that one number tells nothing of another. What opens something is
/// made by [`crate::secret`].
pub(crate) fn random() -> u64 {
    thread_local! {
        static STATE: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
    }
    STATE.with(|(keys, count)| {
        count.set(count.get().wrapping_add(1));
        keys.hash_one(count.get())
    })
}

/// A number that no other request of this process has, and hardly one of another, for a third of what
/// [`random`] costs: a counter from a random start, spread by a bijection (the finalizer of `SplitMix64`). By
/// itself it could be told from the one before.
fn apart() -> u64 {
    thread_local! {
        static COUNT: Cell<u64> = Cell::new(random());
    }
    let mut number = COUNT.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    COUNT.set(number);
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// The id of a request. Nearly all are made here, and take no memory of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// A new one.
    Ours([u8; 32]),
    /// The client's.
    Given(Box<[u8]>),
}

impl RequestId {
    /// The client's when it is harmless, else a new one.
    pub fn of(given: Option<&[u8]>) -> Self {
        if let Some(id) = given.filter(|id| is_harmless_id(id)) {
            return Self::Given(id.into());
        }
        let mut text = [0; 32];
        for (place, part) in text
            .as_chunks_mut::<16>()
            .0
            .iter_mut()
            .zip([random(), apart()])
        {
            let (high, low) = (digits((part >> 32) as u32), digits(part as u32));
            for (byte, digit) in place.iter_mut().zip(high.into_iter().chain(low)) {
                *byte = digit;
            }
        }
        Self::Ours(text)
    }
}

impl std::ops::Deref for RequestId {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Ours(id) => id,
            Self::Given(id) => id,
        }
    }
}

/// Eight hexadecimal digits, all at once: each half byte is moved to a byte of its own, and those
/// from ten on are moved up to the letters.
fn digits(number: u32) -> [u8; 8] {
    let mut halves = u64::from(number);
    halves = (halves | halves << 16) & 0x0000_FFFF_0000_FFFF;
    halves = (halves | halves << 8) & 0x00FF_00FF_00FF_00FF;
    halves = (halves | halves << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    let letters = (halves + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (halves + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

fn is_harmless_id(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@~".contains(byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(plain)
}

/// What a message is made from, beside the head.
pub(crate) struct Origin<'a> {
    /// Who asks, after trust was considered.
    pub client: &'a Client,
    /// The address that was asked, from the socket.
    pub server: &'a [u8],
    /// The port that was asked, from the socket.
    pub server_port: u16,
    /// Of this request.
    pub id: &'a [u8],
    /// The name of the field that carries the id, in lower case.
    pub id_header: &'a str,
    /// The peer is a trusted proxy: in these words it speaks of the client, and they pass to the
    /// app.
    pub trusted: Option<Words>,
    /// It came over HTTP/2.
    pub http2: bool,
    /// Conditions in place of the client's.
    pub conditions: &'a [(&'static [u8], Vec<u8>)],
    /// What is stored is to be renewed: a whole answer is wanted, whatever part or condition the client
    /// named.
    pub is_for_the_store: bool,
    /// What it says of codings and encoded forms passes through this.
    pub codings: Codings,
    /// Where it stands in a trace, where it is a part of its own there.
    pub traced: Option<Context>,
}

/// What the app is told of codings, and of forms that were made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codings {
    /// Everything as it came: nothing is encoded here.
    Pass,
    /// Tags as the app knows them; `selected` as in [`tag::towards_the_app`].
    Ours {
        /// The app is not told what the client can decode.
        hides: bool,
        /// Of `If-None-Match`.
        selected: Selected,
    },
}

/// Which forms of ours stand for the app's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selected {
    /// Every one.
    All,
    /// This one.
    One(Coding),
    /// None.
    None,
}

impl Codings {
    /// The value that the app gets of a condition; None for the one that came.
    fn condition(self, name: KnownName, value: &[u8]) -> Option<Vec<u8>> {
        let Self::Ours { selected, .. } = self else {
            return None;
        };
        match (name, selected) {
            (KnownName::IfMatch, _) | (KnownName::IfNoneMatch, Selected::All) => {
                tag::towards_the_app(value, None)
            }
            (KnownName::IfNoneMatch, Selected::One(coding)) => {
                tag::towards_the_app(value, Some(coding))
            }
            _ => None,
        }
    }

    fn hides(self) -> bool {
        matches!(self, Self::Ours { hides: true, .. })
    }
}

/// Begins the message of a request; the body follows. `path` is room for the decoded path.
///
/// # Errors
/// A path that cannot be decoded, which the head decoder has refused before.
pub(crate) fn begin<'m>(
    message: &'m mut Vec<u8>,
    buf: &[u8],
    head: &Head,
    origin: &Origin<'_>,
    path: &mut Vec<u8>,
) -> Result<Writer<'m>, Reject> {
    path.clear();
    if head.path_is_escaped {
        target::decode_path(head.path(buf), path)?;
    } else {
        path.extend_from_slice(head.path(buf));
    }
    let facts = Facts {
        method: head.method_span.of(buf),
        target: head.target_span.of(buf),
        path,
        query: head.query(buf),
        version: match head.version {
            _ if origin.http2 => 2,
            Version::Http10 => 0,
            Version::Http11 => 1,
        },
        https: origin.client.https,
        client: origin.client.address.as_bytes(),
        client_port: origin.client.port,
        server: origin.server,
        server_port: origin.server_port,
        id: origin.id,
    };
    let mut writer = Writer::new(message, &facts);
    // The host of an absolute target, where HTTP/1.0 named no other (RFC 9112, section 3.2.2).
    if !head.has(KnownName::Host) && !head.host_span.is_empty() {
        writer.field(b"host", head.host_span.of(buf), false);
    }
    let mut names = Names::of(&head.fields);
    for (at, field) in head.fields.iter().enumerate() {
        let name = field.name.of(buf);
        if !passes(field, name, origin) {
            continue;
        }
        let repeated = names.are_there(at, buf);
        if let Some(words) = origin.trusted
            && forwarded::is_list(field.known)
        {
            // All lines of it in one.
            if !repeated && let Some(ours) = forwarded::ours(head, buf, field.known, words) {
                writer.field(name, &ours, false);
            }
            continue;
        }
        if let Some(tags) = origin.codings.condition(field.known, field.value.of(buf)) {
            writer.field(name, &tags, repeated);
            continue;
        }
        let value = match field.known {
            // The proxy may have left it to the client.
            KnownName::XRealIp if repeated => continue,
            KnownName::XRealIp => origin.client.address.as_bytes(),
            _ => field.value.of(buf),
        };
        writer.field(name, value, repeated);
    }
    for (name, value) in origin.conditions {
        writer.field(name, value, false);
    }
    if let Some(context) = &origin.traced {
        writer.field(b"traceparent", context.field().as_bytes(), false);
    }
    writer.field(origin.id_header.as_bytes(), origin.id, false);
    Ok(writer)
}

/// Whether the app sees this field. Names with `_` could pose as another name in the environ, and
/// what proxies say about the client counts only from those that are trusted.
fn passes(field: &Field, name: &[u8], origin: &Origin<'_>) -> bool {
    if field.class != FieldClass::Normal {
        ignored_fields::warn_dropped(name, &origin.client.address);
        return false;
    }
    if name.eq_ignore_ascii_case(origin.id_header.as_bytes()) {
        return false;
    }
    match field.known {
        // About this connection and this message, which end here (RFC 9110, section 7.6.1).
        KnownName::TransferEncoding | KnownName::Trailer | KnownName::Expect => false,
        KnownName::AcceptEncoding => !origin.codings.hides(),
        KnownName::IfMatch
        | KnownName::IfNoneMatch
        | KnownName::IfModifiedSince
        | KnownName::IfUnmodifiedSince
        | KnownName::IfRange
        | KnownName::Range
            if origin.is_for_the_store =>
        {
            false
        }
        // What the client said of the trace, where that goes on from here; the second means nothing
        // without the first.
        KnownName::Traceparent => origin.traced.is_none(),
        KnownName::Tracestate => origin.traced.is_none_or(|context| context.parent.is_some()),
        // Written by us, not by the client.
        KnownName::Connection => !origin.http2,
        KnownName::XRealIp | KnownName::XRequestStart => origin.trusted.is_some(),
        KnownName::Forwarded => origin
            .trusted
            .is_some_and(|words| words.header == ForwardedHeader::Forwarded),
        // A proxy that speaks in `Forwarded` may leave the others to the client.
        _ => {
            origin
                .trusted
                .is_some_and(|words| words.header == ForwardedHeader::XForwarded)
                || !is_left_out(field.known, name, origin)
        }
    }
}

fn is_left_out(known: KnownName, name: &[u8], origin: &Origin<'_>) -> bool {
    let kind = if speaks_for_the_client(known, name) {
        Untrusted::Forwarding
    } else if origin.trusted.is_none() && known == KnownName::Other && names_the_client(name) {
        Untrusted::Identity
    } else {
        return false;
    };
    if origin.trusted.is_none() {
        ignored_fields::warn_untrusted(kind, name, &origin.client.address);
    }
    true
}

/// Names by which proxies tell an app what they know of the client.
pub(crate) fn speaks_for_the_client(known: KnownName, name: &[u8]) -> bool {
    if known != KnownName::Other {
        return known.is_set_by_proxies();
    }
    // What stands before the rest of the name, by its first letter.
    let starts: &[&[u8]] = match name.first().map(u8::to_ascii_lowercase) {
        Some(b'c') => &[b"client-cert"],
        Some(b'f') => &[b"front-end-https"],
        Some(b's') => &[b"ssl-client", b"ssl-cipher"],
        Some(b'x') => &[
            b"x-forwarded-",
            b"x-ssl",
            b"x-client-cert",
            b"x-client-dn",
            b"x-client-verify",
            b"x-url-scheme",
            b"x-arr-clientcert",
            b"x-arr-ssl",
            b"x-amzn-mtls-",
        ],
        _ => return false,
    };
    starts.iter().any(|start| starts_with(name, start))
}

/// Names by which services in front of a site, and older proxies, say who the client is, who has logged
/// in, or what was asked for. They are nothing to us, but apps read them: a trusted peer's pass.
fn names_the_client(name: &[u8]) -> bool {
    let names: &[&[u8]] = match name.first().map(u8::to_ascii_lowercase) {
        Some(b'c') => &[b"cf-connecting-ip", b"cf-connecting-ipv6", b"client-ip"],
        Some(b'f') => &[b"fastly-client-ip", b"fly-client-ip", b"forwarded-for"],
        Some(b'r') => &[b"remote-user"],
        Some(b't') => &[b"true-client-ip"],
        Some(b'x') => &[
            b"x-client-ip",
            b"x-cluster-client-ip",
            b"x-envoy-external-address",
            b"x-forwarded",
            b"x-original-forwarded-for",
            b"x-original-url",
            b"x-remote-user",
            b"x-rewrite-url",
        ],
        _ => return false,
    };
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn starts_with(name: &[u8], start: &[u8]) -> bool {
    name.get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// The names of a head's fields, one after the other, to know whether one was there before.
struct Names<'a> {
    fields: &'a [Field],
    /// Where they are too many for each to be compared with all before it.
    came: Option<HashSet<Vec<u8>>>,
}

/// Fields up to which comparing them is less work than remembering them.
const FEW: usize = 128;

impl<'a> Names<'a> {
    fn of(fields: &'a [Field]) -> Self {
        let came = (fields.len() > FEW).then(HashSet::new);
        Self { fields, came }
    }

    /// Whether the name of this field was there before; to be asked of each that passes, in order.
    fn are_there(&mut self, at: usize, buf: &[u8]) -> bool {
        let Some((field, before)) = self.fields.get(at).zip(self.fields.get(..at)) else {
            return false;
        };
        let name = field.name.of(buf);
        if let Some(came) = &mut self.came {
            return !came.insert(name.to_ascii_lowercase());
        }
        before.iter().any(|earlier| {
            earlier.known == field.known
                && (field.known != KnownName::Other
                    || earlier.name.of(buf).eq_ignore_ascii_case(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_id_is_kept_and_any_other_replaced() {
        assert_eq!(*RequestId::of(Some(b"abc-123")), *b"abc-123");
        for bad in [&b""[..], b"a b", b"a\"b", &[b'a'; LONGEST_ID + 1]] {
            let id = RequestId::of(Some(bad));
            assert!(id.len() == 32 && *id != *bad);
            assert!(id.iter().all(|digit| b"0123456789abcdef".contains(digit)));
        }
    }

    #[test]
    fn digits_are_those_that_everybody_writes() {
        for number in [0, 9, 10, 0x0123_4567, 0x89ab_cdef, 0xF9A0_0A9F, u32::MAX] {
            assert_eq!(digits(number), format!("{number:08x}").as_bytes());
        }
    }

    #[test]
    fn two_new_ids_differ() {
        assert_ne!(RequestId::of(None), RequestId::of(None));
    }

    /// A head of so many fields, each of which has a name of its own but for the last, which has that of
    /// the first in other letters.
    fn head_of(fields: usize) -> (Vec<u8>, Head) {
        let mut text = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for number in 2..fields {
            text.extend_from_slice(format!("x{number}:\r\n").as_bytes());
        }
        text.extend_from_slice(b"X2:\r\n\r\n");
        let limits = canter_http::Limits {
            fields,
            header_bytes: text.len(),
            ..canter_http::Limits::default()
        };
        let mut head = Head::new();
        let decoded = canter_http::HeadDecoder::new().decode(&limits, &text, &mut head);
        assert_eq!(decoded, Ok(canter_http::Progress::Complete));
        (text, head)
    }

    #[test]
    fn of_many_fields_no_name_is_compared_with_all_before_it() {
        for (fields, is_remembered) in [(FEW, false), (FEW + 1, true), (10_000, true)] {
            let (text, head) = head_of(fields);
            let mut names = Names::of(&head.fields);
            assert_eq!(names.came.is_some(), is_remembered);
            let again: Vec<_> = (0..fields)
                .filter(|at| names.are_there(*at, &text))
                .collect();
            assert_eq!(again, [fields - 1]);
        }
    }
}
