//! The relay driven by scripted and by made-up clients and servers, in whole pieces and in cuts.

mod bodies;
mod bounds;
mod copies;
pub(crate) mod crowd;
mod driver;
mod early;
mod encodings;
mod extended;
mod fuzz;
mod labels;
mod limbo;
mod model;
mod often;
mod segments;
mod shapes;
mod shared;
mod simple;
mod state;
