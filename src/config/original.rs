//! What ENRGDAQ has and this program may not have yet: a config made for it gets an answer that says so.

/// Job types of ENRGDAQ.
pub(super) const JOB_TYPES: [&str; 24] = [
    "DAQJobTest",
    "DAQJobBenchmark",
    "DAQJobPCMetrics",
    "DAQJobCamera",
    "DAQJobStoreCSV",
    "DAQJobStoreHDF5",
    "DAQJobStoreRaw",
    "DAQJobStoreROOT",
    "DAQJobStoreMySQL",
    "DAQJobStoreRedis",
    "DAQJobStoreMemory",
    "DAQJobHandleStats",
    "DAQJobHandleTraces",
    "DAQJobHandleAlerts",
    "DAQJobHealthcheck",
    "DAQJobAlertSlack",
    "DAQJobServeHTTP",
    "DAQJobCAENDigitizer",
    "DAQJobCAENHV",
    "DAQJobN1081B",
    "DAQJobCAENToolbox",
    "DAQJobXiaomiMijia",
    "DAQJobRemote",
    "DAQJobRemoteProxy",
];

/// Deprecated short name → job type.
pub(super) const ALIASES: [(&str, &str); 8] = [
    ("test", "DAQJobTest"),
    ("store_csv", "DAQJobStoreCSV"),
    ("store_root", "DAQJobStoreROOT"),
    ("serve_http", "DAQJobServeHTTP"),
    ("handle_stats", "DAQJobHandleStats"),
    ("handle_alerts", "DAQJobHandleAlerts"),
    ("alert_slack", "DAQJobAlertSlack"),
    ("healthcheck", "DAQJobHealthcheck"),
];

/// Job types that `[federation]` replaces.
pub(super) const REPLACED_BY_FEDERATION: [&str; 2] = ["DAQJobRemote", "DAQJobRemoteProxy"];

/// Keys of `store_config`.
pub(super) const BACKENDS: [&str; 7] = ["csv", "raw", "root", "hdf5", "mysql", "redis", "memory"];

/// The job type that ENRGDAQ has under this name.
pub(super) fn job_type(name: &str) -> Option<&'static str> {
    let by_alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, job_type)| *job_type);
    by_alias.or_else(|| JOB_TYPES.into_iter().find(|job_type| *job_type == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_name_leads_to_a_job_type_of_the_list() {
        for (alias, name) in ALIASES {
            assert!(JOB_TYPES.contains(&name), "{alias}");
            assert_eq!(job_type(alias), Some(name));
        }
    }
}
