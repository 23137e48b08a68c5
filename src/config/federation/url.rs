//! Addresses of a hub, `tcp://HOST:PORT` or `ipc://FILE`: libzmq says little about a wrong one, and nothing of some.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::doors::is_loopback;

/// The longest path of a local socket, in bytes: the system's, without the zero at its end.
const MAX_PATH: usize = 107;

/// Where a link leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Url<'u> {
    Tcp { host: &'u str, port: u16 },
    Ipc(&'u str),
}

impl<'u> Url<'u> {
    /// What an address says, to listen there or to connect to it; or why it is none.
    pub(super) fn parse(text: &'u str, listens: bool) -> Result<Self, &'static str> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err("an address has no spaces or control characters");
        }
        if let Some(path) = text.strip_prefix("ipc://") {
            return match path.len() {
                0 => Err("it names no file"),
                1..=MAX_PATH => Ok(Self::Ipc(path)),
                _ => Err("the path of a local socket has at most 107 bytes"),
            };
        }
        let place = text.strip_prefix("tcp://").ok_or("it is no `tcp://` or `ipc://` address")?;
        let (host, port) = place.rsplit_once(':').ok_or("it has no port")?;
        let is_number = port.bytes().all(|digit| digit.is_ascii_digit());
        let port =
            port.parse().ok().filter(|port| is_number && *port > 0).ok_or("a port is a number from 1 to 65535")?;
        match host {
            "" => Err("it names no host"),
            "*" if !listens => Err("`*` is no host to connect to"),
            host if !is_host(host) => Err("its host is none"),
            host if listens && !can_be_bound(host) => {
                Err("a hub listens at an address of its machine, not at a name; `*` stands for all addresses")
            }
            host => Ok(Self::Tcp { host, port }),
        }
    }

    /// Whether it stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => is_loopback(host),
            Self::Ipc(_) => true,
        }
    }

    /// Whether two sockets cannot listen there both.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        let is_everywhere = |host: &str| ["*", "0.0.0.0", "[::]"].contains(&host);
        match (self, other) {
            (Self::Tcp { host, port }, Self::Tcp { host: other, port: its_port }) => {
                port == its_port && (host == other || is_everywhere(host) || is_everywhere(other))
            }
            _ => self == other,
        }
    }
}

/// A name, an address, `*`.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address = address.split_once('%').map_or(address, |(address, _interface)| address);
        return address.parse::<Ipv6Addr>().is_ok();
    }
    host == "*" || host.chars().all(|c| c.is_alphanumeric() || ['.', '-', '_'].contains(&c))
}

/// Addresses, `*`, and names of interfaces, which have no dot.
fn can_be_bound(host: &str) -> bool {
    host.starts_with('[') || !host.contains('.') || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_file() {
        let tcp = |host| Ok(Url::Tcp { host, port: 16382 });
        for host in ["*", "0.0.0.0", "[::]", "[fe80::1%eth0]", "eth0", "localhost"] {
            assert_eq!(Url::parse(&format!("tcp://{host}:16382"), true), tcp(host));
        }
        for host in ["hub", "hub.example", "10.0.0.7", "[::1]", "mu-hub_2.example"] {
            assert_eq!(Url::parse(&format!("tcp://{host}:16382"), false), tcp(host));
        }
        assert_eq!(Url::parse("ipc:///run/hub.socket", true), Ok(Url::Ipc("/run/hub.socket")));
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        let long = format!("ipc://{}", "x".repeat(108));
        let table = [
            ("hub:16382", "no `tcp://`"),
            ("udp://hub:16382", "no `tcp://`"),
            ("tcp://hub", "no port"),
            ("tcp://hub:", "a number"),
            ("tcp://hub:0", "a number"),
            ("tcp://hub:+1", "a number"),
            ("tcp://hub:99999", "a number"),
            ("tcp://hub:*", "a number"),
            ("tcp://:16382", "no host"),
            ("tcp://*:16382", "to connect to"),
            ("tcp://hub/x:16382", "its host is none"),
            ("tcp://::1:16382", "its host is none"),
            ("tcp://[hub]:16382", "its host is none"),
            ("tcp://hub;10.0.0.1:16382", "its host is none"),
            ("tcp://h ub:16382", "no spaces"),
            ("tcp://hub\0:16382", "control"),
            ("ipc://", "no file"),
            (&long, "107 bytes"),
        ];

        for (url, words) in table {
            let said = Url::parse(url, false).unwrap_err();
            assert!(said.contains(words), "{url}: {said}");
        }
        assert!(Url::parse("tcp://hub.example:16382", true).unwrap_err().contains("not at a name"));
    }

    #[test]
    fn two_sockets_cannot_listen_at_one_port() {
        let clash = |a, b| Url::parse(a, true).unwrap().clashes_with(&Url::parse(b, true).unwrap());

        assert!(clash("tcp://*:1", "tcp://127.0.0.1:1") && clash("tcp://127.0.0.1:1", "tcp://127.0.0.1:1"));
        assert!(clash("ipc://a", "ipc://a"));
        assert!(!clash("tcp://*:1", "tcp://*:2") && !clash("ipc://a", "ipc://b") && !clash("ipc://a", "tcp://*:1"));
        assert!(!clash("tcp://10.0.0.1:1", "tcp://127.0.0.1:1"));
    }
}
