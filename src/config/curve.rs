//! `[cnc.curve]` and `[federation.curve]` in `supervisor.toml`: by which keys nodes know each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::doors::Objection;

/// CURVE keys, made with `enrgdaq keygen FILE`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurveConfig {
    /// The file with this node's own key pair, relative to the folder of this file. One pair may serve both `[cnc.curve]` and
    /// `[federation.curve]`.
    pub key_file: PathBuf,
    /// On a node that connects to a server: the server's public key.
    #[serde(default)]
    #[schemars(length(min = 40, max = 40))]
    pub server_key: Option<String>,
    /// On the server: the public key of each node that may connect, by its `supervisor_id`. A node can only speak under the
    /// name that its key is listed for. A list of `[federation.curve]` counts from the next `enrgdaq reload` on.
    #[serde(default)]
    pub clients: BTreeMap<String, String>,
}

impl CurveConfig {
    /// What is wrong with it, in a file of that folder.
    pub(super) fn objections(&self, dir: &Path, is_server: bool) -> [Objection; 5] {
        let is_bad = |key: &str| zmq::z85_decode(key).map_or(true, |bytes| bytes.len() != 32);
        let bad_client = self.clients.iter().find(|(_, key)| is_bad(key));
        let no_key = "a key has 40 characters, as `enrgdaq keygen` prints it";
        [
            (
                "curve.key_file",
                !dir.join(&self.key_file).is_file(),
                "there is no such file".into(),
                "make it with: enrgdaq keygen FILE; it lies relative to the folder of this file",
            ),
            (
                "curve.server_key",
                !is_server && self.server_key.is_none(),
                "a client must know the server's public key".into(),
                "`enrgdaq keygen` on the server printed it",
            ),
            ("curve.server_key", self.server_key.as_deref().is_some_and(is_bad), "this is no key".into(), no_key),
            (
                "curve.clients",
                self.clients.values().collect::<BTreeSet<_>>().len() < self.clients.len(),
                "two nodes have the same key".into(),
                "make each node a key of its own, with `enrgdaq keygen` on it",
            ),
            (
                "curve.clients",
                bad_client.is_some(),
                format!("{:?} has no key", bad_client.map_or("", |(id, _)| id)),
                no_key,
            ),
        ]
    }
}
