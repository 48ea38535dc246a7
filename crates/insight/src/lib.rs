//! Owns what requests cost and why: statements without their values, phases, findings, routes,
//! history, and how they are shown. Pure: no sockets, files, clocks or threads.
//! Leaves measuring to the worker and the front, and serving to the program.

pub mod findings;
pub mod forecast;
pub mod histogram;
pub mod history;
pub mod observation;
pub mod operations;
pub mod otlp;
pub mod phases;
pub mod profile;
pub mod releases;
pub mod routes;
pub mod rules;
pub mod show;
pub mod site;
pub mod statement;
pub mod traceparent;
pub mod usual;
pub mod window;

pub use observation::{Group, Name, Observation, Place, Told};
pub use phases::{Phase, Phases, Stamps};
pub use show::Live;
pub use site::Site;
