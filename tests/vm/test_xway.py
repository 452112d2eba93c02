#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""test_xway.py - xway in a real Xen host: guests, modules, unmodified programs.

    tests/vm/test_xway.py [--guest pv|pvh] [--only GLOB,...] [--quick] [--all]

Prints a line a test, `ok` or `not ok`, with the time that is left, and last `N passed, N failed`. The kernel
logs, the grants and the event channels are looked at after the modules are gone, and only then is that
line written: a run that crashes or leaks cannot pass.
"""

import argparse
import json
import re
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from xlab import LabError, health  # noqa: E402
from xway_lab import TOP, XwayLab  # noqa: E402

PROGRAMS = [TOP / "build" / "socket" / name
            for name in ("xway-transfer", "xway-transfer-static", "xway-socket-cases", "xway-stuck")]
PROGRAMS.append(TOP / "build" / "bench" / "xway-bench")
TIMINGS = TOP / "build" / "vm" / "test-timings.json"
A, B = "10.77.0.11", "10.77.0.12"
MIB = 1 << 20


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


class Tests:
    def __init__(self, lab, options):
        self.lab, self.kind, self.quick, self.all = lab, options.guest, options.quick, options.all

    # ---- helpers ----

    def serve(self, command, name="b", port=None):
        """A server in a guest that is ended by `with`."""
        return Server(self.lab, name, command, port)

    def transfer(self, connections, size, timeout, program="xway-transfer", chunk=None, address=B):
        more = f" --max-chunk {chunk}" if chunk else ""
        result = self.lab.run("a", f"{program} run --peer {address} --port 7000 --connections {connections} "
                                   f"--bytes {size}{more}", timeout=timeout)
        lines = result.stdout.splitlines()
        check(lines, f"no result: {result.stderr[-300:]}")
        answer = json.loads(lines[-1])
        check(result.ok and answer["ok"], f"digests: {answer['errors'][:3]}")
        return answer

    def link_up(self):
        """The first connection asks for the link, and rides TCP until it is there."""
        self.transfer(1, 1 << 16, 60)
        self.lab.wait_until("a", "grep -q link=up /proc/xway_front/peers", timeout=30)

    def ring_bytes(self):
        stat = self.lab.stat("a")
        return stat["tx_ring_bytes"] + stat["rx_ring_bytes"]

    def knob(self, key, value):
        for name in self.lab.alive():
            self.lab.param(name, key, value)

    def gone_from_rings(self, name="a"):
        """No slot and no ring page of any link is in use any more: nothing leaks while loaded."""
        try:
            self.lab.wait_until(name, "! grep -qvE 'link=(none|down)|arena_used=0 .*slots_used=0 ' "
                                      "/proc/xway_front/peers", timeout=20)
        except LabError as error:
            left = [self.lab.run(who, "cat /proc/xway_front/peers /proc/xway_front/sockets").stdout for who in ("a", "b")]
            raise Failed("slots or pages stay in use\n" + "\n".join(left)) from error

    # ---- tests, in order ----

    def test_tools_see_both_peers(self):
        for name, other in (("a", "b"), ("b", "a")):
            peers = json.loads(self.lab.run(name, "xway peers -j", check=True).stdout)
            check([peer["name"] for peer in peers] == [other], f"{name} sees {peers}")
        for command in ("xway domain show", "xway link show", "xway policy show"):
            self.lab.run("dom0", command, check=True)
            json.loads(self.lab.run("dom0", command + " -j", check=True).stdout)

    def test_bytes_ride_the_ring(self):
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            before = self.ring_bytes()
            self.transfer(1, 8 * MIB, 120)
        moved = self.ring_bytes() - before
        check(moved > 12 * MIB, f"only {moved} of {16 * MIB} bytes rode the rings")
        self.gone_from_rings()

    def test_waits_begin_with_a_look(self):
        """A blocking reader looks for its bytes now and then, and never where it is told not to."""
        looks = {}
        with self.serve("xway-bench serve --tcp 7001", port=7001):
            for spin_us in (0, 1000):
                self.knob("spin_us", spin_us)
                before = self.lab.stat("a")
                self.lab.run("a", f"xway-bench run --tcp {B}:7001 --test rr --size 1 --count 400", timeout=60, check=True)
                after = self.lab.stat("a")
                looks[spin_us] = sum(after[key] - before[key] for key in ("spins_hit", "spins_missed"))
        check(looks[0] == 0, f"{looks[0]} looks with spin_us=0")
        check(looks[1000] >= 10, f"{looks[1000]} looks in 400 round trips")

    def test_static_binary_rides_too(self):
        before = self.ring_bytes()
        with self.serve("xway-transfer-static serve --port 7000", port=7000):
            self.transfer(2, 2 * MIB, 120, "xway-transfer-static")
        check(self.ring_bytes() - before > 4 * MIB, "the static binary stayed on TCP")

    def test_ipv6(self):
        before = self.ring_bytes()
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(2, 2 * MIB, 120, address="fd77::12")
        check(self.ring_bytes() - before > 4 * MIB, "IPv6 stayed on TCP")

    def test_rails_switched_at_random(self):
        size = (32 if self.quick else 256) * MIB
        self.knob("flip_ms", 5)
        before = self.lab.stat("a")
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(1, size, 900)
        after = self.lab.stat("a")
        self.knob("flip_ms", 0)
        switches = after["switches_to_ring"] - before["switches_to_ring"]
        check(switches >= 20, f"only {switches} switches to the ring")
        for way in ("tx_ring_bytes", "tx_tcp_bytes", "rx_ring_bytes", "rx_tcp_bytes"):
            check(after[way] - before[way] > size // 50, f"{way} grew by {after[way] - before[way]} only")

    def test_500_connections(self):
        self.knob("flip_ms", 5)
        before = self.ring_bytes()
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(500, (64 if self.quick else 256) << 10, 600)
        self.knob("flip_ms", 0)
        check(self.ring_bytes() > before, "no byte rode a ring")
        self.gone_from_rings()

    def test_socket_cases_on_rings(self):
        # The variants differ in addresses alone.
        self.cases("*" if self.all else "*/4")

    def test_socket_cases_switching(self):
        self.knob("flip_ms", 4)
        try:
            self.cases("*/4")
        finally:
            self.knob("flip_ms", 0)

    def cases(self, glob):
        attached = self.lab.stat("a")["conns_attached"]
        with self.serve("xway-socket-cases serve", port=7710):
            bad = self.run_cases([glob], 2)
            if 0 < len(bad) <= 5:
                # The emulator stops for seconds at times: what fails once more has not failed of that.
                print("# once more, with more time: " + ", ".join(bad), flush=True)
                bad = self.run_cases(bad, 6)
        check(not bad, "failed: " + " ".join(bad) + "; see socket-cases.log")
        check(self.lab.stat("a")["conns_attached"] - attached > 50, "the cases did not attach to rings")
        self.gone_from_rings()

    def run_cases(self, globs, scale):
        """Runs the cases that match, and returns the names of those that failed."""
        filters = " ".join(f"--filter '{glob}'" for glob in globs)
        result = self.lab.run("a", f"xway-socket-cases run --peer {B} --peer6 fd77::12 --timeout-scale {scale} {filters}",
                              timeout=2400)
        with (self.lab.out / "socket-cases.log").open("a") as log:
            log.write(result.stdout)
        count = re.search(r"^(\d+) passed, (\d+) failed", result.stdout, re.M)
        check(count and int(count[1]) + int(count[2]) > 0, f"no cases ran: {result.stderr[-300:]}")
        return re.findall(r"^not ok (\S+)", result.stdout, re.M)

    def test_bridge_sees_no_data(self):
        """tcpdump on dom0's bridge: once both directions ride rings, 100 MiB pass and no segment carries a byte."""
        self.lab.run("dom0", "rm -f /tmp/bridge.pcap")
        with self.serve("xway-transfer serve --port 7000", port=7000):
            dump = self.lab.start("dom0", "exec tcpdump -Z root -U -i xenbr0 -s 96 -w /tmp/bridge.pcap tcp port 7000")
            self.lab.wait_until("dom0", "[ -s /tmp/bridge.pcap ]")
            job = self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections 1 --bytes {150 * MIB}")
            self.lab.wait_until("a", "grep -q 'tx=ring rx=ring' /proc/xway_front/sockets")
            # Whole seconds: from the next one on every byte must ride a ring.
            since = int(self.lab.run("dom0", "date +%s; sleep 1", check=True).stdout) + 1
            before = self.ring_bytes()
            result = job.wait(300)
            moved = self.ring_bytes() - before
            time.sleep(1)
            dump.signal(15)
            dump.wait(20)
        check(result.rc == 0, f"the transfer failed: {result.stdout[-300:]}{result.stderr[-300:]}")
        text = self.lab.run("dom0", "tcpdump -Z root -r /tmp/bridge.pcap -tt -n -q 2>/dev/null", timeout=120).stdout
        seen = [(float(when), int(size)) for when, size in re.findall(r"^([\d.]+) .*tcp (\d+)$", text, re.M)]
        early = sum(size for when, size in seen if when < since)
        late = sum(size for when, size in seen if when >= since)
        print(f"# {moved >> 20} MiB rode rings; the bridge saw {early} bytes of data before that and {late} meanwhile, "
              f"in {len(seen)} segments", flush=True)
        check(len(seen) >= 6, "tcpdump saw neither handshake nor end")
        check(moved > 100 * MIB, f"only {moved} bytes rode the rings")
        check(late == 0, f"{late} bytes of data crossed the bridge")
        # What is sent before the peer has answered HELLO rides TCP.
        check(early < 4 * MIB, f"{early} bytes of data crossed the bridge before")

    def test_ss_and_show(self):
        with self.serve("xway-transfer serve --port 7000", port=7000), \
             self.serve("nc -l -p 7009 >/dev/null", name="dom0", port=7009):
            hold = self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections 1 --bytes {400 * MIB}")
            other = self.lab.start("a", "sleep 30 | nc 10.77.0.1 7009")
            time.sleep(2)
            ss = self.lab.run("a", "modprobe tcp_diag && ss -tin", check=True).stdout
            shown = json.loads(self.lab.run("a", "xway show -j", check=True).stdout)
            text = self.lab.run("a", "xway show", check=True).stdout
            hold.signal(9)
            other.signal(9)
        check(f"{B}:7000" in ss and "tcp-ulp-xway" in ss, f"ss says\n{ss}")
        ours = [row for row in shown if row["remote"] == f"{B}:7000"]
        check(ours and ours[0]["tx"] == "ring" and ours[0]["rx"] == "ring", f"xway show: {shown}")
        dom0 = [row for row in shown if row["remote"] == "10.77.0.1:7009"]
        check(dom0 and "not-peer" in json.dumps(dom0[0]), f"no reason for the connection to dom0: {shown}")
        check("not-peer" in text, f"no reason in\n{text}")

    def test_check_names_each_precondition(self):
        self.lab.run("a", "ping -c 1 -W 5 b", check=True, timeout=20)
        result = self.lab.run("a", f"xway check {B}")
        check(result.ok, f"xway check {B} fails:\n{result.stdout}{result.stderr}")
        result = self.lab.run("a", "xway check 10.77.0.1")
        check(result.rc == 1, f"xway check of dom0 ends with {result.rc}:\n{result.stdout}")

    def test_unload_under_load_keeps_every_byte(self):
        for who in ("b", "a"):
            with self.serve("xway-transfer serve --port 7000", port=7000):
                job = self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections 4 --bytes {10 * MIB}")
                self.lab.wait_until("a", "grep -q 'tx=ring rx=ring' /proc/xway_front/sockets")
                self.lab.unload_guest(who)
                result = job.wait(300)
                check(result.rc == 0 and '"ok":true' in result.stdout,
                      f"after rmmod in {who}: {result.stdout[-300:]}{result.stderr[-300:]}")
            self.lab.load_guest(who)
            for name in ("a", "b"):
                self.lab.wait_peers(name)

    def test_unload_with_sleeping_programs(self):
        """Programs asleep in accept, recv and poll are sent out of the module, and go on."""
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.lab.run("b", "rm -f /tmp/got; mkfifo /tmp/hold 2>/dev/null; true")
            receiver = self.lab.start("b", "nc -l -p 7008 > /tmp/got")
            self.lab.wait_until("b", "grep -q ':1B60 ' /proc/net/tcp /proc/net/tcp6")
            sender = self.lab.start("a", f"(echo first; sleep 12; echo last) | nc {B} 7008")
            self.lab.wait_until("b", "grep -q first /tmp/got")
            self.lab.unload_guest("b", timeout=30)
            self.lab.unload_guest("a", timeout=30)
            self.lab.wait_until("b", "grep -q last /tmp/got", timeout=40)
            for job in (receiver, sender):
                job.signal(9)
            self.transfer(2, MIB, 60)       # the server that slept in epoll accepts on plain TCP
        for name in ("a", "b"):
            self.lab.load_guest(name)
        for name in ("a", "b"):
            self.lab.wait_peers(name)

    def test_stuck_program_holds_up_nobody(self):
        """A program that hangs in a page fault inside a call: the link's end and the others do not wait for it."""
        for way, feed in (("send", "sleep 1000"), ("recv", "yes")):
            with self.serve("xway-transfer serve --port 7000", port=7000), \
                 self.serve(f"{feed} | nc -l -p 7011 > /dev/null", port=7011):
                self.lab.run("a", "[ -p /tmp/go ] || mkfifo /tmp/go", check=True)
                stuck = self.lab.start("a", f"exec xway-stuck {way} {B} 7011 0<>/tmp/go")
                self.lab.wait_until("a", "grep ':7011 ' /proc/xway_front/sockets | grep -q tx=ring")
                self.lab.run("a", "sleep 2; echo > /tmp/go; sleep 1", check=True)
                job = self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections 4 --bytes {10 * MIB}")
                self.lab.wait_until("a", "grep ':7000 ' /proc/xway_front/sockets | grep -q 'tx=ring rx=ring'")
                self.lab.unload_guest("b", timeout=30)
                result = job.wait(300)
                check(result.rc == 0 and '"ok":true' in result.stdout,
                      f"{way}: others were hurt: {result.stdout[-300:]}{result.stderr[-300:]}")
                self.lab.load_guest("b")
                self.transfer(1, 1 << 16, 60)
                check(self.lab.run("a", "pidof xway-stuck").ok, f"{way}: the program was not stuck at all")
                stuck.signal(9)
                self.lab.wait_peers("a")
                self.link_up()

    def test_moves_to_the_ring_when_the_peer_loads(self):
        self.lab.unload_guest("b")
        self.lab.wait_until("a", "grep -q ready=0 /proc/xway_front/peers")
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(2, MIB, 60)                   # peer without the module: TCP
            before = self.ring_bytes()
            self.lab.load_guest("b")
            self.lab.wait_peers("a")
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            self.transfer(2, 4 * MIB, 60)
        check(self.ring_bytes() - before > 4 * MIB, "the ring is not used after the peer has loaded the module")

    def test_policy(self):
        self.lab.put("dom0", b"device *\ndeny a b\nallow * *\n", "/etc/xway/deny.conf")
        before = self.ring_bytes()
        with self.serve("xway-transfer serve --port 7000", port=7000):
            job = self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections 2 --bytes {40 * MIB}")
            self.lab.wait_until("a", "grep -q 'tx=ring rx=ring' /proc/xway_front/sockets")
            self.lab.run("dom0", "xway policy apply /etc/xway/deny.conf", check=True)
            result = job.wait(300)
            check(result.rc == 0, f"the policy's withdrawal hurt: {result.stdout[-300:]}{result.stderr[-300:]}")
            check(self.ring_bytes() - before < 158 * MIB, "the policy was withdrawn too late to test anything")
            self.lab.wait_until("a", "! grep -q . /proc/xway_front/peers")
            refused = self.ring_bytes()
            self.transfer(2, MIB, 60)
            check(self.ring_bytes() == refused, "bytes ride a ring that policy forbids")
        self.lab.run("dom0", "xway policy apply /etc/xway/policy.conf", check=True)
        for name in ("a", "b"):
            self.lab.wait_peers(name)

    def test_arena_full(self):
        for name in ("a", "b"):
            self.lab.unload_guest(name)
        for name in ("a", "b"):
            self.lab.load_guest(name, "arena_kib=64 ring_kib=16")
        self.lab.wait_peers("a")
        self.knob("flip_ms", 5)
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(60, 256 << 10, 200)
        self.knob("flip_ms", 0)
        check(self.lab.stat("a")["arena_full"] > 0, "the arena was never full")
        self.gone_from_rings()
        for name in ("a", "b"):
            self.lab.unload_guest(name)
        for name in ("a", "b"):
            self.lab.load_guest(name)
        self.lab.wait_peers("a")

    def test_peer_destroyed(self):
        rounds = 2 if self.quick else 20 if self.kind == "pv" else 3
        waits = []
        for number in range(rounds):
            with self.serve("xway-transfer serve --port 7000", port=7000):
                job = self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections 3 --bytes {900 * MIB}")
                self.lab.wait_until("a", "grep -q 'tx=ring rx=ring' /proc/xway_front/sockets")
                begin = time.monotonic()
                self.lab.destroy("b")
                result = job.wait(60)
                took = time.monotonic() - begin
                waits.append(took)
            check(result.rc == 1, f"round {number + 1}: exit status {result.rc}")
            check(took < 25, f"round {number + 1}: the error took {took:.0f} s")
            check("ECONNRESET" in result.stdout + result.stderr or "reset" in result.stdout + result.stderr,
                  f"round {number + 1}: {result.stdout[-300:]}")
            self.lab.wait_until("a", "! grep -q . /proc/xway_front/peers")
            self.lab.run("dom0", "xway domain del b 2>/dev/null || true")
            self.lab.create("b")
            self.lab.load_guest("b")
            self.lab.run("dom0", "xway policy apply /etc/xway/policy.conf", check=True)
            for name in ("a", "b"):
                self.lab.wait_peers(name)
        print(f"# {rounds} times: the error came {min(waits):.1f} to {max(waits):.1f} s after xl destroy began", flush=True)
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(2, MIB, 60)

    def test_bad_input(self):
        wrong = [
            ("dom0", "xway domain add a", 1, "already"), ("dom0", "xway domain add nosuch", 1, "xl list"),
            ("dom0", "xway domain del nosuch", 1, ""), ("dom0", "echo 'alow a b' > /tmp/p; xway policy check /tmp/p", 1, ":1:"),
            ("a", "xway domain add b", 1, ""), ("a", "xway nonsense", 2, ""),
            ("a", "echo 3 > /sys/module/xway_front/parameters/ring_kib", 1, ""),
            ("a", "insmod /modules/xway_front.ko || exit 1", 1, "exists"),
        ]
        for where, command, status, words in wrong:
            result = self.lab.run(where, command)
            said = result.stdout + result.stderr
            check(result.rc == status, f"{where}: {command}: exit status {result.rc}, wanted {status}: {said}")
            check(words in said and len(said) > 10, f"{where}: {command}: says {said!r}")
        self.lab.run("a", "dmesg | grep -q 'ring_kib=3.*power of two'", check=True)


