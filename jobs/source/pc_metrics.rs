//! `DAQJobPCMetrics`: how busy and how full the host is.

use std::path::Path;
use std::time::Duration;

use enrgdaq::job::{Context, Job, JobError, Kind, Table};
use enrgdaq::message::StoreConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use sysinfo::{DiskRefreshKind, Disks, System};

use super::pulse::{Pulse, unix_ms};

/// Measures the host: columns `timestamp` (ms since the Unix epoch) and `cpu`, `memory`, `disk` in percent; the tag is
/// the supervisor's id. `cpu` is the mean over all cores since the last row, `disk` the share of the root file system
/// that is in use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PcMetricsConfig {
    /// Which columns beside `timestamp`.
    #[serde(default = "all_metrics")]
    metrics_to_store: Vec<Metric>,
    /// Seconds between two rows.
    #[serde(default = "one_second")]
    #[schemars(range(min = 0.2, max = 86400.0))]
    poll_interval_seconds: f64,
    /// Where the rows are stored.
    store_config: StoreConfig,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Metric {
    /// Processor time in use.
    Cpu,
    /// Memory in use.
    Memory,
    /// Root file system in use.
    Disk,
}

fn all_metrics() -> Vec<Metric> {
    vec![Metric::Cpu, Metric::Memory, Metric::Disk]
}

fn one_second() -> f64 {
    1.0
}

/// The job.
#[derive(Debug)]
pub(crate) struct PcMetrics {
    config: PcMetricsConfig,
    system: System,
    disks: Disks,
}

impl Job for PcMetrics {
    const TYPE: &'static str = "DAQJobPCMetrics";
    const KIND: Kind = Kind::Source;
    type Config = PcMetricsConfig;

    fn new(config: PcMetricsConfig, _: &Context) -> Result<Self, JobError> {
        let unknown = |error| JobError::failed("the host does not give its figures", error);
        let mut system = System::new().map_err(unknown)?;
        system.refresh_cpu_usage();
        let of_disks = DiskRefreshKind::nothing().with_storage();
        let disks = Disks::new_with_refreshed_list_specifics(of_disks).map_err(unknown)?;
        Ok(Self { config, system, disks })
    }

    fn run(mut self, cx: Context) -> Result<(), JobError> {
        let tag = cx.supervisor_id().to_owned();
        // The processor's figure is a difference: the first row needs a moment.
        if !cx.sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL) {
            return Ok(());
        }
        let mut pulse = Pulse::every(Duration::from_secs_f64(self.config.poll_interval_seconds));
        while pulse.wait(&cx) {
            let mut row = Table::new().column("timestamp", [unix_ms()]);
            for metric in self.config.metrics_to_store.clone() {
                let (name, percent) = self.measure(metric);
                row = row.column(name, [percent]);
            }
            cx.publisher().store_table(&self.config.store_config, Some(&tag), &row.build()?)?;
            cx.alive();
        }
        Ok(())
    }
}

impl PcMetrics {
    /// A column: its name, and the figure in percent; null where the host does not say.
    fn measure(&mut self, metric: Metric) -> (&'static str, Option<f64>) {
        match metric {
            Metric::Cpu => {
                self.system.refresh_cpu_usage();
                ("cpu", Some(f64::from(self.system.global_cpu_usage())))
            }
            Metric::Memory => {
                self.system.refresh_memory();
                ("memory", percent(self.system.used_memory(), self.system.total_memory()))
            }
            Metric::Disk => {
                self.disks.refresh(false);
                let root = self.disks.iter().find(|disk| disk.mount_point() == Path::new("/"));
                let used = |disk: &sysinfo::Disk| {
                    percent(disk.total_space().saturating_sub(disk.available_space()), disk.total_space())
                };
                ("disk", root.and_then(used))
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}
