//! Messages of the PostgreSQL protocol.
