#!/usr/bin/env python3
"""Stores beside the disk, and beside the Python libraries that one would take instead; and how much memory they take.

    scripts/soak store-rates           installs what this needs, then runs: benches/stores.py rates [seconds rounds [store…]]
    scripts/soak store-memory          …                                    benches/stores.py memory [GB]

rates: messages of 10,000 rows of two doubles (160 kB), on the disk of the working directory. The disk, a store and its
peer in turn, each for so many seconds (5), each with a sync or commit a second; the peers write such doubles too. Another
program then reads what the store wrote, and compares each number with the one that was sent. Shown are the medians of
several rounds (3): of the rates, and of the ratios within a round.

memory: the most private memory of a store's process while it writes so many gigabytes.
"""

import contextlib
import csv
import json
import os
import pathlib
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import pyarrow
import pymysql
from pyarrow import csv as arrow_csv

ROWS = 10_000
BYTES = ROWS * 16
ENRGDAQ = os.path.abspath("target/release/enrgdaq")
STEP = numpy.uint64(0x9E3779B97F4A7C15)


# What DAQJobBenchmark sends: jobs/pattern.rs.

def mix(bits):
    mask = (1 << 64) - 1
    bits = (bits ^ bits >> 33) * 0xFF51AFD7ED558CCD & mask
    bits = (bits ^ bits >> 33) * 0xC4CEB9FE1A85EC53 & mask
    return bits ^ bits >> 33


def words(stream, number):
    """Both columns of a message, one behind the other."""
    seed = 0xCBF29CE484222325
    for byte in stream.encode():
        seed = (seed ^ byte) * 0x100000001B3 & ((1 << 64) - 1)
    base = numpy.uint64(mix(seed ^ mix(number)))
    values = base + numpy.arange(2 * ROWS, dtype=numpy.uint64) * STEP
    values = values >> numpy.uint64(12) | numpy.uint64(0x3FF << 52)
    values[0] = 0x3FF << 52 | number
    return values.view(numpy.float64)


class Verifier:
    """Takes columns as they are read, and compares them."""

    def __init__(self, stream):
        self.stream, self.number, self.rest = stream, 0, numpy.empty((0, 2))

    def take(self, times, values):
        rows = numpy.column_stack([times, values])
        rows = numpy.concatenate([self.rest, rows]) if len(self.rest) else rows
        while len(rows) >= ROWS:
            expected = words(self.stream, self.number)
            part, rows = rows[:ROWS], rows[ROWS:]
            same = numpy.array_equal(part[:, 0], expected[:ROWS]) and numpy.array_equal(part[:, 1], expected[ROWS:])
            assert same, f"message {self.number} is not what was sent"
            self.number += 1
        self.rest = rows.copy()

    def end(self, sent):
        assert (self.number, len(self.rest)) == (sent, 0), f"{self.number} messages of {sent}, and {len(self.rest)} rows"


# How stores are set up, and read.

def read_raw(folder, verifier):
    with open(f"{folder}/out/a.bin", "rb") as file:
        while file.peek(1):
            for batch in pyarrow.ipc.open_stream(file):
                verifier.take(batch.column(0).to_numpy(), batch.column(1).to_numpy())


def read_csv_from(stream, verifier):
    for batch in arrow_csv.open_csv(stream):
        verifier.take(batch.column(0).to_numpy(), batch.column(1).to_numpy())


def read_csv(folder, verifier):
    read_csv_from(f"{folder}/out/a.csv", verifier)


def read_zstd(folder, verifier):
    with subprocess.Popen(["zstd", "-dc", f"{folder}/out/a.csv.zst"], stdout=subprocess.PIPE) as zstd:
        read_csv_from(zstd.stdout, verifier)


def read_rows(cursor, verifier):
    while rows := cursor.fetchmany(10 * ROWS):
        verifier.take(*numpy.array(rows).T)


def read_sqlite(folder, verifier):
    with contextlib.closing(sqlite3.connect(f"{folder}/out/data.db")) as connection:
        read_rows(connection.execute("SELECT timestamp, value FROM rows ORDER BY rowid"), verifier)


