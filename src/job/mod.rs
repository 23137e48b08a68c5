//! What a job author sees: [`Job`], [`Context`], [`Publisher`], [`Inbox`], [`Table`]; and what runs a job's process.
//!
//! A job is a process of its own, started again from the same executable with its spec on descriptor 0. It speaks with
//! its supervisor by bus, exit status and that descriptor alone, and never waits for it. The SDK does the ready
//! handshake, the heartbeat and the statistics (each once a second), the stop (a message or SIGTERM), and sees to it
//! that what was published leaves the process before it ends.
//!
//! ```no_run
//! use enrgdaq::job::{Context, Job, JobError, JobTypes, Kind, Table};
//! use enrgdaq::message::StoreConfig;
//!
//! /// Counts, once a second.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct CounterConfig {
//!     /// Where the counts are stored.
//!     store_config: StoreConfig,
//! }
//! struct Counter(CounterConfig);
//!
//! impl Job for Counter {
//!     const TYPE: &'static str = "DAQJobCounter";
//!     const KIND: Kind = Kind::Source;
//!     type Config = CounterConfig;
//!     fn new(config: CounterConfig, _: &Context) -> Result<Self, JobError> {
//!         Ok(Self(config))
//!     }
//!     fn run(self, cx: Context) -> Result<(), JobError> {
//!         for n in 0i64.. {
//!             let row = Table::new().column("n", [n]).build()?;
//!             cx.publisher().store_table(&self.0.store_config, None, &row)?;
//!             if !cx.sleep(std::time::Duration::from_secs(1)) {
//!                 break;
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     enrgdaq::main(JobTypes::new().with::<Counter>())
//! }
//! ```

mod bus_intake;
mod context;
mod delivery;
mod inbox;
mod keeper;
mod log_line;
mod measures;
mod operation;
mod outlet;
mod packs;
mod process;
mod program;
mod publisher;
mod requests;
mod seats;
mod setup;
mod spec;
mod stop;
mod stream;
mod table;
mod tally;
mod types;

pub use context::Context;
pub use delivery::Delivery;
pub use inbox::Inbox;
pub use log_line::LogLine;
pub(crate) use log_line::MARK;
pub use operation::Operation;
pub(crate) use operation::WINDOW;
pub use program::{Launch, News, Notifications, Program, ProgramEnd, ProgramError};
pub use publisher::{Publisher, StoreError};
pub use requests::Requests;
pub use stream::Stream;
pub use table::{Table, TableError};
pub use types::{Job, JobError, JobType, JobTypes};

pub(crate) use process::{EXIT_CONFIG, run as run_process};
pub(crate) use program::run_shim;
pub(crate) use spec::{JobSpec, RingPlace};
pub(crate) use tally::{Beat, Tally, TallySnapshot};
#[cfg(test)]
pub(crate) use tally::{SetTally, SourceTally};

pub use crate::bus::{BusError, Deadline, PublishError};
pub use crate::config::{Backend, Kind, Refusal};
