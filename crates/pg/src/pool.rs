//! Which session gets which server connection, and when.
