//! The socket options that the `zmq` crate does not offer.

#![expect(unsafe_code, reason = "zmq_setsockopt has no safe form for these options")]

use std::ffi::c_int;

/// Whether a full XPUB (or PUB) waits or says `EAGAIN`, instead of dropping in silence what single readers have no room for.
///
/// # Errors
/// What libzmq says, for a socket of another type.
pub(crate) fn set_xpub_nodrop(socket: &mut zmq::Socket, is_on: bool) -> Result<(), zmq::Error> {
    set(socket, zmq_sys::ZMQ_XPUB_NODROP, is_on)
}

/// Whether an XPUB (or PUB) waits for its owner to say which subscriptions count, one after the other as they are received.
///
/// # Errors
/// What libzmq says, for a socket of another type.
pub(crate) fn set_xpub_manual(socket: &mut zmq::Socket, is_on: bool) -> Result<(), zmq::Error> {
    set(socket, zmq_sys::ZMQ_XPUB_MANUAL, is_on)
}

/// Whether a CURVE server without anybody who answers its authentication requests lets nobody in, instead of all.
///
/// # Errors
/// What libzmq says.
pub(crate) fn set_zap_enforce_domain(socket: &mut zmq::Socket, is_on: bool) -> Result<(), zmq::Error> {
    set(socket, zmq_sys::ZMQ_ZAP_ENFORCE_DOMAIN, is_on)
}

fn set(socket: &mut zmq::Socket, option: u32, is_on: bool) -> Result<(), zmq::Error> {
    let on = c_int::from(is_on);
    let option = c_int::try_from(option).expect("the option's number is small");
    // SAFETY: the socket is open for as long as it is borrowed; the option takes an int, and `on` lives through the call.
    let status = unsafe {
        zmq_sys::zmq_setsockopt(socket.as_mut_ptr(), option, std::ptr::from_ref(&on).cast(), size_of::<c_int>())
    };
    match status {
        0 => Ok(()),
        // SAFETY: takes nothing and reads this thread's errno.
        _ => Err(zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_publishers_take_nodrop() {
        let context = zmq::Context::new();

        assert_eq!(set_xpub_nodrop(&mut context.socket(zmq::XPUB).unwrap(), true), Ok(()));
        assert_eq!(set_xpub_nodrop(&mut context.socket(zmq::SUB).unwrap(), true), Err(zmq::Error::EINVAL));
    }

    #[test]
    fn every_socket_can_insist_on_authentication() {
        let context = zmq::Context::new();

        assert_eq!(set_zap_enforce_domain(&mut context.socket(zmq::ROUTER).unwrap(), true), Ok(()));
    }
}
