//! Owns `OPTIONS *`, which asks the server and not the app (RFC 9110, section 9.3.7).
//! Leaves `OPTIONS` on a path to the app.

use canter_http::{Head, TargetForm};

use super::Local;

/// Says which methods there are.
pub(crate) fn answer(head: &Head) -> Option<Local> {
    const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    (head.form == TargetForm::Asterisk).then(|| Local {
        status: 200,
        fields: vec![("Allow", METHODS.into())],
        ..Local::default()
    })
}
