//! A backend as a job type.

use std::time::{Duration, Instant};

use schemars::schema_for;

use super::desk::Desk;
use super::keeper::Keeper;
use super::settings::{Keeping, StoreSettings};
use super::sink::{Home, Sink};
use super::spool::Spool;
use crate::config::{Backend, Kind, Refusal};
use crate::job::{Context, Job, JobError};
use crate::message::MessageKind;
use crate::os::short_hash;

/// For how much of the time that a job has for its end it goes on trying: less than until the supervisor sends a signal.
const GIVE_UP_AFTER: f64 = 0.4;

/// The same for one that ends by itself.
const END_WITHIN: Duration = Duration::from_secs(8);

/// A job type that stores what it receives in a backend.
#[derive(Debug)]
pub struct Store<S: Sink> {
    sink: S,
    keeping: Keeping,
    spool: Spool,
}

impl<S: Sink> Job for Store<S> {
    const TYPE: &'static str = S::TYPE;
    const KIND: Kind = Kind::Store;
    const ALIASES: &'static [&'static str] = S::ALIASES;
    type Config = StoreSettings<S::Config>;

    fn check(config: &Self::Config) -> Result<(), Vec<Refusal>> {
        S::check(&config.own)
    }

    fn backend() -> Option<Backend> {
        Some(Backend { key: S::BACKEND, schema: schema_for!(S::Target) })
    }

    fn messages() -> Vec<MessageKind> {
        S::messages()
    }

    fn new(config: Self::Config, cx: &Context) -> Result<Self, JobError> {
        let StoreSettings { keeping, own } = config;
        let home = Home {
            name: cx.name().to_owned(),
            unique_id: cx.unique_id().to_owned(),
            state_dir: cx.state_dir().to_owned(),
        };
        let dir = match &keeping.spool_dir {
            Some(dir) => dir.join(format!("{}-{}", cx.name(), short_hash(cx.unique_id()))),
            None => home.state_dir.join("spool"),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a size")]
        let limit = (keeping.spool_max_gb * 1e9) as u64;
        let spool = Spool::open(dir, limit).map_err(|error| JobError::failed("cannot open the spool", error))?;
        Ok(Self { sink: S::open(own, &home)?, keeping, spool })
    }

    fn run(self, cx: Context) -> Result<(), JobError> {
        let mut keeper = Keeper::new(cx.clone(), &self.keeping, Desk::new(self.sink)?, self.spool);
        keeper.begin()?;
        loop {
            keeper.step()?;
            cx.alive();
            if !keeper.has_room() {
                if cx.stopping() {
                    break;
                }
                keeper.wait()?;
                continue;
            }
            match cx.inbox().next(keeper.patience())? {
                Some(delivery) => keeper.take(delivery),
                None if cx.stopping() => break,
                None => keeper.quiet(),
            }
        }
        keeper.end(cx.share_of_end(GIVE_UP_AFTER).unwrap_or_else(|| Instant::now() + END_WITHIN))
    }
}
