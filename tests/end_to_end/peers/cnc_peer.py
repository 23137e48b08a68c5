"""One end of CNC as others write it, from the description of the protocol alone: pyzmq and msgpack.

cnc_peer.py client PORT ID [SERVER_KEY PUBLIC SECRET]     a node that reports and answers everything
cnc_peer.py server PORT                                   a server to which nodes report
cnc_peer.py crowd PORT COUNT                              so many nodes that report
cnc_peer.py garbage PORT SECONDS SEED                     whatever nobody should send
cnc_peer.py storm PORT SECONDS                            nodes that connect, speak, and leave at once, again and again

The first two read requests from standard input, a JSON object a line (a server's with "to"), send them, and write every
message that comes as a line of JSON.
"""

import json
import random
import socket
import struct
import sys
import time
import uuid

import msgpack
import zmq


def pack(message):
    return msgpack.packb(message, use_bin_type=True)


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def info(name):
    return {"supervisor_id": name, "supervisor_tags": ["python"]}


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


def status(name):
    job = {
        "daq_job_type": "DAQJobPython",
        "unique_id": "python-1",
        "instance_id": "1",
        "config": 'daq_job_type = "DAQJobPython"\n',
        "subscribed_topics": [],
        "supervisor_info": info(name),
    }
    count = {"count": 3, "last_updated": now()}
    stats = {key + "_stats": count for key in ("message_in", "message_out", "message_in_queue", "message_out_queue", "restart")}
    stats["latency_stats"] = {"count": 0, "min_ms": 0.0, "max_ms": 0.0, "avg_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0}
    stats["resource_stats"] = {"cpu_percent": 1.0, "rss_mb": 2.0}
    stats["is_alive"] = True
    remote = {"message_in_count": 1, "message_in_bytes": 2, "message_out_count": 3, "message_out_bytes": 4, "last_active": now()}
    return {
        "supervisor_info": info(name),
        "daq_jobs": [job],
        "daq_job_stats": {name: {"DAQJobPython": stats}},
        "daq_job_remote_stats": {"elsewhere": remote},
        "restart_schedules": [{"job": "DAQJobPython", "restart_at": now()}],
    }


def answer(name, request):
    """What a node answers; None: it is no request."""
    kind = request["type"]
    if not kind.startswith("CNCMessageReq"):
        return None
    done = {"success": True, "message": "python did it"}
    answers = {
        "Ping": {},
        "Status": {"status": status(name)},
        "ListClients": {"clients": {name: info(name), "another": None}},
        "RestartDAQ": done,
        "StopDAQJobs": done,
        "RunCustomDAQJob": done,
        "StopDAQJob": {"success": False, "message": "python did not"},
        "SendMessage": {**done, "jobs_notified": 2},
    }
    rest = kind.removeprefix("CNCMessageReq")
    if rest not in answers:
        return None
    return {"type": "CNCMessageRes" + rest, "req_id": request.get("req_id"), **answers[rest]}


def dealer(context, port, name, keys=()):
    peer = context.socket(zmq.DEALER)
    peer.linger = 0
    peer.identity = name.encode()
    if keys:
        peer.curve_serverkey, peer.curve_publickey, peer.curve_secretkey = (key.encode() for key in keys)
    peer.connect(f"tcp://127.0.0.1:{port}")
    return peer


def requests():
    """Lines of standard input that are there now."""
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def client(port, name, *keys):
    peer = dealer(zmq.Context(), port, name, keys)
    poller = zmq.Poller()
    poller.register(peer, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    beat_due = 0.0
    log = {"level": "WARNING", "message": "python is here", "timestamp": now(), "module": "peer", "client_id": name}
    peer.send(pack({"type": "CNCMessageLog", **log}))
    while True:
        if time.monotonic() >= beat_due:
            beat_due = time.monotonic() + 1
            peer.send(pack({"type": "CNCMessageHeartbeat", "supervisor_info": info(name)}))
        ready = dict(poller.poll(100))
        if peer in ready:
            message = msgpack.unpackb(peer.recv())
            say(message)
            response = answer(name, message)
            if response:
                peer.send(pack(response))
        if sys.stdin.fileno() in ready:
            peer.send(pack(requests()))


def server(port):
    router = zmq.Context().socket(zmq.ROUTER)
    router.linger = 0
    router.bind(f"tcp://127.0.0.1:{port}")
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    say({"type": "listening"})
    while True:
        ready = dict(poller.poll())
        if router in ready:
            identity, body = router.recv_multipart()
            say({"from": identity.decode(), **msgpack.unpackb(body)})
        if sys.stdin.fileno() in ready:
            message = requests()
            to = message.pop("to")
            router.send_multipart([to.encode(), pack(message)])


def crowd(port, count):
    context = zmq.Context(io_threads=1)
    context.max_sockets = 4096
    peers = [(f"crowd{number}", dealer(context, port, f"crowd{number}")) for number in range(int(count))]
    while True:
        for name, peer in peers:
            peer.send(pack({"type": "CNCMessageHeartbeat", "supervisor_info": info(name)}))
            while peer.poll(0):
                response = answer(name, msgpack.unpackb(peer.recv()))
                if response:
                    peer.send(pack(response))
        say({"type": "round"})
        time.sleep(1)


def nested(depth):
    return b"\x91" * depth + b"\xc0"


def garbage(port, seconds, seed):
    chance = random.Random(int(seed))
    until = time.monotonic() + float(seconds)
    context = zmq.Context()
    bombs = [
        lambda: [nested(10_000_000)],
        lambda: [nested(4_000_000)],
        lambda: [b"\xdd\x00\x3d\x09\x00" + b"\xc0" * 4_000_000],
        lambda: [pack({"type": "CNCMessageReqPing", "more": [[None] * 20] * 14_000})],
        lambda: [pack({"type": "CNCMessageLog", "message": "x" * 4_000_000})],
        lambda: [b"\xdd\xff\xff\xff\xff" * 3],
        lambda: [b"\xdb\xff\xff\xff\xff"],
        lambda: [b"\xdd\x00\xf0\x00\x00" + b"\xc0" * 15_728_640],
        lambda: [pack({"type": "CNCMessageLog", "message": "x" * 15_000_000})],
        lambda: [bytes(20_000_000)],
        lambda: [b"x"] * 50,
        lambda: [b"", b""],
        lambda: [chance.randbytes(chance.randrange(200))],
        lambda: [pack({"type": chance.choice(["CNCMessageReqExplode", "", None, 7]), "req_id": chance.random()})],
        lambda: [pack({"type": "CNCMessageHeartbeat", "supervisor_info": {"supervisor_id": "good"}})],
        lambda: [pack({"type": "CNCMessageReqCommand", "req_id": "1", "call": {"do": "restart_all"}, "who": "a", "from": "b", "role": "admin"})],
        lambda: [pack({"type": "CNCMessageResStatus", "req_id": str(uuid.uuid4()), "status": {}})],
        lambda: [pack({"type": "CNCMessageReqStopDAQJob"})],
    ]
    sent = 0
    while time.monotonic() < until:
        peer = dealer(context, port, f"bad{chance.randrange(50)}")
        for _ in range(chance.randrange(1, 30)):
            try:
                peer.send_multipart(chance.choice(bombs)(), zmq.DONTWAIT)
                sent += 1
            except zmq.Again:
                pass
        # What is no ZeroMQ at all.
        with socket.create_connection(("127.0.0.1", int(port))) as raw:
            raw.sendall(chance.choice([b"GET / HTTP/1.1\r\n\r\n", chance.randbytes(300), b"\xff" + struct.pack(">Q", 1 << 62) + b"\x7f", b""]))
        peer.poll(50)
        peer.close()
    say({"type": "done", "sent": sent})


def storm(port, seconds):
    until = time.monotonic() + float(seconds)
    context = zmq.Context()
    rounds = 0
    while time.monotonic() < until:
        peers = [dealer(context, port, f"storm{number}") for number in range(20)]
        for number, peer in enumerate(peers):
            peer.send(pack({"type": "CNCMessageHeartbeat", "supervisor_info": info(f"storm{number}")}))
            peer.send(pack({"type": "CNCMessageReqPing", "req_id": "1"}))
        # Half of them wait for the answer, the others do not even wait until they are connected.
        for peer in peers[::2]:
            peer.poll(1000)
        for peer in peers:
            peer.close()
        rounds += 1
    say({"type": "done", "rounds": rounds})


if __name__ == "__main__":
    {"client": client, "server": server, "crowd": crowd, "garbage": garbage, "storm": storm}[sys.argv[1]](*sys.argv[2:])
