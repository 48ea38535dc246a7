//! Where an OpenTelemetry collector is, and what it wants to hear with each message. Owns their grammar;
//! sending is left to whoever does.

use super::value::{Value, Wrong};

/// The address of a collector that speaks OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands before `/v1/traces`, without a slash at its end.
    pub path: String,
}

const EXPECTED: &str =
    "expected the address of a collector for OTLP over HTTP, such as `http://127.0.0.1:4318`";

impl OtlpEndpoint {
    /// Host and port, as they stand in the field `Host`.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Value for OtlpEndpoint {
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |hint: &str| Wrong::expected(EXPECTED).hint(hint);
        let (scheme, rest) = text.split_once("://").ok_or(Wrong::expected(EXPECTED))?;
        let (tls, usual) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(wrong("it begins with `http://` or `https://`")),
        };
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        if place.contains('@') {
            return Err(wrong("what it wants to know comes with `--otlp-header`"));
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (
                    host,
                    port.ok_or_else(|| wrong("the port is a number up to 65535"))?,
                )
            }
            _ => (place, usual),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !plain(host) || !plain(path) || path.contains(['?', '#']) {
            return Err(wrong(
                "behind the host stand a port and a path, and nothing else",
            ));
        }
        if port == 4317 {
            return Err(wrong("4317 is the port for gRPC: HTTP is at 4318"));
        }
        let path = path.trim_end_matches('/');
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            path: if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            },
        })
    }

    fn show(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }
}

/// A field that goes with each message; its value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpHeader {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl std::fmt::Debug for OtlpHeader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.show())
    }
}

impl Value for OtlpHeader {
    const KIND: &'static str = "NAME=VALUE";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::expected("expected `NAME=VALUE`, such as `x-api-key=secret`");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        // RFC 9110, section 5.6.2, and what a value may be on one line.
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(visible) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    fn show(&self) -> String {
        format!("{}=…", self.name)
    }

    fn blame(text: &str) -> String {
        match text.split_once('=') {
            Some((name, _)) => format!("{name}=…"),
            None => "…".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_an_address_is_read_and_shown_and_a_wrong_one_is_told_what_is_right() {
        for (text, shown) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("https://otlp.example.com/", "https://otlp.example.com:443"),
            ("http://[::1]:4318/a/b/", "http://[::1]:4318/a/b"),
            ("http://collector", "http://collector:80"),
        ] {
            let endpoint = OtlpEndpoint::parse(text).unwrap();
            assert_eq!(endpoint.show(), shown);
        }
        for (text, word) in [
            ("127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("grpc://a:4318", "http://"),
            ("http://a:4317", "4318"),
            ("http://user:word@a", "--otlp-header"),
            ("http://a:0", "65535"),
            ("http:///x", "port and a path"),
            ("http://a/x?y", "port and a path"),
        ] {
            let wrong = OtlpEndpoint::parse(text).unwrap_err();
            assert!(format!("{wrong:?}").contains(word), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn d8_a_field_splits_at_the_first_equals_sign_and_its_value_is_never_shown() {
        let header = OtlpHeader::parse("Authorization=Basic abc==").unwrap();
        assert_eq!(header.value, "Basic abc==");
        assert_eq!(format!("{header:?}"), "Authorization=…");
        assert_eq!(OtlpHeader::blame("a b=hush"), "a b=…");
        for bad in ["", "=x", "a b=c", "a", "a=b\r\nc: d"] {
            assert!(OtlpHeader::parse(bad).is_err(), "{bad}");
        }
    }
}
