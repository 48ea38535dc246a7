//! The request line (RFC 9112, section 3): owns method, target form and version. Fields and the
//! agreement of target and Host are left to [`crate::field`].

use crate::authority;
use crate::head::{Head, Span};
use crate::reject::Reject;
use crate::scan;
use crate::target;

/// The method, as far as it matters to a server. Methods are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// Any other token in upper case; its text is in [`Head::method_span`].
    Other,
}

impl Method {
    /// Whether a request may change something (RFC 9110, section 9.2.1). A method that is not known
    /// may do anything.
    pub const fn is_unsafe(self) -> bool {
        matches!(
            self,
            Self::Post | Self::Put | Self::Patch | Self::Delete | Self::Other
        )
    }
}

/// The protocol version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// How the target was written (RFC 9112, section 3.2). The authority-form belongs to CONNECT,
/// which is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `*`, with OPTIONS only
    Asterisk,
}

/// The longest method that is looked at; the longest registered one has 17 letters.
const LONGEST_METHOD: usize = 32;

/// Reads `line`, which starts at `at` in the buffer and has no CRLF and no control bytes.
pub(crate) fn parse(line: &[u8], at: usize, head: &mut Head) -> Result<(), Reject> {
    let method_end = memchr::memchr(b' ', line).ok_or(Reject::BadRequestLine)?;
    let (method, rest) = line.split_at(method_end);
    head.method = check_method(method)?;
    head.method_span = Span::new(at, at + method_end);

    let rest = rest.get(1..).unwrap_or_default();
    let target_at = at + method_end + 1;
    let Some(target_end) = scan::find_non_target(rest) else {
        // `GET /` is a whole HTTP/0.9 request.
        return Err(if rest.is_empty() {
            Reject::BadRequestLine
        } else {
            Reject::BadVersion
        });
    };
    let (target, rest) = rest.split_at(target_end);
    let Some(version) = rest.strip_prefix(b" ") else {
        return Err(Reject::BadTarget);
    };
    if target.is_empty() || memchr::memchr(b' ', version).is_some() {
        return Err(Reject::BadRequestLine);
    }
    head.version = check_version(version)?;
    head.target_span = Span::new(target_at, target_at + target_end);
    split_target(target, target_at, head)
}

fn check_method(method: &[u8]) -> Result<Method, Reject> {
    Ok(match method {
        b"GET" => Method::Get,
        b"POST" => Method::Post,
        b"HEAD" => Method::Head,
        b"PUT" => Method::Put,
        b"PATCH" => Method::Patch,
        b"DELETE" => Method::Delete,
        b"OPTIONS" => Method::Options,
        // A tunnel is a proxy's work; TRACE shows a page its own HttpOnly cookies.
        b"CONNECT" | b"TRACE" => return Err(Reject::MethodRefused),
        b"" => return Err(Reject::BadRequestLine),
        _ if !scan::is_token(method) => return Err(Reject::BadMethod),
        // Frameworks upper-case the method, so `head` would be HEAD for the app and not for us.
        _ if method.len() > LONGEST_METHOD || !scan::is_upper_token(method) => {
            return Err(Reject::MethodUnknown);
        }
        _ => Method::Other,
    })
}

/// Why a line is longer than allowed: by its target, or by a method that no server knows (RFC 9112,
/// section 3).
pub(crate) fn too_long(line: &[u8]) -> Reject {
    let method = line.get(..=LONGEST_METHOD).unwrap_or(line);
    if memchr::memchr(b' ', method).is_some() {
        Reject::RequestLineTooLong
    } else {
        Reject::MethodUnknown
    }
}

fn check_version(version: &[u8]) -> Result<Version, Reject> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Reject::VersionUnsupported)
        }
        _ => Err(Reject::BadVersion),
    }
}

fn split_target(target: &[u8], at: usize, head: &mut Head) -> Result<(), Reject> {
    if target.first() == Some(&b'/') {
        head.form = TargetForm::Origin;
        return split_path(target, at, head);
    }
    if target == b"*" {
        if head.method != Method::Options {
            return Err(Reject::BadTarget);
        }
        head.form = TargetForm::Asterisk;
        head.path_span = head.target_span;
        return Ok(());
    }
    let scheme = ["http://", "https://"].iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    });
    let Some(scheme) = scheme else {
        return Err(Reject::BadTarget);
    };
    let rest = target.get(scheme.len()..).unwrap_or_default();
    let authority_at = at + scheme.len();
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    authority::check_authority(authority)?;
    head.form = TargetForm::Absolute;
    head.authority_span = Span::new(authority_at, authority_at + end);
    split_path(path, authority_at + end, head)
}

fn split_path(path_and_query: &[u8], at: usize, head: &mut Head) -> Result<(), Reject> {
    let path_end = memchr::memchr(b'?', path_and_query);
    let length = path_and_query.len();
    let path = path_and_query
        .get(..path_end.unwrap_or(length))
        .unwrap_or_default();
    head.path_span = Span::new(at, at + path.len());
    if path_end.is_some() {
        head.query_span = Span::new(at + path.len() + 1, at + length);
    }
    head.path_is_escaped = memchr::memchr(b'%', path).is_some();
    if head.path_is_escaped {
        target::check_path(path)
    } else {
        Ok(())
    }
}
