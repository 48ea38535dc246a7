//! Owns the order of the steps that a request passes before the app: read it top to bottom.
//! Leaves what each step does to `steps`.
//!
//! Limits on the head are the codec's; the body is read after this, so a step that answers saves
//! reading it. Rate limits, redirects, static files and the page cache will stand here, too.

use canter_http::Head;

use crate::settings::Settings;
use crate::steps;

/// An answer made by the front itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// The status code.
    pub status: u16,
    /// Fields beside the usual ones.
    pub fields: &'static [(&'static str, &'static str)],
    /// A line for whoever reads it.
    pub text: &'static str,
}

/// The first step that answers wins; None means that the app is asked.
pub(crate) fn before(settings: &Settings, ready: bool, head: &Head, buf: &[u8]) -> Option<Local> {
    None.or_else(|| steps::options::answer(head))
        .or_else(|| steps::health::answer(settings.health, ready, head, buf))
}
