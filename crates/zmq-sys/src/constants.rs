//! The constants of `zmq.h`: option numbers, flags and events. Their types are those that `zmq` casts from.
//!
//! Units are given where libzmq counts in one; the manual page `zmq_setsockopt(3)` has ranges and defaults.

// Numbers of the library

/// libzmq's own error numbers lie above this.
pub const ZMQ_HAUSNUMERO: u32 = 156_384_712;

// Options of a context, for `zmq_ctx_set` and `zmq_ctx_get`.

/// Number of I/O threads.
pub const ZMQ_IO_THREADS: u32 = 1;
/// How many sockets the context may hold.
pub const ZMQ_MAX_SOCKETS: u32 = 2;
/// The largest value that `ZMQ_MAX_SOCKETS` accepts.
pub const ZMQ_SOCKET_LIMIT: u32 = 3;
/// Scheduling priority of the I/O threads.
pub const ZMQ_THREAD_PRIORITY: u32 = 3;
/// Scheduling policy of the I/O threads.
pub const ZMQ_THREAD_SCHED_POLICY: u32 = 4;
/// Largest message, in bytes.
pub const ZMQ_MAX_MSGSZ: u32 = 5;
/// Size of `zmq_msg_t` in the library, in bytes.
pub const ZMQ_MSG_T_SIZE: u32 = 6;
/// A CPU on which the I/O threads may run.
pub const ZMQ_THREAD_AFFINITY_CPU_ADD: u32 = 7;
/// A CPU on which they may not.
pub const ZMQ_THREAD_AFFINITY_CPU_REMOVE: u32 = 8;
/// A number put into the names of the I/O threads.
pub const ZMQ_THREAD_NAME_PREFIX: u32 = 9;
/// Whether termination waits for messages still to be sent.
pub const ZMQ_BLOCKY: u32 = 70;

// Types of sockets.

/// One peer, both ways.
pub const ZMQ_PAIR: u32 = 0;
/// Publishes to all who subscribed.
pub const ZMQ_PUB: u32 = 1;
/// Receives what it subscribed to.
pub const ZMQ_SUB: u32 = 2;
/// Asks, then waits for the reply.
pub const ZMQ_REQ: u32 = 3;
/// Waits for a request, then replies.
pub const ZMQ_REP: u32 = 4;
/// Requests and replies without the strict turns.
pub const ZMQ_DEALER: u32 = 5;
/// Replies addressed by the routing id.
pub const ZMQ_ROUTER: u32 = 6;
/// Takes work from those who push.
pub const ZMQ_PULL: u32 = 7;
/// Deals work out to those who pull.
pub const ZMQ_PUSH: u32 = 8;
/// `ZMQ_PUB` that sees the subscriptions.
pub const ZMQ_XPUB: u32 = 9;
/// `ZMQ_SUB` that sends its subscriptions as messages.
pub const ZMQ_XSUB: u32 = 10;
/// Raw TCP.
pub const ZMQ_STREAM: u32 = 11;

// Options of a socket, for `zmq_setsockopt` and `zmq_getsockopt`.

