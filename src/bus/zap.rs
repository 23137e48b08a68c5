//! Who may connect: answers libzmq's authentication requests (ZAP, RFC 27) with a list of keys.
//!
//! A client that is not listed gets 400, and libzmq ends its handshake. What one that is listed sends carries its name as
//! the property `User-Id`.
//!
//! Invariant: a gate opens before its socket is bound; there is one for a context.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::BusError;
use crate::os::Wake;

/// A public key, as libzmq has it.
pub(crate) type PublicKey = [u8; 32];

/// Who may come in: of each key the name that what he sends carries.
pub(crate) type Guests = HashMap<PublicKey, String>;

/// Somebody who may not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// The key that he has, if he has one.
    pub(crate) key: Option<PublicKey>,
    /// From where he comes.
    pub(crate) address: String,
    /// Whose key it is, where it is listed and shut out for a while.
    pub(crate) shut_out: Option<String>,
}

/// Answers for one context until it is dropped.
pub(crate) struct Gate {
    stop: Wake,
    guests: Arc<Mutex<Guests>>,
    shut_out: ShutOut,
    thread: Option<thread::JoinHandle<()>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// Names that may not come in for a while, though they are listed; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShutOut(Arc<Mutex<HashMap<String, Instant>>>);

impl ShutOut {
    /// From now on, so long.
    pub(crate) fn shut_out(&self, name: &str, how_long: Duration) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, until| *until > Instant::now());
        until.insert(name.to_owned(), Instant::now() + how_long);
    }

    fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).is_some_and(|until| *until > Instant::now())
    }
}

impl Gate {
    /// Opens the gate of a context for these guests; whoever else knocks is told to `turned_away`, on the gate's thread.
    pub(crate) fn open(
        context: &zmq::Context,
        guests: Guests,
        turned_away: impl Fn(Stranger) + Send + 'static,
    ) -> Result<Self, BusError> {
        let socket = context.socket(zmq::REP).map_err(BusError::Socket)?;
        socket.set_linger(0).map_err(BusError::Socket)?;
        socket.bind("inproc://zeromq.zap.01").map_err(BusError::Socket)?;
        let stop = Wake::new().map_err(BusError::System)?;
        let (bell, shut_out) = (stop.clone(), ShutOut::default());
        let guests = Arc::new(Mutex::new(guests));
        let (its_guests, its_shut_out) = (guests.clone(), shut_out.clone());
        let answer_one = move |request: &[Vec<u8>]| {
            let guests = lock(&its_guests);
            let judged = judge(request, &guests, &its_shut_out);
            let reply = reply(request, judged.as_ref().ok().copied());
            let stranger = judged.err();
            drop(guests);
            stranger.map(&turned_away);
            reply
        };
        let thread = thread::Builder::new()
            .name("zap".into())
            .spawn(move || serve(&socket, &bell, answer_one))
            .map_err(BusError::System)?;
        Ok(Self { stop, guests, shut_out, thread: Some(thread) })
    }

    /// From now on these may come in, and nobody else. Whoever is in stays.
    pub(crate) fn let_in(&self, guests: Guests) {
        *lock(&self.guests) = guests;
    }

    /// By whom names can be shut out.
    pub(crate) fn shut_out(&self) -> ShutOut {
        self.shut_out.clone()
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

fn lock(guests: &Mutex<Guests>) -> MutexGuard<'_, Guests> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(socket: &zmq::Socket, stop: &Wake, answer: impl Fn(&[Vec<u8>]) -> [Vec<u8>; 6]) {
    loop {
        let mut items = [socket.as_poll_item(zmq::POLLIN), zmq::PollItem::from_fd(stop.raw_fd(), zmq::POLLIN)];
        match zmq::poll(&mut items, -1) {
            Err(zmq::Error::EINTR) => continue,
            Err(_) => return,
            Ok(_) if stop.has_rung() => return,
            Ok(_) => {}
        }
        let Ok(request) = socket.recv_multipart(zmq::DONTWAIT) else { continue };
        socket.send_multipart(answer(&request), 0).ok();
    }
}

/// Request: version, request id, domain, address, identity, mechanism, credentials. The name of who asks, or why he may
/// not come in.
fn judge<'g>(request: &[Vec<u8>], guests: &'g Guests, shut_out: &ShutOut) -> Result<&'g str, Stranger> {
    let is_curve = request.get(5).is_some_and(|mechanism| mechanism == b"CURVE");
    let key = request.get(6).filter(|_| is_curve).and_then(|key| PublicKey::try_from(key.as_slice()).ok());
    let name = key.and_then(|key| guests.get(&key));
    match name {
        Some(name) if !shut_out.has(name) => Ok(name),
        _ => {
            let address = request.get(3).map_or_else(String::new, |text| String::from_utf8_lossy(text).into_owned());
            Err(Stranger { key, address, shut_out: name.cloned() })
        }
    }
}

/// Reply: version, request id, status code, status text, user id, metadata.
fn reply(request: &[Vec<u8>], name: Option<&str>) -> [Vec<u8>; 6] {
    let (code, text): (&[u8], &[u8]) = if name.is_some() { (b"200", b"OK") } else { (b"400", b"key not allowed") };
    let id = request.get(1).cloned().unwrap_or_default();
    let name = name.unwrap_or_default().as_bytes().to_vec();
    [b"1.0".to_vec(), id, code.to_vec(), text.to_vec(), name, Vec::new()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(mechanism: &[u8], key: PublicKey) -> Vec<Vec<u8>> {
        let head = [b"1.0".to_vec(), b"7".to_vec(), Vec::new(), b"10.0.0.7".to_vec(), Vec::new()];
        [head.as_slice(), &[mechanism.to_vec(), key.to_vec()]].concat()
    }

    #[test]
    fn only_a_listed_key_gets_200_and_its_name() {
        let guests = Guests::from([([1; 32], "lab1".to_owned())]);
        let answer = |request: &[Vec<u8>]| {
            let [_, _, code, _, name, _] =
                reply(request, judge(request, &guests, &ShutOut::default()).as_ref().ok().copied());
            (String::from_utf8(code).unwrap(), String::from_utf8(name).unwrap())
        };
        let pair = |code: &str, name: &str| (code.to_owned(), name.to_owned());

        assert_eq!(answer(&request(b"CURVE", [1; 32])), pair("200", "lab1"));
        assert_eq!(answer(&request(b"CURVE", [2; 32])), pair("400", ""));
        assert_eq!(answer(&request(b"NULL", [1; 32])), pair("400", ""));
        assert_eq!(answer(&[]), pair("400", ""));
    }

    #[test]
    fn who_is_shut_out_is_told_by_his_name() {
        let guests = Guests::from([([1; 32], "lab1".to_owned())]);
        let shut_out = ShutOut::default();
        let knock = |shut_out: &ShutOut| judge(&request(b"CURVE", [1; 32]), &guests, shut_out).err();
        assert_eq!(knock(&shut_out), None);

        shut_out.shut_out("lab1", Duration::from_secs(600));

        let stranger = Stranger { key: Some([1; 32]), address: "10.0.0.7".into(), shut_out: Some("lab1".to_owned()) };
        assert_eq!(knock(&shut_out), Some(stranger));
        shut_out.shut_out("lab1", Duration::ZERO);
        assert_eq!(knock(&shut_out), None);
    }
}
