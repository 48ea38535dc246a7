//! What a statement may do to the state of its session, told from its text.