def read_mysql(folder, verifier):
    """Without a key, InnoDB keeps rows in the order in which they came."""
    with contextlib.closing(Server.of(folder).connect(cursorclass=pymysql.cursors.SSCursor)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT timestamp, value FROM `rows`")
            read_rows(cursor, verifier)


STORES = {
    "raw": ("DAQJobStoreRaw", 'file_path = "a.bin"\noverwrite = false', read_raw),
    "csv": ("DAQJobStoreCSV", 'file_path = "a.csv"', read_csv),
    "csv+zstd": ("DAQJobStoreCSV", 'file_path = "a.csv"\nuse_zstd = true', read_zstd),
    "sqlite": ("DAQJobStoreSQLite", 'table_name = "rows"', read_sqlite),
    "mysql": ("DAQJobStoreMySQL", 'table_name = "rows"', read_mysql),
}


class Server:
    """MariaDB with throw-away data, on loopback."""

    def __init__(self, folder):
        self.folder = f"{folder}/mariadb"
        subprocess.run(["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
                        "--skip-test-db", "--user=root", f"--datadir={self.folder}"], check=True, stdout=-3, stderr=-3)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            ["mariadbd", "--no-defaults", "--user=root", "--bind-address=127.0.0.1", f"--datadir={self.folder}",
             f"--socket={self.folder}/socket", f"--port={self.port}", "--innodb-buffer-pool-size=256M",
             "--innodb-log-file-size=256M"], stdout=-3, stderr=-3)
        while True:
            with contextlib.suppress(pymysql.err.OperationalError):
                connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root")
                break
            assert self.process.poll() is None, "mariadbd has ended"
            time.sleep(0.1)
        connection.cursor().execute("CREATE DATABASE daq")
        connection.close()
        pathlib.Path(f"{folder}/port").write_text(str(self.port))

    @classmethod
    def of(cls, folder):
        server = cls.__new__(cls)
        server.port = int(pathlib.Path(f"{folder}/port").read_text())
        return server

    def connect(self, **more):
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", database="daq", **more)

    def end(self):
        self.process.terminate()
        self.process.wait()


class Node:
    """A supervisor with a benchmark and a store."""

    def __init__(self, folder, name, messages=None, more=""):
        kind, target, _ = STORES[name]
        self.folder, self.key = folder, {"csv+zstd": "csv"}.get(name, name)
        if name == "mysql":
            more = f'host = "127.0.0.1"\nport = {Server.of(folder).port}\nuser = "root"\ndatabase = "daq"\n' + more
        limit = f"messages = {messages}\n" if messages else ""
        configs = pathlib.Path(folder, "configs")
        configs.mkdir(exist_ok=True)
        (configs / "supervisor.toml").write_text('[info]\nsupervisor_id = "bench_stores"\n')
        (configs / "store.toml").write_text(f'daq_job_type = "{kind}"\n{more}')
        (configs / "bench.toml").write_text(
            f'daq_job_type = "DAQJobBenchmark"\npayload_size = {ROWS}\n{limit}[store_config.{self.key}]\n{target}\n')
        # Of its own: an operator's `stop` outlives a supervisor.
        state = f"{folder}/state"
        self.env = {**os.environ, "XDG_STATE_HOME": state, "ENRGDAQ_RUNTIME_DIR": f"{folder}/run"}
        self.log = open(f"{folder}/log", "a")
        self.process = subprocess.Popen([ENRGDAQ], cwd=folder, env=self.env, stdout=self.log, stderr=self.log)

    def say(self, *words):
        said = subprocess.run([ENRGDAQ, *words], cwd=self.folder, env=self.env, capture_output=True, text=True)
        return said.stdout if said.returncode == 0 else None

    def job(self, name):
        """What a status says of a job."""
        status = json.loads(self.say("status", "--json") or '{"jobs": []}')
        return next((job for job in status["jobs"] if job["name"] == name), {})

    def figure(self, job, name):
        return ((self.job(job).get("stats") or {}).get("figures") or {}).get(name, 0)

    def stored(self):
        """Messages: the raw store counts these, the others rows."""
        rows = self.figure("store", "rows")
        return rows if self.key == "raw" else rows / ROWS

    def drained(self):
        """Messages that were sent, when all are stored."""
        while True:
            sent = self.figure("bench", "sent")
            if sent and self.stored() == sent and self.figure("store", "spool_bytes") == 0:
                return int(sent)
            assert self.process.poll() is None, pathlib.Path(self.folder, "log").read_text()
            time.sleep(0.1)

    def end(self):
        self.process.send_signal(2)
        assert self.process.wait() == 0, pathlib.Path(self.folder, "log").read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(2)
            self.process.wait()
        self.log.close()


def ours(name, folder, seconds):
    """Messages a second between two reports of the store; then all that was sent is looked for."""
    with Node(folder, name) as node:
        seen = []
        while len(seen) < 2 or seen[-1][0] - seen[0][0] < seconds:
            stored = node.stored()
            if stored and (not seen or stored != seen[-1][1]):
                seen.append((time.monotonic(), stored))
            time.sleep(0.01)
        stream = node.job("bench")["unique_id"]
        node.say("stop", "bench")
        sent = node.drained()
        node.end()
    verifier = Verifier(stream)
    STORES[name][2](folder, verifier)
    verifier.end(sent)
    (begin, first), (end, last) = seen[0], seen[-1]
    return (last - first) / (end - begin)


# What one would take instead.

def timed(step, sync, seconds):
    """Calls `step` for so many seconds, `sync` once a second and at the end; calls a second."""
    begin = last = time.monotonic()
    count = 0
    while (now := time.monotonic()) - begin < seconds:
        step()
        count += 1
        if now - last >= 1:
            sync()
            last = now
    sync()
    return count / (time.monotonic() - begin)


def disk(folder, seconds):
    file = os.open(f"{folder}/disk", os.O_WRONLY | os.O_CREAT)
    block = os.urandom(1 << 20)
    rate = timed(lambda: os.write(file, block), lambda: os.fdatasync(file), seconds)
    os.close(file)
    os.remove(f"{folder}/disk")
    return rate * len(block) / BYTES


