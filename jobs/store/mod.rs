//! Stores: what keeps data.

pub(crate) mod csv;
mod file_name;
mod folder;
mod found;
pub(crate) mod memory;
mod numbers;
mod outage;
mod rows;
mod sheet;
mod sheets;
mod verifier;
