# SPDX-License-Identifier: GPL-2.0
"""guest_lab - xway-bench between two guests of a lab, over each path there is, and what is counted meanwhile."""

import json
import re
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "vm"))
from xlab import LabError  # noqa: E402

from local_lab import markdown, median, text_of  # noqa: E402
from targets import LEAST  # noqa: E402

BENCH = TOP / "build" / "bench" / "xway-bench"
PORT = 7001
B = "10.77.0.12"
DOM0 = "10.77.0.1"
VCHAN = "/local/domain/{}/data/xway-bench"
PATHS = ("netfront", "xway", "loopback", "unix", "vchan")
TITLES = {"netfront": "netfront TCP", "xway": "xway", "loopback": "loopback TCP", "unix": "UNIX socket",
          "vchan": "libxenvchan"}
BETWEEN_GUESTS = ("netfront", "xway")       # whose events are told apart in /proc/interrupts


def turned(paths, number):
    """Each round begins with another path."""
    by = number % len(paths)
    return paths[by:] + paths[:by]


def in_lab(lab, measure):
    """Measures, says why if that fails, and takes the lab down; the exit status."""
    try:
        measure()
    except LabError as error:
        print(f"\nbench: {error}\n       the consoles are in {lab.out}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: interrupted", file=sys.stderr)
        return 130
    finally:
        lab.close()
    return 0


def programs_table(rows, paths):
    """Of rows as bench/apps writes them."""
    lines = []
    for row in rows:
        costs = [" / ".join(text_of(row["costs"].get(path, {}).get(key)) for path in BETWEEN_GUESTS) for key in ("events", "cpu_s")]
        lines.append([row["name"], row["unit"], *(text_of(row["median"].get(path)) for path in paths),
                      text_of(row["gain"], "x" if row["gain"] else ""), " to ".join(map(text_of, row["gains"] or ())), *costs])
    return markdown(["program", "unit", *(TITLES[path] for path in paths), "xway's gain", "single rounds",
                     "events, netfront / xway", "CPU s, netfront / xway"], lines)


def has(path, test):
    return not (path == "vchan" and test == "crr")      # libxenvchan has no connections


def compared(name, unit, bound, figures, paths):
    """A row for a table and for JSON: a measure's medians, and how much better xway is than netfront in each round.

    `figures`: {(name, path): a value of each round}.
    """
    middle = {path: median(figures[name, path]) for path in paths if figures.get((name, path))}
    pairs = zip(figures.get((name, "xway"), ()), figures.get((name, "netfront"), ()))
    gains = [ours / theirs if bound == LEAST else theirs / ours for ours, theirs in pairs if ours and theirs]
    return {"name": name, "unit": unit, "better": "more" if bound == LEAST else "less", "median": middle,
            "gain": median(gains) if gains else None, "gains": [min(gains), max(gains)] if gains else None, "rounds": len(gains)}


class Guests:
    """Guests of a lab: a measures what it has with b, and all are counted."""

    def __init__(self, lab):
        self.lab = lab

    def serve(self):
        domid = self.lab.domids
        self.lab.run("dom0", f"for g in {domid['a']} {domid['b']}; do "
                             f"xenstore-write {VCHAN.format('$g')} '' && xenstore-chmod {VCHAN.format('$g')} n$g r0 "
                             f"|| exit 1; done", check=True)
        self.lab.start("b", f"xway-bench serve --tcp {PORT}")
        self.lab.start("a", f"xway-bench serve --tcp {PORT}")
        self.lab.start("a", "xway-bench serve --unix /tmp/bench.sock")
        self.lab.start("b", f"xway-bench serve --vchan {domid['a']} {VCHAN.format(domid['b'])}")
        for name in ("a", "b"):
            self.wait_port(name)
        self.lab.wait_until("a", "[ -S /tmp/bench.sock ]")

    def wait_port(self, name, port=PORT, timeout=60):
        self.lab.wait_until(name, f"grep -qi ':{port:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6", timeout)

    def rail(self, path):
        """Which rail new connections take, if this is one of the two."""
        if path in BETWEEN_GUESTS:
            for guest in self.lab.guests:
                self.lab.param(guest, "enable", int(path == "xway"))

    def target(self, path):
        return {"netfront": f"--tcp {B}:{PORT}", "xway": f"--tcp {B}:{PORT}", "loopback": f"--tcp 127.0.0.1:{PORT}",
                "unix": "--unix /tmp/bench.sock", "dom0": f"--tcp {DOM0}:{PORT}", "null": "",
                "vchan": f"--vchan {self.lab.domids['b']} {VCHAN.format(self.lab.domids['b'])}"}[path]

    def run(self, path, test, size, seconds, more="", count=None):
        """What xway-bench says of one measurement, so long or of so many."""
        length = f"--count {count}" if count else f"--seconds {seconds}"
        command = f"xway-bench run {self.target(path)} --test {test} --size {size} {length} --json {more}"
        for _ in range(3):
            result = self.lab.run("a", command, timeout=120)
            if result.ok:
                return json.loads(result.stdout.splitlines()[-1])
            time.sleep(1)                       # a libxenvchan server may be between two sessions
        raise LabError(f"{command}: {result.stderr or result.stdout}")

    def domains(self):
        return ("dom0", *self.lab.guests)

    def processor_seconds(self):
        """Of all domains, idle time left out; proc(5)."""
        ticks = 0
        for name in self.domains():
            words = self.lab.run(name, "head -n 1 /proc/stat", check=True).stdout.split()[1:]
            ticks += sum(map(int, words[:3] + words[5:7]))
        return ticks / 100

    def events(self):
        """Events that netfront, netback and xway have taken in all domains."""
        events = 0
        for name in self.domains():
            for line in self.lab.run(name, "cat /proc/interrupts", check=True).stdout.splitlines():
                words = line.split()
                if words and re.match(r"eth\d|vif\d|xway", words[-1]):
                    events += sum(int(word) for word in words[1:] if word.isdigit())
        return events

    def stats(self, *names):
        """Counters of the module, the sum of all guests."""
        each = [self.lab.stat(guest) for guest in self.lab.guests]
        return [sum(stat[name] for stat in each) for name in names]
