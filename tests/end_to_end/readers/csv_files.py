"""CSV, as Python's csv module and pandas read it; compressed as the program zstd unpacks it."""

import csv
import io
import subprocess

import pandas

import files
from sent import FLOATS, from_text, table, to_text

BACKEND = "csv"
REFUSED = ("binary", "date")


def takes(message):
    return bool(message.columns) and not message.has(*REFUSED)


def expected(messages, _):
    """A file for each header that a place has had; rows of pairs of type and value."""
    all_files = {}
    for message in filter(takes, messages):
        name = files.name(message, ".zst" if message.target.get("use_zstd") else "")
        n = 0
        while (other := all_files.get(files.numbered(name, n))) and other["columns"] != message.names():
            n += 1
        file = all_files.setdefault(files.numbered(name, n), table(message.names(), []))
        file["rows"] += message.rows()
    return all_files


def found(_):
    return {name: list(csv.reader(open_text(name), strict=True)) for name in files.found()}


def open_text(name):
    if name.endswith(".zst"):
        unpacked = subprocess.run(["zstd", "-dc", f"out/{name}"], stdout=subprocess.PIPE, check=True).stdout
        return io.StringIO(unpacked.decode(), newline="")
    return open(f"out/{name}", newline="", encoding="utf-8")


def compare(expected, found):
    """Cells of text, as values of the types that were sent."""
    for name, lines in found.items():
        file = expected.get(name, table([], []))
        rows = file["rows"]
        wanted = [[to_text(*cell) for cell in row] for row in rows]
        texts = zip(lines[1:], rows)
        values = [[from_text(kind, text) for text, (kind, _) in zip(line, row, strict=True)] for line, row in texts]
        yield name, table(file["columns"], wanted), table(lines[0] if lines else [], values + lines[1 + len(rows) :])
        yield from by_pandas(name, file)


def by_pandas(name, file):
    """Columns of floats; pandas has NaN for null too."""
    kinds = [kind for kind, _ in file["rows"][0]] if file["rows"] else []
    for n, column in enumerate(file["columns"]):
        cells = [row[n] for row in file["rows"]]
        if kinds[n : n + 1] in [[kind] for kind in FLOATS] and all(kind == kinds[n] for kind, _ in cells):
            read = pandas.read_csv(open_text(name), float_precision="round_trip")[column].astype("float64")
            single = (lambda x: from_text("float32", repr(x))) if kinds[n] == "float32" else float
            wanted = [float("nan") if cell is None else cell for _, cell in cells]
            yield f"{name} by pandas, {column}", wanted, [single(x) for x in read]


def numbers(place, columns, _):
    name = f"{place}.csv" if f"{place}.csv" in files.found() else f"{place}.csv.zst"
    read = pandas.read_csv(open_text(name), float_precision="round_trip", usecols=columns)
    return [read[column].to_numpy() for column in columns]


