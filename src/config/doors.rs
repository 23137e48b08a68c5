//! Tables that open a door to other machines: what is said against one, and whether a host is another machine.

use std::net::{IpAddr, ToSocketAddrs};

use toml::de::DeTable;

use super::diagnostics::Diagnostic;
use super::document::{Source, locate};

/// Something that can be wrong with a table: which of its keys, whether it is, what is wrong, and the remedy.
pub(super) type Objection = (&'static str, bool, String, &'static str);

/// Those that hold, each where its key stands, or else its table.
pub(super) fn placed(
    source: &Source,
    root: &DeTable<'_>,
    table: &str,
    objections: impl IntoIterator<Item = Objection>,
) -> Vec<Diagnostic> {
    let found = objections.into_iter().filter(|(_, is_wrong, ..)| *is_wrong);
    let placed = found.map(|(path, _, message, help)| {
        let key = format!("{table}.{path}");
        let at = locate(root, &key).unwrap_or(0);
        let name = path.rsplit('.').next().unwrap_or(path);
        source.error(at, key, format!("`{name}`: {message}")).with_help(help)
    });
    placed.collect()
}

/// Whether a host is this machine alone: all addresses that it stands for are loopback. A name that cannot be resolved is not.
pub(super) fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return address.is_loopback();
    }
    if host == "localhost" {
        return true;
    }
    let Ok(mut addresses) = (host, 0).to_socket_addrs().map(Iterator::peekable) else { return false };
    addresses.peek().is_some() && addresses.all(|address| address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_local() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "*", "::", "192.168.1.7", "no-such-host.invalid", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
