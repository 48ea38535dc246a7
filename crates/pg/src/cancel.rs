//! Cancel requests: which key belongs to which session, and the way to its server.
