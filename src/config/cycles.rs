//! Cycles of lossless edges: jobs each of which waits for room that another one is to make, for ever.
//!
//! An edge leads from a job that publishes for stores to each job that receives that losslessly: because it serves the
//! backend, or because one of its `topics_to_subscribe` covers the topic of such stores. Topics that a job type
//! subscribes or publishes by itself are not in the files, so they are not seen here.

use std::collections::{BTreeSet, VecDeque};

use toml::de::DeTable;

use super::catalog::Catalog;
use super::diagnostics::{Diagnostic, Severity};
use super::document::{Source, entry};
use super::job::{DeliveryMode, JobConfig};
use super::walk::UsedBackend;
use crate::message::{Topic, covers};

/// A job, and the backends that its `store_config` names.
pub(super) type Publishing<'d> = (&'d JobConfig, &'d [UsedBackend]);

/// An error for each cycle; of cycles that share all their jobs with others only some.
pub(super) fn of_lossless_edges(jobs: &[Publishing<'_>], supervisor_id: &str, catalog: &Catalog) -> Vec<Diagnostic> {
    let edges: Vec<Vec<usize>> = jobs.iter().map(|job| readers(*job, jobs, supervisor_id, catalog)).collect();
    let mut named = BTreeSet::new();
    let mut faults = Vec::new();
    for start in 0..jobs.len() {
        // A second error for the same jobs would say nothing new.
        if !named.contains(&start)
            && let Some(cycle) = shortest_cycle(&edges, start)
        {
            named.extend(cycle.iter().copied());
            faults.push(fault(&cycle.iter().map(|member| jobs[*member]).collect::<Vec<_>>()));
        }
    }
    faults
}

/// The jobs for which a job has to wait.
fn readers(
    (_, backends): Publishing<'_>,
    jobs: &[Publishing<'_>],
    supervisor_id: &str,
    catalog: &Catalog,
) -> Vec<usize> {
    let all = catalog.backends();
    let topics_of = |used: &UsedBackend| {
        let types = all.get(used.backend).map_or(&[][..], |(_, types)| types);
        let is_local = used.is_local;
        let topic = move |job_type: &&str| match is_local {
            true => Topic::store_of(supervisor_id, job_type),
            false => Topic::store(job_type),
        };
        types.iter().map(topic).collect::<Vec<_>>()
    };
    let topics: Vec<Topic> = backends.iter().flat_map(topics_of).collect();
    let hears = |reader: &JobConfig| {
        let subscribes = |topic: &Topic| reader.topics_to_subscribe.iter().any(|own| covers(own, topic.as_str()));
        backends.iter().any(|used| reader.backend == Some(used.backend)) || topics.iter().any(subscribes)
    };
    let waited_for = |reader: &JobConfig| reader.delivery == DeliveryMode::Lossless && hears(reader);
    jobs.iter().enumerate().filter(|(_, (reader, _))| waited_for(reader)).map(|(index, _)| index).collect()
}

/// The jobs on the shortest way from one back to itself, beginning with it.
fn shortest_cycle(edges: &[Vec<usize>], start: usize) -> Option<Vec<usize>> {
    let mut came_from: Vec<Option<usize>> = vec![None; edges.len()];
    let mut to_visit = VecDeque::from([start]);
    while let Some(at) = to_visit.pop_front() {
        for &next in &edges[at] {
            if came_from[next].is_none() {
                came_from[next] = Some(at);
                to_visit.push_back(next);
            }
        }
    }
    let mut cycle = vec![came_from[start]?];
    while let Some(&member) = cycle.last().filter(|member| **member != start) {
        cycle.push(came_from[member]?);
    }
    cycle.reverse();
    Some(cycle)
}

/// The error, at the key that is the quickest to change.
fn fault(cycle: &[Publishing<'_>]) -> Diagnostic {
    let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(|(job, _)| job.name.as_str()).collect();
    let message = format!("lossless edges make a circle, {}, in which all can wait for ever", names.join(" → "));
    let help = "set `delivery = \"latest\"` in one of them, or name another store in a `store_config`";
    let at_delivery = cycle.iter().find_map(|(job, _)| delivery_of(job));
    let at_store = || cycle.iter().find_map(|(_, backends)| Some(backends.first()?.unserved.clone()));
    let place = at_delivery.or_else(at_store).expect("who is waited for in a cycle names a store too");
    Diagnostic { severity: Severity::Error, message, ..place }.with_help(help)
}

/// A diagnostic at the `delivery` of a job's file, if the file has it.
fn delivery_of(job: &JobConfig) -> Option<Diagnostic> {
    let source = Source { path: job.path.clone(), text: job.text.clone() };
    let table = DeTable::parse(&source.text).ok()?;
    let (at, _) = entry(table.get_ref(), "delivery")?;
    Some(source.error(at, "delivery", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::fake_types;
    use crate::config::{Kind, load};

    #[test]
    fn the_shortest_way_back_is_found_and_begins_where_it_was_asked() {
        let edges = [vec![1], vec![2, 3], vec![0], vec![3, 0], vec![0]];

        assert_eq!(shortest_cycle(&edges, 0), Some(vec![0, 1, 2]));
        assert_eq!(shortest_cycle(&edges, 3), Some(vec![3]));
        assert_eq!(shortest_cycle(&edges, 2), Some(vec![2, 0, 1]));
        assert_eq!(shortest_cycle(&edges, 4), None);
    }

    #[test]
    fn without_a_delivery_to_change_the_fault_is_at_the_store() {
        let mut types = fake_types();
        types.iter_mut().filter(|info| info.name == "DAQJobFilter").for_each(|info| info.kind = Kind::Store);
        let catalog = Catalog::new(types).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let filter = "daq_job_type = \"DAQJobFilter\"\n[store_config.filter]\n";
        std::fs::write(dir.path().join("filter.toml"), filter).unwrap();

        let report = load(dir.path(), &catalog).unwrap_err();

        let fault = report.diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error).unwrap();
        assert_eq!((fault.key.as_str(), fault.line, fault.column), ("store_config.filter", 2, 15));
        assert!(fault.message.contains("filter → filter"));
    }
}
