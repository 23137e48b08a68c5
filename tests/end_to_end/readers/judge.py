"""Whether what stands in a backend is what was sent: `judge.py READER STARTS SERVER QUESTION …`.

expected   how many messages of a start the documents have refused
all        every value of every message of all starts, and nothing else
numbers    the columns `n` and `x` of each place: ranges and noise, by the million
counted N  the column `n` of the place `rows`: 0 to N - 1, each once, in order

It says in how many places it looked; or how they differ, and fails.
"""

import importlib
import json
import sys

import numpy

import sent

MOST = 2000


def wanted(reader, starts):
    """What is to be there after so many starts, and how many messages were refused."""
    messages = [message for _ in range(starts) for message in sent.messages(reader.BACKEND)]
    answer = reader.expected(messages, None)
    if isinstance(answer, tuple):
        return answer
    return answer, sum(not reader.takes(message) for message in messages)


def judge_all(reader, starts, server):
    (expected, _), found = wanted(reader, starts), reader.found(server)
    if expected.keys() != found.keys():
        raise SystemExit(f"expected {sorted(expected)}\nfound    {sorted(found)}")
    compared = 0
    for place, one, other in reader.compare(expected, found):
        compared += 1
        if not sent.is_same(one, other):
            raise SystemExit(f"{place}\nexpected {str(one)[:MOST]}\nfound    {str(other)[:MOST]}\n{first(one, other)}")
    return compared


def first(one, other):
    """Where they begin to differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return next((f"{key}: {first(one[key], other[key])}" for key in one if not sent.is_same(one[key], other.get(key))), "")
    if isinstance(one, list) and isinstance(other, list):
        pairs = enumerate(zip(one, other))
        return next((f"{n}: {first(*pair)}" for n, pair in pairs if not sent.is_same(*pair)), f"{len(one)}, {len(other)}")
    return f"{one!r} became {other!r}"


def judge_numbers(reader, starts, server):
    places = {}
    for message in sent.messages(reader.BACKEND):
        place = next(value for key, value in message.target.items() if key in ("file_path", "table_name", "key"))
        places.setdefault(place.partition(".")[0], []).append(message)
    for place, messages in places.items():
        n, x = reader.numbers(place, ["n", "x"], server)
        count = sum(message.count for message in messages)
        rows = numpy.tile(numpy.arange(count), starts)
        if not numpy.array_equal(n, rows):
            raise SystemExit(f"{place}: {len(n)} numbers from {n[:3]} to {n[-3:]} instead of {len(rows)} in order")
        bits = numpy.asarray(x, dtype=numpy.float64).view(numpy.uint64)
        noise = numpy.tile(sent.noise(0, count), starts).view(numpy.uint64)
        if not numpy.array_equal(bits, noise):
            raise SystemExit(f"{place}: {(bits != noise).sum()} floats are others")
    return len(places)


def judge_counted(reader, server, rows):
    (n,) = reader.numbers("rows", ["n"], server)
    n = numpy.asarray(n).astype(numpy.int64)
    if not numpy.array_equal(n, numpy.arange(rows)):
        raise SystemExit(f"{len(n)} rows from {n[:3]} to {n[-3:]}, {len(numpy.unique(n))} different, instead of {rows}")
    return 1


def main(name, starts, server, question, *rest):
    reader, starts, server = importlib.import_module(name), int(starts), json.loads(server)
    match question:
        case "expected":
            print(wanted(reader, 1)[1])
        case "all":
            print(judge_all(reader, starts, server))
        case "numbers":
            print(judge_numbers(reader, starts, server))
        case "counted":
            print(judge_counted(reader, server, int(rest[0])))


main(*sys.argv[1:])
