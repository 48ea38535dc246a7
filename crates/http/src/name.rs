//! Well-known field names: owns the list and telling a name from the wire in one look-up. What a
//! field means is left to [`crate::field`], [`crate::response`] and the front.

macro_rules! names {
    ($($variant:ident $text:literal,)*) => {
        /// A field name this program knows, whatever the case it was sent in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum KnownName {
            /// Any name not in this list.
            Other,
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl KnownName {
            /// Every known name, without `Other`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in lower case; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

names! {
    Accept "accept",
    AcceptCharset "accept-charset",
    AcceptEncoding "accept-encoding",
    AcceptLanguage "accept-language",
    AcceptRanges "accept-ranges",
    AccessControlRequestHeaders "access-control-request-headers",
    AccessControlRequestMethod "access-control-request-method",
    Age "age",
    Allow "allow",
    Authorization "authorization",
    CacheControl "cache-control",
    CdnLoop "cdn-loop",
    ClientCert "client-cert",
    ClientCertChain "client-cert-chain",
    Connection "connection",
    ContentDisposition "content-disposition",
    ContentEncoding "content-encoding",
    ContentLanguage "content-language",
    ContentLength "content-length",
    ContentLocation "content-location",
    ContentRange "content-range",
    ContentSecurityPolicy "content-security-policy",
    ContentType "content-type",
    Cookie "cookie",
    CrossOriginOpenerPolicy "cross-origin-opener-policy",
    Date "date",
    Dnt "dnt",
    EarlyData "early-data",
    Etag "etag",
    Expect "expect",
    Expires "expires",
    Forwarded "forwarded",
    From "from",
    Host "host",
    Http2Settings "http2-settings",
    IfMatch "if-match",
    IfModifiedSince "if-modified-since",
    IfNoneMatch "if-none-match",
    IfRange "if-range",
    IfUnmodifiedSince "if-unmodified-since",
    KeepAlive "keep-alive",
    LastModified "last-modified",
    Link "link",
    Location "location",
    MaxForwards "max-forwards",
    Origin "origin",
    Pragma "pragma",
    Priority "priority",
    Proxy "proxy",
    ProxyAuthenticate "proxy-authenticate",
    ProxyAuthenticationInfo "proxy-authentication-info",
    ProxyAuthorization "proxy-authorization",
    ProxyConnection "proxy-connection",
    Range "range",
    Referer "referer",
    ReferrerPolicy "referrer-policy",
    RetryAfter "retry-after",
    ScriptName "script-name",
    SecChUa "sec-ch-ua",
    SecChUaMobile "sec-ch-ua-mobile",
    SecChUaPlatform "sec-ch-ua-platform",
    SecFetchDest "sec-fetch-dest",
    SecFetchMode "sec-fetch-mode",
    SecFetchSite "sec-fetch-site",
    SecFetchUser "sec-fetch-user",
    SecGpc "sec-gpc",
    SecWebsocketKey "sec-websocket-key",
    SecWebsocketVersion "sec-websocket-version",
    Server "server",
    SetCookie "set-cookie",
    StrictTransportSecurity "strict-transport-security",
    Te "te",
    Traceparent "traceparent",
    Tracestate "tracestate",
    Trailer "trailer",
    TransferEncoding "transfer-encoding",
    Upgrade "upgrade",
    UpgradeInsecureRequests "upgrade-insecure-requests",
    UserAgent "user-agent",
    Vary "vary",
    Via "via",
    WwwAuthenticate "www-authenticate",
    XAccelRedirect "x-accel-redirect",
    XContentTypeOptions "x-content-type-options",
    XCsrfToken "x-csrftoken",
    XForwardedClientCert "x-forwarded-client-cert",
    XForwardedFor "x-forwarded-for",
    XForwardedHost "x-forwarded-host",
    XForwardedPort "x-forwarded-port",
    XForwardedPrefix "x-forwarded-prefix",
    XForwardedProto "x-forwarded-proto",
    XForwardedProtocol "x-forwarded-protocol",
    XForwardedScheme "x-forwarded-scheme",
    XForwardedServer "x-forwarded-server",
    XForwardedSsl "x-forwarded-ssl",
    XFrameOptions "x-frame-options",
    XRealIp "x-real-ip",
    XRequestId "x-request-id",
    XRequestStart "x-request-start",
    XRequestedWith "x-requested-with",
    XScheme "x-scheme",
    XSendfile "x-sendfile",
    XSslClientCert "x-ssl-client-cert",
    XSslClientVerify "x-ssl-client-verify",
}

/// One slot per hash value; collisions move on to the next free slot.
const SLOTS: usize = 512;

const _: () = assert!(
    KnownName::ALL.len() < 128,
    "a set of names must fit 128 bits"
);

static TABLE: [KnownName; SLOTS] = table();

/// Length, both ends and one letter near the middle tell most names apart.
#[inline]
const fn slot(length: usize, first: u8, middle: u8, last: u8) -> usize {
    let first = (first | 0x20) as usize;
    let middle = (middle | 0x20) as usize;
    let last = (last | 0x20) as usize;
    (length.wrapping_mul(37)
        ^ first.wrapping_mul(5)
        ^ middle.wrapping_mul(113)
        ^ last.wrapping_mul(17))
        % SLOTS
}

const fn table() -> [KnownName; SLOTS] {
    let mut table = [KnownName::Other; SLOTS];
    let mut row = 0;
    while row < KnownName::ALL.len() {
        let name = KnownName::ALL[row];
        let text = name.as_str().as_bytes();
        let mut at = slot(
            text.len(),
            text[0],
            text[text.len() / 2],
            text[text.len() - 1],
        );
        while !matches!(table[at], KnownName::Other) {
            at = (at + 1) % SLOTS;
        }
        table[at] = name;
        row += 1;
    }
    table
}

/// Whether `name` is the known name `lower` in any case, eight bytes at a time: known names have no
/// other bytes from `@` on than lower-case letters, so these alone may differ, and in one bit.
#[inline]
fn is_in_any_case(name: &[u8], lower: &[u8]) -> bool {
    const LETTERS: u64 = 0x4040_4040_4040_4040;
    let differs = |name: u64, lower: u64| (name ^ lower) & !((lower & LETTERS) >> 1) != 0;
    if name.len() != lower.len() {
        return false;
    }
    let (words, rest) = name.as_chunks::<8>();
    let (lower_words, lower_rest) = lower.as_chunks::<8>();
    let mut pairs = words.iter().zip(lower_words);
    if pairs.any(|(name, lower)| differs(u64::from_le_bytes(*name), u64::from_le_bytes(*lower))) {
        return false;
    }
    match (name.last_chunk::<8>(), lower.last_chunk::<8>()) {
        // What is left, together with what went before.
        (Some(name), Some(lower)) => {
            !differs(u64::from_le_bytes(*name), u64::from_le_bytes(*lower))
        }
        _ => rest.eq_ignore_ascii_case(lower_rest),
    }
}

impl KnownName {
    /// Finds a name as it came from the wire, in any case.
    ///
    /// ```
    /// use canter_http::KnownName;
    /// assert_eq!(KnownName::classify(b"Content-LENGTH"), KnownName::ContentLength);
    /// assert_eq!(KnownName::classify(b"X-Mine"), KnownName::Other);
    /// ```
    #[inline]
    pub fn classify(name: &[u8]) -> Self {
        let ([first, ..], [.., last], Some(middle)) = (name, name, name.get(name.len() / 2)) else {
            return Self::Other;
        };
        let mut at = slot(name.len(), *first, *middle, *last);
        loop {
            let candidate = TABLE[at];
            if candidate == Self::Other || is_in_any_case(name, candidate.as_str().as_bytes()) {
                return candidate;
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// The position of this name in a set of names held in 128 bits.
    #[inline]
    pub const fn bit(self) -> u128 {
        1 << (self as u8)
    }

    /// Fields about one connection, never passed on by either side (RFC 9110, section 7.6.1, and
    /// the older names it lists).
    #[inline]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyAuthenticate
                | Self::ProxyAuthenticationInfo
                | Self::ProxyAuthorization
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Fields that must not be sent in a trailer section (RFC 9110, section 6.5.1): about framing,
    /// routing, authentication or the form of the content. A program that merged one of them into
    /// the head would see another request than we do.
    #[inline]
    pub const fn is_forbidden_in_trailer(self) -> bool {
        self.is_hop_by_hop()
            || matches!(
                self,
                Self::Authorization
                    | Self::ContentEncoding
                    | Self::ContentLength
                    | Self::ContentRange
                    | Self::ContentType
                    | Self::Cookie
                    | Self::Expect
                    | Self::Host
            )
    }

    /// Fields by which a proxy in front tells what it knows of its client: they mean nothing, or a lie,
    /// from anybody else.
    #[inline]
    pub const fn is_set_by_proxies(self) -> bool {
        matches!(
            self,
            Self::ClientCert
                | Self::ClientCertChain
                | Self::Forwarded
                | Self::ScriptName
                | Self::XForwardedClientCert
                | Self::XForwardedFor
                | Self::XForwardedHost
                | Self::XForwardedPort
                | Self::XForwardedPrefix
                | Self::XForwardedProto
                | Self::XForwardedProtocol
                | Self::XForwardedScheme
                | Self::XForwardedServer
                | Self::XForwardedSsl
                | Self::XRealIp
                | Self::XRequestStart
                | Self::XScheme
                | Self::XSslClientCert
                | Self::XSslClientVerify
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &name in KnownName::ALL {
            let text = name.as_str();
            assert_eq!(KnownName::classify(text.as_bytes()), name);
            assert_eq!(
                KnownName::classify(text.to_ascii_uppercase().as_bytes()),
                name
            );
        }
    }

    #[test]
    fn a_name_in_which_any_other_bit_differs_is_another() {
        for &name in KnownName::ALL {
            let text = name.as_str().as_bytes();
            assert!(
                text.iter()
                    .all(|&byte| byte < 0x40 || byte.is_ascii_lowercase())
            );
            for at in 0..text.len() {
                for byte in 0..=u8::MAX {
                    let mut other = text.to_vec();
                    other[at] = byte;
                    let expected = other.eq_ignore_ascii_case(text);
                    assert_eq!(
                        is_in_any_case(&other, text),
                        expected,
                        "{name:?} {at} {byte}"
                    );
                }
            }
        }
    }

    #[test]
    fn near_misses_are_other() {
        for &name in KnownName::ALL {
            let text = name.as_str();
            for miss in [
                format!("{text}x"),
                format!("x{text}"),
                text.replace('-', "_") + "_",
            ] {
                assert_eq!(
                    KnownName::classify(miss.as_bytes()),
                    KnownName::Other,
                    "{miss}"
                );
            }
        }
        assert_eq!(KnownName::classify(b""), KnownName::Other);
        assert_eq!(KnownName::classify(b"\xe5ge"), KnownName::Other);
    }
}
