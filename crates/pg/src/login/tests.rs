//! Logins against scripted servers on loopback, against doors of ours that show certificates of
//! every kind, and by hand against a real server.

mod certificates;
mod fuzz;
mod hosts;
mod real;
mod scripted;
