//! Owns the agreement to a load test from another machine: one path, made of the owner's token.
//! Leaves asking for it to `canter bench`.

use canter_base::secret::constant_time_eq;
use canter_http::{Head, Method};

use super::Local;

const PATH: &[u8] = b"/.well-known/canter-bench/";

/// Agrees with whoever knows the token. A wrong one is a path like any other, so that nobody learns
/// here that there is one.
pub(crate) fn answer(token: Option<&str>, head: &Head, buf: &[u8]) -> Option<Local> {
    let token = token?;
    let said = head.path(buf).strip_prefix(PATH)?;
    (head.method == Method::Get && constant_time_eq(said, token.as_bytes())).then(|| Local {
        status: 204,
        fields: vec![("Cache-Control", "no-store".into())],
        is_bare: true,
        ..Local::default()
    })
}
