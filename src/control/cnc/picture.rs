//! The picture of a supervisor as tools made for ENRGDAQ read it, made of ours. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::message::{NodeStatus, RestartSchedule};
use crate::control::{FederationStatus, JobStatus, Status};
use crate::message::{JobInfo, JobStats, RemoteStats};
use crate::os::iso_at;

/// What a supervisor is doing, at this time.
pub(super) fn picture(status: Status, jobs: Vec<JobInfo>, now: Timestamp) -> NodeStatus {
    let info = status.supervisor.info;
    let restart_schedules = status.jobs.iter().filter_map(|job| schedule(job, now)).collect();
    NodeStatus {
        daq_job_stats: BTreeMap::from([(info.supervisor_id.clone(), by_type(status.jobs))]),
        supervisor_info: info,
        daq_jobs: jobs,
        daq_job_remote_stats: status.federation.iter().flat_map(|federation| remote(federation, now)).collect(),
        restart_schedules,
    }
}

/// What came from and went to each node at the other end of a link.
fn remote(federation: &FederationStatus, now: Timestamp) -> impl Iterator<Item = (String, RemoteStats)> + '_ {
    federation.links.iter().map(move |link| {
        let ago = link.heard_s.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let stats = RemoteStats {
            message_in_count: link.received,
            message_in_bytes: link.received_bytes,
            message_out_count: link.sent,
            message_out_bytes: link.sent_bytes,
            last_active: ago.and_then(|ago| now.checked_sub(ago).ok()).map(iso_at),
        };
        (link.peer.clone(), stats)
    })
}

/// The first job of a type stands under the type, the others under `TYPE (NAME)`.
fn by_type(jobs: Vec<JobStatus>) -> BTreeMap<String, JobStats> {
    let mut stats = BTreeMap::new();
    for job in jobs {
        let key = match stats.contains_key(&job.daq_job_type) {
            false => job.daq_job_type,
            true => format!("{} ({})", job.daq_job_type, job.name),
        };
        stats.insert(key, job.stats);
    }
    stats
}

fn schedule(job: &JobStatus, now: Timestamp) -> Option<RestartSchedule> {
    let after = Duration::try_from_secs_f64(job.restart_in_s?.max(0.0)).ok()?;
    let restart_at = now.checked_add(after).ok()?;
    Some(RestartSchedule { job: job.name.clone(), restart_at: iso_at(restart_at) })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A status with these jobs: name, type, seconds until it is started again.
    pub(in crate::control::cnc) fn status(jobs: &[(&str, &str, Option<f64>)]) -> Status {
        let log = json!({"lines": 0, "written": 0, "dropped": 0});
        let job = |(name, job_type, restart_in_s): &(&str, &str, Option<f64>)| {
            json!({
                "name": name, "daq_job_type": job_type, "unique_id": format!("id of {name}"), "instance_id": null,
                "state": "ready", "reason": null, "pid": 7, "uptime_s": 1.0, "restart_in_s": restart_in_s,
                "restarts": 0, "region": null, "log": log, "last_end": null,
                "stats": {"message_in_bytes": name.len()},
            })
        };
        let supervisor = json!({
            "supervisor_id": "lab1", "supervisor_tags": ["north"], "pid": 1, "uptime_s": 2.0, "version": "0",
            "config_dir": "/c", "is_stopping": false, "cpu_percent": 0.0, "rss_mb": 1.0, "outside_full": 0,
            "log_lines_dropped": 0, "log": log,
        });
        let jobs: Vec<Value> = jobs.iter().map(job).collect();
        serde_json::from_value(json!({"supervisor": supervisor, "jobs": jobs, "edges": [], "alerts": []})).unwrap()
    }

    #[test]
    fn figures_stand_under_the_type_and_more_of_it_under_its_name_too() {
        let status = status(&[("a", "DAQJobTest", None), ("bcd", "DAQJobTest", None), ("s", "DAQJobStoreCSV", None)]);

        let picture = picture(status, Vec::new(), Timestamp::now());

        let stats = &picture.daq_job_stats["lab1"];
        let keys: Vec<_> = stats.iter().map(|(key, stats)| (key.as_str(), stats.message_in_bytes)).collect();
        assert_eq!(keys, [("DAQJobStoreCSV", 1), ("DAQJobTest", 1), ("DAQJobTest (bcd)", 3)]);
        assert_eq!(picture.supervisor_info.supervisor_tags, ["north"]);
    }

    #[test]
    fn a_restart_is_a_time_and_no_other_job_has_one() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let status =
            status(&[("a", "T", Some(2.5)), ("b", "T", None), ("c", "T", Some(-1.0)), ("d", "T", Some(f64::MAX))]);

        let schedules = picture(status, Vec::new(), now).restart_schedules;

        let times: Vec<(_, Timestamp)> =
            schedules.iter().map(|schedule| (schedule.job.as_str(), schedule.restart_at.parse().unwrap())).collect();
        assert_eq!(times, [("a", "2026-11-20T12:00:02.5Z".parse().unwrap()), ("c", now)]);
    }

    #[test]
    fn it_has_the_keys_that_others_read() {
        let info = JobInfo {
            daq_job_type: "T".into(),
            unique_id: "u".into(),
            instance_id: "i".into(),
            config: "a = 1".into(),
            subscribed_topics: vec!["t".into()],
            supervisor_info: crate::message::SupervisorInfo::default(),
        };

        let value = serde_json::to_value(picture(status(&[("a", "T", None)]), vec![info], Timestamp::now())).unwrap();

        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let sorted = |words: &[&str]| {
            let mut words: Vec<_> = words.iter().map(|word| word.to_string()).collect();
            words.sort_unstable();
            words
        };
        let of_status = ["supervisor_info", "daq_jobs", "daq_job_stats", "daq_job_remote_stats", "restart_schedules"];
        assert_eq!(keys(&value), sorted(&of_status));
        let of_job = ["daq_job_type", "unique_id", "instance_id", "config", "subscribed_topics", "supervisor_info"];
        assert_eq!(keys(&value["daq_jobs"][0]), sorted(&of_job));
    }
}
