//! `[federation]` in `supervisor.toml`: with whom this node exchanges messages, and how much may wait for them.

mod url;

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use self::url::Url;
use super::curve::CurveConfig;
use super::diagnostics::Diagnostic;
use super::document::Source;
use super::doors::{Objection, placed};
use crate::message::Topic;

/// Where a hub listens that does not say.
const XPUB_URL: &str = "tcp://127.0.0.1:16382";
const XSUB_URL: &str = "tcp://127.0.0.1:16383";

/// Exchange of messages with other supervisors, as a star: one is the hub, the others, its leaves, connect to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FederationConfig {
    /// This supervisor is the hub.
    pub is_server: bool,
    /// Where the hub sends: an address of this machine, `tcp://0.0.0.0:16382` for all of them. Without it:
    /// `tcp://127.0.0.1:16382`.
    pub server_xpub_url: Option<String>,
    /// Where the hub receives. Without it: `tcp://127.0.0.1:16383`.
    pub server_xsub_url: Option<String>,
    /// Where the hub of this leaf sends, `tcp://hub.example:16382`.
    pub remote_server_xpub_url: Option<String>,
    /// Where the hub of this leaf receives, `tcp://hub.example:16383`.
    pub remote_server_xsub_url: Option<String>,
    /// Traffic beyond loopback may go without keys: everybody in that network can read it, and have the stores of this node
    /// store what he likes. Warned of at every start.
    pub insecure: bool,
    /// How what this node sends is made smaller.
    pub compress: Compress,
    /// What this leaf sends: topics, each with all that continue it, `"store.DAQJobStoreCSV"`. Without it: all that somebody
    /// at the hub subscribed.
    pub forward: Option<Vec<String>>,
    /// What this leaf takes, by topics as in `forward`; `[]`: nothing. Without it: all that its jobs subscribed.
    pub receive: Option<Vec<String>>,
    /// What the other end of a link has not acknowledged waits on this node's disk, in `state_dir`, up to so much for each
    /// link, in 10⁹ bytes; then the sources wait.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0))]
    pub spool_max_gb: f64,
    /// So much may be under way on a link and not yet acknowledged, in MiB.
    #[schemars(range(min = 1, max = 1024))]
    pub window_mb: u32,
    /// Shared memory for what comes over each link, in MiB; for larger messages it grows by itself.
    #[schemars(range(min = 1, max = 65_536))]
    pub ring_mb: u32,
    /// Keys for the links between supervisors.
    pub curve: Option<CurveConfig>,
}

impl Default for FederationConfig {
    fn default() -> Self {
        Self {
            is_server: false,
            server_xpub_url: None,
            server_xsub_url: None,
            remote_server_xpub_url: None,
            remote_server_xsub_url: None,
            insecure: false,
            compress: Compress::None,
            forward: None,
            receive: None,
            spool_max_gb: 10.0,
            window_mb: 16,
            ring_mb: 32,
            curve: None,
        }
    }
}

/// How messages are made smaller on their way to another supervisor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Not at all.
    #[default]
    None,
    /// With Zstandard: for a link that is slower than the processor.
    Zstd,
}

impl FederationConfig {
    /// Where a hub sends, and where it receives.
    #[must_use]
    pub fn listen_urls(&self) -> (String, String) {
        let xpub = by_address(self.server_xpub_url.as_deref().unwrap_or(XPUB_URL));
        (xpub, by_address(self.server_xsub_url.as_deref().unwrap_or(XSUB_URL)))
    }

    /// Where the hub of a leaf sends, and where it receives.
    #[must_use]
    pub fn hub_urls(&self) -> Option<(String, String)> {
        let both = self.remote_server_xpub_url.as_deref().zip(self.remote_server_xsub_url.as_deref());
        both.filter(|_| !self.is_server).map(|(xpub, xsub)| (by_address(xpub), by_address(xsub)))
    }

