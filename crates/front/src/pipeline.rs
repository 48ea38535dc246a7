//! Owns the order of the steps that a request passes before the app: read it top to bottom.
//! Leaves what each step does to `steps`.
//!
//! Limits on the head are the codec's; the body is read after this, so a step that answers saves
//! reading it. Behind them stand static files (`canter_files`), and then the app.

use std::borrow::Cow;
use std::net::IpAddr;

use canter_http::Head;

use crate::forwarded::{Client, ForwardedClient};
use crate::guard::Guard;
use crate::settings::Settings;
use crate::steps;

/// A field of an answer made by the front.
pub(crate) type LocalField = (&'static str, Cow<'static, str>);

/// An answer made by the front itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Local {
    /// The status code.
    pub status: u16,
    /// Fields beside the usual ones.
    pub fields: Vec<LocalField>,
    /// A line for whoever reads it.
    pub text: Cow<'static, str>,
    /// The line is for a program: it stands alone.
    pub is_bare: bool,
}

/// What the steps look at.
pub(crate) struct Asked<'a> {
    pub head: &'a Head,
    pub buf: &'a [u8],
    /// Who asks, after trust was considered.
    pub client: &'a Client,
    /// Its address, where it is one that can be held against it.
    pub to_blame: Option<IpAddr>,
    /// What a trusted proxy says of it.
    pub told: Option<&'a ForwardedClient>,
    /// It came where everybody is sent to HTTPS.
    pub redirects: bool,
    /// Why requests would not be answered now; asked by few.
    pub hindrance: &'a dyn Fn() -> Option<&'static str>,
}

/// The first step that answers wins; None means that the app is asked.
pub(crate) fn before(settings: &Settings, guard: &Guard, asked: &Asked<'_>) -> Option<Local> {
    None.or_else(|| steps::options::answer(asked.head))
        .or_else(|| steps::health::answer(settings.health, asked.hindrance, asked.head, asked.buf))
        .or_else(|| steps::challenge::answer(&settings.challenges, asked.head, asked.buf))
        .or_else(|| steps::bench::answer(settings.bench_token.as_deref(), asked.head, asked.buf))
        .or_else(|| steps::ban::answer(guard, asked.to_blame))
        .or_else(|| {
            let token = settings.purge_token.as_deref();
            steps::purge::answer(&settings.pages, token, asked.head, asked.buf)
        })
        .or_else(|| steps::redirect::answer(settings.redirect_https, asked))
        .or_else(|| steps::rate::answer(guard, asked))
}
