//! Connecting to a PostgreSQL server and logging in.
