//! Interim responses that help a client before the answer is known: `103 Early Hints` (RFC 8297).
//! Owns checking and writing them. When one is sent is left to the front.

use crate::request_line::{Method, Version};
use crate::{Head, scan};

/// Whether an interim response other than 100 may be sent to this client: one of HTTP/1.0 would take
/// it for the answer (RFC 9110, section 15.2).
pub fn may_be_sent(head: &Head) -> bool {
    head.version == Version::Http11 && head.method == Method::Get
}

/// Writes a 103 with these links. Values that would change the shape of the response are left out
/// (CVE-2020-5249), and nothing is written without any.
pub fn encode_early_hints<'a>(out: &mut Vec<u8>, links: impl IntoIterator<Item = &'a [u8]>) {
    let mut is_begun = false;
    for link in links {
        if link.is_empty() || !scan::is_field_value(link) {
            continue;
        }
        if !is_begun {
            out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
            is_begun = true;
        }
        out.extend_from_slice(b"Link: ");
        out.extend_from_slice(link);
        out.extend_from_slice(b"\r\n");
    }
    if is_begun {
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_written_and_broken_ones_left_out() {
        let mut out = Vec::new();
        let links = [
            "</a.css>; rel=preload",
            "",
            "</b>\r\nSet-Cookie: c",
            "</c>\0",
            "</d.js>",
        ];
        encode_early_hints(&mut out, links.map(str::as_bytes));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </d.js>\r\n\r\n"
        );
    }

    #[test]
    fn nothing_is_written_without_a_link() {
        let mut out = Vec::new();
        encode_early_hints(&mut out, [&b""[..]]);
        assert!(out.is_empty());
    }
}
