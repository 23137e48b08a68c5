//! Where a hub is, and what it and its leaves are told of each other.

use std::net::TcpListener;

use crate::harness::{Host, Lan, Node, Picture, Site};

/// The usual ports of a hub.
pub(crate) const XPUB: u16 = 16382;
pub(crate) const XSUB: u16 = 16383;

/// Where a hub listens, as leaves see it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    host: Option<Host>,
    address: String,
    pub(crate) xpub: u16,
    pub(crate) xsub: u16,
}

impl Place {
    /// On this machine, at ports that are free.
    pub(crate) fn on_loopback() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
        let (a, b) = (free(), free());
        Self { host: None, address: "127.0.0.1".into(), xpub: port(&a), xsub: port(&b) }
    }

    /// On the first host of a network.
    pub(crate) fn in_lan(lan: &Lan) -> Self {
        let host = lan.host(0);
        Self { host: Some(host.clone()), address: host.address(), xpub: XPUB, xsub: XSUB }
    }

    /// The same, at other ports: those of relays.
    pub(crate) fn at(&self, xpub: u16, xsub: u16) -> Self {
        Self { xpub, xsub, ..self.clone() }
    }

    /// A hub with these keys in `[federation]`, and what follows them.
    pub(crate) fn hub(&self, rest: &str) -> Site {
        let site = Site::new().supervisor(&self.of_hub(rest));
        self.host.iter().fold(site, Site::on)
    }

    /// A leaf on this machine.
    pub(crate) fn leaf(&self, rest: &str) -> Site {
        Site::new().supervisor(&self.of_leaf(rest))
    }

    /// `[federation]` of a hub; one that listens beyond loopback is told that it may.
    pub(crate) fn of_hub(&self, rest: &str) -> String {
        let bind = if self.host.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        let urls = self.urls("server", bind);
        let insecure = if self.host.is_some() { "insecure = true\n" } else { "" };
        format!("[federation]\nis_server = true\n{urls}{insecure}{rest}")
    }

    /// `[federation]` of a leaf.
    pub(crate) fn of_leaf(&self, rest: &str) -> String {
        let insecure = if self.host.is_some() { "insecure = true\n" } else { "" };
        format!("[federation]\n{}{insecure}{rest}", self.urls("remote_server", &self.address))
    }

    fn urls(&self, of: &str, host: &str) -> String {
        let url = |socket, port| format!("{of}_{socket}_url = \"tcp://{host}:{port}\"\n");
        url("xpub", self.xpub) + &url("xsub", self.xsub)
    }
}

/// The text of a source of rows for `rows.csv` that writes down what it has committed.
pub(crate) fn notary(keys: &str) -> String {
    let to = "[store_config.csv]\nfile_path = \"rows.csv\"";
    format!("daq_job_type = \"DAQJobNotary\"\nproof = \"proof\"\n{keys}\n{to}")
}

/// Where stores put those rows.
pub(crate) const ROWS: &str = "out/rows.csv";

/// Waits until a link to that peer stands.
pub(crate) fn wait_up(node: &mut Node<'_>, peer: &Site) -> Picture {
    wait_state(node, peer, "up")
}

/// Waits for a state of the link to that peer.
pub(crate) fn wait_state(node: &mut Node<'_>, peer: &Site, state: &str) -> Picture {
    node.wait(&format!("its link is {state}"), |picture| picture.link_state(peer.id()) == state)
}
