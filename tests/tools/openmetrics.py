#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Is a text OpenMetrics 1.0? Written from the specification, for counters and gauges.

    tests/tools/openmetrics.py <TEXT

Prints each breach with its line's number, and ends with status 1 if there was one.
"""
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL})?(?:,{LABEL})*)\}})? (\S+)( \S+)?$")
META = re.compile(rf"# (TYPE|UNIT|HELP) ({NAME})(?: (.*))?$")
TYPES = ("counter", "gauge", "unknown", "histogram", "gaugehistogram", "stateset", "info",
         "summary")


class Family:
    def __init__(self, name):
        self.name, self.type, self.seen, self.meta, self.labels = name, "unknown", False, set(), set()


def check_meta(family, kind, value):
    """What a line of metadata breaks."""
    if kind in family.meta:
        yield f"a second {kind} of {family.name}"
    family.meta.add(kind)
    if family.seen:
        yield f"{kind} of {family.name} after its samples"
    if kind == "TYPE":
        family.type = value
        if value not in TYPES:
            yield f"no such type: {value}"
        if value == "counter" and family.name.endswith("_total"):
            yield f"a counter's family may not end with _total: {family.name}"
    if kind == "UNIT" and value and not family.name.endswith("_" + value):
        yield f"{family.name} does not end with its unit, {value}"
    if kind == "HELP" and re.search(r'\\(?![n"\\])', value or ""):
        yield f"a backslash that escapes nothing: {value}"
    if kind == "HELP" and re.search(r'(?<!\\)(?:\\\\)*"', value or ""):
        yield f"a quote that is not escaped: {value}"


def check_sample(family, name, labels, value):
    suffix = {"counter": "_total", "gauge": ""}.get(family.type)
    if suffix is None:
        yield f"{family.name}: type {family.type} is not known here"
    elif name != family.name + suffix:
        yield f"{name} is no sample of the {family.type} {family.name}"
    names = re.findall(r"([a-zA-Z_][a-zA-Z0-9_]*)=\"", labels or "")
    if len(names) != len(set(names)):
        yield f"a label comes twice: {labels}"
    if labels in family.labels:
        yield f"{name}{{{labels}}} comes twice"
    family.labels.add(labels)
    family.seen = True
    try:
        number = float(value)
    except ValueError:
        yield f"no number: {value}"
        return
    if family.type == "counter" and not 0 <= number < float("inf"):
        yield f"a counter is not below 0, nor infinite: {value}"


def breaches(text):
    families, current = {}, None
    lines = text.split("\n")
    if lines[-1] != "" or len(lines) < 2 or lines[-2] != "# EOF":
        yield len(lines), "the text does not end with # EOF and a line feed"
    for number, line in enumerate(lines[:-1], 1):
        meta, sample = META.match(line), SAMPLE.match(line)
        if line == "# EOF":
            if number != len(lines) - 1:
                yield number, "# EOF before the end"
            continue
        if not meta and not sample:
            yield number, f"neither metadata nor a sample: {line!r}"
            continue
        name = meta.group(2) if meta else sample.group(1)
        if meta and (current is None or name != current.name):
            if name in families:
                yield number, f"{name} is interleaved with others"
            current = families[name] = Family(name)
        if current is None:
            yield number, f"a sample before any metadata: {line}"
            continue
        found = (check_meta(current, meta.group(1), meta.group(3)) if meta
                 else check_sample(current, sample.group(1), sample.group(2), sample.group(3)))
        for breach in found:
            yield number, breach
    names = {f.name: f for f in families.values()}
    for family in families.values():
        if family.type == "counter" and family.name + "_total" in names:
            yield 0, f"{family.name}_total is a family, and a counter's sample too"


def main():
    status = 0
    for number, breach in breaches(sys.stdin.read()):
        print(f"line {number}: {breach}")
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
