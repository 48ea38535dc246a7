//! What the bytes of a request and of its answer say where reads may go to a replica: its length, its
//! only statement, whether the answer is good. Leaves what follows from it to the session.

use crate::relay::Relay;
use crate::replica::is_healed_by_primary;
use crate::sql::{self, Seen};
use crate::wire::SqlError;
use crate::wire::frame::Frame;
use crate::wire::message::{BindHead, Named, Parse, query_text};

/// The length of the first request among these bytes, if it is whole: a `Query`, or everything up
/// to a `Sync`.
pub(super) fn request(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = data.get(at..)?;
        let frame = Frame::decode(rest).ok()??;
        frame.body_of(rest)?;
        at += frame.total();
        if matches!(frame.tag, b'Q' | b'F' | b'S') {
            return Some(at);
        }
    }
}

/// Whether a request only prepares and asks: nothing is executed, so nothing is written.
pub(super) fn runs_nothing(mut request: &[u8]) -> bool {
    while let Ok(Some(frame)) = Frame::decode(request)
        && let Some(rest) = request.get(frame.total()..)
    {
        if !matches!(frame.tag, b'P' | b'D' | b'C' | b'H' | b'S') {
            return false;
        }
        request = rest;
    }
    true
}

/// The only statement of a request, if it has no more and leaves nothing behind but its answer.
pub(super) fn lone_statement<'a>(relay: &'a Relay, request: &'a [u8]) -> Option<(&'a [u8], Seen)> {
    let conforming = relay.params().is_conforming();
    let mut found: Option<(&[u8], Seen)> = None;
    let mut bound = false;
    let mut at = 0;
    while at < request.len() {
        let rest = request.get(at..)?;
        let frame = Frame::decode(rest).ok()??;
        let body = frame.body_of(rest)?;
        at += frame.total();
        match frame.tag {
            b'Q' => {
                let text = query_text(body)?;
                return Some((text, sql::scan(text, conforming)));
            }
            b'P' => {
                let parse = Parse::decode(body)?;
                if found.is_some() || !parse.name.is_empty() {
                    return None;
                }
                found = Some((parse.text, sql::scan(parse.text, conforming)));
            }
            b'B' => {
                let name = BindHead::decode(body)?.statement;
                if std::mem::replace(&mut bound, true) || name.is_empty() != found.is_some() {
                    return None;
                }
                if found.is_none() {
                    let statement = relay.statement(name)?;
                    found = Some((statement.text(), statement.seen().clone()));
                }
            }
            b'D' => match Named::decode(body)? {
                Named::Statement(b"") if found.is_some() => {}
                Named::Portal(_) if bound => {}
                _ => return None,
            },
            b'E' if bound => {}
            b'S' => {}
            _ => return None,
        }
    }
    found
}

/// What an answer begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that decides.
    Open,
    /// It may go to the client.
    Good,
    /// The primary would not have said so.
    Failed([u8; 5]),
}

pub(super) fn verdict(mut answer: &[u8]) -> Verdict {
    loop {
        let Ok(Some(frame)) = Frame::decode(answer) else {
            return Verdict::Open;
        };
        match frame.tag {
            b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b'N' | b'S' => {}
            b'E' => {
                let Some(body) = frame.body_of(answer) else {
                    return Verdict::Open;
                };
                let code = SqlError::decode(body).code;
                let healed = is_healed_by_primary(&code);
                return if healed {
                    Verdict::Failed(code)
                } else {
                    Verdict::Good
                };
            }
            _ => return Verdict::Good,
        }
        let Some(rest) = answer.get(frame.total()..) else {
            return Verdict::Open;
        };
        answer = rest;
    }
}

