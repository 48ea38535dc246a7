//! Owns the answer to a client that is shut out and still gets here: through a proxy, or on a
//! connection that was open before.
//! Leaves who that is to `guard`, and refusing new connections to `listener`.

use std::net::IpAddr;

use super::Local;
use crate::guard::Guard;

/// An answer only while the client is shut out.
pub(crate) fn answer(guard: &Guard, client: Option<IpAddr>) -> Option<Local> {
    let left_ms = guard.shut_out(client?)?;
    Some(Local {
        status: 403,
        fields: vec![
            ("Retry-After", left_ms.div_ceil(1000).to_string().into()),
            ("Cache-Control", "no-store".into()),
        ],
        text: "too many broken or failed requests came from here: come back later".into(),
        is_bare: false,
    })
}
