#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""test_three.py - three guests: what one of them grants to the others together, and a peer that does not let go.

    tests/vm/test_three.py [--guest pv|pvh] [--kernel VERSION] [--only GLOB,...]

Prints a line a test, `ok` or `not ok`, and last `N passed, N failed`, as test_xway.py does.
"""

import argparse
import re
import sys
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_xway import MIB, Report, Server, check, logs_are_clean, nothing_leaks  # noqa: E402
from xlab import health  # noqa: E402
from xway_lab import TOP, XwayLab  # noqa: E402

PROGRAMS = [TOP / "build" / "socket" / name for name in ("xway-transfer", "xway-cling")]
ADDRESS = {"a": "10.77.0.11", "b": "10.77.0.12", "c": "10.77.0.13"}
PORT = 7000
LINK_KIB = 2212             # of a link with the parameters as they are; the tests look whether that holds


class Tests:
    def __init__(self, lab):
        self.lab = lab

    # ---- helpers ----

    def reload(self, parameters="", guest="a"):
        """A guest's module once more, with these parameters."""
        self.lab.unload_guest(guest)
        self.lab.load_guest(guest, parameters)
        for name in self.lab.guests:
            self.lab.wait_peers(name)

    def lasting(self, to, seconds, guest="a"):
        """Bytes there and back for so long, while what comes is compared with what was sent."""
        rate = 2 * MIB
        return self.lab.start(guest, f"xway-transfer run --peer {ADDRESS[to]} --port {PORT} --connections 1 "
                                   f"--bytes {seconds * rate} --rate {rate}")

    def whole(self, job):
        result = job.wait(120)
        check(result.rc == 0 and '"ok":true' in result.stdout, f"bytes were lost: {result.stdout[-300:]}{result.stderr[-300:]}")

    def sees(self, to, words, guest="a", timeout=20):
        """Waits until a connection with `to` is what `words` say."""
        self.lab.wait_until(guest, f"grep -q 'remote={ADDRESS[to]}:.* {words}' /proc/xway_front/sockets", timeout)

    def link(self, to):
        text = self.lab.run("a", "cat /proc/xway_front/peers", check=True).stdout
        return re.search(rf"^domid={self.lab.domids[to]} .* link=(\S+)", text, re.M)[1]

    def status(self):
        text = self.lab.run("a", "cat /proc/xway_front/status", check=True).stdout
        return {key: int(value) for key, value in re.findall(r"(\w+_kib)=(\d+)", text)}

    def granted(self):
        status = self.status()
        check(status["granted_kib"] <= status["total_kib"], f"more is granted than may be: {status}")
        return status["granted_kib"]

    def said(self, words):
        log = self.lab.run("a", "dmesg", check=True).stdout
        check(words in log, f"the log does not say '{words}':\n" + "\n".join(log.splitlines()[-10:]))

    def servers(self):
        stack = ExitStack()
        for name in ADDRESS:
            stack.enter_context(Server(self.lab, name, f"xway-transfer serve --port {PORT}", PORT))
        return stack

    # ---- tests, in order ----

    def test_default_follows_the_memory(self):
        kib = int(re.search(r"MemTotal:\s+(\d+)", self.lab.run("a", "cat /proc/meminfo", check=True).stdout)[1])
        total = self.status()["total_kib"]
        check(abs(total - kib / 8) < kib / 80, f"total_kib={total} in a guest of {kib} KiB")

    def test_no_room_for_one(self):
        self.lab.unload_guest("a")
        result = self.lab.run("a", f"insmod /modules/xway_front.ko total_kib={LINK_KIB - 1}")
        check(result.rc != 0, "it loads without room for a link")
        self.said(f"total_kib={LINK_KIB - 1} has no room for one link of {LINK_KIB} KiB: raise it, or lower arena_kib or slots")
        result = self.lab.run("a", "insmod /modules/xway_front.ko total_kib=255")
        check(result.rc != 0, "it takes less than it says")
        self.lab.load_guest("a", f"total_kib={LINK_KIB}")

    def test_a_link_in_use_keeps_its_room(self):
        """Room for one: the second peer's connection goes by TCP, says why, and gets the room once the first is done."""
        self.reload(f"total_kib={LINK_KIB + 1000}")
        with self.servers():
            first = self.lasting("b", 12)
            self.sees("b", "tx=ring")
            second = self.lasting("c", 40)
            self.sees("c", "tx=tcp .*why_tx=total-full")
            self.lab.run("a", "sleep 3")
            check(self.link("c") == "no-room" and self.link("b") == "up", f"links: b {self.link('b')}, c {self.link('c')}")
            check(self.granted() == LINK_KIB, f"{self.granted()} KiB are granted, not {LINK_KIB}")
            self.said(f"no link with domain {self.lab.domids['c']}")
            told = self.lab.run("a", "xway check")
            check(told.rc == 1 and "1 of the peers wait" in told.stdout and "total_kib" in told.stdout, f"xway check: {told.rc}\n{told.stdout}")
            self.whole(first)
            self.sees("c", "tx=ring")
            check(self.link("b") in ("none", "down"), f"the link with b is {self.link('b')}")
            check(self.granted() == LINK_KIB, f"{self.granted()} KiB are granted, not {LINK_KIB}")
            check(self.lab.run("a", "xway check").rc == 0, "xway check still complains")
            self.whole(second)
        check(self.lab.stat("a")["why_total-full"] >= 1 and self.lab.stat("a")["links_broken"] == 0, "what was counted")

    def test_more_room_is_used_at_once(self):
        self.reload(f"total_kib={LINK_KIB}")
        with self.servers():
            jobs = [self.lasting("b", 25)]
            self.sees("b", "tx=ring")
            jobs.append(self.lasting("c", 25))
            self.sees("c", "tx=tcp .*why_tx=total-full")
            self.lab.param("a", "total_kib", 2 * LINK_KIB)
            self.sees("c", "tx=ring")
            check(self.link("b") == "up" and self.granted() == 2 * LINK_KIB, f"b's link is {self.link('b')}, {self.granted()} KiB are granted")
            self.lab.param("a", "total_kib", 256)       # what there is stays
            self.lab.run("a", "sleep 3")
            check(self.link("b") == self.link("c") == "up", "a lower total_kib takes links down that are in use")
            for job in jobs:
                self.whole(job)
        self.reload()

    def test_room_of_who_gives_up(self):
        """A peer that is not wanted any more takes no room from a link that rests."""
        self.reload(f"total_kib={LINK_KIB}")
        with self.servers():
            first = self.lasting("b", 10)
            self.sees("b", "tx=ring")
            second = self.lasting("c", 3)
            self.sees("c", "why_tx=total-full")
            self.whole(second)
            self.whole(first)
            self.lab.run("a", "sleep 4")
            check((self.link("b"), self.link("c")) == ("up", "none"), f"links: b {self.link('b')}, c {self.link('c')}")
        self.reload()

    def test_who_gave_way_comes_back(self):
        """But not so soon; and what its peer has offered anew meanwhile is taken then."""
        self.reload(f"total_kib={LINK_KIB}")
        with self.servers():
            self.whole(self.lasting("b", 3))
            jobs = [self.lasting("c", 20)]
            self.sees("c", "tx=ring")
            check(self.link("b") == "down", f"b's link is {self.link('b')}")
            self.lab.param("a", "total_kib", 2 * LINK_KIB)
            jobs.append(self.lasting("a", 14, guest="b"))
            self.sees("b", "role=server tx=tcp")
            self.lab.run("a", "sleep 1")
            check(self.link("b") == "down", f"b's link is {self.link('b')} already")
            self.sees("b", "role=server tx=ring")
            check(self.link("c") == "up", f"c's link is {self.link('c')}")
            for job in jobs:
                self.whole(job)
        self.reload()

    def test_silent_offer_gives_way(self):
        """b has no room for a's link and never answers: what a has granted for that is c's after a while."""
        self.reload(f"total_kib={LINK_KIB}", guest="b")
        self.reload(f"total_kib={LINK_KIB}")
        with self.servers():
            jobs = [self.lasting("c", 30, guest="b")]
            self.sees("c", "tx=ring", guest="b")
            jobs.append(self.lasting("b", 15))
            self.sees("a", "tx=tcp .*why_tx=total-full", guest="b")
            check(self.link("b") == "offered" and self.granted() == LINK_KIB, f"b's link is {self.link('b')}, {self.granted()} KiB are granted")
            jobs.append(self.lasting("c", 12))
            self.sees("c", "tx=ring")
            for job in jobs:
                self.whole(job)
        self.reload(guest="b")
        self.reload()

    def test_kept_pages(self):
        """c keeps a page of a's mapped when its module goes: it counts, and c gets no other until it lets go."""
        with self.servers():
            self.whole(self.lasting("c", 2))
            check(self.granted() == LINK_KIB, f"{self.granted()} KiB are granted, not {LINK_KIB}")
            clinging = self.lab.start("c", f"exec xway-cling {self.lab.domids['a']}")
            clinging.wait_for("mapped")
            self.lab.unload_guest("c")
            self.lab.wait_until("a", "grep -q granted_kib=4$ /proc/xway_front/status")
            self.lab.wait_until("a", f"dmesg | grep -q 'domain {self.lab.domids['c']} keeps 1 pages mapped'")
        self.lab.load_guest("c")
        self.lab.wait_peers("a")
        with self.servers():        # that listen with the module loaded
            job = self.lasting("c", 20)
            self.sees("c", "tx=tcp")
            self.lab.run("a", "sleep 3")
            check(self.link("c") == "down" and self.granted() == 4, f"link {self.link('c')}, {self.granted()} KiB are granted")
            clinging.signal(9)
            self.sees("c", "tx=ring")
            self.whole(job)

    def test_unload_with_kept_pages(self):
        with self.servers():
            self.whole(self.lasting("c", 2))
            clinging = self.lab.start("c", f"exec xway-cling {self.lab.domids['a']}")
            clinging.wait_for("mapped")
            self.lab.unload_guest("a", timeout=30)
            clinging.signal(9)
        self.lab.load_guest("a")
        for name in self.lab.guests:
            self.lab.wait_peers(name)

    def test_links_of_the_dead_are_forgotten(self):
        """What c had is given back when it dies, the link itself with it, and it gets a new one when it lives again."""
        with self.servers():
            self.whole(self.lasting("c", 2))
            self.lab.run("a", "[ -e /sys/kernel/tracing/trace ] || mount -t tracefs none /sys/kernel/tracing; "
                              "cd /sys/kernel/tracing && echo 'p:lab/forgotten xway_link_forget' > kprobe_events && "
                              "echo 1 > events/lab/forgotten/enable", check=True)
            self.lab.destroy("c")
            self.lab.wait_until("a", "grep -q granted_kib=0$ /proc/xway_front/status")
            self.lab.wait_until("a", "grep -q 'forgotten  *1 ' /sys/kernel/tracing/kprobe_profile")
            self.lab.run("a", "cd /sys/kernel/tracing && echo 0 > events/lab/forgotten/enable && echo > kprobe_events", check=True)
        self.lab.run("dom0", "xway domain del c 2>/dev/null || true")
        self.lab.create("c")
        self.lab.load_guest("c")
        self.lab.run("dom0", "xway policy apply /etc/xway/policy.conf", check=True)
        for name in self.lab.guests:
            self.lab.wait_peers(name)
        with self.servers():
            job = self.lasting("c", 4)
            self.sees("c", "tx=ring")
            self.whole(job)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", choices=("pv", "pvh"), default="pv")
    parser.add_argument("--kernel", help="of dom0 and guests, or how its version begins (tests/vm/kernels list)")
    parser.add_argument("--only", default="*", help="tests whose names match: GLOB[,GLOB...]")
    options = parser.parse_args()
    key = options.guest + (f"-{options.kernel}" if options.kernel else "")
    names = [name for name in vars(Tests) if name.startswith("test_") and any(fnmatch(name[5:], glob) for glob in options.only.split(","))]
    report = Report([f"{key}/{name[5:]}" for name in names], 0)
    lab = XwayLab(TOP / "build" / "vm" / f"three-{key}", kind=options.guest, kernel=options.kernel, guests=("a", "b", "c"),
                  programs=list(map(str, PROGRAMS)), memory=256, say=lambda text: print(f"# {text}", flush=True))
    try:
        if report.act(f"{key}/boot", f"boot ({key})", lab.boot):
            before = health.in_use(lab)
            if report.act(f"{key}/load", f"load ({key})", lab.load):
                tests = Tests(lab)
                for name in names:
                    report.act(f"{key}/{name[5:]}", f"{name[5:]} ({key})", getattr(tests, name))
                report.act(f"{key}/unload", f"unload ({key})", lab.unload)
                report.act(f"{key}/logs", f"kernel logs are clean ({key})", lambda: logs_are_clean(lab))
                report.act(f"{key}/leaks", f"no grant and no event channel leaks ({key})", lambda: nothing_leaks(lab, before))
    finally:
        lab.close()
        report.close()
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
