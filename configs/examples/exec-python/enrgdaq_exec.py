"""What a Python program needs to be a job of enrgdaq (DAQJobExec), in one file without dependencies.

    from enrgdaq_exec import Job

    with Job() as job:
        job.ready()                              # ready = "notify"
        while job.sleep(1.0):                    # False as soon as the job is to stop
            job.store(volts=read_out())          # format = "jsonl"

Messages of other jobs (stdin = "jsonl"):  for message in job.messages(): print(message["columns"])
Records of bytes (format = "raw", framing = "u32le"):  job.store_raw(waveform)

Standard output belongs to the records: what the program prints goes to standard error, which is the job's log.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time


class Job:
    """The program's side of the job. While it is open SIGTERM and SIGINT end the job instead of the program."""

    def __init__(self):
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)  # a stray print() does no harm
        self._lock = threading.Lock()
        self._wake_reader, self._wake_writer = os.pipe()
        self._stopping = False
        self._socket = None
        self._beat_every = int(os.environ.get("WATCHDOG_USEC", 0)) / 2e6
        self._beat_due = 0.0
        if path := os.environ.get("NOTIFY_SOCKET"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.connect(path)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._notify("STOPPING=1")

    @property
    def stopping(self):
        """Whether the job is to stop."""
        return self._stopping

    def ready(self):
        """The job has started: others may rely on it."""
        self._notify("READY=1")

    def status(self, text):
        """A line for the log."""
        self._notify("STATUS=" + text.replace("\n", " "))

    def alive(self):
        """The program works; store() and sleep() say so too."""
        now = time.monotonic()
        if self._beat_every and now >= self._beat_due:
            self._beat_due = now + self._beat_every
            self._notify("WATCHDOG=1")

    def store(self, **columns):
        """A row; nan and infinity, which JSON does not have, are missing values."""
        try:
            line = json.dumps(columns, allow_nan=False, default=str)
        except ValueError:
            finite = {k: v if not isinstance(v, float) or v - v == 0 else None for k, v in columns.items()}
            line = json.dumps(finite, default=str)
        self._write(line.encode() + b"\n")

    def store_raw(self, record):
        """A record of bytes."""
        self._write(struct.pack("<I", len(record)) + bytes(record))

    def sleep(self, seconds):
        """Sleeps; False as soon as the job is to stop."""
        until = time.monotonic() + seconds
        while not self._stopping:
            self.alive()
            left = until - time.monotonic()
            if left <= 0:
                return True
            select.select([self._wake_reader], [], [], min(left, self._beat_every or left))
        return False

    def messages(self):
        """The messages of other jobs, until the job is to stop."""
        rest = b""
        while not self._stopping:
            self.alive()
            ready, _, _ = select.select([0, self._wake_reader], [], [], self._beat_every or None)
            if 0 not in ready:
                continue
            chunk = os.read(0, 1 << 16)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield json.loads(line)

    def _write(self, data):
        with self._lock:
            data = memoryview(data)
            while data:
                data = data[self._out.write(data) :]
        self.alive()

    def _notify(self, text):
        if self._socket:
            try:
                self._socket.send(text.encode())
            except OSError as error:
                print(f"cannot notify: {error}", file=sys.stderr)

    def _stop(self, *_):
        self._stopping = True
        os.write(self._wake_writer, b"x")
