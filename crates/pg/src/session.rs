//! The life of one client.
