"""Whatever nobody should send over a link: pyzmq and msgpack, from the description of the frames alone.

federation_peer.py garbage XPUB_PORT XSUB_PORT SECONDS SEED     random bytes and mutilated words, on both ports
federation_peer.py leaf XPUB_PORT XSUB_PORT NAME SECONDS SEED   says hello properly, and then only what is wrong
federation_peer.py hub XPUB_PORT XSUB_PORT SECONDS SEED         a hub that lets leaves in, and then says only what is wrong

Each writes one line of JSON when it is done.
"""

import json
import random
import socket
import struct
import sys
import time

import msgpack
import zmq

KINDS = {"data": 1, "latest": 2, "ack": 3, "beat": 4, "hello": 5, "welcome": 6, "refused": 7, "interest": 8, "bye": 9}
HUGE = (1 << 64) - 1


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def word(session, kind, body=None):
    return session + bytes([KINDS[kind]]) + (b"" if body is None else pack(body))


def hello(name, chance, **other):
    interest = {"all": ["store.DAQJobStoreCSV"], "latest": ["stats"]}
    body = {"v": 1, "node": name, "instance": chance.getrandbits(63), "version": "0.1.0", "stream": chance.getrandbits(63),
            "first": 0, "seen": None, "interest": interest}
    return {**body, **other}


def beat(**other):
    lag = {"messages": 0, "bytes": 0, "seconds": 0.0}
    return {"sent_at": time.time_ns(), "next": 0, "lag": lag, **other}


def envelope(chance, name):
    """Close to one, and wrong somewhere."""
    fields = {
        "v": 1, "id": chance.randbytes(16), "type": "DAQJobMessageStoreTable", "ts": time.time_ns(), "epoch": 7, "seq": 1,
        "src": {"supervisor_id": name, "supervisor_tags": [], "daq_job_type": "DAQJobTest", "unique_id": "u", "instance_id": "i"},
        "store_config": {"csv": {"file_path": chance.choice(["rows.csv", "../rows.csv", "/tmp/x.csv"])}},
        "topics": [chance.choice(["store.DAQJobStoreCSV", "supervisor.x.daq_job.broadcast", "", "~bus.x", "a\nb", "x" * 300])],
        "body": {"rows": chance.choice([1, -1, HUGE, "x"])},
        "payload": [{"kind": "arrow_ipc", "len": chance.choice([0, 8, HUGE]), "offset": chance.choice([0, 64, HUGE])}],
    }
    for _ in range(chance.randrange(1, 3)):
        key = chance.choice(list(fields))
        if chance.random() < 0.5:
            del fields[key]
        else:
            fields[key] = chance.choice([None, -1, HUGE, "", b"\xff", [], {}, [[[[]]]]])
        if not fields:
            break
    return pack(fields)


def spoilt(data, chance):
    """With a few bytes changed, cut off, or added."""
    data = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        way = chance.randrange(3)
        if way == 0 and data:
            data[chance.randrange(len(data))] = chance.randrange(256)
        elif way == 1:
            data = data[: chance.randrange(len(data) + 1)]
        else:
            data += chance.randbytes(chance.randrange(40))
    return bytes(data)


def nested(depth):
    return b"\x91" * depth + b"\xc0"


def data_frames(session, chance, name, number):
    kind = chance.choice(["data", "latest"])
    whole = chance.choice([0, 0, 1, 1 << 20, 1 << 40, HUGE])
    piece = chance.choice([(0, 1), (0, 1), (0, 2), (1, 2), (0, 600), (0, 0), (5, 3), ((1 << 32) - 2, (1 << 32) - 1)])
    head = word(session, kind) + struct.pack("<QQII", number, whole, *piece)
    zstd_bomb = bytes.fromhex("28b52ffda0ffffff7f") + b"\x02\x00\x00" * 50
    payload = chance.choice([b"", chance.randbytes(300), bytes(100_000), zstd_bomb, bytes(8_000_000)])
    written = chance.choice([envelope(chance, name), chance.randbytes(200), b"", nested(200_000), b"\xdf\xff\xff\xff\xff"])
    return [head, written, payload]


