"""Reads the metrics of a node with Prometheus' own parser, and looks whether they keep its rules."""

import re
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
    kind = answer.headers["Content-Type"]
    text = answer.read().decode()
assert kind == "text/plain; version=0.0.4; charset=utf-8", kind

UNITS = ("bytes", "seconds", "ratio", "messages", "lines", "records", "connections", "streams", "frames", "requests",
         "restarts", "alerts", "info", "state", "ready", "up", "stopping", "value", "timestamp_seconds")
names = set()
seen = set()
for family in text_string_to_metric_families(text):
    assert family.name not in names, f"{family.name} twice"
    names.add(family.name)
    assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
    assert re.fullmatch("enrgdaq_[a-z0-9_]+", family.name), family.name
    assert family.name.removesuffix("_total").endswith(UNITS), f"{family.name} has no unit"
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in seen, f"{key} twice"
        seen.add(key)
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        name = f"{sample.name}{{{labels}}}" if labels else sample.name
        print(name, float(sample.value))
for line in text.splitlines():
    assert line, "an empty line"
assert len(names) > 30, names