    /// Whether the links stay on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.urls().iter().all(|(_, url)| Url::parse(url, self.is_server).is_ok_and(|url| url.is_local()))
    }

    /// Of a hub with keys: the key of each leaf that may connect.
    #[must_use]
    pub fn listed(&self) -> Option<&BTreeMap<String, String>> {
        self.curve.as_ref().filter(|_| self.is_server).map(|curve| &curve.clients)
    }

    /// The same hub with another list.
    #[must_use]
    pub(crate) fn listing(&self, leaves: &BTreeMap<String, String>) -> Self {
        let curve = self.curve.clone().map(|curve| CurveConfig { clients: leaves.clone(), ..curve });
        Self { curve, ..self.clone() }
    }

    /// What may wait for the other end of a link on disk.
    #[must_use]
    pub fn spool_limit_bytes(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a size")]
        let limit = (self.spool_max_gb * 1e9) as u64;
        limit
    }

    /// What may be under way on a link.
    #[must_use]
    pub fn window_bytes(&self) -> u64 {
        u64::from(self.window_mb) << 20
    }

    /// The shared memory for what comes over a link.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        u64::from(self.ring_mb) << 20
    }

    /// The addresses that it uses, by their keys.
    fn urls(&self) -> Vec<(&'static str, String)> {
        if self.is_server {
            let (xpub, xsub) = self.listen_urls();
            return vec![("server_xpub_url", xpub), ("server_xsub_url", xsub)];
        }
        let remote = [
            ("remote_server_xpub_url", &self.remote_server_xpub_url),
            ("remote_server_xsub_url", &self.remote_server_xsub_url),
        ];
        remote.into_iter().filter_map(|(key, url)| url.clone().map(|url| (key, url))).collect()
    }
}

/// `localhost` by its address: libzmq binds no names, and connects to ::1 where the name stands for that too.
fn by_address(url: &str) -> String {
    url.replacen("//localhost:", "//127.0.0.1:", 1)
}

/// What of `[federation]` would let strangers in, or nobody, or lead nowhere.
pub(super) fn faults(source: &Source, root: &DeTable<'_>, config: &FederationConfig) -> Vec<Diagnostic> {
    let dir = source.path.parent().unwrap_or(Path::new(""));
    let curve = config.curve.iter().flat_map(|curve| curve.objections(dir, config.is_server));
    let objections = places(config).into_iter().chain(urls(config)).chain(topics(config)).chain(curve);
    let mut faults = placed(source, root, "federation", objections);
    faults.extend(placed(source, root, "federation", without_effect(config)).into_iter().map(Diagnostic::into_warning));
    faults
}

/// Hub or leaf, and not both.
fn places(config: &FederationConfig) -> Vec<Objection> {
    let is_hub = config.is_server;
    let (xpub, xsub) = (&config.remote_server_xpub_url, &config.remote_server_xsub_url);
    let of_leaf = "a hub connects to nobody: a star has one hub";
    let no_leaf = "remove it, or `is_server = true`";
    let only_leaf = "only a leaf chooses what crosses its link";
    let on_leaves = "remove it here, and say it on the leaves";
    vec![
        ("remote_server_xpub_url", is_hub && xpub.is_some(), of_leaf.into(), no_leaf),
        ("remote_server_xsub_url", is_hub && xsub.is_some(), of_leaf.into(), no_leaf),
        (
            "remote_server_xpub_url",
            !is_hub && xpub.is_none(),
            "is missing: a leaf must know where its hub sends".into(),
            "add `remote_server_xpub_url = \"tcp://HUB:16382\"`; or, if this node is the hub, `is_server = true`",
        ),
        (
            "remote_server_xsub_url",
            !is_hub && xsub.is_none(),
            "is missing: a leaf must know where its hub receives".into(),
            "add `remote_server_xsub_url = \"tcp://HUB:16383\"`; or, if this node is the hub, `is_server = true`",
        ),
        ("forward", is_hub && config.forward.is_some(), only_leaf.into(), on_leaves),
        ("receive", is_hub && config.receive.is_some(), only_leaf.into(), on_leaves),
        (
            "curve.clients",
            is_hub && config.curve.as_ref().is_some_and(|curve| curve.clients.is_empty()),
            "nobody is listed, so no leaf could connect".into(),
            "list each leaf's public key under its `supervisor_id`; `enrgdaq keygen` on the leaf prints it",
        ),
    ]
}

