//! Under which names this server may be asked.
//!
//! A page in somebody's browser can give its own name the address of this machine, and then read our answers as if they
//! were its own (DNS rebinding). It needs a name of its own for that: addresses and names that are ours are fine.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::CncConfig;

/// The names.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Lower case; with a port only that one.
    names: Vec<String>,
}

impl Hosts {
    pub(super) fn of(config: &CncConfig) -> Self {
        let own = ["localhost", config.rest_api_host.as_str()];
        let names = own.into_iter().chain(config.rest.allowed_hosts.iter().map(String::as_str));
        Self { names: names.map(str::to_ascii_lowercase).collect() }
    }

    /// Whether a request may say this as its host, with or without port.
    pub(super) fn allow(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let Some(host) = host_of(&authority) else { return false };
        let is_address = host.parse::<Ipv4Addr>().is_ok()
            || host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(is_ipv6);
        is_address || self.names.iter().any(|name| *name == authority || *name == host)
    }
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// The host without its port; `None` for what is no authority.
fn host_of(authority: &str) -> Option<&str> {
    let end = match authority.starts_with('[') {
        true => authority.find(']')? + 1,
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.len() <= 5 && digits.bytes().all(|at| at.is_ascii_digit()));
    let host = host.strip_suffix('.').unwrap_or(host);
    (is_port && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RestConfig;

    #[test]
    fn addresses_and_own_names_are_let_in_and_other_names_are_not() {
        let allowed_hosts = vec!["daq.example".into(), "proxy.example:8443".into()];
        let config = CncConfig {
            rest_api_host: "lab7".into(),
            rest: RestConfig { allowed_hosts, ..RestConfig::default() },
            ..CncConfig::default()
        };
        let hosts = Hosts::of(&config);

        for good in [
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "127.0.0.1",
            "10.0.0.7:8000",
            "[::1]",
            "[fe80::1]:8000",
            "lab7",
            "Lab7:1",
            "daq.example",
            "daq.example:8000",
            "proxy.example:8443",
        ] {
            assert!(hosts.allow(good), "{good}");
        }
        for bad in [
            "",
            ":8000",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
            "[evil]",
            "::1",
            "proxy.example",
            "proxy.example:8000",
            "user@localhost",
            "localhost:80:80",
            "localhost:x",
            "0x7f.1",
            "[::1]x",
        ] {
            assert!(!hosts.allow(bad), "{bad}");
        }
    }
}
