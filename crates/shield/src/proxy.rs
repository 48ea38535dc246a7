//! Owns the PROXY protocol, versions 1 and 2: what a proxy says of its client before the client's own
//! first byte (haproxy.org, doc/proxy-protocol.txt).
//! Leaves who may say so, and waiting for more bytes, to the callers. Sans-IO.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, its end included (section 2.1).
const MOST_V1: usize = 107;
/// The twelve bytes that version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Head of version 2: signature, command, family, length.
const HEAD_V2: usize = 16;
/// More than any field in use needs; a proxy that sends more is none of ours.
const MOST_V2: usize = HEAD_V2 + 4096;

/// What the proxy said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// More bytes are needed to tell.
    Partial,
    /// The first `consumed` bytes were the header.
    Header {
        /// Its length.
        consumed: usize,
        /// The client and the address it connected to; None when the proxy speaks for itself (a
        /// health check), or of an address that is not of the internet.
        ends: Option<Ends>,
    },
}

/// The two ends of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
    /// The client's connection was encrypted, where the proxy says so (`PP2_TYPE_SSL`).
    pub is_tls: bool,
}

/// Why the bytes are no such header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They begin with something else: the peer does not speak the protocol.
    NotSpoken,
    /// They begin like one and then break its rules.
    Broken,
}

/// Reads the header at the beginning of `bytes`.
///
/// # Errors
/// [`Malformed`]: the connection must be closed (section 2: a receiver must not guess).
pub fn decode(bytes: &[u8]) -> Result<Spoken, Malformed> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes.get(..known) == SIGNATURE.get(..known) {
        if known < SIGNATURE.len() {
            return Ok(Spoken::Partial);
        }
        return decode_v2(bytes);
    }
    let known = bytes.len().min(6);
    if bytes.get(..known) == b"PROXY ".get(..known) {
        return decode_v1(bytes);
    }
    Err(Malformed::NotSpoken)
}

fn decode_v1(bytes: &[u8]) -> Result<Spoken, Malformed> {
    let window = bytes.get(..bytes.len().min(MOST_V1)).unwrap_or_default();
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        if bytes.len() >= MOST_V1 || window.contains(&b'\n') {
            return Err(Malformed::Broken);
        }
        return Ok(Spoken::Partial);
    };
    let line = window.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Broken)?;
    let mut words = line.split(' ').skip(1);
    let ends = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(ends_v1::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(ends_v1::<Ipv6Addr>(words)?),
        _ => return Err(Malformed::Broken),
    };
    Ok(Spoken::Header {
        consumed: end + 2,
        ends,
    })
}

fn ends_v1<'a, A>(mut words: impl Iterator<Item = &'a str>) -> Result<Ends, Malformed>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let mut address = || words.next()?.parse::<A>().ok();
    let (source, destination) = address().zip(address()).ok_or(Malformed::Broken)?;
    let mut port = || port_v1(words.next()?);
    let ports = port().zip(port()).ok_or(Malformed::Broken)?;
    if words.next().is_some() {
        return Err(Malformed::Broken);
    }
    Ok(Ends {
        source: SocketAddr::new(source.into(), ports.0),
        destination: SocketAddr::new(destination.into(), ports.1),
        is_tls: false,
    })
}

/// Digits only, no leading zero but for 0 itself (section 2.1).
fn port_v1(word: &str) -> Option<u16> {
    let plain =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

fn decode_v2(bytes: &[u8]) -> Result<Spoken, Malformed> {
    let Some(&[command, family, high, low]) =
        bytes.get(SIGNATURE.len()..).and_then(<[u8]>::first_chunk)
    else {
        return Ok(Spoken::Partial);
    };
    let consumed = HEAD_V2 + usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || consumed > MOST_V2 {
        return Err(Malformed::Broken);
    }
    let Some(body) = bytes.get(HEAD_V2..consumed) else {
        return Ok(Spoken::Partial);
    };
    let ends = match command & 0xf {
        // LOCAL: the proxy itself, and whatever follows is skipped.
        0 => None,
        1 => ends_v2(family, body)?,
        _ => return Err(Malformed::Broken),
    };
    Ok(Spoken::Header { consumed, ends })
}

fn ends_v2(family: u8, body: &[u8]) -> Result<Option<Ends>, Malformed> {
    let (source, destination, rest) = match family {
        // TCP over IPv4 and over IPv6; other families keep the proxy's own address.
        0x11 => addresses_v2::<4>(body)?,
        0x21 => addresses_v2::<16>(body)?,
        _ => return Ok(None),
    };
    Ok(Some(Ends {
        source,
        destination,
        is_tls: is_tls(rest)?,
    }))
}

/// Two addresses of `N` bytes, two ports, and what follows them.
fn addresses_v2<const N: usize>(body: &[u8]) -> Result<(SocketAddr, SocketAddr, &[u8]), Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>().ok_or(Malformed::Broken)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or(Malformed::Broken)?;
    let (&[a, b, c, d], rest) = rest.split_first_chunk().ok_or(Malformed::Broken)?;
    let source = SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([a, b]));
    let destination = SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d]));
    Ok((source, destination, rest))
}