def wrong_words(session, chance, name, number):
    """Frames that the hub must not believe."""
    return chance.choice([
        lambda: data_frames(session, chance, name, number),
        lambda: data_frames(session, chance, name, chance.choice([0, number + 1000, HUGE])),
        lambda: data_frames(session, chance, name, number)[: chance.randrange(1, 3)],
        lambda: data_frames(session, chance, name, number) + [b"more"] * chance.randrange(1, 50),
        lambda: [word(session, "ack", {"committed": HUGE, "again_from": chance.choice([None, 0, HUGE]), "latest": HUGE})],
        lambda: [word(session, "beat", beat(next=HUGE, echo=(-(1 << 63), (1 << 63) - 1), clock=((1 << 63) - 1, -1)))],
        lambda: [word(session, "beat", beat(lag={"messages": HUGE, "bytes": HUGE, "seconds": float("nan")}))],
        lambda: [word(session, "interest", {"all": ["x" * 10_000, "", "\n", "~"] * 20, "latest": [str(n) for n in range(5000)]})],
        lambda: [word(session, chance.choice(["welcome", "refused"]), hello(name, chance))],
        lambda: [session + bytes([chance.randrange(256)]) + chance.randbytes(chance.randrange(60))],
        lambda: [spoilt(word(session, "beat", beat()), chance)],
        lambda: [spoilt(word(session, "hello", hello(name, chance)), chance)],
        lambda: [word(session, "beat") + nested(1_000_000)],
        lambda: [word(session, "interest") + b"\xdd\x00\x03\xff\xff" + b"\xc0" * 262_000],
        lambda: [chance.randbytes(chance.randrange(100))],
        lambda: [bytes(20_000_000)],
        lambda: [b""] * chance.randrange(1, 5),
    ])()