/// Bit mask of the I/O threads that serve it.
pub const ZMQ_AFFINITY: u32 = 4;
/// The name under which a `ZMQ_ROUTER` knows this socket.
pub const ZMQ_ROUTING_ID: u32 = 5;
/// Adds a topic prefix.
pub const ZMQ_SUBSCRIBE: u32 = 6;
/// Takes back one `ZMQ_SUBSCRIBE`.
pub const ZMQ_UNSUBSCRIBE: u32 = 7;
/// Multicast data rate, in kbit/s.
pub const ZMQ_RATE: u32 = 8;
/// Multicast recovery interval, in ms.
pub const ZMQ_RECOVERY_IVL: u32 = 9;
/// The kernel's send buffer, in bytes.
pub const ZMQ_SNDBUF: u32 = 11;
/// The kernel's receive buffer, in bytes.
pub const ZMQ_RCVBUF: u32 = 12;
/// Whether more parts of the message follow.
pub const ZMQ_RCVMORE: u32 = 13;
/// The descriptor that becomes readable when `ZMQ_EVENTS` may have changed.
pub const ZMQ_FD: u32 = 14;
/// Which of `ZMQ_POLLIN` and `ZMQ_POLLOUT` hold now.
pub const ZMQ_EVENTS: u32 = 15;
/// The type of the socket.
pub const ZMQ_TYPE: u32 = 16;
/// How long a closed socket keeps unsent messages, in ms.
pub const ZMQ_LINGER: u32 = 17;
/// First pause before connecting again, in ms.
pub const ZMQ_RECONNECT_IVL: u32 = 18;
/// How many connections may wait to be accepted.
pub const ZMQ_BACKLOG: u32 = 19;
/// Longest pause before connecting again, in ms.
pub const ZMQ_RECONNECT_IVL_MAX: u32 = 21;
/// Largest message accepted from a peer, in bytes.
pub const ZMQ_MAXMSGSIZE: u32 = 22;
/// How many messages may wait to be sent to a peer.
pub const ZMQ_SNDHWM: u32 = 23;
/// How many messages may wait to be received from a peer.
pub const ZMQ_RCVHWM: u32 = 24;
/// How many routers a multicast message may cross.
pub const ZMQ_MULTICAST_HOPS: u32 = 25;
/// How long a receive waits, in ms.
pub const ZMQ_RCVTIMEO: u32 = 27;
/// How long a send waits, in ms.
pub const ZMQ_SNDTIMEO: u32 = 28;
/// The endpoint last bound or connected.
pub const ZMQ_LAST_ENDPOINT: u32 = 32;
/// Whether an unknown peer is an error.
pub const ZMQ_ROUTER_MANDATORY: u32 = 33;
/// 1 sends keepalive probes, 0 does not, -1 leaves it to the system.
pub const ZMQ_TCP_KEEPALIVE: u32 = 34;
/// After how many lost probes the peer is dead.
pub const ZMQ_TCP_KEEPALIVE_CNT: u32 = 35;
/// After how much silence the probes begin, in s.
pub const ZMQ_TCP_KEEPALIVE_IDLE: u32 = 36;
/// Time between two probes, in s.
pub const ZMQ_TCP_KEEPALIVE_INTVL: u32 = 37;
/// Queues only on finished connections.
pub const ZMQ_IMMEDIATE: u32 = 39;
/// Passes on repeated subscriptions too.
pub const ZMQ_XPUB_VERBOSE: u32 = 40;
/// Allows IPv6.
pub const ZMQ_IPV6: u32 = 42;
/// The security mechanism in force.
pub const ZMQ_MECHANISM: u32 = 43;
/// Whether this side checks PLAIN credentials.
pub const ZMQ_PLAIN_SERVER: u32 = 44;
/// User name for PLAIN.
pub const ZMQ_PLAIN_USERNAME: u32 = 45;
/// Password for PLAIN.
pub const ZMQ_PLAIN_PASSWORD: u32 = 46;
/// Whether this side is the CURVE server.
pub const ZMQ_CURVE_SERVER: u32 = 47;
/// Own public key, 32 bytes or 40 characters of Z85.
pub const ZMQ_CURVE_PUBLICKEY: u32 = 48;
/// Own secret key, 32 bytes or 40 characters of Z85.
pub const ZMQ_CURVE_SECRETKEY: u32 = 49;
/// The server's public key, 32 bytes or 40 characters of Z85.
pub const ZMQ_CURVE_SERVERKEY: u32 = 50;
/// Sends an empty message to every new peer.
pub const ZMQ_PROBE_ROUTER: u32 = 51;
/// Matches replies with requests.
pub const ZMQ_REQ_CORRELATE: u32 = 52;
/// Allows a new request before the reply.
pub const ZMQ_REQ_RELAXED: u32 = 53;
/// Keeps the last message only.
pub const ZMQ_CONFLATE: u32 = 54;
/// The domain told to the ZAP handler.
pub const ZMQ_ZAP_DOMAIN: u32 = 55;
/// Whether a CURVE server with a domain refuses all while nobody answers for it.
pub const ZMQ_ZAP_ENFORCE_DOMAIN: u32 = 93;
/// Gives a routing id to the newest peer that claims it.
pub const ZMQ_ROUTER_HANDOVER: u32 = 56;
/// The IP type of service.
pub const ZMQ_TOS: u32 = 57;
/// The routing id given to the next peer connected.
pub const ZMQ_CONNECT_ROUTING_ID: u32 = 61;
/// Whether this side is the GSSAPI server; this libzmq has no GSSAPI.
pub const ZMQ_GSSAPI_SERVER: u32 = 62;
/// Own GSSAPI principal.
pub const ZMQ_GSSAPI_PRINCIPAL: u32 = 63;
/// The server's GSSAPI principal.
pub const ZMQ_GSSAPI_SERVICE_PRINCIPAL: u32 = 64;
/// Whether GSSAPI leaves messages in the clear.
pub const ZMQ_GSSAPI_PLAINTEXT: u32 = 65;
/// How long a handshake may take, in ms.
pub const ZMQ_HANDSHAKE_IVL: u32 = 66;
/// The SOCKS5 proxy to go through.
pub const ZMQ_SOCKS_PROXY: u32 = 68;
/// Whether a send fails with `EAGAIN` instead of losing the message when a peer's queue is full.
pub const ZMQ_XPUB_NODROP: u32 = 69;
/// Whether the program itself decides on each subscription.
pub const ZMQ_XPUB_MANUAL: u32 = 71;
/// A message sent to every new subscriber.
pub const ZMQ_XPUB_WELCOME_MSG: u32 = 72;
/// Whether topics select what is *not* passed on.
pub const ZMQ_INVERT_MATCHING: u32 = 74;
/// Time between two ZMTP heartbeats, in ms.
pub const ZMQ_HEARTBEAT_IVL: u32 = 75;
/// After how much silence the peer shall drop us, in ms.
pub const ZMQ_HEARTBEAT_TTL: u32 = 76;
/// How long the answer to a heartbeat may take, in ms.
pub const ZMQ_HEARTBEAT_TIMEOUT: u32 = 77;
/// Passes on repeated subscriptions and their ends too.
pub const ZMQ_XPUB_VERBOSER: u32 = 78;
/// How long a connect may take, in ms.
pub const ZMQ_CONNECT_TIMEOUT: u32 = 79;
/// How long sent data may stay unacknowledged, in ms.
pub const ZMQ_TCP_MAXRT: u32 = 80;
/// A listening descriptor made by the caller.
pub const ZMQ_USE_FD: u32 = 89;
/// The network interface to use.
pub const ZMQ_BINDTODEVICE: u32 = 92;

