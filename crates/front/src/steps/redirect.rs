//! Owns sending people from plain HTTP to HTTPS: where a listener is there for nothing else, and
//! where a trusted proxy says that it took the request over plain HTTP.
//! Leaves which listener that is to the options, and trust to `forwarded`.

use canter_http::KnownName;

use super::{Asked, Local};

/// The same page under `https://`. 308 keeps the method and the body (RFC 9110, section 15.4.9).
pub(crate) fn answer(by_proxy: bool, asked: &Asked<'_>) -> Option<Local> {
    let told = asked.told.filter(|told| by_proxy && told.by_http);
    if !asked.redirects && told.is_none() {
        return None;
    }
    let named = told.and_then(|told| told.host.as_ref());
    let host = named.map(String::as_bytes).filter(|host| is_host(host));
    let host = host
        .or_else(|| asked.head.value(asked.buf, KnownName::Host))
        .unwrap_or_default();
    let location = host_name(host).and_then(|host| {
        let path = std::str::from_utf8(asked.head.path(asked.buf)).ok()?;
        let query = std::str::from_utf8(asked.head.query(asked.buf)).ok()?;
        let mark = if query.is_empty() { "" } else { "?" };
        Some(format!("https://{host}{path}{mark}{query}"))
    });
    Some(match location {
        Some(location) => Local {
            status: 308,
            fields: vec![("Location", location.into())],
            ..Local::default()
        },
        None => Local {
            status: 400,
            text: "the request names no host to be sent to".into(),
            ..Local::default()
        },
    })
}

/// Whether it can be nothing but a host, perhaps with a port: a proxy has not checked it.
fn is_host(host: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    !host.is_empty() && host.iter().all(plain)
}

/// The host without its port, which belongs to plain HTTP.
fn host_name(host: &[u8]) -> Option<&str> {
    let host = std::str::from_utf8(host).ok()?;
    let name = match host.strip_prefix('[') {
        Some(rest) => host.get(..rest.find(']')? + 2)?,
        None => host.split(':').next()?,
    };
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port() {
        for (host, name) in [
            ("example.org", Some("example.org")),
            ("example.org:8080", Some("example.org")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("[::1", None),
            ("", None),
            (":80", None),
        ] {
            assert_eq!(host_name(host.as_bytes()), name, "{host}");
        }
    }
}