/// Addresses that are none, are one for two, or that everybody can reach.
fn urls(config: &FederationConfig) -> Vec<Objection> {
    let is_open = config.curve.is_none() && !config.insecure;
    let whoever = match config.is_server {
        true => "whoever reaches it could have this node store what he likes",
        false => "whoever answers there could read what this node sends, and have it store what he likes",
    };
    let urls = config.urls();
    let parsed: Vec<_> = urls.iter().map(|(key, url)| (*key, url, Url::parse(url, config.is_server))).collect();
    let mut objections = Vec::new();
    for (key, url, parsed) in &parsed {
        objections.push(match parsed {
            Err(why) => (*key, true, format!("{url:?}: {why}"), "write it as `tcp://HOST:PORT`, or `ipc://FILE`"),
            Ok(parsed) => (
                *key,
                is_open && !parsed.is_local(),
                format!("{url:?} is not loopback, and {whoever}"),
                "add `[federation.curve]` (see `enrgdaq keygen`), or say `insecure = true`",
            ),
        });
    }
    if let [(_, _, Ok(xpub)), (key, url, Ok(xsub))] = &parsed[..] {
        objections.push((
            *key,
            xpub.clashes_with(xsub),
            format!("{url:?} is where the hub sends; it cannot receive there too"),
            "a hub has two ports, as a rule 16382 where it sends and 16383 where it receives",
        ));
    }
    objections
}

/// Topics that nothing could have.
fn topics(config: &FederationConfig) -> Vec<Objection> {
    let lists = [("forward", &config.forward), ("receive", &config.receive)];
    let all = lists.into_iter().flat_map(|(key, list)| list.iter().flatten().map(move |topic| (key, topic)));
    let judged = all.filter_map(|(key, topic)| Topic::named(topic).err().map(|error| (key, topic, error)));
    let help = "name topics, or how they begin, up to a dot: \"store\", \"store.DAQJobStoreCSV\"";
    judged.map(|(key, topic, error)| (key, true, format!("{topic:?}: {error}"), help)).collect()
}

/// What is said in vain.
fn without_effect(config: &FederationConfig) -> [Objection; 3] {
    let on_leaf = "has no effect on a leaf: only a hub listens";
    let no_leaf = "remove it, or say `is_server = true`";
    [
        (
            "insecure",
            config.insecure && config.curve.is_some(),
            "has no effect beside `[federation.curve]`: nobody gets in without a key".into(),
            "remove it",
        ),
        ("server_xpub_url", !config.is_server && config.server_xpub_url.is_some(), on_leaf.into(), no_leaf),
        ("server_xsub_url", !config.is_server && config.server_xsub_url.is_some(), on_leaf.into(), no_leaf),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(xpub: &str, xsub: &str) -> FederationConfig {
        let (server_xpub_url, server_xsub_url) = (Some(xpub.into()), Some(xsub.into()));
        FederationConfig { is_server: true, server_xpub_url, server_xsub_url, ..FederationConfig::default() }
    }

    fn leaf(xpub: &str, xsub: &str) -> FederationConfig {
        let (remote_server_xpub_url, remote_server_xsub_url) = (Some(xpub.into()), Some(xsub.into()));
        FederationConfig { remote_server_xpub_url, remote_server_xsub_url, ..FederationConfig::default() }
    }

    #[test]
    fn a_hub_listens_where_it_says_or_on_the_usual_ports_of_loopback() {
        let usual = FederationConfig { is_server: true, ..FederationConfig::default() };
        let named = hub("tcp://localhost:1", "ipc:///run/hub");

        assert_eq!(usual.listen_urls(), (XPUB_URL.into(), XSUB_URL.into()));
        assert_eq!(named.listen_urls(), ("tcp://127.0.0.1:1".into(), "ipc:///run/hub".into()));
        assert_eq!((usual.hub_urls(), FederationConfig::default().hub_urls()), (None, None));
        let by_name = leaf("tcp://hub:1", "tcp://localhost:2").hub_urls();
        assert_eq!(by_name, Some(("tcp://hub:1".into(), "tcp://127.0.0.1:2".into())));
    }

    #[test]
    fn links_are_local_if_both_addresses_are() {
        let (here, socket, there) = ("tcp://127.0.0.1:1", "ipc://hub.socket", "tcp://192.168.7.1:2");

        assert!(hub(here, socket).is_local() && leaf(socket, here).is_local());
        assert!(FederationConfig { is_server: true, ..FederationConfig::default() }.is_local());
        for (xpub, xsub) in [(here, there), (there, here), (there, socket), ("tcp://*:1", here)] {
            assert!(!hub(xpub, xsub).is_local() && !leaf(xpub, xsub).is_local(), "{xpub} {xsub}");
        }
    }

    #[test]
    fn sizes_are_in_bytes() {
        let config = FederationConfig { spool_max_gb: 0.5, window_mb: 2, ring_mb: 65_536, ..Default::default() };

        assert_eq!(config.spool_limit_bytes(), 500_000_000);
        assert_eq!((config.window_bytes(), config.ring_bytes()), (2 << 20, 64 << 30));
    }
}
