//! The tuner behind `canter tune`: which configurations to try, what their measurements say, and the
//! report. Leaves starting servers, driving them and reading the kernel to `canter`; what it needs of
//! those is the trait [`search::Bench`].
//!
//! ```text
//! space ─▶ search ─▶ Bench (a real server, or a simulated one) ─▶ choose (judge) ─▶ report
//! ```
#![forbid(unsafe_code)]
// Numbers here are counts, shares and times: none is negative, none is near the end of its type.
#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::format_push_string
)]

pub mod binding;
mod choose;
mod found;
pub mod judge;
pub mod measured;
pub mod observe;
pub mod report;
pub mod search;
pub mod setting;
pub mod usl;

#[cfg(test)]
mod simulated;
