//! Owns `OPTIONS *`, which asks the server and not the app (RFC 9110, section 9.3.7).
//! Leaves `OPTIONS` on a path to the app.

use canter_http::{Head, TargetForm};

use crate::pipeline::Local;

/// Says which methods there are.
pub(crate) fn answer(head: &Head) -> Option<Local> {
    (head.form == TargetForm::Asterisk).then_some(Local {
        status: 200,
        fields: &[("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")],
        text: "",
    })
}
