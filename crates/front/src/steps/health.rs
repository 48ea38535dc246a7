//! Owns `/-/live` and `/-/ready`, answered without the app so that a busy app cannot starve them.
//! Leaves whether they are asked for to the options, and what hinders requests to the app's side.

use canter_http::{Head, Method};

use super::Local;

/// Live: this program answers. Ready: nothing hinders requests, as `hindrance` tells when it is asked.
pub(crate) fn answer(
    enabled: bool,
    hindrance: impl FnOnce() -> Option<&'static str>,
    head: &Head,
    buf: &[u8],
) -> Option<Local> {
    if !enabled || !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    let (status, text) = match head.path(buf) {
        b"/-/live" => (200, "live"),
        b"/-/ready" => hindrance().map_or((200, "ready"), |why| (503, why)),
        _ => return None,
    };
    Some(Local {
        status,
        fields: vec![("Cache-Control", "no-store".into())],
        text: text.into(),
        is_bare: false,
    })
}
