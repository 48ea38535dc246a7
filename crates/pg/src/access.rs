//! Who may come in at a door.