def raw(port, chance):
    """What is no ZeroMQ at all, or begins like it."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    text = chance.choice([
        b"GET / HTTP/1.1\r\n\r\n", chance.randbytes(300), b"\xff" + struct.pack(">Q", 1 << 62) + b"\x7f", b"", greeting,
        greeting + chance.randbytes(200), greeting + b"\x06" + struct.pack(">Q", HUGE) + b"x" * 100,
    ])
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as stream:
            stream.sendall(text)
    except OSError:
        pass


def speaker(context, port, kind=zmq.XPUB):
    """Says to the hub what it likes, once the hub has subscribed."""
    peer = context.socket(kind)
    peer.linger = 0
    peer.connect(f"tcp://127.0.0.1:{port}")
    if kind == zmq.XPUB:
        peer.poll(1000)
    return peer


def listener(context, port, *topics):
    peer = context.socket(zmq.XSUB)
    peer.linger = 0
    peer.connect(f"tcp://127.0.0.1:{port}")
    for topic in topics:
        peer.send(b"\x01" + topic)
    return peer


def names(chance):
    return chance.choice(["", "../../x", "a\nb", "x" * 10_000, "näme", "\u202e", f"bad{chance.randrange(3)}", "supervisor"])


def garbage(xpub, xsub, seconds, seed):
    chance = random.Random(int(seed))
    until = time.monotonic() + float(seconds)
    context = zmq.Context()
    sent = 0
    while time.monotonic() < until:
        speaks = speaker(context, xsub)
        hears = listener(context, xpub, *[chance.randbytes(chance.randrange(200)) for _ in range(200)])
        session = chance.randbytes(16)
        for _ in range(chance.randrange(1, 40)):
            wrong = [lambda: wrong_words(session, chance, "x", 0), lambda: [word(session, "hello", hello(names(chance), chance, v=chance.choice([0, 2, 1])))]]
            try:
                speaks.send_multipart(chance.choice(wrong)(), zmq.DONTWAIT)
                sent += 1
                # What only a proxy would say, what only a subscriber would.
                hears.send(chance.choice([b"\x00never", b"\x02x", bytes(1000), b"\x01" + bytes(30_000)]), zmq.DONTWAIT)
            except zmq.Again:
                pass
        raw(chance.choice([xpub, xsub]), chance)
        time.sleep(0.02)
        speaks.close()
        hears.close()
    print(json.dumps({"type": "done", "sent": sent}), flush=True)


def leaf(xpub, xsub, name, seconds, seed):
    chance = random.Random(int(seed))
    until = time.monotonic() + float(seconds)
    context = zmq.Context()
    sent = welcomed = 0
    # On a busy machine it may take a while to get in.
    while time.monotonic() < until or not welcomed and time.monotonic() < until + 60:
        session = chance.randbytes(16)
        hears, speaks = listener(context, xpub, session), speaker(context, xsub)
        for _ in range(20):
            speaks.send(word(session, "hello", hello(name, chance)))
            if hears.poll(200):
                break
        first = hears.recv_multipart(zmq.DONTWAIT) if hears.poll(0) else [b""]
        is_in = first[0][16:17] == bytes([KINDS["welcome"]])
        welcomed += is_in
        for number in range(chance.randrange(10, 100)):
            try:
                speaks.send_multipart(wrong_words(session, chance, name, number), zmq.DONTWAIT)
                sent += 1
            except zmq.Again:
                pass
            while hears.poll(0):
                hears.recv_multipart()
        time.sleep(0.05)
        speaks.send(word(session, "bye"))
        time.sleep(0.05)
        speaks.close()
        hears.close()
    print(json.dumps({"type": "done", "sent": sent, "welcomed": welcomed}), flush=True)


def welcome(chance, said):
    interest = {"all": ["store.DAQJobStoreCSV"], "latest": []}
    body = {"v": 1, "node": "false hub", "version": "0.1.0", "stream": chance.getrandbits(63), "first": 0,
            "resume": said["first"], "interest": interest}
    if chance.random() < 0.3:
        # Not more than it has: what is acknowledged is gone for good.
        wrong = {"v": 2, "node": "", "stream": -1, "first": HUGE, "resume": HUGE, "interest": 7}
        key = chance.choice(list(wrong))
        body[key] = wrong[key]
    return body


def hub(xpub, xsub, seconds, seed):
    chance = random.Random(int(seed))
    until = time.monotonic() + float(seconds)
    context = zmq.Context()
    speaks, hears = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
    speaks.linger = hears.linger = 0
    speaks.bind(f"tcp://127.0.0.1:{xpub}")
    hears.bind(f"tcp://127.0.0.1:{xsub}")
    hears.send(b"\x01")
    heard = welcomed = sent = 0
    session = None
    while time.monotonic() < until:
        if hears.poll(20):
            first = hears.recv_multipart()[0]
            heard += 1
            if first[16:17] == bytes([KINDS["hello"]]):
                session = first[:16]
                speaks.send(word(session, "welcome", welcome(chance, msgpack.unpackb(first[17:]))))
                welcomed += 1
        if session and chance.random() < 0.2:
            frames = wrong_words(session, chance, "false hub", sent)
            # That nothing is wanted a hub may well say, and a leaf then forgets what it has.
            if frames[0][16:17] == bytes([KINDS["interest"]]):
                continue
            speaks.send_multipart([session + frames[0][16:], *frames[1:]], zmq.DONTWAIT)
            sent += 1
    print(json.dumps({"type": "done", "heard": heard, "welcomed": welcomed, "sent": sent}), flush=True)


if __name__ == "__main__":
    {"garbage": garbage, "leaf": leaf, "hub": hub}[sys.argv[1]](*sys.argv[2:])
