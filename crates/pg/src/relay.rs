//! The state machine between one client and the server it has at the moment; sans-IO.
