#!/usr/bin/env python3
"""What a link between two supervisors carries, beside a bare pair of ZeroMQ sockets; and a hub with many leaves.

    scripts/soak federation-rate       runs: benches/federation.py rate [seconds [rounds]]
    scripts/soak federation-load       runs: benches/federation.py load [seconds [leaves [rate]]]

rate: tables of 10,000 rows of two doubles (160 kB), as fast as they can, over TCP on loopback: a PUSH and a PULL of libzmq in
two processes, that fill and check every value as the benchmark does; a leaf to its hub, ring to ring, verified at the hub's
store; the same with CURVE. Each in turn for so many seconds (5), several rounds (5). Shown are the medians of the rates, and
of the ratios within a round. The exit status is 0 where every word was right and none missing.

load: leaves (8), each with so many messages (500) of 1.6 kB a second, for so many seconds (300). Shown are the latency
from the commit at the leaf to the hub's store, and the memory of the hub's supervisor. The exit status is 0 where nothing was
lost, wrong, or came twice, and the memory does not grow.

--json before the words prints one object instead.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ENRGDAQ = os.path.abspath("target/release/enrgdaq")
OWN_JOBS = os.path.abspath("target/release/own-jobs")
ROWS = 10_000
BYTES = ROWS * 16
WITHIN = 120


def free_ports(count):
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def wait(what, is_so):
    until = time.monotonic() + WITHIN
    while not (found := is_so()):
        assert time.monotonic() < until, f"not within {WITHIN} s: {what}"
        time.sleep(0.1)
    return found


class Node:
    """A supervisor in a folder of its own, with these files."""

    count = 0

    def __init__(self, folder, name, jobs):
        Node.count += 1
        self.id = f"bench-{os.getpid()}-{Node.count}-{name}"
        self.folder = pathlib.Path(folder, f"{Node.count}-{name}")
        self.configs = self.folder / "configs"
        self.configs.mkdir(parents=True)
        self.jobs, self.process = jobs, None
        self.env = {**os.environ, "XDG_STATE_HOME": f"{self.folder}/state", "ENRGDAQ_RUNTIME_DIR": f"{self.folder}/run"}

    def keygen(self):
        said = self.say("keygen", "configs/node.keys")
        return re.search("public key: (.{40})", said).group(1)

    def start(self, federation):
        text = f'ring_buffer_size_mb = 256\n[info]\nsupervisor_id = "{self.id}"\n[federation]\n{federation}\n'
        (self.configs / "supervisor.toml").write_text(text)
        for job, config in self.jobs.items():
            (self.configs / f"{job}.toml").write_text(config)
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen([ENRGDAQ], cwd=self.folder, env=self.env, stdout=self.log, stderr=self.log)

    def say(self, *words):
        said = subprocess.run([ENRGDAQ, *words], cwd=self.folder, env=self.env, capture_output=True, text=True)
        return said.stdout if said.returncode == 0 else ""

    def status(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return json.loads(self.say("status", "--json") or '{"jobs": [], "federation": null}')

    def figures(self, job):
        found = next((one for one in self.status()["jobs"] if one["name"] == job), {})
        return (found.get("stats") or {}).get("figures") or {}

    def is_linked(self):
        federation = self.status()["federation"]
        return federation and federation["links"] and all(link["state"] == "up" for link in federation["links"])

    def end(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait() == 0, (self.folder / "log").read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def source(more):
    return f'daq_job_type = "DAQJobBenchmark"\n{more}\n[store_config.memory]\n[supervise]\nautostart = false\n'


STORE = 'daq_job_type = "DAQJobStoreMemory"\nvoid_data = true\n'


def start_all(hub, leaves, with_keys):
    xpub, xsub = free_ports(2)
    urls = lambda of: f'{of}_xpub_url = "tcp://127.0.0.1:{xpub}"\n{of}_xsub_url = "tcp://127.0.0.1:{xsub}"\n'
    of_hub = of_leaf = ""
    if with_keys:
        curve = '[federation.curve]\nkey_file = "node.keys"\n'
        clients = "".join(f'{leaf.id} = "{leaf.keygen()}"\n' for leaf in leaves)
        of_hub = f"{curve}[federation.curve.clients]\n{clients}"
        of_leaf = f'{curve}server_key = "{hub.keygen()}"\n'
    hub.start(f"is_server = true\n{urls('server')}{of_hub}")
    wait("the hub is there", lambda: hub.status()["jobs"])
    for leaf in leaves:
        leaf.start(urls("remote_server") + of_leaf)
    for node in [hub, *leaves]:
        wait("all are linked", node.is_linked)
    for leaf in leaves:
        leaf.say("start", "source")
    wait("messages arrive", lambda: hub.figures("store").get("messages", 0) > 0)


def settle(hub, leaves):
    """Ends the sources, waits until the hub has all, and looks: what the store said last."""
    for leaf in leaves:
        leaf.say("stop", "source")
    sent = sum(wait("a source has counted", lambda leaf=leaf: leaf.figures("source").get("sent")) for leaf in leaves)
    wait("the hub has all", lambda: hub.figures("store").get("messages", 0) >= sent)
    last = hub.figures("store")
    for node in [*leaves, hub]:
        node.end()
    assert last["messages"] == sent, f"{last['messages']} messages of {sent}"
    faults = {key: last[key] for key in ["wrong", "lost", "swapped", "repeated"] if last[key]}
    assert not faults, faults
    return last


def linked(folder, seconds, with_keys):
    """Messages a second from a leaf to its hub."""
    with Node(folder, "hub", {"store": STORE}) as hub, Node(folder, "leaf", {"source": source(f"payload_size = {ROWS}")}) as leaf:
        start_all(hub, [leaf], with_keys)
        time.sleep(1)
        begin = hub.figures("store")
        time.sleep(seconds)
        end = hub.figures("store")
        settle(hub, [leaf])
    return (end["verified_bytes"] - begin["verified_bytes"]) / BYTES / (end["at_ns"] - begin["at_ns"]) * 1e9


def bare(seconds):
    """Messages a second from a PUSH to a PULL."""
    url = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    with subprocess.Popen([OWN_JOBS, "pair", "pull", url, str(seconds)], stdout=subprocess.PIPE) as pull:
        with subprocess.Popen([OWN_JOBS, "pair", "push", url, str(BYTES)]) as push:
            out = pull.communicate(timeout=WITHIN + seconds)[0]
            push.kill()
    measured = json.loads(out)
    assert measured["wrong"] == 0 and measured["bytes"] == measured["messages"] * BYTES, measured
    return measured["messages"] / measured["seconds"]


def rate(seconds=5, rounds=5):
    runs = []
    for _ in range(int(rounds)):
        with tempfile.TemporaryDirectory(dir="target") as folder:
            folder = os.path.abspath(folder)
            runs.append((bare(seconds), linked(folder, seconds, False), linked(folder, seconds, True)))
    middle = lambda of: statistics.median(map(of, runs))
    result = {"payload_bytes": BYTES, "rounds": len(runs)}
    for at, name in enumerate(["pair", "link", "link_with_keys"]):
        result[name] = {"messages_per_s": round(middle(lambda run: run[at]), 1),
                        "mb_per_s": round(middle(lambda run: run[at]) * BYTES / 1e6, 1)}
        if at:
            ratios = [run[at] / run[0] for run in runs]
            result[name] |= {"ratio": round(statistics.median(ratios), 3), "ratios": [round(one, 3) for one in ratios]}
    return result


def memory_mb(pid):
    """All that is resident, and what of it is the process's own."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    of = lambda key: int(re.search(rf"{key}:\s+(\d+) kB", status).group(1)) * 1024 / 1e6
    return of("VmRSS"), of("RssAnon")