// Properties of a message, for `zmq_msg_get`.

/// Whether more parts follow.
pub const ZMQ_MORE: u32 = 1;
/// Whether the bytes are shared with another message.
pub const ZMQ_SHARED: u32 = 3;

// Flags of send and receive.

/// Fails with `EAGAIN` instead of waiting.
pub const ZMQ_DONTWAIT: u32 = 1;
/// More parts follow.
pub const ZMQ_SNDMORE: u32 = 2;

// Security mechanisms.

/// None.
pub const ZMQ_NULL: u32 = 0;
/// User name and password in the clear.
pub const ZMQ_PLAIN: u32 = 1;
/// Keys and encryption.
pub const ZMQ_CURVE: u32 = 2;
/// Kerberos; not in this libzmq.
pub const ZMQ_GSSAPI: u32 = 3;

// Events of `zmq_socket_monitor`.

/// A connection was made; the value is its descriptor.
pub const ZMQ_EVENT_CONNECTED: u32 = 0x0001;
/// A connection is being made.
pub const ZMQ_EVENT_CONNECT_DELAYED: u32 = 0x0002;
/// The next try begins; the value is the pause before it, in ms.
pub const ZMQ_EVENT_CONNECT_RETRIED: u32 = 0x0004;
/// The socket was bound; the value is its descriptor.
pub const ZMQ_EVENT_LISTENING: u32 = 0x0008;
/// It could not be bound; the value is an error number.
pub const ZMQ_EVENT_BIND_FAILED: u32 = 0x0010;
/// A peer was accepted; the value is its descriptor.
pub const ZMQ_EVENT_ACCEPTED: u32 = 0x0020;
/// A peer could not be accepted; the value is an error number.
pub const ZMQ_EVENT_ACCEPT_FAILED: u32 = 0x0040;
/// A connection was closed by us.
pub const ZMQ_EVENT_CLOSED: u32 = 0x0080;
/// It could not be closed; the value is an error number.
pub const ZMQ_EVENT_CLOSE_FAILED: u32 = 0x0100;
/// A connection was lost.
pub const ZMQ_EVENT_DISCONNECTED: u32 = 0x0200;
/// No event will follow.
pub const ZMQ_EVENT_MONITOR_STOPPED: u32 = 0x0400;
/// The handshake failed; the value is an error number.
pub const ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL: u32 = 0x0800;
/// The handshake is done.
pub const ZMQ_EVENT_HANDSHAKE_SUCCEEDED: u32 = 0x1000;
/// The handshake failed; the value is a `ZMQ_PROTOCOL_ERROR`.
pub const ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: u32 = 0x2000;
/// The ZAP handler refused; the value is its status: 300, 400 or 500.
pub const ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: u32 = 0x4000;
/// All of them.
pub const ZMQ_EVENT_ALL: u32 = 0xffff;

