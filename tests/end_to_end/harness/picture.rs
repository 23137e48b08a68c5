//! What `status` shows.

use serde_json::Value;

/// The answer to `status`.
#[derive(Debug, Clone)]
pub(crate) struct Picture(pub(crate) Value);

/// Counts of the messages from one job to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) produced: u64,
    pub(crate) arrived: u64,
    pub(crate) waiting: u64,
    pub(crate) missing: u64,
    pub(crate) skipped: u64,
}

impl Picture {
    /// A job's part; null if there is none.
    pub(crate) fn job(&self, name: &str) -> &Value {
        let jobs = self.0["jobs"].as_array().expect("a status has jobs");
        jobs.iter().find(|job| job["name"] == name).unwrap_or(&Value::Null)
    }

    pub(crate) fn state(&self, job: &str) -> &str {
        self.job(job)["state"].as_str().unwrap_or("no such job")
    }

    pub(crate) fn reason(&self, job: &str) -> &str {
        self.job(job)["reason"].as_str().unwrap_or_default()
    }

    pub(crate) fn pid(&self, job: &str) -> Option<u32> {
        self.job(job)["pid"].as_u64().and_then(|pid| pid.try_into().ok())
    }

    /// The process of a job that runs.
    pub(crate) fn running(&self, job: &str) -> u32 {
        self.pid(job).unwrap_or_else(|| panic!("{job} has no process: {}", self.brief()))
    }

    pub(crate) fn restarts(&self, job: &str) -> u64 {
        self.job(job)["restarts"].as_u64().expect("a job counts its restarts")
    }

    pub(crate) fn edge(&self, writer: &str, reader: &str) -> Edge {
        let edges = self.0["edges"].as_array().expect("a status has edges");
        let found = edges.iter().find(|edge| edge["writer"] == writer && edge["reader"] == reader);
        let count = |edge: &Value, key: &str| edge[key].as_u64().expect("an edge has counts");
        found.map_or_else(Edge::default, |edge| Edge {
            produced: count(edge, "produced"),
            arrived: count(edge, "arrived"),
            waiting: count(edge, "waiting"),
            missing: count(edge, "missing"),
            skipped: count(edge, "skipped"),
        })
    }

    /// What a job says in a figure of its own; NaN as long as it does not.
    pub(crate) fn figure(&self, job: &str, name: &str) -> f64 {
        self.job(job)["stats"]["figures"][name].as_f64().unwrap_or(f64::NAN)
    }

    /// What a writer's region says of it.
    pub(crate) fn region(&self, job: &str, key: &str) -> f64 {
        self.job(job)["region"][key].as_f64().unwrap_or_default()
    }

    /// What a supervisor says of the link to another; of a leaf's only link whoever is meant. Null if there is none.
    pub(crate) fn link(&self, peer: &str) -> &Value {
        let mut links = self.0["federation"]["links"].as_array().into_iter().flatten();
        let is_leaf = self.0["federation"]["role"] == "leaf";
        links.find(|link| is_leaf || link["peer"] == peer).unwrap_or(&Value::Null)
    }

    pub(crate) fn link_state(&self, peer: &str) -> &str {
        self.link(peer)["state"].as_str().unwrap_or("no such link")
    }

    /// A count of a link; 0 if there is none.
    pub(crate) fn link_count(&self, peer: &str, key: &str) -> u64 {
        match self.link(peer) {
            Value::Null => 0,
            link => link[key].as_u64().unwrap_or_else(|| panic!("a link has `{key}`: {link}")),
        }
    }

    /// A count of the whole federation.
    pub(crate) fn federation(&self, key: &str) -> u64 {
        self.0["federation"][key].as_u64().unwrap_or_else(|| panic!("there is `{key}`: {}", self.0["federation"]))
    }

    pub(crate) fn alerts(&self) -> Vec<&str> {
        let alerts = self.0["alerts"].as_array().expect("a status has alerts");
        alerts.iter().filter_map(|alert| alert["alert_info"]["message"].as_str()).collect()
    }

    pub(crate) fn has_alert(&self, part: &str) -> bool {
        self.alerts().iter().any(|alert| alert.contains(part))
    }

    /// States, reasons, edges, links and alerts.
    pub(crate) fn brief(&self) -> String {
        let jobs = self.0["jobs"].as_array().into_iter().flatten();
        let jobs: Vec<_> = jobs.map(|job| format!("{} {} {}", job["name"], job["state"], job["reason"])).collect();
        format!("{jobs:?} {} {} {:?}", self.0["edges"], self.0["federation"], self.alerts())
    }
}
