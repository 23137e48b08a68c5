//! The addresses that the API listens on.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Binds all addresses that a host stands for; one of a kind that this machine does not have is passed over.
///
/// # Errors
/// The system's: the port is taken, the host has no address here.
pub(super) fn bind(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    let host = if host == "*" { "0.0.0.0" } else { host.trim_matches(['[', ']']) };
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    if host == "localhost" {
        // Not every machine's list of hosts has both.
        addresses
            .extend([SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))]);
    }
    addresses.sort_unstable();
    addresses.dedup();
    let mut listeners = Vec::new();
    let mut missing = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener)) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_missing(&error) => missing = error,
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() { Err(missing) } else { Ok(listeners) }
}

/// The machine does not have such an address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_reached_and_a_taken_port_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(bind("localhost", port).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(taken);

        let listeners = bind("localhost", port).unwrap();

        assert!(listeners.iter().any(|listener| listener.local_addr().unwrap().is_ipv4()));
        assert!(bind("192.0.2.7", port).is_err(), "an address that is not ours");
    }
}
