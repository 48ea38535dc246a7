//! Rules that keep one client from harming another: how slow is too slow, how many is too many, who
//! is shut out and for how long, when a queue is too long, whose word about an address counts.
//! Decides only: it reads no socket and no clock. The time is passed in, and so are the numbers.
//! Leaves doing what it says to `front` and to the dispatch of requests.
#![forbid(unsafe_code)]

pub mod breaker;
pub mod budget;
pub mod conform;
pub mod cost;
pub mod frames;
mod hpack;
mod huffman;
mod mend;
pub mod pace;
pub mod pressure;
pub mod proxy;
pub mod rate;
pub mod score;
mod slots;
pub mod wait;
