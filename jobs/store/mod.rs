//! Stores: what keeps data.

pub(crate) mod csv;
mod file_name;
mod folder;
pub(crate) mod memory;
mod rows;
mod sheet;
