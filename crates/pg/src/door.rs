//! Listeners and the first packet of a connection.
