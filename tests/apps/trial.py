# SPDX-License-Identifier: GPL-2.0
"""trial.py - one application in the lab: its servers, and its parts, each carried by xway and then by plain TCP.

    def sshd(trial):
        trial.server("b", "/usr/sbin/sshd -D", port=22)
        trial.part("a command", lambda: trial.client("ssh b echo hello"), share=None)

A part is a function that does something over the network and returns what it has seen; it raises Failed if that is
wrong. It is run once with xway and once with the module's `enable` off, and must return the same.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from xlab import LabError

MOST = 50           # per cent on rings that a part with connections of some length must reach
ANY = None          # short connections: those bytes may all be sent before the peer has answered
NONE = 0            # connections that xway must not touch
STRAY = 4096        # bytes that may pass by ring just after it was switched off


class Failed(Exception):
    """An application did not do what it should; the text says what."""


def check(condition, text):
    if not condition:
        raise Failed(text)


@dataclass
class App:
    name: str
    package: str                # whose version says which it is
    function: Callable          # of a Trial


@dataclass
class Row:
    """What is known of a part; bytes as guest a's module and netfront have counted them, both directions."""
    app: str
    package: str
    what: str
    connections: int = 0
    attached: int = 0
    ring: int = 0
    tcp: int = 0
    net: int = 0
    net_by_tcp: int = 0
    seconds: float = 0
    reason: str = ""

    @property
    def share(self):
        """Per cent of the bytes on armed connections that rode rings."""
        return 100 * self.ring / (self.ring + self.tcp) if self.ring + self.tcp else 0


class Trial:
    def __init__(self, lab, report, app, package, flip=0):
        self.lab, self.report, self.app, self.package, self.flip = lab, report, app, package, flip
        self.servers = []
        self.rows = []

    # ---- what the applications' functions use ----

    def server(self, where, command, port=None, timeout=60):
        """Starts a server in a guest's Debian, and waits until it listens; ended after the application's last part."""
        job = self.lab.deb_start(where, f"exec {command}")
        self.servers.append(job)
        if port:
            try:
                self.lab.wait_until(where, f"grep -qi ':{port:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6", timeout)
            except LabError as error:
                raise Failed(f"{command.split()[0]} does not listen: {last_words(job)}") from error
        return job

    def client(self, command, where="a", timeout=120):
        """Runs a program in a guest's Debian to its end; what it says on stdout."""
        result = self.lab.deb(where, command, timeout)
        check(result.ok, f"exit status {result.rc} of {command[:120]}: {(result.stdout + result.stderr)[-400:].strip()}")
        return result.stdout

    def until(self, command, where="a", timeout=60):
        """Runs a program in a guest's Debian again and again until it succeeds."""
        end = time.monotonic() + timeout
        while not (result := self.lab.deb(where, command, timeout)).ok:
            check(time.monotonic() < end, f"not true after {timeout} s: {command[:120]}: {result.stderr[-200:]}")
            time.sleep(0.3)

    def put(self, where, path, text, mode=0o644):
        self.lab.deb_put(where, path, text, mode)

    def part(self, what, function, share=MOST, least=0):
        """`share`: per cent that must ride rings, ANY or NONE. `least`: bytes that must have been carried at all."""
        row = Row(self.app, self.package, what)
        begin = time.monotonic()
        try:
            self.run_part(row, function, ANY if self.flip and share else share, least)
        except (Failed, LabError, ValueError, IndexError, KeyError) as error:
            row.reason = f"{type(error).__name__}: {error}" if not isinstance(error, Failed) else str(error)
        finally:
            self.lab.rail(xway=True)
        row.seconds = time.monotonic() - begin
        self.rows.append(row)
        self.report.part(row)

    # ---- how it is done ----

    def run_part(self, row, function, share, least):
        before = self.counters()
        seen = function()
        spent = self.since(before)
        row.connections, row.attached = spent["conns_armed"], spent["conns_attached"]
        row.ring = spent["tx_ring_bytes"] + spent["rx_ring_bytes"]
        row.tcp = spent["tx_tcp_bytes"] + spent["rx_tcp_bytes"]
        row.net = spent["net"]
        self.lab.rail(xway=False)
        before = self.counters()
        by_tcp = function()
        spent = self.since(before)
        row.net_by_tcp = spent["net"]
        stray = spent["tx_ring_bytes"] + spent["rx_ring_bytes"]
        check(seen == by_tcp, f"another result than by TCP: {short(seen)} but {short(by_tcp)}")
        check(stray <= STRAY + row.ring // 100, f"{stray} bytes rode rings although enable was 0")
        check(row.net_by_tcp >= least, f"TCP carried {row.net_by_tcp} bytes, not {least}: the part did not do its work")
        if share == NONE:
            check(not row.ring and not row.attached, f"{row.ring} bytes rode rings, {row.attached} connections attached")
            check(row.net >= least, f"netfront carried {row.net} bytes, not {least}")
        else:
            check(row.ring + row.tcp + row.net >= least, f"{row.ring + row.tcp} bytes were carried, not {least}")
            check(row.attached or share is ANY, f"none of {row.connections} connections attached")
            check(share is ANY or row.share > share, f"{row.share:.0f} % rode rings: {row.ring} bytes, {row.tcp} by TCP")

    def counters(self):
        return self.lab.stat("a") | {"net": self.lab.net_bytes("a")}

    def since(self, before):
        return {key: value - before[key] for key, value in self.counters().items()}

    def close(self):
        for job in reversed(self.servers):
            try:
                job.stop(10)
            except LabError as error:
                self.report.note(f"{self.app}: {error}")


def last_words(job):
    return (job.stdout + job.stderr)[-400:].strip() or ("running" if job.running else "ended without a word")


def short(value):
    text = repr(value)
    return text if len(text) < 200 else text[:200] + "..."
