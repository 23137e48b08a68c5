"""Raw files: pieces with their lengths, unpacked by struct; tables by pyarrow."""

import struct

import numpy
import pyarrow

import files
from sent import table

BACKEND = "raw"


def takes(message):
    return message.kind != "rows"


def expected(messages, _):
    all_files = {}
    for message in filter(takes, messages):
        file = all_files.setdefault(files.name(message), [])
        if message.kind == "table":
            file.append(table(message.names(), [[cell for _, cell in row] for row in message.rows()]))
        else:
            file.extend(message.pieces)
    return all_files


def found(_):
    return {name: list(pieces(name)) for name in files.found()}


def pieces(name):
    data, at = open(f"out/{name}", "rb").read(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        piece = data[at + 4 : at + 4 + length]
        if len(piece) != length:
            raise SystemExit(f"{name}: half a piece at {at}")
        yield piece
        at += 4 + length


def compare(expected, found):
    for name, all_pieces in found.items():
        wanted = expected.get(name, [])
        are_tables = [isinstance(piece, dict) for piece in wanted]
        are_tables += [False] * (len(all_pieces) - len(wanted))
        yield name, wanted, [unpacked(piece) if is_table else piece for piece, is_table in zip(all_pieces, are_tables)]


def unpacked(piece):
    read = pyarrow.ipc.open_stream(piece).read_all()
    columns = [column.to_pylist() for column in read.columns]
    rows = [list(row) for row in zip(*columns)] if columns else [[] for _ in range(read.num_rows)]
    return table(read.column_names, rows)


def numbers(place, columns, _):
    read = [pyarrow.ipc.open_stream(piece).read_all() for piece in pieces(f"{place}.bin")]
    return [numpy.concatenate([part[column].to_numpy() for part in read]) for column in columns]
