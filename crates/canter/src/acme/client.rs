//! Owns the way to an authority, over HTTPS alone, with an ear for when one that refuses wants to be asked
//! again (`Retry-After`; RFC 8555, section 6.6).
//! Leaves what is asked to `instant_acme`, which heeds the field itself where an order is under way, and
//! waiting, for which name, to `acme`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use canter_http::date::parse_date;
use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

/// The longest that a refusal is heeded: what authorities count, they count over a week at most.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The last answer of the authority, where that was a refusal.
#[derive(Clone, Default)]
pub(super) struct Wish(Arc<Mutex<Option<Refusal>>>);

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    /// When the authority wants to be asked again.
    pub until: Option<SystemTime>,
}

impl Refusal {
    /// Whether it is about how much is asked, or names a time before which nothing is answered (RFC 6585,
    /// section 4; RFC 9110, section 15.6.4). An error of the server without a time may as well be about
    /// what was asked: some fail that way at words they do not know.
    fn is_of_all(self) -> bool {
        self.status == 429 || (self.is_of_the_authority() && self.until.is_some())
    }

    /// Whether no name whatever would be answered now.
    pub fn is_of_the_authority(self) -> bool {
        self.status >= 500
    }
}

impl Wish {
    /// The refusal, if that was the last to be heard since this was asked.
    pub fn take(&self) -> Option<Refusal> {
        self.last().take()
    }

    /// Whether to ask at once in other words is worth nothing.
    pub fn is_for_quiet(&self) -> bool {
        self.last().is_some_and(Refusal::is_of_all)
    }

    fn last(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, status: u16, field: Option<&[u8]>, now: SystemTime) {
        let until = field.and_then(|field| until(field, now));
        // What is answered after a refusal shows that it was none for good.
        *self.last() = (status >= 400).then_some(Refusal { status, until });
    }
}

/// The time that a `Retry-After` names: seconds from now, or a date (RFC 9110, section 10.2.3).
fn until(field: &[u8], now: SystemTime) -> Option<SystemTime> {
    let text = std::str::from_utf8(field).ok()?.trim();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = Duration::from_secs(parse_date(text.as_bytes(), since.as_secs())?);
        date.checked_sub(since)?
    };
    now.checked_add(wait.min(LONGEST))
}

/// Asks the authority.
pub(super) struct Client {
    https: HyperClient<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    wish: Wish,
}

impl Client {
    /// One that trusts whom the system trusts, and notes what it hears in `wish`.
    ///
    /// # Errors
    /// Where the system's certificates cannot be read.
    pub fn new(wish: Wish) -> Result<Self, Error> {
        let builder = HttpsConnectorBuilder::new().try_with_platform_verifier();
        let builder = builder.map_err(|error| Error::Other(error.into()))?;
        let connector = builder.https_only().enable_http1().enable_http2().build();
        let https = HyperClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self { https, wish })
    }
}

type Answer = dyn Future<Output = Result<BytesResponse, Error>> + Send;

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<Answer>> {
        let answer = HttpClient::request(&self.https, request);
        let wish = self.wish.clone();
        Box::pin(async move {
            let answer = answer.await?;
            let field = answer.parts.headers.get(http::header::RETRY_AFTER);
            let field = field.map(http::HeaderValue::as_bytes);
            wish.hear(answer.parts.status.as_u16(), field, SystemTime::now());
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h10_a_refusal_says_when_to_ask_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (field, seconds) in [
            (&b"120"[..], Some(120)),
            (b" 0 ", Some(0)),
            (b"Sun, 06 Nov 1994 08:59:37 GMT", Some(600)),
            (b"99999999999", Some(LONGEST.as_secs())),
            // Over already, or no time at all.
            (b"Sun, 06 Nov 1994 08:29:37 GMT", None),
            (b"soon", None),
            (b"-1", None),
            (b"", None),
        ] {
            let heard = until(field, now);
            assert_eq!(heard, seconds.map(|wait| now + Duration::from_secs(wait)));
        }
        let minute = Some(now + Duration::from_secs(60));
        let (wish, refusal) = (Wish::default(), |status, until| Refusal { status, until });
        wish.hear(200, Some(b"60"), now);
        assert_eq!(wish.take(), None);
        for (status, of_all, of_the_authority) in
            [(403, false, false), (429, true, false), (503, true, true)]
        {
            wish.hear(status, Some(b"60"), now);
            assert_eq!(wish.is_for_quiet(), of_all);
            let heard = wish.take();
            assert_eq!(heard, Some(refusal(status, minute)));
            assert_eq!(
                heard.map(Refusal::is_of_the_authority),
                Some(of_the_authority)
            );
            assert_eq!(wish.take(), None);
        }
        for (status, of_all) in [(403, false), (429, true), (500, false), (503, false)] {
            wish.hear(status, None, now);
            assert_eq!(wish.is_for_quiet(), of_all, "{status} names no time");
        }
        wish.hear(429, Some(b"60"), now);
        wish.hear(403, None, now);
        assert_eq!(wish.take(), Some(refusal(403, None)));
        // It went on after that, and came to nothing for another reason.
        wish.hear(503, Some(b"60"), now);
        wish.hear(200, None, now);
        assert_eq!(wish.take(), None);
    }
}
