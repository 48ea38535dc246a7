//! Owns how a request is named: for people, and by what it is known again.
//! Leaves what is said of it to the rest of the dispatch.

use std::hash::{Hash, Hasher};

use canter_channel::request;

/// Method and target, by which a request that kills workers is known again.
pub(super) fn fingerprint(message: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    if let Ok(request) = request::Request::read(message) {
        (request.facts.method, request.facts.target).hash(&mut hasher);
    }
    hasher.finish()
}

/// A request for people: method, target without its query, which may hold secrets, and id, all
/// without anything that is no printable ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// `GET`.
    pub method: String,
    /// `/orders/17/`.
    pub path: String,
    /// Its id.
    pub id: String,
}

impl Named {
    pub(super) fn read(message: &[u8]) -> Self {
        let Ok(request) = request::Request::read(message) else {
            return Self::default();
        };
        let facts = request.facts;
        let path = facts.target.split(|&byte| byte == b'?').next();
        Self {
            method: facts.method.escape_ascii().to_string(),
            path: path.unwrap_or_default().escape_ascii().to_string(),
            id: facts.id.escape_ascii().to_string(),
        }
    }
}

/// A request for the log, in one word.
pub(super) fn describe(message: &[u8]) -> String {
    let Named { method, path, id } = Named::read(message);
    format!("{method} {path} (request {id})")
}
