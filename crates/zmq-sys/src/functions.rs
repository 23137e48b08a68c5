//! The functions of `zmq.h` and the three types they take.
//!
//! Those that return a number return -1 on failure, those that return a pointer null; [`zmq_errno`] then tells why.
//! A context may be used by all threads at once, a socket and a message by one at a time.

use std::ffi::{c_char, c_int, c_long, c_short, c_uchar, c_void};

/// A message, opaque. The default value is *not* an empty message: [`zmq_msg_init`] or one of its kin must come first.
///
/// It owns what it points to, and libzmq wants it back by [`zmq_msg_close`] or a successful send: hence no `Clone`.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct zmq_msg_t {
    bytes: [c_uchar; 64],
}

impl Default for zmq_msg_t {
    fn default() -> Self {
        Self { bytes: [0; 64] }
    }
}

/// Gives back the bytes that were handed to [`zmq_msg_init_data`]; called with them and the hint, once, by any thread.
pub type zmq_free_fn = Option<unsafe extern "C" fn(data: *mut c_void, hint: *mut c_void)>;

/// What to wait for in [`zmq_poll`]: a socket, or a descriptor if `socket` is null.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct zmq_pollitem_t {
    /// The socket, or null.
    pub socket: *mut c_void,
    /// The descriptor, if there is no socket.
    pub fd: c_int,
    /// What to wait for: `ZMQ_POLLIN` and the others.
    pub events: c_short,
    /// What came about.
    pub revents: c_short,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<zmq_msg_t>() == 64 && offset_of!(zmq_msg_t, bytes) == 0);
    assert!(offset_of!(zmq_pollitem_t, fd) == size_of::<*mut c_void>());
    assert!(offset_of!(zmq_pollitem_t, events) == size_of::<*mut c_void>() + 4);
    assert!(offset_of!(zmq_pollitem_t, revents) == size_of::<*mut c_void>() + 6);
};

// The library.
unsafe extern "C" {
    /// Why the last call of this thread failed.
    pub fn zmq_errno() -> c_int;
    /// A text for an error number; it lives until the thread's next call.
    pub fn zmq_strerror(errnum: c_int) -> *const c_char;
    /// The version of the library.
    pub fn zmq_version(major: *mut c_int, minor: *mut c_int, patch: *mut c_int);
    /// 1 if the library can do it (`ipc`, `curve`, …), 0 if not.
    pub fn zmq_has(capability: *const c_char) -> c_int;
}

// Contexts.
unsafe extern "C" {
    /// A new context.
    pub fn zmq_ctx_new() -> *mut c_void;
    /// Ends a context; waits until its sockets are closed and have lingered.
    pub fn zmq_ctx_term(context: *mut c_void) -> c_int;
    /// Makes all calls on its sockets return `ETERM`, now and later.
    pub fn zmq_ctx_shutdown(context: *mut c_void) -> c_int;
    /// Sets an option.
    pub fn zmq_ctx_set(context: *mut c_void, option: c_int, value: c_int) -> c_int;
    /// The value of an option.
    pub fn zmq_ctx_get(context: *mut c_void, option: c_int) -> c_int;
}

