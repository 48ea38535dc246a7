//! Logins against scripted servers on loopback, and by hand against a real one.

mod real;
mod scripted;
