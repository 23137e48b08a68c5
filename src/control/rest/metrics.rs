//! `/metrics`: what Prometheus reads.
//!
//! Invariants: the unit is in every name; counts of a job begin anew with its process, as counters may.

use axum::body::Body;
use axum::http::Response;
use jiff::Timestamp;

use super::asked::{Asked, sent};
use super::exposition::{Exposition, KIND};
use super::fault::Fault;
use super::figures::{BOUNDS_S, Counted};
use super::link_metrics::links;
use super::nodes::{Node, all};
use crate::control::{Command, Edge, JobStatus, LogCounts, RegionStatus, Reply, StateName, SupervisorStatus};
use crate::message::{JobStats, LatencyStats};

/// All states, one of which a job is in.
const STATES: [(StateName, &str); 8] = [
    (StateName::Stopped, "stopped"),
    (StateName::Waiting, "waiting"),
    (StateName::Starting, "starting"),
    (StateName::Ready, "ready"),
    (StateName::BackingOff, "backingoff"),
    (StateName::Stopping, "stopping"),
    (StateName::Exited, "exited"),
    (StateName::Fatal, "fatal"),
];

pub(super) async fn metrics(asked: Asked) -> Result<Response<Body>, Fault> {
    let shared = &asked.shared;
    let status = match shared.desk.ask(&asked.caller, Command::Status).await? {
        Reply::Status(status) => status,
        other => return Err(Fault::broken("the supervisor answered another question", format!("{other:?}"))),
    };
    let mut text = Exposition::default();
    supervisor(&mut text, &status.supervisor);
    jobs(&mut text, &status.jobs);
    job_counts(&mut text, &status.jobs);
    job_logs(&mut text, &status.jobs);
    ring(&mut text, &status.jobs);
    edges(&mut text, &status.edges);
    status.federation.iter().for_each(|federation| links(&mut text, federation));
    nodes(&mut text, &all(&asked));
    let mut dropped = text.counter("enrgdaq_cnc_dropped_messages_total", "Messages and nodes that CNC did not take.");
    shared.nodes.counts().iter().for_each(|(kind, count)| dropped.count(&[("kind", kind)], *count));
    let mut alerts = text.counter("enrgdaq_alerts_total", "Alerts since the start of the REST API.");
    shared.alerts.by_severity().iter().for_each(|(severity, count)| alerts.count(&[("severity", severity)], *count));
    let lost = shared.desk.audit_lost();
    text.counter("enrgdaq_audit_lost_lines_total", "Commands that are missing in the audit log.").count(&[], lost);
    requests(&mut text, &shared.figures.counted());
    let taken = shared.places.taken() as u64;
    text.gauge("enrgdaq_rest_open_connections", "Connections to the REST API.").count(&[], taken);
    let streams = shared.most_streams.saturating_sub(shared.streams.available_permits()) as u64;
    text.gauge("enrgdaq_rest_open_streams", "Streams of the REST API that somebody reads.").count(&[], streams);
    Ok(sent(KIND, text.into_text()))
}

fn supervisor(text: &mut Exposition, supervisor: &SupervisorStatus) {
    let SupervisorStatus { info, version, uptime_s, cpu_percent, rss_mb, outside_full, log_lines_dropped, .. } =
        supervisor;
    let labels = [("supervisor", info.supervisor_id.as_str()), ("version", version)];
    text.gauge("enrgdaq_supervisor_info", "Which supervisor this is; always 1.").count(&labels, 1);
    text.gauge("enrgdaq_supervisor_uptime_seconds", "Since its start.").put(&[], *uptime_s);
    text.gauge("enrgdaq_supervisor_cpu_ratio", "Share of one core.").put(&[], cpu_percent / 100.0);
    text.gauge("enrgdaq_supervisor_resident_memory_bytes", "Resident memory.").put(&[], rss_mb * 1e6);
    let is_stopping = supervisor.is_stopping.into();
    text.gauge("enrgdaq_supervisor_stopping", "Whether it is about to end: 1 or 0.").count(&[], is_stopping);
    text.counter("enrgdaq_bus_outside_full_messages_total", "Messages for which programs outside had no room.")
        .count(&[], *outside_full);
    text.counter("enrgdaq_console_dropped_lines_total", "Lines that the terminal or pipe did not take.")
        .count(&[], *log_lines_dropped);
}

