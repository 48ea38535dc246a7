//! What is known of the content before it comes, by which a coding takes its memory.

/// How much comes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Its length, all of which follows.
    Whole(u64),
    /// Nothing.
    Stream,
    /// It comes little by little and for long.
    Trickle,
}