class Server:
    def __init__(self, lab, name, command, port):
        self.lab, self.name, self.command, self.port = lab, name, command, port

    def __enter__(self):
        self.job = self.lab.start(self.name, f"exec {self.command}" if " " in self.command else self.command)
        if self.port:
            self.lab.wait_until(self.name, f"grep -qi ':{self.port:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6")
        return self.job

    def __exit__(self, *_):
        if self.name == "dom0" or self.name in self.lab.alive():
            self.job.signal(9)
            try:
                self.job.wait(20)
            except LabError:
                pass


class Report:
    def __init__(self, names):
        self.begin, self.names = time.monotonic(), names
        self.passed = self.failed = 0
        try:
            self.last = json.loads(TIMINGS.read_text())
        except (OSError, ValueError):
            self.last = {}

    def act(self, key, name, function, excused=lambda: False):
        """Whether it went well. Where it was excused, it counts as not done."""
        start, reason = time.monotonic(), ""
        try:
            function()
        except (Failed, LabError, KeyError, ValueError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
        if reason and excused():
            return False
        took = time.monotonic() - start
        self.last[key] = round(took, 1)
        self.names = [other for other in self.names if other != key]
        left = sum(self.last.get(other, 30) for other in self.names)
        if reason:
            self.failed += 1
            print(f"not ok {name} - " + reason.replace("\n", "\n#   "), flush=True)
        else:
            self.passed += 1
            print(f"ok {name}   # {took:.0f} s, about {left / 60:.0f} min left", flush=True)
        return not reason

    def close(self):
        TIMINGS.parent.mkdir(parents=True, exist_ok=True)
        TIMINGS.write_text(json.dumps(self.last, indent=1))
        print(f"{self.passed} passed, {self.failed} failed", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", choices=("pv", "pvh"), default="pv")
    parser.add_argument("--only", default="*", help="tests whose names match: GLOB[,GLOB...]")
    parser.add_argument("--all", action="store_true", help="also what takes long: every socket case in every way")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    out = TOP / "build" / "vm" / f"test-{options.guest}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "socket-cases.log").unlink(missing_ok=True)

    names = [name for name in vars(Tests) if name.startswith("test_") and any(fnmatch(name[5:], glob) for glob in options.only.split(","))]
    if not options.all:
        slow = {"test_socket_cases_switching"} if options.guest == "pvh" else set()
        names = [name for name in names if name not in slow]
    keys = {name: f"{options.guest}/{name[5:]}" for name in names}
    report = Report(list(keys.values()))
    try:
        for may_fault in (options.guest == "pvh", False):
            lab = XwayLab(out, kind=options.guest, programs=["ss", *map(str, PROGRAMS)],
                          dom0_programs=["tcpdump"], kernel_modules=["tcp_diag"], say=lambda text: print(f"# {text}", flush=True))
            try:
                names = run(lab, options, report, names, keys, may_fault)
            finally:
                lab.close()
            if not names:
                break
    finally:
        report.close()
    return 1 if report.failed or not report.passed else 0


def run(lab, options, report, names, keys, may_fault):
    """The tests that are still to be done, in another lab: a guest has triple-faulted, if that `may` be."""
    key = options.guest
    faulted = lambda: may_fault and any(map(lab.has_faulted, ("a", "b")))
    if not report.act(f"{key}/boot", f"boot ({key})", lab.boot):
        return []
    before = health.in_use(lab)
    if report.act(f"{key}/load", f"load ({key})", lab.load):
        tests = Tests(lab, options)
        for name in names:
            if report.act(keys[name], f"{name[5:]} ({key})", getattr(tests, name), faulted) or survives(lab):
                continue
            rest = names[names.index(name):]
            if faulted():
                print(f"# a guest has triple-faulted in {name[5:]}, see faulted-dom0.log: may be the emulator's fault; once more from here",
                      flush=True)
                for console in lab.out.glob("console-*.log"):
                    console.replace(console.with_name(console.name.replace("console", "faulted")))
                return rest
            print("# a guest or dom0 is gone: the rest is not run", flush=True)
            report.failed += len(rest) - 1
            break
    report.act(f"{key}/unload", f"unload ({key})", lab.unload)
    report.act(f"{key}/logs", f"kernel logs are clean ({key})", lambda: logs_are_clean(lab))
    report.act(f"{key}/leaks", f"no grant and no event channel leaks ({key})", lambda: nothing_leaks(lab, before))
    return []


def survives(lab):
    try:
        return all(lab.run(name, "true", timeout=30).ok for name in ("dom0", "a", "b"))
    except LabError:
        return False


def logs_are_clean(lab):
    said = health.all_complaints(lab)
    check(not said, "\n".join(said[:20]))


def nothing_leaks(lab, before):
    lost = health.leaks(before, health.in_use(lab))
    check(not lost, "\n".join(lost))


if __name__ == "__main__":
    sys.exit(main())
