"""SQLite, as Python's sqlite3 reads it."""

import sqlite3
import sys

import numpy

import sql_tables
from sql_tables import compare  # noqa: F401
from sent import FLOATS, table

BACKEND = "sqlite"


def expected(messages, _):
    return sql_tables.expected(messages, sys.modules[__name__])


def held(column, kind, cell):
    """Whole numbers above the signed ones are text, zero has no sign; a column of numbers makes of others its own."""
    cell = sql_tables.held(kind, cell)
    if kind == "uint" and cell is not None and cell >= 2**63:
        return str(cell)
    if kind in FLOATS and cell is not None:
        cell = cell or 0.0
        return int(cell) if column in sql_tables.WHOLE and cell.is_integer() else cell
    if column in FLOATS and kind in sql_tables.WHOLE and cell is not None:
        return float(cell)
    return cell


def fits(column, kind, cell):
    """Any column holds any type; but one of floats makes floats of whole numbers."""
    return column not in FLOATS or sql_tables.fits_number(column, kind, cell)


def connection():
    return sqlite3.connect("out/data.db")


def found(_):
    db = connection()
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: read(db, name) for name in names if name != "enrgdaq_marks"}


def read(db, name):
    cursor = db.execute(f"SELECT * FROM `{name}` ORDER BY rowid")
    return table([column[0] for column in cursor.description], [list(row) for row in cursor])


def numbers(place, columns, _):
    rows = connection().execute(f"SELECT {', '.join(columns)} FROM `{place}` ORDER BY rowid").fetchall()
    return [numpy.array(column) for column in zip(*rows)]
