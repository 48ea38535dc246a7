//! Owns sending what the app or its last answer says ahead of the answer: `103 Early Hints`.
//! Leaves which links those are to the app and to `steps::hints`.

use canter_channel::response::Response;
use canter_http::{Method, Version, interim};

use super::{Conn, Stop};
use crate::app::App;
use crate::facts::Facts;

impl<A: App> Conn<A> {
    /// Sends the links that the app told ahead; to a client that would take them for the answer, not.
    pub(super) async fn send_hints(&self, facts: &Facts, message: &[u8]) -> Result<(), Stop> {
        let may = facts.method == Method::Get && facts.request.version == Version::Http11;
        let Some(told) = Response::read(message).ok().filter(|_| may) else {
            return Ok(());
        };
        let links = told.fields();
        let links = links.filter(|(name, _)| name.eq_ignore_ascii_case(b"link"));
        let mut out = Vec::new();
        interim::encode_early_hints(&mut out, links.map(|(_, value)| value));
        self.send_all(&out, &[]).await
    }

    /// Remembers the links of a page for the next visitor's 103, where a rule asks for it.
    pub(super) fn learn_hints(&self, facts: &Facts, answer: &Response<'_>) {
        if let Some(address) = facts
            .hinted
            .as_deref()
            .filter(|_| answer.facts.status == 200)
        {
            self.shared.learned.learn(address, answer.fields());
        }
    }
}