fn jobs(text: &mut Exposition, jobs: &[JobStatus]) {
    let mut state = text.gauge("enrgdaq_job_state", "1 for the state that the job is in, 0 for the others.");
    for job in jobs {
        for (name, word) in STATES {
            let labels = [("job", job.name.as_str()), ("type", &job.daq_job_type), ("state", word)];
            state.count(&labels, (job.state == name).into());
        }
    }
    gauge(text, jobs, "enrgdaq_job_ready", "Whether the job works: 1 or 0.", |job| {
        Some(if job.state == StateName::Ready { 1.0 } else { 0.0 })
    });
    gauge(text, jobs, "enrgdaq_job_uptime_seconds", "Since the job was ready.", |job| job.uptime_s);
    gauge(text, jobs, "enrgdaq_job_cpu_ratio", "Share of one core.", |job| {
        job.pid.map(|_| job.stats.resource_stats.cpu_percent / 100.0)
    });
    gauge(text, jobs, "enrgdaq_job_resident_memory_bytes", "Resident memory without the ring.", |job| {
        job.pid.map(|_| job.stats.resource_stats.rss_mb * 1e6)
    });
    counter(text, jobs, "enrgdaq_job_restarts_total", "How often the job was started again.", |job| job.restarts);
    let mut latency =
        text.gauge("enrgdaq_job_latency_seconds", "From commit to receipt, over the last second with messages.");
    for job in jobs {
        let LatencyStats { count, min_ms, max_ms, avg_ms, p95_ms, p99_ms } = job.stats.latency_stats;
        let all = [("min", min_ms), ("mean", avg_ms), ("p95", p95_ms), ("p99", p99_ms), ("max", max_ms)];
        for (word, ms) in all.into_iter().filter(|_| count > 0) {
            latency.put(&[("job", &job.name), ("statistic", word)], ms / 1000.0);
        }
    }
    let mut own = text.gauge("enrgdaq_job_figure_value", "What the job says of itself; its own units.");
    for job in jobs {
        job.stats.figures.iter().for_each(|(name, value)| own.put(&[("job", &job.name), ("figure", name)], *value));
    }
}

fn job_counts(text: &mut Exposition, jobs: &[JobStatus]) {
    type Count = fn(&JobStats) -> u64;
    let counts: [(&str, &str, Count); 9] = [
        ("enrgdaq_job_received_messages_total", "Messages received.", |stats| stats.message_in_stats.count),
        ("enrgdaq_job_received_bytes_total", "Bytes received.", |stats| stats.message_in_bytes),
        ("enrgdaq_job_published_messages_total", "Messages published.", |stats| stats.message_out_stats.count),
        ("enrgdaq_job_published_bytes_total", "Bytes published.", |stats| stats.message_out_bytes),
        ("enrgdaq_job_missing_messages_total", "Messages lost on the bus on the way here.", |stats| {
            stats.message_in_missing
        }),
        ("enrgdaq_job_refused_messages_total", "Messages that came and could not be used.", |stats| {
            stats.message_in_refused
        }),
        ("enrgdaq_job_dropped_messages_total", "Messages given up by the writer's deadline.", |stats| {
            stats.message_out_dropped
        }),
        ("enrgdaq_job_unrouted_messages_total", "Messages that nobody had subscribed.", |stats| {
            stats.message_out_unrouted
        }),
        ("enrgdaq_job_refused_frames_total", "Frames and records that were no messages.", |stats| stats.frames_refused),
    ];
    for (name, help, count) in counts {
        counter(text, jobs, name, help, |job| count(&job.stats));
    }
    gauge(text, jobs, "enrgdaq_job_unread_messages", "Messages that wait to be read.", |job| {
        Some(as_number(job.stats.message_in_queue_stats.count))
    });
}

fn job_logs(text: &mut Exposition, jobs: &[JobStatus]) {
    type Count = fn(&LogCounts) -> u64;
    let counts: [(&str, &str, Count); 3] = [
        ("enrgdaq_job_log_lines_total", "Lines that the job said.", |log| log.lines),
        ("enrgdaq_job_log_written_lines_total", "Lines of it in its file.", |log| log.written),
        ("enrgdaq_job_log_dropped_lines_total", "Lines of it that the disk did not take.", |log| log.dropped),
    ];
    for (name, help, count) in counts {
        counter(text, jobs, name, help, |job| count(&job.log));
    }
}

