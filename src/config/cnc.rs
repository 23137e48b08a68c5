//! `[cnc]` in `supervisor.toml`: who may ask and command from elsewhere.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::curve::CurveConfig;
use super::diagnostics::Diagnostic;
use super::document::Source;
use super::doors::{is_loopback, placed};
use super::role::Role;
use super::supervisor::Verbosity;

/// Command and control over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CncConfig {
    /// Which lines of this supervisor and its jobs are sent to the server.
    pub verbosity: Verbosity,
    /// This supervisor is the one that others report to.
    pub is_server: bool,
    /// Host of the server, to which the others connect.
    pub server_host: String,
    /// Port of the server.
    #[schemars(range(min = 1))]
    pub server_port: u16,
    /// Address that the server listens on; beyond loopback (`"0.0.0.0"`: everywhere) `[cnc.curve]` is required, or
    /// `insecure`.
    pub server_bind: String,
    /// The server offers the REST API too.
    pub rest_api_enabled: bool,
    /// Address that the REST API listens on; beyond loopback every request needs a token.
    pub rest_api_host: String,
    /// Port of the REST API.
    #[schemars(range(min = 1))]
    pub rest_api_port: u16,
    /// Traffic beyond loopback may go without keys: everybody in that network can read it and command. Warned of at every
    /// start.
    pub insecure: bool,
    /// What other supervisors may ask of the server itself. Without it: `"admin"` while the server listens on loopback
    /// only, else `"viewer"`.
    pub clients_may: Option<Role>,
    /// Somebody elsewhere may have this node run programs: run or add a `DAQJobExec`, or a job with an environment or a
    /// working directory of its own, or one that writes outside `out/`.
    pub allow_remote_exec: bool,
    /// The program, with its arguments, that updates this node when the server asks for `update`. Without it an update is
    /// refused.
    pub update_command: Vec<String>,
    /// Keys for the connections between supervisors.
    pub curve: Option<CurveConfig>,
    /// The REST API.
    pub rest: RestConfig,
}

impl Default for CncConfig {
    fn default() -> Self {
        Self {
            verbosity: Verbosity::Info,
            is_server: false,
            server_host: "localhost".into(),
            server_port: 1638,
            server_bind: "127.0.0.1".into(),
            rest_api_enabled: false,
            rest_api_host: "localhost".into(),
            rest_api_port: 8000,
            insecure: false,
            clients_may: None,
            allow_remote_exec: false,
            update_command: Vec::new(),
            curve: None,
            rest: RestConfig::default(),
        }
    }
}

/// The REST API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestConfig {
    /// Every request needs a token, also on loopback; `enrgdaq token add` makes one.
    pub require_token: bool,
    /// The certificate chain (PEM) for HTTPS, relative to the folder of this file; with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// The key (PEM) of the certificate.
    pub tls_key: Option<PathBuf>,
    /// Web pages from these origins may use the API from a browser: `"https://control.example"`.
    pub allowed_origins: Vec<String>,
    /// Names under which this server is reached, besides `rest_api_host`, `localhost` and addresses: what a request says as
    /// its host must be one of them.
    pub allowed_hosts: Vec<String>,
    /// Connections at a time; more wait until others end.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_connections: u32,
    /// Requests a second of one address; more get 429.
    #[schemars(range(min = 1))]
    pub max_requests_per_second: u32,
    /// The largest body of a request, in KiB.
    #[schemars(range(min = 1, max = 65_536))]
    pub max_body_kb: u32,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self {
            require_token: false,
            tls_cert: None,
            tls_key: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_connections: 256,
            max_requests_per_second: 1000,
            max_body_kb: 1024,
        }
    }
}

impl CncConfig {
    /// Whether the server listens on loopback only.
    #[must_use]
    pub fn is_server_local(&self) -> bool {
        is_loopback(&self.server_bind)
    }

    /// Whether the server that a client connects to is on this machine.
    #[must_use]
    pub fn is_host_local(&self) -> bool {
        is_loopback(&self.server_host)
    }

    /// Whether the REST API listens on loopback only.
    #[must_use]
    pub fn is_rest_local(&self) -> bool {
        is_loopback(&self.rest_api_host)
    }

    /// Whether a request over REST needs a token.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        self.rest.require_token || !self.is_rest_local()
    }

    /// What other supervisors may ask of the server itself.
    #[must_use]
    pub fn role_of_clients(&self) -> Role {
        let by_place = if self.is_server_local() { Role::Admin } else { Role::Viewer };
        self.clients_may.unwrap_or(by_place)
    }
}

/// What of `[cnc]` would let strangers in, or nobody.
pub(super) fn open_doors(source: &Source, root: &DeTable<'_>, cnc: &CncConfig) -> Vec<Diagnostic> {
    let dir = source.path.parent().unwrap_or(Path::new(""));
    let is_missing = |path: &Path| !dir.join(path).is_file();
    let rest = &cnc.rest;
    let is_open = cnc.curve.is_none() && !cnc.insecure;
    let of_curve = cnc.curve.as_ref().map(|curve| curve.objections(dir, cnc.is_server));
    let objections = [
        (
            "server_bind",
            cnc.is_server && !cnc.is_server_local() && is_open,
            format!("{:?} is not loopback, and whoever reaches it could command this node", cnc.server_bind),
            "add `[cnc.curve]` (see `enrgdaq keygen`), or say `insecure = true`",
        ),
        (
            "server_host",
            !cnc.is_server && !cnc.is_host_local() && is_open,
            format!("{:?} is not loopback, and whoever answers there could command this node", cnc.server_host),
            "add `[cnc.curve]` (see `enrgdaq keygen`), or say `insecure = true`",
        ),
        (
            "rest.tls_cert",
            rest.tls_cert.is_some() != rest.tls_key.is_some(),
            "it and `tls_key` belong together".into(),
            "give both, or none",
        ),
        (
            "rest.tls_cert",
            rest.tls_cert.as_deref().is_some_and(is_missing),
            "there is no such file".into(),
            "it lies relative to the folder of this file",
        ),
        (
            "rest.tls_key",
            rest.tls_key.as_deref().is_some_and(is_missing),
            "there is no such file".into(),
            "it lies relative to the folder of this file",
        ),
        (
            "rest_api_enabled",
            cnc.rest_api_enabled && !cnc.is_server,
            "only the server has the REST API".into(),
            "say `is_server = true`, or ask the server",
        ),
    ];
    placed(source, root, "cnc", objections.into_iter().chain(of_curve.into_iter().flatten()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_to_the_world_asks_for_tokens_and_lets_nodes_look_only() {
        let config =
            CncConfig { rest_api_host: "0.0.0.0".into(), server_bind: "0.0.0.0".into(), ..CncConfig::default() };

        assert!(config.needs_token() && !CncConfig::default().needs_token());
        assert_eq!(config.role_of_clients(), Role::Viewer);
        assert_eq!(CncConfig::default().role_of_clients(), Role::Admin);
        let config = CncConfig { clients_may: Some(Role::Operator), ..config };
        assert_eq!(config.role_of_clients(), Role::Operator);
    }
}
