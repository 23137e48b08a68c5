//! What the library is and can do, asked through `zmq` as the bus asks it.

#![expect(unsafe_code, reason = "two questions that `zmq` has no function for")]

use std::time::Duration;

#[test]
fn the_library_is_libzmq_4_3_5() {
    assert_eq!(zmq::version(), (4, 3, 5));
}

#[test]
fn it_has_curve_and_ipc_and_no_drafts() {
    assert_eq!(zmq::has("curve"), Some(true));
    assert_eq!(zmq::has("ipc"), Some(true));
    assert_eq!(zmq::has("draft"), Some(false));
}

#[test]
fn a_message_has_the_size_that_the_library_gives_it() {
    // SAFETY: it has no conditions.
    let context = unsafe { zmq_sys::zmq_ctx_new() };
    // SAFETY: the context is alive.
    let size = unsafe { zmq_sys::zmq_ctx_get(context, zmq_sys::ZMQ_MSG_T_SIZE.cast_signed()) };
    // SAFETY: the context is alive, has no sockets, and is not used again.
    let ended = unsafe { zmq_sys::zmq_ctx_term(context) };

    assert_eq!(ended, 0);
    assert_eq!(usize::try_from(size), Ok(size_of::<zmq_sys::zmq_msg_t>()));
}

#[test]
fn its_threads_carry_names() {
    let context = zmq::Context::new();
    let _socket = context.socket(zmq::PAIR).unwrap();

    eventually("a thread named ZMQbg/IO/0", || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .any(|name| name.trim_end() == "ZMQbg/IO/0")
    });
}

#[test]
fn a_curve_subscriber_receives_and_one_with_a_wrong_server_key_does_not() {
    let context = zmq::Context::new();
    let server = zmq::CurveKeyPair::new().unwrap();
    let publisher = context.socket(zmq::PUB).unwrap();
    publisher.set_curve_server(true).unwrap();
    publisher.set_curve_secretkey(&server.secret_key).unwrap();
    publisher.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = publisher.get_last_endpoint().unwrap().unwrap();
    let subscriber = |server_key: &[u8]| {
        let client = zmq::CurveKeyPair::new().unwrap();
        let socket = context.socket(zmq::SUB).unwrap();
        socket.set_curve_serverkey(server_key).unwrap();
        socket.set_curve_publickey(&client.public_key).unwrap();
        socket.set_curve_secretkey(&client.secret_key).unwrap();
        socket.set_subscribe(b"hv").unwrap();
        socket.connect(&endpoint).unwrap();
        socket
    };
    let invited = subscriber(&server.public_key);
    let stranger = subscriber(&zmq::CurveKeyPair::new().unwrap().public_key);

    eventually("a message at the invited subscriber", || {
        publisher.send("hv 1500 V", 0).unwrap();
        invited.poll(zmq::POLLIN, 20).unwrap() == 1
    });

    assert_eq!(invited.recv_bytes(0).unwrap(), b"hv 1500 V");
    assert_eq!(invited.get_mechanism(), Ok(zmq::Mechanism::ZMQ_CURVE));
    assert_eq!(stranger.poll(zmq::POLLIN, 100), Ok(0));
}

#[test]
fn an_xpub_with_nodrop_loses_nothing() {
    const COUNT: u32 = 20_000;
    let context = zmq::Context::new();
    let mut xpub = context.socket(zmq::XPUB).unwrap();
    set_xpub_nodrop(&mut xpub);
    xpub.set_sndhwm(100).unwrap();
    xpub.bind("inproc://nodrop").unwrap();
    let xsub = context.socket(zmq::XSUB).unwrap();
    xsub.set_rcvhwm(100).unwrap();
    xsub.connect("inproc://nodrop").unwrap();
    xsub.send(&b"\x01"[..], 0).unwrap();
    assert_eq!(xpub.recv_bytes(0).unwrap(), b"\x01", "the subscription arrives before the first message leaves");

    let sender = std::thread::spawn(move || {
        for number in 0..COUNT {
            xpub.send(&number.to_le_bytes()[..], 0).unwrap();
        }
    });
    let received = (0..COUNT).map(|_| u32::from_le_bytes(xsub.recv_bytes(0).unwrap().try_into().unwrap()));

    assert!(received.eq(0..COUNT));
    sender.join().unwrap();
}

fn set_xpub_nodrop(socket: &mut zmq::Socket) {
    let yes = 1_i32;
    // SAFETY: the socket is alive and borrowed by nobody else, and the value is an int of the length given.
    let outcome = unsafe {
        zmq_sys::zmq_setsockopt(
            socket.as_mut_ptr(),
            zmq_sys::ZMQ_XPUB_NODROP.cast_signed(),
            (&raw const yes).cast(),
            size_of_val(&yes),
        )
    };
    assert_eq!(outcome, 0);
}

/// Waits for it, at most ten seconds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