def load(seconds=300, leaves=8, rate_hz=500):
    """The first fifth of the time does not count for the memory: it is touched for the first time then."""
    with tempfile.TemporaryDirectory(dir="target") as folder, contextlib.ExitStack() as stack:
        folder = os.path.abspath(folder)
        job = source(f"payload_size = 100\nrate_hz = {rate_hz}\nring_mb = 4")
        hub = stack.enter_context(Node(folder, "hub", {"store": STORE}))
        nodes = [stack.enter_context(Node(folder, f"leaf{n}", {"source": job})) for n in range(int(leaves))]
        start_all(hub, nodes, False)
        begun, seen = time.monotonic(), []
        begin = hub.figures("store")
        while (passed := time.monotonic() - begun) < seconds:
            seen.append((passed, *memory_mb(hub.process.pid)))
            time.sleep(min(1, seconds / 10))
        end = hub.figures("store")
        links = hub.status()["federation"]["links"]
        last = settle(hub, nodes)
    late = [one for one in seen if one[0] > seconds / 5]
    half = len(late) // 2
    grown = [statistics.median(one[at] for one in late[half:]) - statistics.median(one[at] for one in late[:half]) for at in (1, 2)]
    return {
        "leaves": int(leaves), "rate_hz": rate_hz, "messages": int(last["messages"]),
        "messages_per_s": round((end["messages"] - begin["messages"]) / (end["at_ns"] - begin["at_ns"]) * 1e9, 1),
        "latency_ms": {key: round(last[f"latency_us_{key}"] / 1e3, 3) for key in ["p50", "p95", "p99", "max"]},
        "hub_rss_mb": [round(seen[0][1], 1), round(late[0][1], 1), round(seen[-1][1], 1)],
        "hub_private_mb": [round(seen[0][2], 1), round(late[0][2], 1), round(seen[-1][2], 1)],
        "grown_mb": {"rss": round(grown[0], 2), "private": round(grown[1], 2)},
        "refused": sum(link["refused"] + link["dropped"] for link in links),
    }


def show_rate(result):
    print("\t".join(["", "messages/s", "MB/s", "of the pair", "in the rounds"]))
    for name, label in [("pair", "PUSH/PULL"), ("link", "link"), ("link_with_keys", "link with CURVE")]:
        one = result[name]
        ratio = [f"{one['ratio']:.2f}", " ".join(f"{part:.2f}" for part in one["ratios"])] if "ratio" in one else []
        print("\t".join([label, f"{one['messages_per_s']:.0f}", f"{one['mb_per_s']:.0f}", *ratio]))


def show_load(result):
    for key, value in result.items():
        print(f"{key}\t{value}")
    assert result["refused"] == 0
    assert max(result["grown_mb"].values()) < 10, "the hub's memory grows"


def main(words):
    is_json = words[:1] == ["--json"]
    match words[is_json:]:
        case ["rate", *numbers]:
            result, show = rate(*map(float, numbers)), show_rate
        case ["load", *numbers]:
            result, show = load(*map(float, numbers)), show_load
        case _:
            sys.exit(__doc__)
    print(json.dumps(result)) if is_json else show(result)


main(sys.argv[1:])
