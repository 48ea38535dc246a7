//! Owns which requests go ahead of others when all workers are busy (`--priority`).
//! Leaves their order to the dispatch.

use canter_base::options::Priority;
use canter_http::Head;

use crate::guard::{cookie, plain_path};

/// Whether a request goes ahead of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// By what it costs, and among its like in the order of arrival.
    Normal,
    /// Before all those.
    Urgent,
}

/// By whether one of the marks is on this request.
pub(crate) fn urgency(priorities: &[Priority], head: &Head, buf: &[u8]) -> Urgency {
    let is_urgent = priorities.iter().any(|priority| match priority {
        Priority::Path(path) => plain_path(head, buf).starts_with(path.as_bytes()),
        Priority::Cookie(name) => {
            cookie(head, buf, name.as_bytes()).is_some_and(|value| !value.is_empty())
        }
    });
    if is_urgent {
        Urgency::Urgent
    } else {
        Urgency::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_http::{HeadDecoder, Limits, Progress};

    #[test]
    fn l7_paths_and_cookies_are_told_apart() {
        let marks = [
            Priority::Path("/checkout/".into()),
            Priority::Cookie("sessionid".into()),
        ];
        for (request, urgent) in [
            ("GET /checkout/1 HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET /%63heckout/1?a HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET /a/checkout/ HTTP/1.1\r\nHost: a\r\n\r\n", false),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nCookie: b=c; sessionid=1\r\n\r\n",
                true,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nCookie: sessionid=\r\n\r\n",
                false,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nCookie: xsessionid=1\r\n\r\n",
                false,
            ),
        ] {
            let mut head = Head::new();
            let mut decoder = HeadDecoder::new();
            let progress = decoder.decode(&Limits::default(), request.as_bytes(), &mut head);
            assert_eq!(progress, Ok(Progress::Complete));
            let found = urgency(&marks, &head, request.as_bytes());
            assert_eq!(found == Urgency::Urgent, urgent, "{request}");
            assert_eq!(urgency(&[], &head, request.as_bytes()), Urgency::Normal);
        }
    }
}
