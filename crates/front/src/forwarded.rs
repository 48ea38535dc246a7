//! Owns who the client is when a trusted proxy speaks for it (`X-Forwarded-*`, or `Forwarded` of
//! RFC 7239), and how much of what it says reaches the app.
//! Leaves which peers are trusted to the options, and the grammar of `Forwarded` to `element`.

mod element;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use canter_base::options::{ForwardedHeader, Network};
use canter_http::{Head, KnownName};

use element::Element;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// As text; empty on a unix socket.
    pub address: String,
    /// 0 when it is not known.
    pub port: u16,
    /// Whether the client's own connection is encrypted.
    pub https: bool,
}

/// Whether the peer's word about the client is taken. A unix socket has no address: only `*`
/// trusts it.
pub(crate) fn is_trusted(trusted: &[Network], peer: Option<IpAddr>) -> bool {
    trusted.iter().any(|network| match (network, peer) {
        (Network::Any, _) => true,
        (network, Some(peer)) => network.contains(peer),
        (Network::Ip { .. }, None) => false,
    })
}

/// Whether an address is among the proxies by name; `*` names nobody.
pub(crate) fn is_named_trusted(trusted: &[Network], address: IpAddr) -> bool {
    let named = trusted.iter().filter(|network| **network != Network::Any);
    named.copied().any(|network| network.contains(address))
}

/// How trusted peers speak.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// In which fields. The others may be the client's own, passed on unseen, so they count for
    /// nothing.
    pub header: ForwardedHeader,
    /// How many proxies of ours stand one behind the other.
    pub hops: usize,
}

/// What a trusted peer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ForwardedClient {
    /// Who the client is.
    pub client: Client,
    /// It says in words that the client came by plain HTTP.
    pub by_http: bool,
    /// The host that the client asked for.
    pub host: Option<String>,
    /// The port that the client connected to.
    pub port: Option<u16>,
}

/// The client as a trusted peer describes it, else the peer itself.
///
/// Each proxy appends the address it was reached from, so with `hops` proxies of ours the client
/// is the entry `hops` from the right; what stands further left anybody may have written.
pub(crate) fn told(head: &Head, buf: &[u8], peer: &Client, words: Words) -> ForwardedClient {
    let (address, scheme, host, port) = match words.header {
        ForwardedHeader::XForwarded => (
            hop(head, buf, KnownName::XForwardedFor, words).and_then(parse_address),
            leftmost(head, buf, KnownName::XForwardedProto, words),
            leftmost(head, buf, KnownName::XForwardedHost, words),
            leftmost(head, buf, KnownName::XForwardedPort, words),
        ),
        ForwardedHeader::Forwarded => {
            let element = outermost(elements(head, buf), words);
            let element = element.map(|(_, element)| element).unwrap_or_default();
            let address = element.node.and_then(|node| parse_address(node.as_bytes()));
            let owned = |text: Option<String>| text.map(|text| Cow::Owned(text.into_bytes()));
            (address, owned(element.proto), owned(element.host), None)
        }
    };
    let mut client = peer.clone();
    if let Some(address) = address {
        client.address = address.to_canonical().to_string();
        client.port = 0;
    }
    if let Some(scheme) = &scheme {
        client.https = scheme.eq_ignore_ascii_case(b"https");
    }
    let text = |value: Cow<'_, [u8]>| String::from_utf8(value.into_owned()).ok();
    ForwardedClient {
        by_http: scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http")),
        client,
        host: host.and_then(text),
        port: port.and_then(text).and_then(|port| port.parse().ok()),
    }
}

