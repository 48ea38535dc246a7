//! Owns sending people from plain HTTP to HTTPS, where a listener is there for nothing else.
//! Leaves which listener that is to the options.

use canter_http::KnownName;

use crate::pipeline::{Asked, Local};

/// The same page under `https://`. 308 keeps the method and the body (RFC 9110, section 15.4.9).
pub(crate) fn answer(asked: &Asked<'_>) -> Option<Local> {
    if !asked.redirects {
        return None;
    }
    let host = asked
        .head
        .value(asked.buf, KnownName::Host)
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
            text: "",
        },
        None => Local {
            status: 400,
            text: "the request names no host to be sent to",
            ..Local::default()
        },
    })
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
