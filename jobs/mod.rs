//! The job types that ship with `enrgdaq`. They use the library's public API only, so a type of your own can do all that
//! these can.

mod exec;
mod pattern;
mod source;
mod store;

use enrgdaq::job::JobTypes;

/// All of them.
pub fn all() -> JobTypes {
    JobTypes::new()
        .with::<source::benchmark::Benchmark>()
        .with::<exec::Exec>()
        .with::<source::pc_metrics::PcMetrics>()
        .with::<store::csv::CsvStore>()
        .with::<store::memory::MemoryStore>()
        .with::<store::sql::MySqlStore>()
        .with::<store::raw::RawStore>()
        .with::<store::redis::RedisStore>()
        .with::<store::sql::SqliteStore>()
        .with::<source::test::Test>()
}