/// How long ago a trusted router took the request, as it says (`X-Request-Start`); None where the
/// two clocks cannot both be right.
pub(crate) fn age(head: &Head, buf: &[u8], now: SystemTime) -> Option<Duration> {
    /// Nobody's router holds a request for longer.
    const LONGEST: Duration = Duration::from_secs(300);
    // The last one is the router's.
    let value = lines(head, buf, KnownName::XRequestStart).last()?;
    let value = std::str::from_utf8(value).ok()?;
    let number: f64 = value.strip_prefix("t=").unwrap_or(value).parse().ok()?;
    // Heroku writes milliseconds, nginx seconds with a fraction, Render nanoseconds, others
    // microseconds: the four lie far apart.
    let seconds = match number {
        number if !number.is_finite() || number < 1e9 => return None,
        number if number < 1e11 => number,
        number if number < 1e14 => number / 1e3,
        number if number < 1e17 => number / 1e6,
        number => number / 1e9,
    };
    let start = Duration::try_from_secs_f64(seconds).ok()?;
    let age = now.duration_since(SystemTime::UNIX_EPOCH.checked_add(start)?);
    age.ok().filter(|age| *age <= LONGEST)
}

/// What the app sees of a field that names one entry for each proxy: those that ours have written.
/// None for a field that is not such a list.
pub(crate) fn ours<'a>(
    head: &Head,
    buf: &'a [u8],
    name: KnownName,
    words: Words,
) -> Option<Cow<'a, [u8]>> {
    if !is_list(name) {
        return None;
    }
    let entries: Vec<&[u8]> = if name == KnownName::Forwarded {
        let elements = elements(head, buf);
        elements.into_iter().map(|(text, _)| text).collect()
    } else {
        entries(head, buf, name).collect()
    };
    Some(match nearest(&entries, words) {
        [only] => Cow::Borrowed(*only),
        ours => Cow::Owned(ours.join(&b", "[..])),
    })
}

/// Whether each proxy adds an entry to it, on a line of its own or not.
pub(crate) const fn is_list(name: KnownName) -> bool {
    matches!(
        name,
        KnownName::Forwarded
            | KnownName::XForwardedFor
            | KnownName::XForwardedProto
            | KnownName::XForwardedHost
            | KnownName::XForwardedPort
    )
}

/// What our proxies say in `Forwarded`, but for the addresses of those who speak there.
pub(crate) fn without_nodes(head: &Head, buf: &[u8], words: Words) -> Vec<u8> {
    let elements = elements(head, buf);
    let ours = nearest(&elements, words).iter();
    let pairs: Vec<Vec<u8>> = ours.map(|(text, _)| element::without_nodes(text)).collect();
    pairs.join(&b',')
}

fn lines<'a>(head: &Head, buf: &'a [u8], name: KnownName) -> impl Iterator<Item = &'a [u8]> {
    let fields = head.fields.iter().filter(move |field| field.known == name);
    fields.map(|field| field.value.of(buf))
}

fn entries<'a>(head: &Head, buf: &'a [u8], name: KnownName) -> impl Iterator<Item = &'a [u8]> {
    let parts = lines(head, buf, name).flat_map(|line| line.split(|&byte| byte == b','));
    let entries = parts.map(<[u8]>::trim_ascii);
    // Empty elements of a list say nothing (RFC 9110, section 5.6.1.2).
    entries.filter(|entry| !entry.is_empty())
}

/// The elements of `Forwarded`; of a line that breaks its grammar one, which names nobody.
fn elements<'a>(head: &Head, buf: &'a [u8]) -> Vec<(&'a [u8], Element)> {
    let lines = lines(head, buf, KnownName::Forwarded);
    lines
        .flat_map(|line| {
            let unknown = || vec![(&b"for=unknown"[..], Element::default())];
            element::parse(line).unwrap_or_else(unknown)
        })
        .collect()
}

/// The entries that our proxies have written.
fn nearest<T>(entries: &[T], words: Words) -> &[T] {
    let from = entries.len().saturating_sub(words.hops.max(1));
    entries.get(from..).unwrap_or_default()
}

/// The entry that the outermost of our proxies wrote; None where there are fewer than proxies.
fn outermost<T>(entries: Vec<T>, words: Words) -> Option<T> {
    let at = entries.len().checked_sub(words.hops.max(1))?;
    entries.into_iter().nth(at)
}

fn hop<'a>(head: &Head, buf: &'a [u8], name: KnownName, words: Words) -> Option<&'a [u8]> {
    outermost(entries(head, buf, name).collect(), words)
}

