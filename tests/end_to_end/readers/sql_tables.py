"""The tables that docs/stores-sql.md promises, for every database."""

import math
import re

from sent import FLOATS, as_text, table

WHOLE = ("int", "int8", "int16", "int32", "uint8", "uint16", "uint32", "uint", "range")
TEXTS = ("text", "large")


class ANY_TIME:
    """A time that nobody injected."""


def takes(message):
    is_hollow = message.kind == "table" and message.count and not message.columns
    return not is_hollow and not message.has("date") and not re.search("[`'\";\\\\]|--", "".join(message.names()))


def expected(messages, dialect):
    """Tables whose columns are in the order in which they came; what is lost is counted in `lost`."""
    tables, lost = {}, 0
    for message in messages:
        if not takes(message):
            lost += 1
            continue
        columns = [(clean(name), kind, cells) for name, kind, cells in typed(message) if kind != "null"]
        if not columns:
            continue
        made = tables.setdefault(table_name(message), ({}, []))
        if not all(dialect.fits(made[0].get(name, kind), kind, cell) for name, kind, cells in columns for cell in cells):
            lost += 1
            continue
        for name, kind, _ in columns:
            made[0].setdefault(name, kind)
        count = len(columns[0][2])
        held = [[dialect.held(made[0][name], kind, cell) for cell in cells] for name, kind, cells in columns]
        made[1].extend({name: cells[n] for (name, *_), cells in zip(columns, held)} for n in range(count))
    rows = {name: table(list(kinds), [[row.get(column) for column in kinds] for row in rows])
            for name, (kinds, rows) in tables.items()}
    return rows, lost


def table_name(message):
    tag = "" if message.tag is None else "_" + message.tag
    return clean(message.target["table_name"] + tag)


def clean(name):
    return re.sub("[^A-Za-z0-9_]", "", name)


def typed(message):
    """Its columns; those of old-style rows have the type that holds all values of the message."""
    if message.kind in ("raw", "records"):
        time = [message.at or ANY_TIME] * len(message.pieces)
        return [("timestamp", "int", time), ("data", "binary", message.pieces)]
    return [column if column[1] != "json" else (column[0], *unified(column[2])) for column in message.columns]


def unified(cells):
    some = [cell for cell in cells if cell is not None]
    if not some:
        return "null", cells
    if all(isinstance(cell, bool) for cell in some):
        return "bool", cells
    if all(type(cell) is int and -(2**63) <= cell < 2**63 for cell in some):
        return "int", cells
    if all(type(cell) is int and 0 <= cell for cell in some):
        return "uint", cells
    if all(type(cell) in (int, float) for cell in some):
        return "float", [None if cell is None else float(cell) for cell in cells]
    return "text", [None if cell is None else as_text(cell) for cell in cells]


def held(kind, cell):
    if cell is None or kind in FLOATS and math.isnan(cell):
        return None
    return int(cell) if kind == "bool" else cell


def fits_number(column, kind, cell):
    """What would not come back from a column of numbers as it was is refused."""
    if cell is None or cell is ANY_TIME:
        return True
    if column in WHOLE and kind in FLOATS and math.isfinite(cell):
        return cell == int(cell)
    if column in FLOATS and kind in WHOLE:
        return abs(cell) <= 2**53
    return True


def compare(expected, found):
    for name, read in found.items():
        wanted = expected.get(name)
        pairs = zip(wanted["rows"], read["rows"]) if wanted else []
        for one, other in pairs:
            for n, cell in enumerate(one):
                if cell is ANY_TIME and type(other[n]) is int and other[n] > 1_700_000_000 * 10**9:
                    one[n] = other[n]
        yield name, wanted, read
