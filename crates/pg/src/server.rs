//! One server connection and what is known of it.
