//! Stores: what keeps data.

pub(crate) mod csv;
pub(crate) mod memory;
mod numbers;
pub(crate) mod raw;
pub(crate) mod redis;
mod rows;
pub(crate) mod sql;
mod verifier;
