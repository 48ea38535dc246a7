//! Owns the steps of the pipeline, one file each. Leaves their order to `pipeline`.

pub(crate) mod ban;
pub(crate) mod bench;
pub(crate) mod challenge;
pub(crate) mod health;
pub(crate) mod hints;
pub(crate) mod options;
pub(crate) mod purge;
pub(crate) mod rate;
pub(crate) mod redirect;
