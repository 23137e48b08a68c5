//! Federation: a hub and its leaves, on hosts that the tests make. Links are cut, delayed, lossy, reset; nodes are killed and
//! hang; in the end every message that a leaf has committed is in the hub's store, once and in its order.
//!
//! `ENRGDAQ_FEDERATION_SECONDS` and `ENRGDAQ_FEDERATION_KILLS` make it longer, `ENRGDAQ_FEDERATION_SEED` repeats a run:
//! `scripts/soak federation`.

mod carriage;
mod chaos;
mod committed;
mod disks;
mod disturbed;
mod garbage;
mod interest;
mod keys;
mod kills;
mod names;
mod news;
mod place;
mod plain;
mod rate;
mod relay;
mod spool;
mod star;
mod watched;
mod ways;

/// A number from the environment.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("it is a number"))
}

/// Chances that a run can repeat.
fn chances() -> fastrand::Rng {
    let seed = number("ENRGDAQ_FEDERATION_SEED", fastrand::u64(..));
    println!("ENRGDAQ_FEDERATION_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
