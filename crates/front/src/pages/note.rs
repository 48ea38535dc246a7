//! What is said of the page cache's part in a request, to clients and in the access log.

use std::rc::Rc;

use canter_cache::status::Brief;

/// What the page cache had to do with a request, as it is told.
#[derive(Debug, Clone)]
pub(crate) struct CacheNote {
    /// The value of `Cache-Status`.
    pub text: Rc<str>,
    /// For the access log.
    pub brief: Brief,
}
