#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""test_backend.py - dom0's broker against frontends that are played by hand, tame and hostile.

    tests/vm/test_backend.py [--guest pvh] [--kernel VERSION]

No module runs in the guests: their side of Xenstore is written with xenstore-write from inside, the
toolstack's from dom0. Prints a line a test, `ok` or `not ok`; exits 0 when all are ok.
"""

import argparse
import re
import struct
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from xlab import Dom0, Guest, Lab, LabError, health  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
STORE_TOOLS = [f"/usr/bin/xenstore-{name}" for name in ("read", "write", "rm", "ls", "list")]
INITIALISING, INITWAIT, CONNECTED, CLOSING, CLOSED = 1, 2, 4, 5, 6


class Failed(Exception):
    pass


class Domain:
    """One guest's device: the toolstack's side, the frontend's side, and what the broker says."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name

    @property
    def id(self):
        return self.lab.domids[self.name]

    @property
    def fe(self):
        return f"/local/domain/{self.id}/device/xway/0"

    @property
    def be(self):
        return f"/local/domain/0/backend/xway/{self.id}/0"

    # ---- the toolstack ----

    def add_command(self, allow=(), mac="00:16:3e:77:00:01", ip=""):
        allow = " ".join(str(domain.id) for domain in allow)
        return f"""
            xenstore-write {self.fe}/backend-id 0 {self.fe}/backend {self.be}
            xenstore-chmod -r {self.fe} n{self.id} r0
            xenstore-write {self.fe}/state 1
            xenstore-write {self.be}/frontend-id {self.id} {self.be}/frontend {self.fe} {self.be}/online 1
            xenstore-write {self.be}/name {self.name} {self.be}/uuid uuid-of-{self.name}
            xenstore-chmod -r {self.be} n0 r{self.id}
            for node in mac ip allow; do xenstore-write {self.be}/$node ""; xenstore-chmod {self.be}/$node n0; done
            xenstore-write {self.be}/mac '{mac}' {self.be}/ip '{ip}' {self.be}/allow '{allow}'
            xenstore-write {self.be}/state 1"""

    def remove_command(self):
        return f"xenstore-rm {self.be} 2>/dev/null; xenstore-rm {self.fe} 2>/dev/null; true"

    def add(self, *arguments, **words):
        self.dom0("set -e\n" + self.add_command(*arguments, **words))

    def remove(self):
        self.dom0(self.remove_command())

    def dom0(self, command, check=True):
        return self.lab.run("dom0", command, check=check)

    def set(self, **nodes):
        for node, value in nodes.items():
            self.dom0(f"xenstore-write {self.be}/{node} '{value}'")

    def allow(self, *domains):
        self.set(allow=" ".join(str(domain.id) for domain in domains))

    # ---- the frontend ----

    def guest(self, command, check=True, timeout=60):
        return self.lab.run(self.name, command, check=check, timeout=timeout)

    def switch(self, state):
        self.guest(f"xenstore-write -- device/xway/0/state '{state}'")

    def offer(self, peer, text=None, **words):
        """Offers a link to @peer: an honest one, unless a word or the text is given."""
        words = {"from": self.instance(), "for": peer.instance(), "ref": 8, "port": 0, **words}
        text = text or " ".join(f"{key}={value}" for key, value in words.items())
        self.guest(f"xenstore-write device/xway/0/link/{peer.id} '{text}'")
        return text

    def withdraw(self, peer):
        self.guest(f"xenstore-rm device/xway/0/link/{peer.id}")

    def connect(self):
        """Comes and connects, as a frontend does. Returns its instance."""
        self.switch(INITIALISING)
        self.wait_state(INITWAIT)
        instance = self.instance()
        self.switch(CONNECTED)
        self.wait_state(CONNECTED)
        return instance

    # ---- what the broker says ----

    def read(self, node):
        result = self.dom0(f"xenstore-read {self.be}/{node}", check=False)
        return result.stdout.rstrip("\n") if result.rc == 0 else None

    def instance(self):
        return self.read("instance")

    def state(self):
        return int(self.read("state") or 0)

    def peer(self, other):
        text = self.read(f"peer/{other.id}")
        return None if text is None else dict(word.split("=", 1) for word in text.split(" "))

    def link(self, other):
        return self.read(f"link/{other.id}")

    def wait_state(self, state):
        expect(self.state, state, f"BE/state of {self.name}")

    def wait_peer(self, other, **words):
        def see():
            peer = self.peer(other)
            return peer and {key: peer.get(key) for key in words}
        expect(see, words, f"what {self.name} sees of {other.name}")

    def wait_no_peer(self, other):
        expect(lambda: (self.peer(other), self.link(other)), (None, None), f"{self.name} sees nothing of {other.name}")

    def wait_link(self, other, text):
        expect(lambda: self.link(other), text, f"the offer of {other.name} to {self.name}")


