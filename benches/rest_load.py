#!/usr/bin/env python3
"""What asking over REST costs the data path.

    scripts/soak rest-load             runs: benches/rest_load.py [seconds [pairs [rate]]]

A node takes the benchmark's tables (160 kB, as fast as it can) into memory, and offers the REST API. In turn, pairs (3) of
so many seconds (30): nobody asks, or clients ask for the status 200 times a second over connections that they keep. Shown
are the processor seconds that source and store need for a gigabyte, with and without, and how long requests take. The exit
status is 0 where the medians differ by less than 5 percent and every request was answered with 200.
"""

import http.client
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ENRGDAQ = os.path.abspath("target/release/enrgdaq")
CLIENTS = 4
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def write_configs(folder, port):
    (folder / "supervisor.toml").write_text(
        f'[info]\nsupervisor_id = "rest-load-{os.getpid()}"\n[cnc]\nis_server = true\nserver_port = {free_port()}\n'
        f"rest_api_enabled = true\nrest_api_port = {port}\n")
    (folder / "source.toml").write_text(
        'daq_job_type = "DAQJobBenchmark"\npayload_size = 10000\nuse_shm = true\n[store_config.memory]\n')
    (folder / "store.toml").write_text('daq_job_type = "DAQJobStoreMemory"\nvoid_data = true\n')


def ask(connection, path="/api/v1/nodes/self/status"):
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def picture(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    status, body = ask(connection)
    connection.close()
    assert status == 200, body
    return json.loads(body)


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def sample(port):
    seen = picture(port)
    jobs = {job["name"]: job for job in seen["jobs"]}
    data_path = sum(ticks(jobs[name]["pid"]) for name in ("source", "store"))
    return jobs["store"]["stats"]["message_in_bytes"], data_path, ticks(seen["supervisor"]["pid"])


class Load(threading.Thread):
    """One client that asks at a steady rate."""

    def __init__(self, port, rate):
        super().__init__(daemon=True)
        self.port, self.pause = port, 1 / rate
        self.ends, self.took, self.failed = threading.Event(), [], 0

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        due = time.monotonic()
        while not self.ends.is_set():
            begun = time.monotonic()
            try:
                status, _ = ask(connection)
                self.failed += status != 200
            except OSError:
                self.failed += 1
                connection.close()
            self.took.append(time.monotonic() - begun)
            due += self.pause
            self.ends.wait(max(0.0, due - time.monotonic()))
        connection.close()


def measure(port, seconds, rate):
    load = [Load(port, rate / CLIENTS) for _ in range(CLIENTS if rate else 0)]
    for client in load:
        client.start()
    time.sleep(1.5)
    # A job's figures come once a second: a rate is the difference of two of them.
    bytes_before, path_before, supervisor_before = sample(port)
    time.sleep(seconds)
    bytes_after, path_after, supervisor_after = sample(port)
    for client in load:
        client.ends.set()
    for client in load:
        client.join()
    gigabytes = (bytes_after - bytes_before) / 1e9
    assert gigabytes > 0, "no data"
    return {
        "gigabytes": gigabytes,
        "cost": (path_after - path_before) / TICKS / gigabytes,
        "supervisor": (supervisor_after - supervisor_before) / TICKS / seconds,
        "took": [took for client in load for took in client.took],
        "failed": sum(client.failed for client in load),
    }


def main(seconds=30.0, pairs=3, rate=200.0):
    with tempfile.TemporaryDirectory(prefix="rest-load-") as name:
        folder, port = pathlib.Path(name) / "configs", free_port()
        folder.mkdir()
        write_configs(folder, port)
        run = pathlib.Path(name) / "run"
        run.mkdir(mode=0o700)
        env = {**os.environ, "XDG_STATE_HOME": f"{name}/state", "ENRGDAQ_RUNTIME_DIR": str(run)}
        log = open(f"{name}/log", "w")
        node = subprocess.Popen([ENRGDAQ, "--config", folder], env=env, cwd=name, stderr=log)
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    if picture(port)["jobs"] and sample(port)[0] > 0:
                        break
                except (OSError, AssertionError, FileNotFoundError):
                    pass
                assert node.poll() is None and time.monotonic() < until, pathlib.Path(f"{name}/log").read_text()
                time.sleep(0.2)
            return compare(port, seconds, pairs, rate)
        finally:
            node.send_signal(signal.SIGINT)
            node.wait(60)


def compare(port, seconds, pairs, rate):
    quiet, asked = [], []
    for pair in range(pairs):
        # Which comes first changes, as the machine does.
        for is_asked in ((False, True), (True, False))[pair % 2]:
            result = measure(port, seconds, rate if is_asked else 0)
            (asked if is_asked else quiet).append(result)
            word = "asked" if is_asked else "quiet"
            print(f"{word}: {result['cost']:.4f} s of processor time a GB, {result['gigabytes'] / seconds:.2f} GB/s, "
                  f"supervisor {100 * result['supervisor']:.1f} % of a core", flush=True)
    took = sorted(took for result in asked for took in result["took"])
    failed = sum(result["failed"] for result in asked)
    rate_kept = len(took) / (pairs * (seconds + 1.5))
    print(f"{len(took)} requests, {rate_kept:.0f} a second, {failed} failed; p50 {1e3 * took[len(took) // 2]:.2f} ms, "
          f"p99 {1e3 * took[int(len(took) * 0.99)]:.2f} ms, longest {1e3 * took[-1]:.2f} ms")
    costs = [statistics.median(result["cost"] for result in results) for results in (quiet, asked)]
    differ = 100 * (costs[1] / costs[0] - 1)
    print(f"the data path costs {differ:+.1f} % with requests")
    return 0 if failed == 0 and abs(differ) < 5 else 1


if __name__ == "__main__":
    arguments = [kind(text) for kind, text in zip((float, int, float), sys.argv[1:])]
    sys.exit(main(*arguments))
