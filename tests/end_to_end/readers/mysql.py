"""MariaDB, as PyMySQL and its own client read it."""

import io
import math
import subprocess
import sys

import numpy
import pandas
import pymysql

import sql_tables
from sql_tables import FLOATS, TEXTS, compare  # noqa: F401
from sent import table

BACKEND = "mysql"


def expected(messages, _):
    return sql_tables.expected(messages, sys.modules[__name__])


def held(_, kind, cell):
    """It has no infinity."""
    cell = sql_tables.held(kind, cell)
    return None if kind in FLOATS and cell is not None and math.isinf(cell) else cell


def fits(column, kind, cell):
    """In strict mode no text is a number, unless it looks like one."""
    return sql_tables.fits_number(column, kind, cell) and not (column not in TEXTS and kind in TEXTS)


def found(server):
    db = pymysql.connect(unix_socket=server["socket"], user="root", database="daq", charset="utf8mb4")
    with db.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        names = [name for (name,) in cursor.fetchall()]
        return {name: read(cursor, name) for name in names if name != "enrgdaq_marks"}


def read(cursor, name):
    cursor.execute(f"SELECT * FROM `{name}`")
    return table([column[0] for column in cursor.description], [list(row) for row in cursor.fetchall()])


def numbers(place, columns, server):
    client = ["mariadb", "--no-defaults", "-uroot", "-B", "--quick", f"--socket={server['socket']}"]
    sql = f"SELECT {', '.join(columns)} FROM daq.`{place}`"
    read = subprocess.run([*client, "-e", sql], stdout=subprocess.PIPE, check=True).stdout
    frame = pandas.read_csv(io.BytesIO(read), sep="\t", float_precision="round_trip")
    return [numpy.asarray(frame[column]) for column in columns]
