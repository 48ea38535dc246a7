//! A byte stream to a client or a server, plain or TLS.
