# SPDX-License-Identifier: GPL-2.0
"""metrics.py - reads Prometheus' text format 0.0.4, and forgives nothing."""

import re

NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
LABEL = NAME + r'="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+)")


def read_metrics(text):
    """{metric: {labels as a frozenset of pairs: number}}; ValueError names the first line that is wrong."""
    families, name, typed = {}, None, False
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text.split("\n")[:-1]:
        described = re.fullmatch(rf"# HELP ({NAME}) (.+)", line)
        sample = SAMPLE.fullmatch(line)
        if described and described[1] not in families:
            name, typed = described[1], False
            families[name] = {}
        elif not typed and line in (f"# TYPE {name} counter", f"# TYPE {name} gauge"):
            typed = True
            if line.endswith("counter") != name.endswith("_total"):
                raise ValueError(f"the name does not suit the type: {line}")
        elif typed and sample and sample[1] == name:
            labels = frozenset((key, unescape(value)) for key, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample[2] or ""))
            if labels in families[name]:
                raise ValueError(f"the same sample twice: {line}")
            families[name][labels] = int(sample[3])
        else:
            raise ValueError(f"wrong line: {line!r}")
    return families


def unescape(text):
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