/// `PP2_TYPE_SSL` with `PP2_CLIENT_SSL` among its bits (section 2.2.5); the lengths of all fields
/// must fit.
fn is_tls(mut fields: &[u8]) -> Result<bool, Malformed> {
    const TYPE_SSL: u8 = 0x20;
    const CLIENT_SSL: u8 = 0x01;
    let mut found = false;
    while !fields.is_empty() {
        let (&[kind, high, low], rest) = fields.split_first_chunk().ok_or(Malformed::Broken)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(len).ok_or(Malformed::Broken)?;
        found |= kind == TYPE_SSL && value.first().is_some_and(|bits| bits & CLIENT_SSL != 0);
        fields = rest;
    }
    Ok(found)
}

/// For fuzzing: never panics, consumes no more than it was given, and decides the same however
/// many bytes follow.
///
/// # Panics
/// When that does not hold.
pub fn check(bytes: &[u8]) {
    let whole = decode(bytes);
    for cut in 0..bytes.len() {
        match decode(bytes.get(..cut).unwrap_or_default()) {
            Ok(Spoken::Partial) => {}
            other => assert_eq!(other, whole, "cut at {cut}"),
        }
    }
    if let Ok(Spoken::Header { consumed, .. }) = whole {
        assert!(consumed <= bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn source(bytes: &[u8]) -> Option<String> {
        match decode(bytes) {
            Ok(Spoken::Header { ends, .. }) => {
                Some(ends.map_or("-".to_owned(), |ends| ends.source.to_string()))
            }
            Ok(Spoken::Partial) => Some("partial".to_owned()),
            Err(_) => None,
        }
    }

    fn rows() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33]) = (1, 2, 9);
        let with_tls = [&v4[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
        let overlong = [&v4[..], &[0x20, 0, 9, 1]].concat();
        vec![
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\nGET".to_vec(),
                Some("192.0.2.7:4660"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(),
                Some("[2001:db8::7]:1"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Some("-")),
            (b"PROXY UNKNOWN whatever else\r\n".to_vec(), Some("-")),
            (b"PRO".to_vec(), Some("partial")),
            (b"".to_vec(), Some("partial")),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80".to_vec(),
                Some("partial"),
            ),
            (b"GET / HTTP/1.1\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n".to_vec(), None),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80 9\r\n".to_vec(),
                None,
            ),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 04660 80\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 +60 80\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 66000 80\r\n".to_vec(), None),
            (b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n".to_vec(), None),
            (b"PROXY  TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(), None),
            (b"PROXY UDP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(), None),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\n".to_vec(), None),
            ([b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(), None),
            (v2(0x21, 0x11, &v4), Some("192.0.2.7:4660")),
            (v2(0x21, 0x21, &v6), Some("[::1]:9")),
            (v2(0x21, 0x11, &with_tls), Some("192.0.2.7:4660")),
            (v2(0x20, 0x00, &[]), Some("-")),
            (v2(0x20, 0x11, &v4), Some("-")),
            (v2(0x21, 0x31, &[0; 216]), Some("-")),
            (v2(0x21, 0x00, &[1, 2, 3]), Some("-")),
            (v2(0x11, 0x11, &v4), None),
            (v2(0x22, 0x11, &v4), None),
            (v2(0x21, 0x11, &v4[..11]), None),
            (v2(0x21, 0x11, &overlong), None),
            (v2(0x21, 0x11, &vec![0; 60_000]), None),
        ]
    }

    #[test]
    fn each_header_is_read_or_refused_however_it_is_cut() {
        for (bytes, expected) in rows() {
            assert_eq!(
                source(&bytes).as_deref(),
                expected,
                "{}",
                bytes.escape_ascii()
            );
            check(&bytes);
        }
    }

    #[test]
    fn a_proxy_says_that_its_client_used_tls() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        for (field, expected) in [
            (&[0x20, 0, 5, 1, 0, 0, 0, 0][..], true),
            (&[0x20, 0, 5, 0, 0, 0, 0, 0], false),
            (&[], false),
        ] {
            let bytes = v2(0x21, 0x11, &[&v4[..], field].concat());
            let Ok(Spoken::Header {
                ends: Some(ends),
                consumed,
            }) = decode(&bytes)
            else {
                panic!("a header");
            };
            assert_eq!((ends.is_tls, consumed), (expected, bytes.len()));
        }
    }

    #[test]
    fn mutations_never_panic() {
        let mut state = 1_u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize
        };
        for (bytes, _) in rows().iter().cycle().take(3000) {
            let mut bytes = bytes.clone();
            bytes.truncate(300);
            for _ in 0..=random() % 3 {
                if !bytes.is_empty() {
                    let at = random() % bytes.len();
                    bytes[at] = random() as u8;
                }
            }
            check(&bytes);
        }
    }
}
