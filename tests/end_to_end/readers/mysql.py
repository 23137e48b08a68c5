"""MariaDB, as PyMySQL and its own client read it."""

import io
import math
import subprocess
import sys

import numpy
import pandas
import pymysql

import sql_tables
from sql_tables import FLOATS, TEXTS
from sent import table

BACKEND = "mysql"

# Whether this server keeps the sign of zero: MariaDB does not from 10.11.19 on. It is asked.
signs_zero = True


def expected(messages, _):
    return sql_tables.expected(messages, sys.modules[__name__])


def held(_, kind, cell):
    """It has no infinity."""
    cell = sql_tables.held(kind, cell)
    return None if kind in FLOATS and cell is not None and math.isinf(cell) else cell


def fits(column, kind, cell):
    """In strict mode no text is a number, unless it looks like one."""
    return sql_tables.fits_number(column, kind, cell) and not (column not in TEXTS and kind in TEXTS)


def compare(expected, found):
    if not signs_zero:
        for place in expected.values():
            place["rows"] = [[cell or 0.0 if type(cell) is float else cell for cell in row] for row in place["rows"]]
    return sql_tables.compare(expected, found)


def found(server):
    global signs_zero
    db = pymysql.connect(unix_socket=server["socket"], user="root", database="daq", charset="utf8mb4")
    with db.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE zero SELECT CAST(-1e-300 * 1e-300 AS DOUBLE) AS x")
        cursor.execute("INSERT INTO zero VALUES (-0e0)")
        cursor.execute("SELECT x FROM zero")
        signs_zero = all(math.copysign(1, x) < 0 for (x,) in cursor.fetchall())
        cursor.execute("DROP TEMPORARY TABLE zero")
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