// Messages.
unsafe extern "C" {
    /// Makes an empty message.
    pub fn zmq_msg_init(msg: *mut zmq_msg_t) -> c_int;
    /// Makes a message of so many bytes, not yet written.
    pub fn zmq_msg_init_size(msg: *mut zmq_msg_t, size: usize) -> c_int;
    /// Makes a message of the caller's bytes, without a copy; `free` gives them back.
    pub fn zmq_msg_init_data(
        msg: *mut zmq_msg_t,
        data: *mut c_void,
        size: usize,
        free: zmq_free_fn,
        hint: *mut c_void,
    ) -> c_int;
    /// Sends it; if that succeeds the message is empty afterwards.
    pub fn zmq_msg_send(msg: *mut zmq_msg_t, socket: *mut c_void, flags: c_int) -> c_int;
    /// Receives into it; what it held is given back.
    pub fn zmq_msg_recv(msg: *mut zmq_msg_t, socket: *mut c_void, flags: c_int) -> c_int;
    /// Gives back what it holds.
    pub fn zmq_msg_close(msg: *mut zmq_msg_t) -> c_int;
    /// Moves the content over; the source is empty afterwards.
    pub fn zmq_msg_move(dest: *mut zmq_msg_t, src: *mut zmq_msg_t) -> c_int;
    /// Makes both share the content.
    pub fn zmq_msg_copy(dest: *mut zmq_msg_t, src: *mut zmq_msg_t) -> c_int;
    /// Its bytes.
    pub fn zmq_msg_data(msg: *mut zmq_msg_t) -> *mut c_void;
    /// Its length, in bytes.
    pub fn zmq_msg_size(msg: *const zmq_msg_t) -> usize;
    /// 1 if more parts follow, 0 if not.
    pub fn zmq_msg_more(msg: *const zmq_msg_t) -> c_int;
    /// A property, such as `ZMQ_SHARED`.
    pub fn zmq_msg_get(msg: *const zmq_msg_t, property: c_int) -> c_int;
    /// A property of the connection it came by, such as `Peer-Address`; it lives as long as the message.
    pub fn zmq_msg_gets(msg: *const zmq_msg_t, property: *const c_char) -> *const c_char;
}

// Sockets.
unsafe extern "C" {
    /// A new socket.
    pub fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    /// Closes it.
    pub fn zmq_close(socket: *mut c_void) -> c_int;
    /// Sets an option.
    pub fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, len: usize) -> c_int;
    /// Reads an option; `len` is the room there is, then the room that was used.
    pub fn zmq_getsockopt(socket: *mut c_void, option: c_int, value: *mut c_void, len: *mut usize) -> c_int;
    /// Listens on an endpoint.
    pub fn zmq_bind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    /// Connects to an endpoint, in the background, again and again.
    pub fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    /// Takes back a bind.
    pub fn zmq_unbind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    /// Takes back a connect.
    pub fn zmq_disconnect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    /// Sends a copy of the bytes.
    pub fn zmq_send(socket: *mut c_void, bytes: *const c_void, len: usize, flags: c_int) -> c_int;
    /// Receives up to so many bytes; the return value is the length of the whole message.
    pub fn zmq_recv(socket: *mut c_void, bytes: *mut c_void, len: usize, flags: c_int) -> c_int;
    /// Sends the socket's events to an `inproc` endpoint.
    pub fn zmq_socket_monitor(socket: *mut c_void, endpoint: *const c_char, events: c_int) -> c_int;
    /// Waits for one of several sockets or descriptors, for so many ms, -1 for ever.
    pub fn zmq_poll(items: *mut zmq_pollitem_t, count: c_int, timeout: c_long) -> c_int;
    /// Passes messages both ways until the context ends.
    pub fn zmq_proxy(frontend: *mut c_void, backend: *mut c_void, capture: *mut c_void) -> c_int;
    /// The same, and obeys `PAUSE`, `RESUME`, `TERMINATE` and `STATISTICS` on the control socket.
    pub fn zmq_proxy_steerable(
        frontend: *mut c_void,
        backend: *mut c_void,
        capture: *mut c_void,
        control: *mut c_void,
    ) -> c_int;
}

// Keys.
unsafe extern "C" {
    /// Writes bytes as Z85; `size` is a multiple of 4, and `dest` has room for a quarter more and a NUL.
    pub fn zmq_z85_encode(dest: *mut c_char, data: *const u8, size: usize) -> *mut c_char;
    /// Reads Z85, whose length is a multiple of 5.
    pub fn zmq_z85_decode(dest: *mut u8, string: *const c_char) -> *mut u8;
    /// Makes a pair of CURVE keys; each has 40 characters of Z85 and a NUL.
    pub fn zmq_curve_keypair(public: *mut c_char, secret: *mut c_char) -> c_int;
    /// The public key that belongs to a secret one.
    pub fn zmq_curve_public(public: *mut c_char, secret: *const c_char) -> c_int;
}
