//! Where a database is and how to reach it.