// Values of `ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL`.

/// ZMTP was violated.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_UNSPECIFIED: u32 = 0x1000_0000;
/// A command came out of turn.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_UNEXPECTED_COMMAND: u32 = 0x1000_0001;
/// A nonce was not the next one.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_INVALID_SEQUENCE: u32 = 0x1000_0002;
/// The keys do not fit.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_KEY_EXCHANGE: u32 = 0x1000_0003;
/// A command is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_UNSPECIFIED: u32 = 0x1000_0011;
/// MESSAGE is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_MESSAGE: u32 = 0x1000_0012;
/// HELLO is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_HELLO: u32 = 0x1000_0013;
/// INITIATE is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_INITIATE: u32 = 0x1000_0014;
/// ERROR is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_ERROR: u32 = 0x1000_0015;
/// READY is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_READY: u32 = 0x1000_0016;
/// WELCOME is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_WELCOME: u32 = 0x1000_0017;
/// The peer's properties are malformed.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_INVALID_METADATA: u32 = 0x1000_0018;
/// A box could not be opened: most often a wrong server key.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: u32 = 0x1100_0001;
/// The peer wants another security mechanism.
pub const ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: u32 = 0x1100_0002;
/// ZAP was violated.
pub const ZMQ_PROTOCOL_ERROR_ZAP_UNSPECIFIED: u32 = 0x2000_0000;
/// The ZAP handler's reply is malformed.
pub const ZMQ_PROTOCOL_ERROR_ZAP_MALFORMED_REPLY: u32 = 0x2000_0001;
/// It answers another request.
pub const ZMQ_PROTOCOL_ERROR_ZAP_BAD_REQUEST_ID: u32 = 0x2000_0002;
/// It has another version.
pub const ZMQ_PROTOCOL_ERROR_ZAP_BAD_VERSION: u32 = 0x2000_0003;
/// Its status is none of 200, 300, 400, 500.
pub const ZMQ_PROTOCOL_ERROR_ZAP_INVALID_STATUS_CODE: u32 = 0x2000_0004;
/// Its properties are malformed.
pub const ZMQ_PROTOCOL_ERROR_ZAP_INVALID_METADATA: u32 = 0x2000_0005;

// Events of `zmq_poll`.

/// A message can be received.
pub const ZMQ_POLLIN: u32 = 1;
/// A message can be sent.
pub const ZMQ_POLLOUT: u32 = 2;
/// The descriptor is in error; never set for a socket.
pub const ZMQ_POLLERR: u32 = 4;
/// The descriptor has urgent data; never set for a socket.
pub const ZMQ_POLLPRI: u32 = 8;
