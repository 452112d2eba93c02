# SPDX-License-Identifier: GPL-2.0
"""tiers_lab - an application in three tiers over guests a, b and c: the same load by netfront TCP and by xway, in turn.

    class Shop(Tiers):
        NAME = "shop"
        def prepare(self): ...              # servers and data, once
        def measure(self, path): ...        # self.add(name, unit, bound, path, value) for each figure of a load
"""

import json
import sys
from argparse import ArgumentParser
from collections import defaultdict
from pathlib import Path

from debian_lab import AppsLab, image
from guest_lab import BETWEEN_GUESTS, TITLES, TOP, Guests, LabError, compared, in_lab, turned
from local_lab import Progress, markdown, text_of
from targets import MOST

GUESTS = ("a", "b", "c")
MEMORY = 640                # MiB of a guest


class Tiers:
    WEIGHT = 20             # seconds of one measurement, about

    def __init__(self, lab, options, progress):
        self.lab, self.options, self.progress = lab, options, progress
        self.guests = Guests(lab)
        self.figures = defaultdict(list)    # (name, path): values
        self.measures = {}                  # name: (unit, bound)

    def add(self, name, unit, bound, path, value):
        self.measures[name] = unit, bound
        self.figures[name, path].append(value)

    def counted(self, path, load):
        """Runs load(), which returns how many interactions it has had; adds what one of them costs."""
        before = self.counts()
        done = load()
        events, seconds, ring, tcp = (now - then for now, then in zip(self.counts(), before))
        self.add("events an interaction", "", MOST, path, events / done)
        self.add("processor time an interaction, all domains", "ms", MOST, path, seconds * 1e3 / done)
        if path == "xway":
            self.add("bytes between guests that rode rings", "%", MOST, path, 100 * ring / max(1, ring + tcp))

    def counts(self):
        ring, tcp = self.guests.stats("tx_ring_bytes", "tx_tcp_bytes")
        return self.guests.events(), self.guests.processor_seconds(), ring, tcp

    def run(self):
        rounds = self.options.rounds
        self.progress.expect(rounds * len(BETWEEN_GUESTS) * self.WEIGHT)
        self.progress.measure()
        for number in range(rounds):
            for path in turned(BETWEEN_GUESTS, number):
                self.lab.rail(xway=path == "xway")
                self.measure(path)
                self.progress.step(f"round {number + 1} of {rounds}: {TITLES[path]}", self.WEIGHT)

    def rows(self):
        """Of what was seen in every round: a page that few ask for may not be."""
        return [compared(name, unit, bound, self.figures, BETWEEN_GUESTS) for name, (unit, bound) in self.measures.items()
                if all(len(self.figures.get((name, path), ())) in (0, self.options.rounds) for path in BETWEEN_GUESTS)]

    def report(self):
        rows = self.rows()
        print(f"\nMedians of {self.options.rounds} alternating rounds in one boot of an emulated machine, three {self.options.guest} "
              "guests: compare within a row only.\n")
        print(tiers_table(rows))
        result = TOP / "build" / f"bench-{self.NAME}.json"
        result.write_text(json.dumps({"guest": self.options.guest, "rounds": self.options.rounds, "rows": rows}, indent=1) + "\n")
        print(f"\nAll figures: {result.relative_to(TOP)}")


def tiers_table(rows):
    lines = [[row["name"], row["unit"], *(text_of(row["median"].get(path)) for path in BETWEEN_GUESTS),
              text_of(row["gain"], "x") if row["gain"] else "", " to ".join(map(text_of, row["gains"] or ()))] for row in rows]
    return markdown(["", "unit", *(TITLES[path] for path in BETWEEN_GUESTS), "xway's gain", "single rounds"], lines)


def options_of(doc):
    parser = ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--guest", choices=("pv", "pvh"), default="pv")
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def run(kind, options):
    """Measures a kind of Tiers in a lab of its own; the exit status."""
    progress = Progress()
    try:
        disk, _ = image(progress.say)
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    lab = AppsLab(Path(TOP / "build" / "vm" / kind.NAME), disk, progress.say, options.guest, GUESTS, MEMORY)

    def measure():
        progress.say("booting Xen, dom0 and three guests with a Debian each in QEMU")
        lab.boot()
        progress.say("loading xway in dom0 and all guests")
        lab.load()
        tiers = kind(lab, options, progress)
        tiers.prepare()
        tiers.run()
        tiers.report()

    return in_lab(lab, measure)
