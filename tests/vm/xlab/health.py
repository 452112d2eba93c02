# SPDX-License-Identifier: GPL-2.0
"""health.py - what a run must leave behind: nothing in the kernel logs, no grant and no event channel in use.

Xen itself is asked (xl debug-keys g and e): a module that leaks cannot talk itself out of it. Xen lists the
grants that somebody has mapped; one granted but mapped by nobody shows only in the guest's own log.
"""

import re
from collections import Counter

from .image import LabError

BAD = re.compile(r"""\bWARNING\b | \bBUG\b | \bOops\b | Call\ Trace | KASAN | UBSAN | Kernel\ panic
    | (?i: \bleak | still\ in\ use | general\ protection | rcu.*stall | lockup | refcount | use-after-free
         | segfault | traps: | blocked\ for\ more\ than | \bgrant.*(error|fail|bad|invalid|busy|defer)
         | \bbad\ (grant|ref|flags) )
    """, re.VERBOSE)

# Said by every boot of a healthy machine.
HARMLESS = ()


def complaints(text, allow=()):
    """The lines of a kernel log that a healthy run does not have."""
    harmless = [re.compile(pattern) for pattern in (*HARMLESS, *allow)]
    return [line.strip() for line in text.splitlines()
            if BAD.search(line) and not any(pattern.search(line) for pattern in harmless)]


def kernel_logs(lab):
    """Every log that can be had: {name: text}. A dead guest's is its console."""
    logs = {"dom0": lab.run("dom0", "dmesg").stdout, "xen": lab.run("dom0", "xl dmesg").stdout}
    for name in lab.guests:
        if name in lab.alive():
            logs[name] = lab.run(name, "dmesg").stdout
        console = lab.run("dom0", f"cat /var/log/xen/console/guest-{name}.log 2>/dev/null || true").stdout
        logs[f"console of {name}"] = console
    return logs


def all_complaints(lab, allow=()):
    """Complaints of all kernel logs, each named once: a guest's log and its console say the same."""
    found = {}
    for name, text in kernel_logs(lab).items():
        for line in complaints(text, allow):
            said = re.sub(r"^\[ *[\d.]+\] |^\(XEN\) ", "", line)
            found.setdefault(said, f"{name}: {line}")
    return list(found.values())


def in_use(lab):
    """Counts of mapped grants and open event channels: {("grants" | "ports", domain): number}."""
    counts = Counter()
    mark = lab.run("dom0", "xl dmesg | wc -l").stdout.strip()
    lab.run("dom0", "xl debug-keys g && xl debug-keys e", check=True)
    lab.wait_until("dom0", f"xl dmesg | tail -n +{mark} | grep -q 'Event channel information for domain 0'")
    text = lab.run("dom0", f"xl dmesg | tail -n +{mark}").stdout
    names = {domid: name for name, domid in lab.domids.items()} | {0: "dom0"}
    kind = owner = None
    for line in text.splitlines():
        if found := re.search(r"grant-table for remote d(\d+)", line):
            kind, owner = "grants", int(found[1])
        elif found := re.search(r"Event channel information for domain (\d+)", line):
            kind, owner = "ports", int(found[1])
        elif kind and re.match(r"\(XEN\) +(\[0x[0-9a-f]+\] +\d+|\d+ \[)", line):
            counts[kind, names.get(owner, f"domain {owner}")] += 1
    if not counts:
        raise LabError("Xen listed neither grants nor event channels")
    return counts


def leaks(before, after):
    """What is in use after but was not before, for domains that were there at both times."""
    domains = {domain for _, domain in before}
    return [f"{domain}: {after[kind, domain]} {kind} in use, {before[kind, domain]} before the modules were loaded"
            for kind, domain in sorted(after) if domain in domains and after[kind, domain] > before[kind, domain]]
