//! Owns the answer to a request that comes too soon after others: 429 and when to come back
//! (RFC 6585, section 4; draft-ietf-httpapi-ratelimit-headers).
//! Leaves counting to `guard`.

use super::{Asked, Local};
use crate::guard::Guard;

/// Counts the request; an answer only when it is one too many.
pub(crate) fn answer(guard: &Guard, asked: &Asked<'_>) -> Option<Local> {
    let refusal = guard.rate(asked.head, asked.buf, &asked.client.address)?;
    Some(Local {
        status: 429,
        fields: vec![
            ("Retry-After", refusal.retry_after.into()),
            ("RateLimit", refusal.limit.into()),
            ("RateLimit-Policy", refusal.policy.into()),
            ("Cache-Control", "no-store".into()),
        ],
        text: "too many requests from here: wait as long as Retry-After says".into(),
        is_bare: false,
    })
}
