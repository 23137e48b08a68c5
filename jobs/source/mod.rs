//! Sources: what produces data.

pub(crate) mod benchmark;
pub(crate) mod pc_metrics;
mod pulse;
pub(crate) mod test;
