//! The error numbers that libzmq reports: the system's, and its own above [`ZMQ_HAUSNUMERO`](crate::ZMQ_HAUSNUMERO).

pub use libc::{
    EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBUSY, ECONNREFUSED, EFAULT, EHOSTUNREACH, EINPROGRESS, EINTR, EINVAL,
    EMFILE, EMSGSIZE, ENAMETOOLONG, ENETDOWN, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENOTCONN, ENOTSOCK, ENOTSUP, EPROTO,
    EPROTONOSUPPORT,
};

const HAUSNUMERO: i32 = crate::ZMQ_HAUSNUMERO.cast_signed();

/// The socket's state does not allow this now, such as a second request before the reply.
pub const EFSM: i32 = HAUSNUMERO + 51;
/// The transport does not suit the type of socket.
pub const ENOCOMPATPROTO: i32 = HAUSNUMERO + 52;
/// The context was terminated.
pub const ETERM: i32 = HAUSNUMERO + 53;
/// No I/O thread is free for the task.
pub const EMTHREAD: i32 = HAUSNUMERO + 54;

// Stand-ins for error numbers that a system may lack. Linux lacks none, so libzmq never reports them here; but `zmq`
// matches on them by name.

/// Stands in for `ENOTSUP`.
pub const ENOTSUP_ALT: i32 = HAUSNUMERO + 1;
/// Stands in for `EPROTONOSUPPORT`.
pub const EPROTONOSUPPORT_ALT: i32 = HAUSNUMERO + 2;
/// Stands in for `ENOBUFS`.
pub const ENOBUFS_ALT: i32 = HAUSNUMERO + 3;
/// Stands in for `ENETDOWN`.
pub const ENETDOWN_ALT: i32 = HAUSNUMERO + 4;
/// Stands in for `EADDRINUSE`.
pub const EADDRINUSE_ALT: i32 = HAUSNUMERO + 5;
/// Stands in for `EADDRNOTAVAIL`.
pub const EADDRNOTAVAIL_ALT: i32 = HAUSNUMERO + 6;
/// Stands in for `ECONNREFUSED`.
pub const ECONNREFUSED_ALT: i32 = HAUSNUMERO + 7;
/// Stands in for `EINPROGRESS`.
pub const EINPROGRESS_ALT: i32 = HAUSNUMERO + 8;
/// Stands in for `ENOTSOCK`.
pub const ENOTSOCK_ALT: i32 = HAUSNUMERO + 9;
/// Stands in for `EMSGSIZE`.
pub const EMSGSIZE_ALT: i32 = HAUSNUMERO + 10;
