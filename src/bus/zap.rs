//! Who may connect: answers libzmq's authentication requests (ZAP, RFC 27) with a list of keys.
//!
//! A client that is not listed gets 400, and libzmq ends its handshake.

use std::collections::HashSet;
use std::thread;

use super::error::BusError;
use crate::os::Wake;

/// Answers for one context until it is told to end.
#[derive(Debug)]
pub(super) struct Gate {
    stop: Wake,
    thread: Option<thread::JoinHandle<()>>,
}

impl Gate {
    /// Opens the gate of a context for clients with these public keys.
    pub(super) fn open(context: &zmq::Context, allowed: HashSet<[u8; 32]>) -> Result<Self, BusError> {
        let socket = context.socket(zmq::REP).map_err(BusError::Socket)?;
        socket.set_linger(0).map_err(BusError::Socket)?;
        socket.bind("inproc://zeromq.zap.01").map_err(BusError::Socket)?;
        let stop = Wake::new().map_err(BusError::System)?;
        let bell = stop.clone();
        let thread = thread::Builder::new()
            .name("bus-zap".into())
            .spawn(move || serve(&socket, &bell, &allowed))
            .map_err(BusError::System)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.ring();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(socket: &zmq::Socket, stop: &Wake, allowed: &HashSet<[u8; 32]>) {
    loop {
        let mut items = [socket.as_poll_item(zmq::POLLIN), zmq::PollItem::from_fd(stop.raw_fd(), zmq::POLLIN)];
        match zmq::poll(&mut items, -1) {
            Err(zmq::Error::EINTR) => continue,
            Err(_) => return,
            Ok(_) if stop.has_rung() => return,
            Ok(_) => {}
        }
        let Ok(request) = socket.recv_multipart(zmq::DONTWAIT) else { continue };
        socket.send_multipart(answer(&request, allowed), 0).ok();
    }
}

/// Request: version, request id, domain, address, identity, mechanism, credentials. Reply: version, request id, status
/// code, status text, user id, metadata.
fn answer(request: &[Vec<u8>], allowed: &HashSet<[u8; 32]>) -> [Vec<u8>; 6] {
    let key = request.get(6).and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
    let known =
        request.get(5).is_some_and(|mechanism| mechanism == b"CURVE") && key.is_some_and(|key| allowed.contains(&key));
    let (code, text): (&[u8], &[u8]) = if known { (b"200", b"OK") } else { (b"400", b"key not allowed") };
    let id = request.get(1).cloned().unwrap_or_default();
    [b"1.0".to_vec(), id, code.to_vec(), text.to_vec(), Vec::new(), Vec::new()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listed_key_gets_200() {
        let request = |mechanism: &[u8], key: [u8; 32]| {
            let head = [b"1.0".to_vec(), b"7".to_vec(), Vec::new(), Vec::new(), Vec::new()];
            [head.as_slice(), &[mechanism.to_vec(), key.to_vec()]].concat()
        };
        let allowed = HashSet::from([[1; 32]]);

        assert_eq!(answer(&request(b"CURVE", [1; 32]), &allowed)[2], b"200");
        assert_eq!(answer(&request(b"CURVE", [2; 32]), &allowed)[2], b"400");
        assert_eq!(answer(&request(b"NULL", [1; 32]), &allowed)[2], b"400");
        assert_eq!(answer(&[], &allowed)[2], b"400");
    }
}
