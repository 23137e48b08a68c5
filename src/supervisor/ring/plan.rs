//! Who shall have which place in the ring, by the configuration. Pure.

use enrgdaq_ring::{Policy, ReaderPlan, WriterPlan};

use crate::config::{DeliveryMode, JobConfig, Kind};
use crate::job::RingPlace;
use crate::message::{Plane, Topic};

const MIB: usize = 1 << 20;

/// No region is smaller.
const SMALLEST: usize = 64 << 10;

/// Regions are made of whole pages.
const PAGE: usize = 4096;

/// What a monitor or service has that does not say how much.
const REGION_OF_OTHERS: usize = 8 * MIB;

/// The place that one job is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct Plan {
    /// The job's name.
    pub(super) name: String,
    /// What stands for it in the ring.
    pub(super) number: u128,
    /// The size of its region.
    pub(super) region_bytes: Option<usize>,
    /// How it reads, and what; never without topics, which would mean all of them.
    pub(super) reads: Option<(Policy, Vec<String>)>,
    /// It is to hear payloads, by the ring or by the bus.
    pub(super) is_subscribed: bool,
    /// It starts with the supervisor; else writers do not wait for it before its first start.
    pub(super) starts_by_itself: bool,
}

impl Plan {
    pub(super) fn writer(&self) -> Option<WriterPlan> {
        self.region_bytes.map(|bytes| WriterPlan::new(self.number, bytes))
    }

    pub(super) fn reader(&self) -> Option<ReaderPlan> {
        let (policy, topics) = self.reads.clone()?;
        Some(ReaderPlan { unique_id: self.number, policy, topics })
    }
}

/// The places of all jobs, given with what they subscribe; `budget_mb` is what the sources share.
pub(in crate::supervisor) fn plan(jobs: &[(&JobConfig, &[String])], budget_mb: u32) -> Vec<Plan> {
    let is_sharing = |job: &JobConfig| job.use_shm_when_possible && job.kind == Kind::Source;
    let sources = jobs.iter().filter(|(job, _)| is_sharing(job)).count();
    let share = share(mib(budget_mb), sources);
    jobs.iter().map(|(job, subscriptions)| plan_of(job, subscriptions, share)).collect()
}

fn plan_of(job: &JobConfig, subscriptions: &[String], share: usize) -> Plan {
    let topics = on_data_plane(subscriptions);
    let policy = match job.delivery {
        DeliveryMode::Lossless => Policy::Lossless,
        DeliveryMode::Latest => Policy::Latest,
    };
    let of_kind = match job.kind {
        Kind::Source => Some(share),
        Kind::Monitor | Kind::Service => Some(REGION_OF_OTHERS),
        Kind::Store | Kind::Alert => None,
    };
    Plan {
        name: job.name.clone(),
        number: RingPlace::number(&job.unique_id),
        region_bytes: job.ring_mb.map(mib).or(of_kind).filter(|_| job.use_shm_when_possible),
        is_subscribed: !topics.is_empty(),
        starts_by_itself: job.supervise.autostart,
        reads: (job.use_shm_when_possible && !topics.is_empty()).then_some((policy, topics)),
    }
}

/// An equal part of the budget, in whole pages.
fn share(budget_bytes: usize, sources: usize) -> usize {
    (budget_bytes / sources.max(1) / PAGE * PAGE).max(SMALLEST)
}

fn mib(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(MIB)
}

/// The subscriptions that concern payloads.
fn on_data_plane(subscriptions: &[String]) -> Vec<String> {
    let is_data = |name: &&String| Topic::named(name).is_ok_and(|topic| topic.plane() == Plane::Data);
    subscriptions.iter().filter(is_data).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ProcessSetup, Supervise, Verbosity, Wait};

    fn job(name: &str, kind: Kind) -> JobConfig {
        JobConfig {
            name: name.into(),
            replica: None,
            path: name.into(),
            text: String::new(),
            job_type: "DAQJobTest",
            kind,
            runs_program: false,
            unique_id: name.into(),
            verbosity: Verbosity::default(),
            use_shm_when_possible: true,
            ring_mb: None,
            delivery: DeliveryMode::Latest,
            wait: Wait::default(),
            backend: None,
            topics_to_subscribe: Vec::new(),
            supervise: Supervise::default(),
            process: ProcessSetup::default(),
            settings: serde_json::Value::Null,
        }
    }

    #[test]
    fn sources_share_the_budget_and_the_others_have_what_their_kind_needs() {
        let (a, b, monitor, store) =
            (job("a", Kind::Source), job("b", Kind::Source), job("m", Kind::Monitor), job("s", Kind::Store));
        let own = JobConfig { ring_mb: Some(2), ..job("own", Kind::Store) };
        let bus = JobConfig { use_shm_when_possible: false, ring_mb: Some(2), ..job("bus", Kind::Source) };

        let plans = plan(&[&a, &b, &monitor, &store, &own, &bus].map(|job| (job, &[][..])), 256);

        let sizes: Vec<_> = plans.iter().map(|plan| plan.region_bytes.map(|bytes| bytes / MIB)).collect();
        assert_eq!(sizes, [Some(128), Some(128), Some(8), None, Some(2), None]);
    }

    #[test]
    fn a_share_is_whole_pages_and_never_too_small() {
        for (budget, sources, expected) in
            [(MIB, 3, MIB / 3 / PAGE * PAGE), (MIB, 1000, SMALLEST), (256 * MIB, 0, 256 * MIB), (MIB, 1, MIB)]
        {
            assert_eq!(share(budget, sources), expected, "{budget} for {sources}");
        }
    }

    #[test]
    fn only_who_hears_payloads_reads_the_ring() {
        let store = JobConfig { delivery: DeliveryMode::Lossless, ..job("s", Kind::Store) };
        let (alert, outsider) =
            (job("a", Kind::Alert), JobConfig { use_shm_when_possible: false, ..job("o", Kind::Monitor) });
        let (alerts, payloads) = (["alert".to_owned()], ["alert".to_owned(), "store.A".to_owned()]);

        let plans = plan(&[(&store, &payloads), (&alert, &alerts), (&outsider, &payloads)], 1);

        assert_eq!(plans[0].reads, Some((Policy::Lossless, vec!["store.A".into()])));
        assert_eq!((&plans[1].reads, plans[1].is_subscribed), (&None, false));
        assert_eq!((&plans[2].reads, plans[2].is_subscribed), (&None, true));
    }
}