def pyarrow_csv(folder, seconds, compressed=False):
    both = words("peer", 1)
    table = pyarrow.table({"timestamp": both[:ROWS], "value": both[ROWS:]})
    path = f"{folder}/peer.csv"
    with open(path, "wb") as file:
        sink = pyarrow.CompressedOutputStream(file, "zstd") if compressed else file
        with arrow_csv.CSVWriter(sink, table.schema) as writer:
            rate = timed(lambda: writer.write_table(table), lambda: (sink.flush(), os.fdatasync(file.fileno())), seconds)
        if compressed:
            sink.close()
    os.remove(path)
    return rate


def pyarrow_csv_zstd(folder, seconds):
    return pyarrow_csv(folder, seconds, compressed=True)


def executemany(cursor, sql, commit, seconds):
    both = words("peer", 1)
    rows = list(zip(both[:ROWS].tolist(), both[ROWS:].tolist()))
    return timed(lambda: cursor.executemany(sql, rows), commit, seconds)


def sqlite3_executemany(folder, seconds):
    path = f"{folder}/peer.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for sql in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL",
                    "CREATE TABLE t (timestamp REAL, value REAL)", "BEGIN"]:
            connection.execute(sql)
        commit = lambda: (connection.execute("COMMIT"), connection.execute("BEGIN"))
        rate = executemany(connection, "INSERT INTO t VALUES (?, ?)", commit, seconds)
    os.remove(path)
    return rate


def pymysql_executemany(folder, seconds):
    with contextlib.closing(Server.of(folder).connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE peer (timestamp DOUBLE, value DOUBLE)")
        rate = executemany(cursor, "INSERT INTO peer VALUES (%s, %s)", connection.commit, seconds)
        cursor.execute("DROP TABLE peer")
    return rate


PEERS = {"raw": None, "csv": pyarrow_csv, "csv+zstd": pyarrow_csv_zstd, "sqlite": sqlite3_executemany,
         "mysql": pymysql_executemany}


def rates(seconds, rounds, *names):
    with tempfile.TemporaryDirectory(dir="target") as folder:
        folder = os.path.abspath(folder)
        server = Server(folder)
        lines = csv.writer(sys.stdout, delimiter="\t")
        lines.writerow(["store", "messages/s", "MB/s", "of the disk", "peer", "messages/s", "of the peer"])
        try:
            for name in names or PEERS:
                lines.writerow(rate(name, folder, seconds, int(rounds)))
                sys.stdout.flush()
        finally:
            server.end()


def rate(name, folder, seconds, rounds):
    """A line: medians of the rates, and of the ratios within a round."""
    peer, runs = PEERS[name], []
    for _ in range(rounds):
        of_disk, of_ours = disk(folder, seconds), ours(name, folder, seconds)
        runs.append((of_ours, of_ours / of_disk) + ((of_peer := peer(folder, seconds), of_ours / of_peer) if peer else ()))
        subprocess.run(["rm", "-rf", f"{folder}/out", f"{folder}/state"], check=True)
        if name == "mysql":
            with contextlib.closing(Server.of(folder).connect()) as connection:
                connection.cursor().execute("DROP DATABASE daq")
                connection.cursor().execute("CREATE DATABASE daq")
    rate, of_disk, *of_peer = map(statistics.median, zip(*runs))
    line = [name, f"{rate:.0f}", f"{rate * BYTES / 1e6:.0f}", f"{of_disk:.2f}"]
    return line + ([peer.__name__, f"{of_peer[0]:.0f}", f"{of_peer[1]:.2f}"] if peer else [])


def private_mb(pid):
    """Memory that the process shares with nobody, without files and shared memory that it maps."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def memory(gigabytes):
    messages = int(gigabytes * 1e9 / BYTES)
    for name in ["raw", "csv"]:
        with tempfile.TemporaryDirectory(dir="target") as folder:
            folder = os.path.abspath(folder)
            # Files of 1 GB, of which only the last stays: the disk need not have room for all.
            with Node(folder, name, messages, "rotate_mb = 1000\n") as node:
                most = 0
                while node.stored() < messages:
                    if pid := node.job("store").get("pid"):
                        most = max(most, private_mb(pid))
                    for old in sorted(pathlib.Path(folder, "out").glob("a*"), key=os.path.getmtime)[:-2]:
                        old.unlink()
                    time.sleep(0.1)
                written = node.figure("store", "bytes_written")
                node.end()
            print(f"{name}: {written / 1e9:.1f} GB written, at most {most:.0f} MB of private memory")
            assert most < 300


def main():
    match sys.argv[1:]:
        case ["rates"]:
            rates(5, 3)
        case ["rates", seconds, rounds, *names]:
            rates(float(seconds), float(rounds), *names)
        case ["memory", *gigabytes]:
            memory(float(*gigabytes or ["20"]))
        case _:
            sys.exit(__doc__)


main()