def expect(look, value, what, timeout=15):
    """Looks again and again until it sees @value."""
    end = time.monotonic() + timeout
    while (seen := look()) != value:
        if time.monotonic() > end:
            raise Failed(f"{what}: {seen!r}, expected {value!r}")
        time.sleep(0.1)


def message(path, value):
    """A request to Xenstore, as the kernel's /dev/xen/xenbus takes it: a write without a transaction."""
    body = path.encode() + b"\0" + value.encode()
    return struct.pack("<4I", 11, 0, 0, len(body)) + body


def never(look, value, what, seconds=1.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if look() == value:
            raise Failed(f"{what}: {value!r}")


class Tests:
    """The tests, in the order of their definition; each leaves a and b connected and allowed."""

    def __init__(self, lab):
        self.lab = lab
        self.a, self.b, self.c = (Domain(lab, name) for name in "abc")

    def dom0(self, command, check=True, timeout=60):
        return self.lab.run("dom0", command, check=check, timeout=timeout)

    def load(self, parameters=""):
        self.dom0(f"insmod /modules/xway_back.ko {parameters}")

    def unload(self):
        self.dom0("rmmod xway_back")

    def proc(self, name):
        text = self.dom0(f"cat /proc/xway_back/{name}").stdout
        return [dict(word.split("=", 1) for word in line.split(" ")) for line in text.splitlines()]

    def domain(self, domain):
        return next((line for line in self.proc("domains") if line["domid"] == str(domain.id)), None)

    def pair(self):
        low, high = sorted((self.a, self.b), key=lambda domain: domain.id)
        return next((line for line in self.proc("links") if (line["a"], line["b"]) == (str(low.id), str(high.id))), None)

    def log_says(self, pattern):
        expect(lambda: bool(re.search(pattern, self.dom0("dmesg").stdout)), True, f"{pattern!r} in the kernel log")

    def both_connected(self):
        self.a.connect()
        self.b.connect()
        self.a.wait_peer(self.b, ready="1", instance=self.b.instance())
        self.b.wait_peer(self.a, ready="1", instance=self.a.instance())

    def both_offer(self):
        offers = self.a.offer(self.b), self.b.offer(self.a)
        self.b.wait_link(self.a, offers[0])
        self.a.wait_link(self.b, offers[1])

    # ---- loading ----

    def test_parameters_out_of_range_are_refused(self):
        for parameter in "max_domains=0", "max_domains=513", "max_pairs=131073", "max_pairs=many":
            if self.dom0(f"insmod /modules/xway_back.ko {parameter}", check=False).rc == 0:
                raise Failed(f"{parameter} was accepted")
        self.log_says("max_domains must be a number from 1 to 512")

    def test_devices_from_before_and_after_loading_are_served(self):
        self.a.add(allow=[self.b, self.c], ip="10.77.0.11 fd77::11")
        self.load()
        self.b.add(allow=[self.a], mac="00:16:3e:77:00:02  00:16:3e:77:00:22")
        self.c.add(allow=[])
        for domain in self.a, self.b, self.c:
            domain.wait_state(INITWAIT)
            expect(lambda: domain.read("version"), "1", "version")
            if not re.fullmatch("[0-9a-f]{16}", domain.instance() or ""):
                raise Failed(f"instance is {domain.instance()!r}")

    def test_peers_are_those_that_allow_each_other(self):
        self.a.wait_peer(self.b, ready="0", instance="0" * 16, name="b", ip="-",
                         mac="00:16:3e:77:00:02,00:16:3e:77:00:22")
        self.b.wait_peer(self.a, ready="0", instance="0" * 16, name="a", ip="10.77.0.11,fd77::11")
        never(lambda: self.a.peer(self.c) is not None, True, "a sees c, which does not list it")

    def test_guest_reads_its_peers_and_nothing_else(self):
        self.a.guest(f"xenstore-read {self.a.be}/peer/{self.b.id}")
        for node in f"{self.a.be}/allow", f"{self.a.be}/mac", f"{self.b.be}/instance", f"{self.b.be}/peer/{self.a.id}":
            if self.a.guest(f"xenstore-read {node}", check=False).rc == 0:
                raise Failed(f"a guest may read {node}")
        if self.a.guest(f"xenstore-write {self.a.be}/peer/{self.b.id} x", check=False).rc == 0:
            raise Failed("a guest may write its peers")

    # ---- attaching and offers ----

    def test_connected_frontend_is_ready(self):
        instance = self.a.connect()
        self.b.wait_peer(self.a, ready="1", instance=instance)
        expect(lambda: self.domain(self.a)["state"], "connected", "state in proc")

    def test_offer_waits_for_its_peer(self):
        self.b.wait_state(INITWAIT)
        offer = self.a.offer(self.b)
        never(lambda: self.b.link(self.a), offer, "an offer was relayed to a domain that is not connected")
        self.b.connect()
        self.b.wait_link(self.a, offer)
        expect(lambda: self.a.link(self.b), None, "offer the other way")

    def test_offers_show_in_proc(self):
        offer = self.b.offer(self.a)
        self.a.wait_link(self.b, offer)
        expect(lambda: (self.pair()["a_offer"], self.pair()["b_offer"]), ("1", "1"), "offers in proc")
        if len(self.proc("links")) != 1:
            raise Failed(f"links: {self.proc('links')}")

    def test_offer_may_change_and_go(self):
        self.b.wait_link(self.a, self.a.offer(self.b, ref=9, port=17))
        self.a.withdraw(self.b)
        self.b.wait_link(self.a, None)

    def test_offer_with_a_wrong_instance_is_not_relayed(self):
        for wrong in {"from": "1234"}, {"for": "1234"}, {"from": "0"}, {"for": self.a.instance()}:
            self.both_offer()
            self.a.offer(self.b, **wrong)
            self.b.wait_link(self.a, None)

    def test_hostile_offers_are_not_relayed(self):
        here, there = self.a.instance(), self.b.instance()
        for name, text in {
                "long": f"from={here} for={there} ref=" + "8" * 300,
                "huge": f"from={here} for={there} ref=" + "8" * 1900,
                "binary": rf"from={here} for={there} ref=\x01\xff\x80",
                "newline": rf"from={here} for={there} ref=8\ninstance=0",
                "null": rf"from={here} for={there}\x00ref=8",
                "twice": f"from={here} for={there} from={here}",
                "sign": f"from=+{here[:15]} for={there}",
                "prefix": f"from=0x{here} for={there}",
                "no from": f"for={there}", "no for": f"from={here}", "empty": " "}.items():
            self.both_offer()
            self.a.offer(self.b, text=text)
            try:
                self.b.wait_link(self.a, None)
            except Failed as failed:
                raise Failed(f"{name}: {failed}") from failed
        self.both_offer()

    def test_offer_to_a_domain_that_may_not_be_talked_to(self):
        offer = self.a.offer(self.c)
        never(lambda: self.c.link(self.a), offer, "c got the offer")

    def test_offer_node_may_be_a_directory(self):
        self.a.guest(f"xenstore-rm device/xway/0/link; xenstore-write device/xway/0/link/{self.b.id}/x/y z")
        self.b.wait_link(self.a, None)
        self.a.guest("xenstore-rm device/xway/0/link; xenstore-write device/xway/0/link junk")
        self.both_offer()

    # ---- what may change ----

    def test_addresses_may_change(self):
        self.b.set(ip="10.77.0.12", mac="00:16:3e:00:00:01")
        self.a.wait_peer(self.b, ip="10.77.0.12", mac="00:16:3e:00:00:01", ready="1")

    def test_dom0_nodes_are_bounded_and_cleaned(self):
        self.b.set(ip=" ".join(f"10.0.0.{i}" for i in range(100)))
        expect(lambda: len(self.a.peer(self.b)["ip"].split(",")) in range(20, 100), True, "a cut list of addresses")
        if not all(re.fullmatch(r"10\.0\.0\.\d+", ip) for ip in self.a.peer(self.b)["ip"].split(",")):
            raise Failed(self.a.peer(self.b)["ip"])
        self.b.set(ip=r"  10.77.0.12\n\xff  ")
        self.a.wait_peer(self.b, ip="10.77.0.12", ready="1")
        self.b.set(allow=f"x -1 99999 32752 {self.a.id} {self.a.id} {self.b.id}")
        time.sleep(0.5)
        expect(lambda: self.domain(self.b)["allow"], str(self.a.id), "allow in proc")

    def test_policy_may_be_withdrawn_and_given_back(self):
        self.both_offer()
        self.b.allow(self.c)
        self.a.wait_no_peer(self.b)
        self.b.wait_no_peer(self.a)
        self.b.allow(self.a)
        self.a.wait_peer(self.b, ready="1")
        self.b.wait_peer(self.a, ready="1")
        expect(lambda: bool(self.a.link(self.b) and self.b.link(self.a)), True, "offers that still stand")

    def test_frontend_leaves_and_returns(self):
        old = self.a.instance()
        self.a.switch(CLOSING)
        self.a.wait_state(CLOSING)
        self.b.wait_peer(self.a, ready="0", instance="0" * 16)
        self.b.wait_link(self.a, None)
        self.a.switch(CLOSED)
        self.a.wait_state(CLOSED)
        new = self.a.connect()
        if new == old:
            raise Failed("the instance is the same")
        self.b.wait_peer(self.a, ready="1", instance=new)
        never(lambda: self.b.link(self.a) is None, False, "an offer of the old instance is back")
        self.both_offer()

    def test_frontend_returns_without_having_closed(self):
        old = self.a.instance()
        self.a.switch(INITIALISING)
        self.a.wait_state(INITWAIT)
        if self.a.instance() == old:
            raise Failed("the instance is the same")
        self.a.switch(CONNECTED)
        self.a.wait_state(CONNECTED)
        self.both_offer()

    def test_nonsense_state_makes_a_domain_vanish(self):
        for state in "0", "nonsense", "":
            self.a.switch(state)
            self.b.wait_no_peer(self.a)
            self.a.wait_state(CLOSED)
            self.a.connect()
            self.both_offer()
        for state in "3", "7", "8", "99", "-1":
            self.a.switch(state)
        self.a.connect()
        self.both_offer()

    # ---- floods ----

    def busy(self):
        """Seconds of processor time that dom0 has used so far in the kernel's workers and xenwatch."""
        text = self.dom0("cat /proc/[0-9]*/stat 2>/dev/null").stdout
        return sum(int(line.rsplit(") ", 1)[1].split()[12]) for line in text.splitlines()
                   if re.search(r"\((kworker|xenwatch|xenbus)", line)) / 100

    def settle(self):
        """Waits for a's own kernel, which looks at each of a's writes too and has a queue of them."""
        self.a.guest("xenstore-read domid", timeout=300)

    @contextmanager
    def flood(self, *writes):
        """Has a write to Xenstore meanwhile, over and over, as fast as Xenstore lets it."""
        self.lab.put("a", b"".join(message(path, value) for path, value in writes), "/tmp/flood")
        size = len(message(*writes[0]))
        if any(len(message(*write)) != size for write in writes):
            raise ValueError("writes of a flood are of one size")
        # A system call a request. The read waits until Xenstore has done them all.
        job = self.lab.start("a", "exec 3<>/dev/xen/xenbus; cat <&3 >/dev/null & "
                                  f"while :; do dd bs={size} </tmp/flood >&3; xenstore-read domid >/dev/null; done")
        try:
            time.sleep(1)
            before, begin = self.busy(), time.monotonic()
            yield
            comment(f"kernel threads used {self.busy() - before:.1f} s in {time.monotonic() - begin:.1f} s")
        finally:
            done = job.stop()
            records = sum(map(int, re.findall(r"(\d+)\+0 records out", done.stderr)))
            comment(f"a made {records} requests meanwhile")
            self.settle()

    def test_as_many_offers_as_the_quota_allows(self):
        # A batch is one transaction of two hundred nodes: it goes in whole or not at all.
        count = 0
        for first in range(100, 110):
            many = " ".join(f"device/xway/0/link/{first}{i}/{i} from=1" for i in range(100, 200))
            count += 200 * self.a.guest(f"xenstore-write {many}", check=False).ok
        comment(f"the guest's quota let it write {count} nodes")
        if not 400 <= count < 2000:
            raise Failed("that is not all that the quota allows")
        self.settle()
        self.both_offer()
        self.a.guest("xenstore-rm device/xway/0/link")
        self.b.wait_link(self.a, None)
        self.both_offer()

    def test_fast_writer_does_not_stop_the_others(self):
        good = f"from={self.a.instance()} for={self.b.instance()} ref="
        with self.flood(*((f"device/xway/0/link/{self.b.id}", f"{good}{i}") for i in range(100, 400))):
            for port in range(5):
                self.a.wait_link(self.b, self.b.offer(self.a, port=port))
            self.b.allow()
            self.a.wait_no_peer(self.b)
            self.b.allow(self.a)
            self.a.wait_peer(self.b, ready="1")
        self.both_offer()

    def test_fast_states(self):
        with self.flood(*(("device/xway/0/state", state) for state in "14561403x6124" * 20)):
            for name in "b1", "b2", "b3":
                self.b.set(ip=name)
                time.sleep(1)
        self.a.connect()
        self.a.wait_peer(self.b, ready="1", ip="b3")
        self.both_offer()

    # ---- going away ----

    def test_device_may_be_removed_and_added(self):
        self.a.remove()
        self.b.wait_no_peer(self.a)
        expect(lambda: self.domain(self.a), None, "a in proc")
        if self.dom0(f"xenstore-list {self.a.be}", check=False).rc == 0:
            raise Failed("the broker brought BE back")
        self.a.add(allow=[self.b])
        self.a.wait_state(INITWAIT)
        self.both_connected()
        self.both_offer()

    def test_device_may_be_replaced_at_once(self):
        for phase in INITWAIT, CONNECTED:
            for _ in range(3):
                self.dom0(self.a.remove_command() + "\n" + self.a.add_command(allow=[self.b]))
                self.a.wait_state(INITWAIT)
                if not self.a.instance():
                    raise Failed("no instance")
                self.a.wait_peer(self.b, ready="1")
                if phase == CONNECTED:
                    self.a.connect()
        self.both_offer()

    def test_device_is_let_go(self):
        self.a.set(online=0)
        self.a.wait_state(CLOSING)
        self.b.wait_no_peer(self.a)
        self.a.switch(CLOSED)
        self.a.wait_state(CLOSED)
        self.a.remove()
        expect(lambda: self.domain(self.a), None, "a in proc")
        self.a.add(allow=[self.b])
        self.a.wait_state(INITWAIT)
        self.a.set(online=0)
        self.a.wait_state(CLOSED)
        self.a.set(online=1)
        self.a.wait_state(INITWAIT)
        self.both_connected()
        self.both_offer()

    def test_domain_is_destroyed(self):
        old, be = self.b.id, self.b.be
        begin = time.monotonic()
        self.lab.destroy("b")
        expect(lambda: self.a.read(f"peer/{old}") or self.a.read(f"link/{old}"), None, "a sees a dead domain")
        comment(f"its peer knew {time.monotonic() - begin:.1f} s after `xl destroy` was called")
        expect(lambda: self.dom0(f"xenstore-read {be}/state").stdout.strip(), "6", "BE/state")
        if self.proc("links"):
            raise Failed(f"links: {self.proc('links')}")
        self.dom0(f"xenstore-rm {be}")
        self.lab.create("b")
        self.a.allow(self.b)
        self.b.add(allow=[self.a])
        self.b.wait_state(INITWAIT)
        self.both_connected()
        self.both_offer()

    def test_unloading_withdraws_everything_and_loading_resumes(self):
        old = self.a.instance()
        for _ in range(5):
            self.unload()
            for domain in self.a, self.b, self.c:
                expect(domain.state, CLOSED, "BE/state")
                if domain.read("peer") is not None or domain.read("link") is not None:
                    raise Failed(f"BE of {domain.name} still has peers")
            self.a.switch(CLOSED)
            self.load()
            self.a.wait_state(INITWAIT)
        if self.a.instance() == old:
            raise Failed("the instance is the same")
        never(lambda: self.a.state() != INITWAIT, True, "the broker gave up waiting for a frontend")
        self.both_connected()
        self.both_offer()

    def test_unloading_amid_a_flood(self):
        with self.flood(*(("device/xway/0/state", state) for state in "146x" * 50)):
            for _ in range(10):
                self.unload()
                self.load()
        self.both_connected()
        self.both_offer()

    def test_unbinding_a_device(self):
        driver = "/sys/bus/xen-backend/drivers/xway"
        self.dom0(f"echo xway-{self.a.id}-0 > {driver}/unbind")
        self.a.wait_state(CLOSED)
        self.b.wait_no_peer(self.a)
        self.dom0(f"echo xway-{self.a.id}-0 > {driver}/bind")
        self.a.wait_state(INITWAIT)
        self.both_connected()
        self.both_offer()

    def test_limits(self):
        self.unload()
        self.load("max_domains=2")
        expect(lambda: len(self.proc("domains")), 2, "domains")
        self.log_says("is left out: max_domains is 2")
        self.unload()
        self.load("max_pairs=1")
        self.a.allow(self.b, self.c)
        self.c.allow(self.a, self.b)
        expect(lambda: len(self.proc("links")), 1, "links")
        self.log_says("are left out: max_pairs is 1")
        self.unload()
        self.load()
        expect(lambda: len(self.proc("links")), 2, "links")
        if self.dom0("echo 0 > /sys/module/xway_back/parameters/max_pairs", check=False).rc == 0:
            raise Failed("max_pairs=0 was accepted")

    def test_unloading_leaves_nothing(self):
        self.unload()
        if self.dom0("ls /proc/xway_back", check=False).rc == 0:
            raise Failed("/proc/xway_back is still there")
        # The guests' kernels have no part in this.
        if found := health.complaints(self.dom0("dmesg; xl dmesg").stdout):
            raise Failed("the kernels complain:\n" + "\n".join(found[:20]))


def comment(text):
    print(f"#   {text}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", choices=("pv", "pvh"), default="pv")
    parser.add_argument("--kernel", help="of dom0 and guests, or how its version begins (tests/vm/kernels list)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    series = f"-{options.kernel}" if options.kernel else ""
    out = options.out or TOP / "build" / "vm" / f"backend{series}"

    guests = [Guest(name, type=options.guest, memory=256, kernel=options.kernel, programs=STORE_TOOLS) for name in "abc"]
    names = [name for name in vars(Tests) if name.startswith("test_")]
    bad = 0
    print(f"1..{len(names)}", flush=True)
    with closing(Lab(out, guests, Dom0(modules=["backend"], kernel=options.kernel))) as lab:
        lab.start_dom0()
        for guest in guests:    # one by one: dom0 has one processor and work to do
            lab.create(guest.name)
        tests = Tests(lab)
        for number, name in enumerate(names, 1):
            begin = time.monotonic()
            try:
                getattr(tests, name)()
                verdict, reason = "ok", ""
            except (Failed, LabError) as error:
                verdict, reason = "not ok", str(error)
                bad += 1
            what = name.removeprefix("test_").replace("_", " ")
            print(f"{verdict} {number} - {what}  # {time.monotonic() - begin:.1f} s", flush=True)
            for line in reason.splitlines():
                comment(line)
        (out / "dmesg-dom0.log").write_text(lab.run("dom0", "dmesg").stdout)
    print(f"{len(names) - bad} passed, {bad} failed", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
