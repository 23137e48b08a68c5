#!/usr/bin/env python3
"""What stores write a second, beside the disk and beside the Python library that one would take instead.

    benches/stores.py [seconds]        after cargo build --release, with pyarrow in Python's reach for the CSV peer

Each line is one message size (10,000 rows of two doubles, 160 kB), on the disk of the working directory, in one run:
the disk first (a file written with the same syncs), then each store with `enrgdaq bench --store`, then its peer, both
with a sync or commit each second.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
ROWS = 10_000
BYTES = ROWS * 16
TIMES = [1795176935.0 + n / 1000 for n in range(ROWS)]
VALUES = [random.random() for _ in range(ROWS)]


def timed(step, sync):
    """Calls `step` for so many seconds, `sync` once a second and at the end; messages a second."""
    begin = last = time.monotonic()
    count = 0
    while (now := time.monotonic()) - begin < SECONDS:
        step()
        count += 1
        if now - last >= 1:
            sync()
            last = now
    sync()
    return count / (time.monotonic() - begin)


def disk(folder):
    file = os.open(f"{folder}/disk", os.O_WRONLY | os.O_CREAT)
    block = os.urandom(1 << 20)
    rate = timed(lambda: os.write(file, block), lambda: os.fdatasync(file))
    os.close(file)
    os.remove(f"{folder}/disk")
    return rate * len(block) / BYTES


def pyarrow_csv(folder):
    import pyarrow
    from pyarrow import csv

    table = pyarrow.table({"timestamp": TIMES, "value": VALUES})
    file = open(f"{folder}/peer.csv", "wb")
    with csv.CSVWriter(file, table.schema) as writer:
        return timed(lambda: writer.write_table(table), lambda: (file.flush(), os.fdatasync(file.fileno())))


def sqlite(folder):
    connection = sqlite3.connect(f"{folder}/peer.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE t (timestamp REAL, value REAL)")
    connection.execute("BEGIN")
    rows = list(zip(TIMES, VALUES))
    commit = lambda: (connection.execute("COMMIT"), connection.execute("BEGIN"))
    rate = timed(lambda: connection.executemany("INSERT INTO t VALUES (?, ?)", rows), commit)
    connection.close()
    return rate


def ours(store, folder):
    """Messages a second that reached the store; what it has in its spool at the end did not."""
    command = ["target/release/enrgdaq", "bench", "--store", store, "--duration", str(SECONDS), "--json"]
    said = subprocess.run(command, env={**os.environ, "TMPDIR": folder}, capture_output=True, text=True)
    line = [line for line in said.stdout.splitlines() if line.startswith("{")]
    if not line:
        sys.exit(said.stdout + said.stderr)
    return json.loads(line[-1])["messages_per_s"]


def main():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        folder = os.path.abspath(folder)
        lines = {"disk": disk(folder)}
        for store, peer in [("raw", None), ("csv", pyarrow_csv), ("sqlite", sqlite)]:
            lines[store] = ours(store, folder)
            if peer:
                lines[peer.__name__] = peer(folder)
        for name, rate in lines.items():
            print(f"{name:12} {rate:9.0f} messages/s {rate * BYTES / 1e6:8.0f} MB/s {rate / lines['disk']:6.2f} of the disk")


main()