/// The same of a field that not every proxy adds to: the left-most that is ours.
fn leftmost<'a>(
    head: &Head,
    buf: &'a [u8],
    name: KnownName,
    words: Words,
) -> Option<Cow<'a, [u8]>> {
    let entries: Vec<&[u8]> = entries(head, buf, name).collect();
    nearest(&entries, words).first().copied().map(Cow::Borrowed)
}

/// An address, with or without a port or brackets.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text)
        .ok()?
        .trim_matches([' ', '\t', '"']);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use canter_http::{HeadDecoder, Limits, Progress};

    use super::*;

    fn decoded(fields: &str) -> (Head, String) {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (mut decoder, mut head) = (HeadDecoder::new(), Head::new());
        let progress = decoder.decode(&Limits::default(), text.as_bytes(), &mut head);
        assert_eq!(progress, Ok(Progress::Complete));
        (head, text)
    }

    fn seen(fields: &str, header: ForwardedHeader, hops: usize) -> ForwardedClient {
        let (head, text) = decoded(fields);
        let peer = Client {
            address: "10.0.0.1".to_owned(),
            port: 9,
            https: false,
        };
        told(&head, text.as_bytes(), &peer, Words { header, hops })
    }

    #[test]
    fn the_entry_our_proxies_wrote_is_the_client() {
        let rows = [
            ("", 1, "10.0.0.1", false),
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n",
                1,
                "192.0.2.7",
                false,
            ),
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.9.9.9\r\n",
                2,
                "192.0.2.7",
                false,
            ),
            (
                "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n",
                1,
                "192.0.2.7",
                false,
            ),
            ("X-Forwarded-For: 192.0.2.7:4711\r\n", 1, "192.0.2.7", false),
            (
                "X-Forwarded-For: [2001:db8::7]:4711\r\n",
                1,
                "2001:db8::7",
                false,
            ),
            (
                "X-Forwarded-For: ::ffff:192.0.2.7\r\n",
                1,
                "192.0.2.7",
                false,
            ),
            ("X-Forwarded-For: unknown\r\n", 1, "10.0.0.1", false),
            // Empty elements are none (RFC 9110, section 5.6.1.2).
            ("X-Forwarded-For: 192.0.2.7, ,\r\n", 1, "192.0.2.7", false),
            (
                "X-Forwarded-For: 6.6.6.6,192.0.2.7,,10.9.9.9\r\n",
                2,
                "192.0.2.7",
                false,
            ),
            ("X-Forwarded-For: 192.0.2.7\r\n", 2, "10.0.0.1", false),
            ("X-Forwarded-Proto: https\r\n", 1, "10.0.0.1", true),
            ("X-Forwarded-Proto: https, http\r\n", 1, "10.0.0.1", false),
            ("X-Forwarded-Proto: https, http\r\n", 2, "10.0.0.1", true),
            ("X-Forwarded-Proto: https\r\n", 2, "10.0.0.1", true),
            (
                "Forwarded: for=192.0.2.7;proto=https\r\n",
                1,
                "10.0.0.1",
                false,
            ),
        ];
        for (fields, hops, address, https) in rows {
            let told = seen(fields, ForwardedHeader::XForwarded, hops);
            assert_eq!(
                (told.client.address.as_str(), told.client.https),
                (address, https),
                "{fields}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_where_it_was_chosen() {
        let rows = [
            (
                "Forwarded: for=192.0.2.7;proto=https;host=a.org\r\n",
                1,
                "192.0.2.7",
                true,
            ),
            (
                "Forwarded: For=\"[2001:db8::7]:4711\"\r\n",
                1,
                "2001:db8::7",
                false,
            ),
            (
                "Forwarded: for=6.6.6.6, for=192.0.2.7\r\n",
                1,
                "192.0.2.7",
                false,
            ),
            (
                "Forwarded: for=192.0.2.7;proto=https, for=10.9.9.9\r\n",
                2,
                "192.0.2.7",
                true,
            ),
            (
                "Forwarded: for=_hidden;proto=https\r\n",
                1,
                "10.0.0.1",
                true,
            ),
            (
                "Forwarded: for=192.0.2.7;proto=https;\r\n",
                1,
                "192.0.2.7",
                true,
            ),
            (
                "Forwarded: for=192.0.2.7;;proto=https, ,for=10.9.9.9,\r\n",
                2,
                "192.0.2.7",
                true,
            ),
            // An open quotation must not swallow what the proxy wrote behind it.
            (
                "Forwarded: for=\"6.6.6.6, for=192.0.2.7\r\n",
                1,
                "10.0.0.1",
                false,
            ),
            (
                "Forwarded: for=\"6.6.6.6\r\nForwarded: for=192.0.2.7\r\n",
                1,
                "192.0.2.7",
                false,
            ),
            ("X-Forwarded-For: 192.0.2.7\r\n", 1, "10.0.0.1", false),
        ];
        for (fields, hops, address, https) in rows {
            let told = seen(fields, ForwardedHeader::Forwarded, hops);
            assert_eq!(
                (told.client.address.as_str(), told.client.https),
                (address, https),
                "{fields}"
            );
        }
        let told = seen(rows[0].0, ForwardedHeader::Forwarded, 1);
        assert_eq!(told.host.as_deref(), Some("a.org"));
    }

    #[test]
    fn the_app_sees_only_what_our_proxies_wrote() {
        for (fields, name, hops, expected) in [
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n",
                KnownName::XForwardedFor,
                1,
                "192.0.2.7",
            ),
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-For: 10.9.9.9\r\n",
                KnownName::XForwardedFor,
                2,
                "192.0.2.7, 10.9.9.9",
            ),
            (
                "X-Forwarded-Host: evil, a.org\r\n",
                KnownName::XForwardedHost,
                1,
                "a.org",
            ),
            (
                "Forwarded: for=\"6,6\", for=\"[::1]\";by=b\r\n",
                KnownName::Forwarded,
                1,
                "for=\"[::1]\";by=b",
            ),
            (
                "Forwarded: for=\"6, for=a\r\n",
                KnownName::Forwarded,
                1,
                "for=unknown",
            ),
        ] {
            let (head, text) = decoded(fields);
            let header = ForwardedHeader::XForwarded;
            let seen = ours(&head, text.as_bytes(), name, Words { header, hops }).unwrap();
            assert_eq!(String::from_utf8_lossy(&seen), expected);
        }
    }

    #[test]
    fn a_requests_age_is_taken_from_clocks_that_agree() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_010_500);
        for (value, expected) in [
            ("1700000000500", Some(10_000)),
            ("t=1700000000.500", Some(10_000)),
            ("t=1700000000500000", Some(10_000)),
            ("1700000000", Some(10_500)),
            ("1700000010500", Some(0)),
            ("1700000011500", None),
            ("1699999700000", None),
            ("0", None),
            ("-1700000000500", None),
            ("inf", None),
            ("nan", None),
            ("soon", None),
            ("", None),
        ] {
            let (head, text) = decoded(&format!("X-Request-Start: {value}\r\n"));
            let age = age(&head, text.as_bytes(), now);
            assert_eq!(
                age.map(|age| (age.as_secs_f64() * 1e3).round() as i64),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn a_unix_peer_is_trusted_only_by_the_star() {
        let local = Network::Ip {
            ip: IpAddr::from([127, 0, 0, 1]),
            prefix: 8,
        };
        assert!(!is_trusted(&[local], None) && is_trusted(&[Network::Any], None));
        assert!(is_trusted(&[local], Some(IpAddr::from([127, 9, 9, 9]))));
        assert!(!is_trusted(&[], Some(IpAddr::from([127, 0, 0, 1]))));
        let client = IpAddr::from([192, 0, 2, 1]);
        assert!(is_trusted(&[Network::Any], Some(client)));
        assert!(!is_named_trusted(&[Network::Any], client));
        assert!(is_named_trusted(
            &[Network::Any, local],
            IpAddr::from([127, 0, 0, 1])
        ));
    }
}