fn ring(text: &mut Exposition, jobs: &[JobStatus]) {
    type Value = fn(&RegionStatus) -> f64;
    let values: [(&str, &str, Value); 5] = [
        ("enrgdaq_ring_size_bytes", "The writer's room.", |region| as_number(region.size_bytes)),
        ("enrgdaq_ring_used_bytes", "What of it is in use.", |region| as_number(region.used_bytes)),
        ("enrgdaq_ring_place_records", "Most records that it can hold.", |region| as_number(region.places)),
        ("enrgdaq_ring_used_records", "Records in it.", |region| as_number(region.records)),
        ("enrgdaq_ring_dead_time_ratio", "Share of the time in which the writer waits for room.", |region| {
            region.dead_time_percent / 100.0
        }),
    ];
    for (name, help, value) in values {
        gauge(text, jobs, name, help, |job| job.region.as_ref().map(value));
    }
    let regions = || jobs.iter().filter_map(|job| Some((job.name.as_str(), job.region?)));
    let mut waited = text.counter("enrgdaq_ring_dead_time_seconds_total", "All its waiting for room.");
    regions().for_each(|(job, region)| waited.put(&[("job", job)], region.dead_time_s));
    let mut unrouted = text.counter("enrgdaq_ring_unrouted_messages_total", "Messages that nobody had subscribed.");
    regions().for_each(|(job, region)| unrouted.count(&[("job", job)], region.unrouted));
}

fn edges(text: &mut Exposition, edges: &[Edge]) {
    type Count = fn(&Edge) -> u64;
    let counts: [(&str, &str, Count); 5] = [
        ("enrgdaq_edge_produced_messages_total", "What the writer published for the reader.", |edge| edge.produced),
        ("enrgdaq_edge_arrived_messages_total", "What the reader has.", |edge| edge.arrived),
        ("enrgdaq_edge_dropped_messages_total", "Given up by the writer, or lost with a reader.", |edge| edge.dropped),
        ("enrgdaq_edge_skipped_messages_total", "Passed over by a reader of the latest.", |edge| edge.skipped),
        ("enrgdaq_edge_redelivered_messages_total", "Handed to the reader once more after a death.", |edge| {
            edge.redelivered
        }),
    ];
    for (name, help, count) in counts {
        let mut family = text.counter(name, help);
        edges.iter().for_each(|edge| family.count(&[("writer", &edge.writer), ("reader", &edge.reader)], count(edge)));
    }
    let mut waiting = text.gauge("enrgdaq_edge_waiting_messages", "What waits in the ring for the reader.");
    edges.iter().for_each(|edge| waiting.count(&[("writer", &edge.writer), ("reader", &edge.reader)], edge.waiting));
    // It falls when what was under way arrives.
    let mut missing = text.gauge("enrgdaq_edge_missing_messages", "Lost, or on the way over the bus.");
    edges.iter().for_each(|edge| missing.count(&[("writer", &edge.writer), ("reader", &edge.reader)], edge.missing));
}

fn nodes(text: &mut Exposition, nodes: &[Node]) {
    let mut up = text.gauge("enrgdaq_node_up", "Whether the node was heard of in the last 10 s: 1 or 0.");
    nodes.iter().for_each(|node| up.count(&[("node", &node.id)], node.is_up.into()));
    let mut seen =
        text.gauge("enrgdaq_node_last_seen_timestamp_seconds", "When it was last heard of, since the Unix epoch.");
    for node in nodes {
        if let Ok(at) = node.last_seen.parse::<Timestamp>() {
            seen.put(&[("node", &node.id)], at.as_duration().as_secs_f64());
        }
    }
}

fn requests(text: &mut Exposition, counted: &Counted) {
    let mut requests = text.counter("enrgdaq_rest_requests_total", "Requests that have got an answer.");
    for ((method, route, status), count) in &counted.requests {
        let status = status.to_string();
        requests.count(&[("method", method), ("route", route), ("status", &status)], *count);
    }
    let mut durations = text.histogram("enrgdaq_rest_request_duration_seconds", "Until the answer began.");
    for ((method, route), took) in &counted.durations {
        let labels = [("method", method.as_str()), ("route", route)];
        let mut so_far = 0;
        let bounds = BOUNDS_S.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(took.buckets) {
            so_far += count;
            durations.put_part("_bucket", &[labels[0], labels[1], ("le", &bound)], as_number(so_far));
        }
        durations.put_part("_sum", &labels, took.sum_s);
        durations.put_part("_count", &labels, as_number(so_far));
    }
}

fn counter(
    text: &mut Exposition,
    jobs: &[JobStatus],
    name: &'static str,
    help: &str,
    count: impl Fn(&JobStatus) -> u64,
) {
    let mut family = text.counter(name, help);
    jobs.iter().for_each(|job| family.count(&[("job", &job.name)], count(job)));
}

/// A job without a value is left out.
fn gauge(
    text: &mut Exposition,
    jobs: &[JobStatus],
    name: &'static str,
    help: &str,
    value: impl Fn(&JobStatus) -> Option<f64>,
) {
    let mut family = text.gauge(name, help);
    jobs.iter().for_each(|job| value(job).into_iter().for_each(|value| family.put(&[("job", &job.name)], value)));
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2⁵³, and the reader has such numbers only")]
fn as_number(count: u64) -> f64 {
    count as f64
}
