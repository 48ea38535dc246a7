//! Owns `/-/live` and `/-/ready`, answered without the app so that a busy app cannot starve them.
//! Leaves whether they are asked for to the options.

use canter_http::{Head, Method};

use crate::pipeline::Local;

/// Live: this program answers. Ready: a worker takes requests.
pub(crate) fn answer(enabled: bool, ready: bool, head: &Head, buf: &[u8]) -> Option<Local> {
    if !enabled || !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    let (status, text) = match head.path(buf) {
        b"/-/live" => (200, "live"),
        b"/-/ready" if ready => (200, "ready"),
        b"/-/ready" => (503, "no worker takes requests now"),
        _ => return None,
    };
    Some(Local {
        status,
        fields: vec![("Cache-Control", "no-store".into())],
        text: text.into(),
        is_bare: false,
    })
}
