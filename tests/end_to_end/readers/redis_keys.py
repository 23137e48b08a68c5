"""Redis, as redis-py reads it."""

import base64

import numpy
import redis

from sent import from_text, to_text

BACKEND = "redis"
REFUSED = ("binary", "date")


def takes(message):
    return not message.has(*REFUSED)


def expected(messages, _):
    """Keys with lists of pairs of type and value, or the newest bytes."""
    keys = {}
    for message in filter(takes, messages):
        plain = message.target["key"] + ("" if message.tag is None else f".{message.tag}")
        date = f":{message.date()}" if "key_expiration_days" in message.target else ""
        if message.kind == "raw":
            keys[plain] = message.pieces[0]
        elif message.kind == "records":
            keys.setdefault(plain + date, []).extend(("binary", piece) for piece in message.pieces)
        for name, kind, cells in message.columns:
            keys.setdefault(f"{plain}.{name}{date}", []).extend((kind, cell) for cell in cells)
    # A server has no empty lists.
    return {key: value for key, value in keys.items() if value != []}


def connection(server):
    return redis.Redis(port=server["port"], password=server["password"])


def found(server):
    db = connection(server)
    keys = [key for key in db.scan_iter(count=1000) if not key.startswith(b"enrgdaq:marks:")]
    return {key.decode(): db.get(key) if db.type(key) == b"string" else db.lrange(key, 0, -1) for key in keys}


def compare(expected, found):
    for key, read in found.items():
        wanted = expected.get(key)
        if isinstance(wanted, list) and isinstance(read, list):
            cells = zip(wanted, read)
            read = [value(kind, cell) for (kind, _), cell in cells] + read[len(wanted) :]
            wanted = [to_text(kind, cell) for kind, cell in wanted]
        elif isinstance(read, bytes):
            read = base64.b64decode(read, validate=True)
        yield key, wanted, read


def value(kind, cell):
    return base64.b64decode(cell, validate=True) if kind == "binary" else from_text(kind, cell.decode())


def numbers(place, columns, server):
    db = connection(server)
    return [numpy.array(db.lrange(f"{place}.{column}", 0, -1)).astype(float) for column in columns]
