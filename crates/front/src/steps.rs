//! Owns the steps of the pipeline, one file each, what they look at and what they answer. Leaves their
//! order to `pipeline`.

pub(crate) mod ban;
pub(crate) mod bench;
pub(crate) mod challenge;
pub(crate) mod health;
pub(crate) mod hints;
pub(crate) mod options;
pub(crate) mod purge;
pub(crate) mod rate;
pub(crate) mod redirect;

use std::borrow::Cow;
use std::net::IpAddr;

use canter_http::Head;

use crate::forwarded::{Client, ForwardedClient};

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
