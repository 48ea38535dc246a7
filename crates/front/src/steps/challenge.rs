//! Owns what a certificate authority asks for at `/.well-known/acme-challenge/` to see that a name is
//! ours (RFC 8555, section 8.3).
//! Leaves talking to the authority to the composition.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use canter_http::{Head, Method};

use super::Local;

const FOLDER: &[u8] = b"/.well-known/acme-challenge/";

/// The answers that are expected now. Copies are the same set.
#[derive(Clone, Default)]
pub struct Challenges(Rc<RefCell<HashMap<String, String>>>);

impl Challenges {
    /// From now on this token is answered.
    pub fn set(&self, token: String, answer: String) {
        self.0.borrow_mut().insert(token, answer);
    }

    /// And no longer.
    pub fn clear(&self, token: &str) {
        self.0.borrow_mut().remove(token);
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges")
    }
}

/// The answer, while one is expected; any other request below the folder is the app's.
pub(crate) fn answer(challenges: &Challenges, head: &Head, buf: &[u8]) -> Option<Local> {
    let challenges = challenges.0.borrow();
    if challenges.is_empty() || !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    let token = std::str::from_utf8(head.path(buf).strip_prefix(FOLDER)?).ok()?;
    let answer = challenges.get(token)?;
    Some(Local {
        status: 200,
        fields: vec![("Cache-Control", "no-store".into())],
        text: answer.clone().into(),
        is_bare: true,
    })
}