/// The `ParameterStatus` messages in an answer.
pub(super) fn reports(mut answer: &[u8]) -> Vec<u8> {
    let mut reports = Vec::new();
    while let Ok(Some(frame)) = Frame::decode(answer)
        && let Some((message, rest)) = answer.split_at_checked(frame.total())
    {
        if frame.tag == b'S' {
            reports.extend_from_slice(message);
        }
        answer = rest;
    }
    reports
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::wire::build;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        build::message(&mut out, tag, |out| out.extend_from_slice(body));
        out
    }

    fn error(code: &str) -> Vec<u8> {
        let mut out = Vec::new();
        SqlError::error(code, "no").encode(&mut out);
        out
    }

    #[test]
    fn a_request_is_one_query_or_everything_up_to_sync() {
        let query = message(b'Q', b"SELECT 1\0");
        let segment = [message(b'P', b"\0SELECT 1\0\0\0"), message(b'S', b"")].concat();
        for whole in [&query, &segment] {
            let two = [&whole[..], b"Q\0\0"].concat();
            assert_eq!(request(&two), Some(whole.len()));
            for end in 0..whole.len() {
                assert_eq!(request(&whole[..end]), None, "{end}");
            }
        }
        assert_eq!(request(b"Q\0\0\0\0"), None);
        assert_eq!(request(b"Q\xff\xff\xff\xff"), None);
    }

    #[test]
    fn h4_to_prepare_is_not_to_write() {
        let parse = message(b'P', b"s\0DELETE FROM t\0\0\0");
        let (bind, sync) = (message(b'B', b"\0s\0\0\0\0\0\0\0"), message(b'S', b""));
        let describe = message(b'D', b"Ss\0");
        assert!(runs_nothing(&[&parse[..], &describe, &sync].concat()));
        assert!(!runs_nothing(&[&parse[..], &bind, &sync].concat()));
        assert!(!runs_nothing(&message(b'Q', b"SELECT 1\0")));
    }

    #[test]
    fn h6_an_answer_is_held_until_it_is_known_to_be_good() {
        let head = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'T', &[0, 0]),
        ]
        .concat();
        for end in 0..=head.len() {
            assert_eq!(verdict(&head[..end]), Verdict::Open, "{end}");
        }
        for good in [
            message(b'D', &[0, 0]),
            message(b'C', b"SELECT 0\0"),
            error("22012"),
        ] {
            assert_eq!(verdict(&[&head[..], &good].concat()), Verdict::Good);
        }
        let failed = [&head[..], &error("25006")].concat();
        assert_eq!(verdict(&failed), Verdict::Failed(*b"25006"));
        assert_eq!(verdict(&failed[..failed.len() - 1]), Verdict::Open);
    }

    #[test]
    fn a7_what_a_server_reports_is_kept_of_an_answer_that_is_not() {
        let report = message(b'S', b"TimeZone\0UTC\0");
        let answer = [
            &message(b'1', b"")[..],
            &report,
            &error("25006"),
            &report[..3],
        ]
        .concat();
        assert_eq!(reports(&answer), report);
        assert_eq!(reports(b""), b"");
    }

    #[test]
    fn h1_a_lone_statement_is_all_that_a_request_does() {
        let relay = Relay::new("u", Rc::default(), Rc::default(), false);
        let lone = |parts: &[(u8, &[u8])]| {
            let parts: Vec<_> = parts
                .iter()
                .map(|(tag, body)| message(*tag, body))
                .collect();
            let request = parts.concat();
            lone_statement(&relay, &request).map(|(text, _)| text.to_vec())
        };
        let parse: (u8, &[u8]) = (b'P', b"\0SELECT 1\0\0\0");
        let bind: (u8, &[u8]) = (b'B', b"\0\0\0\0\0\0\0\0");
        let execute: (u8, &[u8]) = (b'E', b"\0\0\0\0\0");
        let sync: (u8, &[u8]) = (b'S', b"");
        let text = Some(b"SELECT 1".to_vec());
        assert_eq!(lone(&[(b'Q', b"SELECT 1\0")]), text);
        assert_eq!(lone(&[parse, bind, (b'D', b"P\0"), execute, sync]), text);
        for other in [
            &[parse, parse, bind, execute, sync][..],
            &[parse, bind, execute, bind, execute, sync],
            &[(b'P', b"name\0SELECT 1\0\0\0"), sync],
            &[bind, execute, sync],
            &[parse, (b'B', b"\0other\0\0\0\0\0\0\0"), execute, sync],
            &[parse, bind, (b'C', b"Sx\0"), execute, sync],
            &[parse, bind, execute, (b'H', b""), sync],
            &[(b'F', b"\0\0\0\0")],
            &[sync],
        ] {
            assert_eq!(lone(other), None, "{other:?}");
        }
    }
}
