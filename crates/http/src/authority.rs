//! Hosts with ports: owns what may stand in a Host field or behind `http://`. Whether a host is
//! one this site answers for is left to the app.

use crate::reject::Reject;
use crate::scan;

/// Checks `uri-host [ ":" port ]` (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
///
/// Refused although the grammar allows it, since no http URI can have it or two programs may read
/// it in two ways: an empty host (RFC 9110, section 4.2.1), user information, escapes, sub-delims
/// such as a comma, an empty port, a zone id, `IPvFuture`.
///
/// ```
/// use canter_http::authority::check_authority;
/// assert!(check_authority(b"example.com:8000").is_ok());
/// assert!(check_authority(b"[::1]:80").is_ok());
/// assert!(check_authority(b"user@example.com").is_err());
/// ```
pub fn check_authority(authority: &[u8]) -> Result<(), Reject> {
    let port = if let Some(literal) = authority.strip_prefix(b"[") {
        let end = memchr::memchr(b']', literal).ok_or(Reject::BadHost)?;
        let (address, after) = literal.split_at(end);
        check_ipv6(address)?;
        match after {
            [b']'] => return Ok(()),
            [b']', b':', port @ ..] => port,
            _ => return Err(Reject::BadHost),
        }
    } else {
        let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
        let (name, after) = authority.split_at(end);
        if !scan::is_host_name(name) {
            return Err(Reject::BadHost);
        }
        match after {
            [] => return Ok(()),
            [_colon, port @ ..] => port,
        }
    };
    check_port(port)
}

/// Whether two that were checked name the same origin: letters are compared without regard to case,
/// and the port that the scheme means anyway may be left out (RFC 9110, section 4.2.3).
///
/// ```
/// use canter_http::authority::is_same_origin;
/// assert!(is_same_origin(b"example.com", b"EXAMPLE.com:80", false));
/// assert!(!is_same_origin(b"example.com", b"example.com:80", true));
/// ```
pub fn is_same_origin(one: &[u8], other: &[u8], is_https: bool) -> bool {
    let port: &[u8] = if is_https { b":443" } else { b":80" };
    let plain = |authority| <[u8]>::strip_suffix(authority, port).unwrap_or(authority);
    plain(one).eq_ignore_ascii_case(plain(other))
}

fn check_ipv6(address: &[u8]) -> Result<(), Reject> {
    let text = std::str::from_utf8(address).map_err(|_| Reject::BadHost)?;
    text.parse::<std::net::Ipv6Addr>()
        .map(drop)
        .map_err(|_| Reject::BadHost)
}

fn check_port(port: &[u8]) -> Result<(), Reject> {
    if port.is_empty() || port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return Err(Reject::BadHost);
    }
    let number = port
        .iter()
        .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if number <= 65_535 {
        Ok(())
    } else {
        Err(Reject::BadHost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_ports_pass() {
        for good in [
            "a",
            "example.com",
            "example.com.",
            "EXAMPLE.com:80",
            "127.0.0.1:65535",
            "my_app-1:0",
            "[::1]",
            "[::1]:8000",
            "[2001:db8::1]",
            "[::ffff:127.0.0.1]:1",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(check_authority(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            ":80",
            "a:",
            "a:65536",
            "a:000080",
            "a:8o",
            "a:+80",
            "a:80:80",
            "a b",
            "a,b",
            "u@a",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "[",
            "[]",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[fe80::1%eth0]",
            "[v1.a]",
            "[127.0.0.1]",
            "a%20b",
            "b\u{fc}cher",
            "a\tb",
            "a*",
            "(a)",
            "\"a\"",
            "a;b",
        ] {
            assert_eq!(
                check_authority(bad.as_bytes()),
                Err(Reject::BadHost),
                "{bad}"
            );
        }
    }
}
