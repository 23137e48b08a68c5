"""What was sent: the letters of `letters.json` in Python's own values, and by which rules they are named."""

import datetime
import json
import math
import os
import struct
import zoneinfo
from dataclasses import dataclass

import numpy

FLOATS = ("float", "float32", "noise")


@dataclass
class Message:
    target: dict
    tag: str | None
    at: int | None
    kind: str  # table, raw, records, rows
    columns: list  # name, type and cells of each
    count: int  # rows of a table
    pieces: list  # bytes of a raw message, of each record

    def date(self):
        """The local date at which it was sent."""
        seconds = self.at // 10**9
        return datetime.datetime.fromtimestamp(seconds, zoneinfo.ZoneInfo(os.environ["TZ"])).date().isoformat()

    def rows(self):
        """Rows of pairs of type and value."""
        columns = [[(kind, cell) for cell in cells] for _, kind, cells in self.columns]
        return [list(row) for row in zip(*columns)] if columns else [[] for _ in range(self.count)]

    def names(self):
        return [name for name, _, _ in self.columns]

    def has(self, *kinds):
        return any(kind in kinds for _, kind, _ in self.columns)


def messages(backend):
    return [message(letter, backend) for letter in json.load(open("letters.json", encoding="utf-8"))]


def message(letter, backend):
    base = letter["store"][backend], letter.get("tag"), letter.get("at")
    if "raw" in letter:
        return Message(*base, "raw", [], 1, [as_bytes(letter["raw"])])
    if "records" in letter:
        return Message(*base, "records", [], len(letter["records"]), [as_bytes(record) for record in letter["records"]])
    if "keys" in letter:
        columns = [(key, "json", [row[n] for row in letter["data"]]) for n, key in enumerate(letter["keys"])]
        return Message(*base, "rows", columns, len(letter["data"]), [])
    columns = [(name, *typed(cells)) for name, cells in letter.get("columns", [])]
    return Message(*base, "table", columns, len(columns[0][2]) if columns else letter.get("rows", 0), [])


def as_bytes(given):
    return bytes.fromhex(given["hex"]) if isinstance(given, dict) else given.encode()


def typed(cells):
    """The type of a column, and its cells."""
    if isinstance(cells, list):
        return "text", cells
    ((kind, cells),) = cells.items()
    if kind == "range":
        return kind, range(cells[0], cells[0] + cells[1])
    if kind == "noise":
        return kind, noise(*cells).tolist()
    if kind == "null":
        return kind, [None] * cells
    return kind, [None if cell is None else value(kind, cell) for cell in cells]


def value(kind, cell):
    match kind:
        case "float":
            return float(cell)
        case "float32":
            return single(float(cell))
        case "binary":
            return as_bytes(cell)
        case "date":
            return datetime.date(1970, 1, 1) + datetime.timedelta(days=cell)
    return cell


def single(number):
    return struct.unpack("f", struct.pack("f", number))[0]


def noise(first, count):
    """SplitMix64, as the bits of finite floats."""
    bits = numpy.arange(first + 1, first + count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    bits ^= bits >> numpy.uint64(31)
    endless = ~numpy.isfinite(bits.view(numpy.float64))
    bits[endless] &= ~numpy.uint64(1 << 62)
    return bits.view(numpy.float64)


def table(columns, rows):
    return {"columns": columns, "rows": rows}


def as_text(cell):
    """A cell of old-style rows where all is text; null is empty."""
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, separators=(",", ":"), ensure_ascii=False)


def from_text(kind, text):
    """What a cell of text says of a value of this type."""
    if kind in ("text", "large", "json", "null"):
        return text
    if text == "":
        return None
    if kind == "float32":
        return single(float(text))
    if kind in FLOATS:
        return float(text)
    return {"true": True, "false": False}[text] if kind == "bool" else int(text)


def to_text(kind, cell):
    """What `from_text` is to give for it."""
    if kind == "json":
        return as_text(cell)
    return "" if cell is None and kind in ("text", "large", "null") else cell


def is_same(one, other):
    """Of one type and value; floats bit for bit, but for the bits of NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.isnan(one) and math.isnan(other) or struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other
