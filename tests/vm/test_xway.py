#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""test_xway.py - xway in a real Xen host: guests, modules, unmodified programs.

    tests/vm/test_xway.py [--guest pv|pvh] [--kernel VERSION] [--vcpus N] [--only GLOB,...] [--quick] [--minutes N]

Prints a line a test, `ok` or `not ok`, with the time that is left, and last `N passed, N failed`. The kernel
logs, the grants and the event channels are looked at after the modules are gone, and only then is that
line written: a run that crashes or leaks cannot pass.
"""

import argparse
import json
import re
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from metrics import read_metrics  # noqa: E402
from xlab import LabError, health  # noqa: E402
from xway_lab import TOP, XwayLab  # noqa: E402

PROGRAMS = [TOP / "build" / "socket" / name
            for name in ("xway-transfer", "xway-transfer-static", "xway-socket-cases", "xway-stuck")]
PROGRAMS.append(TOP / "build" / "bench" / "xway-bench")
PROGRAMS.append(TOP / "build" / "fuzz" / "xway-socket-fuzz")
# Which ways of the socket cases run where: every mode has IPv4 on one kind of guest, IPv6 on the other, and rings all.
CASES = {
    "pv": {"rings": "*", "switching": "*/4*", "starved": "*/6*", "plain": "*/4"},
    "pvh": {"rings": "*/[46]", "switching": "*/6", "starved": "*/4", "plain": "*/6"},
}
QUICK_CASES = "[c-f]*"      # where there is no time for all
# Seconds that tests take on the machine they were written on, where that is more than SHORT.
SHORT = 5
LONG = {"rails_switched_at_random": 16, "500_connections": 20, "10000_connections": 80, "socket_cases_on_rings": 120, "socket_cases_switching": 60,
        "socket_cases_starved": 60, "random_programs": 50, "socket_cases_on_plain_tcp": 42, "bridge_sees_no_data": 20,
        "unload_with_sleeping_programs": 14, "idle_connections_hold_no_page": 14, "idle_connections_keep_their_rings": 8, "stuck_program_holds_up_nobody": 22, "peer_destroyed": 78, "packet_capture": 8}
FAULTS = 4      # so many new labs may a PVH guest cost that the emulator lets triple-fault; the next is a failure
A, B = "10.77.0.11", "10.77.0.12"
MIB = 1 << 20


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


class Tests:
    def __init__(self, lab, options):
        self.lab, self.kind, self.quick = lab, options.guest, options.quick

    # ---- helpers ----

    def serve(self, command, name="b", port=None):
        """A server in a guest that is ended by `with`."""
        return Server(self.lab, name, command, port)

    def transfer(self, connections, size, timeout, program="xway-transfer", chunk=None, address=B, rate=None):
        more = (f" --max-chunk {chunk}" if chunk else "") + (f" --rate {rate}" if rate else "")
        result = self.lab.run("a", f"{program} run --peer {address} --port 7000 --connections {connections} "
                                   f"--bytes {size}{more}", timeout=timeout)
        lines = result.stdout.splitlines()
        check(lines, f"no result: {result.stderr[-300:]}")
        answer = json.loads(lines[-1])
        check(result.ok and answer["ok"], f"digests: {answer['errors'][:3]}")
        return answer

    def lasting(self, connections, seconds, rate=4 * MIB):
        """Starts a transfer of so many bytes a second each way on each connection: the fastest machine does not get ahead of the test."""
        return self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections {connections} "
                                   f"--bytes {seconds * rate} --rate {rate}")

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

    def counted(self, command, *counters):
        """By how much counters of a's grow, in sum, while a command runs there."""
        before = self.lab.stat("a")
        self.lab.run("a", command, timeout=120, check=True)
        after = self.lab.stat("a")
        return sum(after[key] - before[key] for key in counters)

    def gone_from_rings(self, name="a"):
        """Nothing leaks while the module is loaded."""
        self.lab.wait_idle(name)

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
                looks[spin_us] = self.counted(f"xway-bench run --tcp {B}:7001 --test rr --size 1 --count 400",
                                              "spins_hit", "spins_missed")
        check(looks[0] == 0, f"{looks[0]} looks with spin_us=0")
        check(looks[1000] >= 10, f"{looks[1000]} looks in 400 round trips")

    def test_busy_poll_is_a_look_before_each_wait(self):
        """SO_BUSY_POLL, here by its default for new sockets, asks for looks where spin_us allows none."""
        looks = {}
        self.knob("spin_us", 0)
        try:
            with self.serve("xway-bench serve --tcp 7001", port=7001):
                for us in (0, 20):
                    self.lab.run("a", f"echo {us} > /proc/sys/net/core/busy_read", check=True)
                    looks[us] = self.counted(f"xway-bench run --tcp {B}:7001 --test rr --size 1 --count 400",
                                             "spins_hit", "spins_missed")
        finally:
            self.lab.run("a", "echo 0 > /proc/sys/net/core/busy_read")
            self.knob("spin_us", 1000)
        check(looks[0] == 0, f"{looks[0]} looks without SO_BUSY_POLL")
        check(looks[20] >= 200, f"{looks[20]} looks in 400 round trips")

    def test_waits_for_room_begin_with_a_look(self):
        """The same of a blocking writer at a full ring: b reads slowly, as it has but one processor, and more to do."""
        looks = {}
        hog = self.lab.start("b", "while :; do :; done")
        try:
            with self.serve("xway-bench serve --tcp 7001", port=7001):
                for spin_us in (0, 1000):
                    self.knob("spin_us", spin_us)
                    # Of each, the second wait at least: then it is known what a sleep costs.
                    looks[spin_us] = sum(self.counted(f"xway-bench run --tcp {B}:7001 --test stream --size 65536 --count 500",
                                                      "spins_tx") for _ in range(6))
        finally:
            hog.signal(9)
            hog.wait(20)
        check(looks[0] == 0, f"{looks[0]} looks with spin_us=0")
        check(looks[1000] >= 2, f"{looks[1000]} looks of 6 connections, 500 writes each")

    def test_static_binary_rides_too(self):
        with self.serve("xway-transfer-static serve --port 7000", port=7000):
            self.link_up()
            before = self.ring_bytes()
            self.transfer(2, 2 * MIB, 120, "xway-transfer-static")
        check(self.ring_bytes() - before > 4 * MIB, "the static binary stayed on TCP")

    def test_ipv6(self):
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            before = self.ring_bytes()
            self.transfer(2, 2 * MIB, 120, address="fd77::12")
        check(self.ring_bytes() - before > 4 * MIB, "IPv6 stayed on TCP")

    def test_rails_switched_at_random(self):
        size = (32 if self.quick else 256) * MIB
        self.knob("flip_ms", 5)
        before = self.lab.stat("a")
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(1, size, 900, rate=size // 8)      # 8 s at least: some hundred times
        after = self.lab.stat("a")
        self.knob("flip_ms", 0)
        switches = after["switches_to_ring"] - before["switches_to_ring"]
        check(switches >= 20, f"only {switches} switches to the ring")
        for way in ("tx_ring_bytes", "tx_tcp_bytes", "rx_ring_bytes", "rx_tcp_bytes"):
            check(after[way] - before[way] > size // 50, f"{way} grew by {after[way] - before[way]} only")

    @contextmanager
    def memory_for_tcp(self):
        """Where TCP must throw away what has come, both windows of a connection may shrink so that neither side takes the other's
        acknowledgements any more: Linux 6.12 stops there for minutes, without xway as well."""
        limits = {"tcp_mem": "65536 98304 131072", "tcp_rmem": "4096 16384 65536", "tcp_wmem": "4096 16384 65536"}
        kept = {(name, key): self.lab.run(name, f"cat /proc/sys/net/ipv4/{key}", check=True).stdout.strip()
                for name in ("a", "b") for key in limits}
        try:
            for name, key in kept:
                self.lab.run(name, f"echo {limits[key]} > /proc/sys/net/ipv4/{key}", check=True)
            yield
        finally:
            for (name, key), value in kept.items():
                self.lab.run(name, f"echo {value} > /proc/sys/net/ipv4/{key}", check=True)

    def test_500_connections(self):
        self.knob("flip_ms", 5)
        before = self.ring_bytes()
        with self.memory_for_tcp(), self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(500, (64 if self.quick else 256) << 10, 600)
        self.knob("flip_ms", 0)
        check(self.ring_bytes() > before, "no byte rode a ring")
        self.gone_from_rings()

    def test_10000_connections(self):
        """All open at once, each with a slot: no page, no grant and no event channel of their own. Then each moves data."""
        count = 2000 if self.quick or self.kind == "pvh" else 10000
        self.reload("slots=10240")
        with self.serve("xway-transfer serve --port 7000 --idle 300", port=7000):
            self.link_up()
            job = self.lab.start("a", f"xway-transfer run --peer {B} --port 7000 --connections {count} --bytes 1K --rest 8 --idle 300")
            for guest in "ab":
                self.lab.wait_until(guest, f"[ $(sed -n 's/.*slots_used=\\([0-9]*\\) .*/\\1/p' /proc/xway_front/peers) -ge {count} ]",
                                    timeout=120)
            result = job.wait(600)
            check(result.ok, f"the transfer failed: {result.stdout[-300:]}")
        stat = self.lab.stat("a")
        shares = stat["tx_ring_bytes"], stat["tx_tcp_bytes"]
        print(f"# {count} connections: {shares[0]} bytes sent by ring, {shares[1]} by TCP while the arena was full", flush=True)
        check(stat["links_up"] == 1 and stat["links_down"] == 0, "they took more than one link")
        check(stat["conns_attached"] >= count and stat["why_slots-full"] == 0, f"{stat['conns_attached']} connections got a slot")
        check(stat["conns_reset"] == 0, f"{stat['conns_reset']} connections were reset")
        self.gone_from_rings()
        self.reload()

    def test_connections_cost_no_hypercall(self):
        """Where connections come and go, each side finds the other's messages when it looks: three of four need no event."""
        connections = 200
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
        with self.serve("xway-bench serve --tcp 7001", port=7001):
            before = self.lab.stat("a"), self.lab.stat("b")
            self.lab.run("a", f"xway-bench run --tcp {B}:7001 --test cc --count {connections}", timeout=120, check=True)
            after = self.lab.stat("a"), self.lab.stat("b")
        kicks, sent, seen = (sum(now[key] - then[key] for then, now in zip(before, after))
                             for key in ("kicks", "msgs_sent", "hellos_received"))
        print(f"# {connections} connections: {seen} hellos, {sent} messages, {kicks} hypercalls", flush=True)
        check(seen >= connections, f"only {seen} hellos were received")
        check(kicks < sent / 4, f"{kicks} hypercalls for {sent} messages")
        self.gone_from_rings()

    def arenas(self):
        """Ring pages in use, on either side."""
        return sum(int(pages) for guest in "ab"
                   for pages in re.findall(r"arena_used=(\d+)", self.lab.run(guest, "cat /proc/xway_front/peers").stdout))

    def test_idle_connections_hold_no_page(self):
        """A ring goes back after a rest, without an event, and the next byte takes one again: none goes by TCP."""
        connections = 60      # more would fill the arena
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
        self.lab.run("a", "grep -q idle_ms=1000 /proc/xway_front/status", check=True)
        with self.serve("xway-bench serve --tcp 7001", port=7001):
            job = self.lab.start("a", f"xway-bench run --tcp {B}:7001 --test idle --connections {connections} --seconds 8")
            self.lab.wait_until("a", f"[ $(grep -c 'why_tx=idle' /proc/xway_front/sockets) = {connections} ]", timeout=60)
            self.lab.wait_until("b", f"[ $(grep -c 'why_tx=idle' /proc/xway_front/sockets) = {connections} ]", timeout=10)
            pages, before = self.arenas(), self.lab.stat("a")
            size = self.lab.run("a", "awk '$1 == \"xway_conn\" { print $4 }' /proc/slabinfo", check=True).stdout.strip()
            check(job.wait(60).ok, "the connections did not go on")
            after = self.lab.stat("a")
        print(f"# {connections} idle connections: {pages} ring pages, {size} bytes each", flush=True)
        check(pages == 0, f"{pages} ring pages are held")
        check(int(size) <= 512, f"a connection takes {size} bytes")
        for key in ("tx_tcp_bytes", "rx_tcp_bytes"):
            check(after[key] == before[key], f"{key} grew by {after[key] - before[key]} after the rest")
        check(after["rx_ring_bytes"] - before["rx_ring_bytes"] >= 4 * connections, "nothing came by ring after the rest")
        self.gone_from_rings()

    def test_idle_connections_keep_their_rings(self):
        """If idle_ms is 0; and not any more once it is not."""
        self.knob("idle_ms", 0)
        with self.serve("xway-bench serve --tcp 7001", port=7001):
            job = self.lab.start("a", f"xway-bench run --tcp {B}:7001 --test idle --connections 4 --seconds 6")
            self.lab.wait_until("a", "grep -q 'arena_used=[1-9].* slots_used=[4-9]' /proc/xway_front/peers")
            self.lab.run("a", "sleep 2.5")
            kept = self.arenas()
            self.knob("idle_ms", 1000)
            self.lab.wait_until("a", "grep -q arena_used=0 /proc/xway_front/peers", timeout=4)
            check(job.wait(60).ok, "the connections did not go on")
        check(kept > 0, "rings went back though idle_ms was 0")
        self.gone_from_rings()

    def test_rings_grow_with_the_traffic(self):
        with self.serve("xway-bench serve --tcp 7001", port=7001):
            for most, grow in ((64, False), (256, True)):
                self.knob("ring_kib", most)
                before = self.lab.stat("a")["rings_grown"]
                self.lab.run("a", f"xway-bench run --tcp {B}:7001 --test stream --size 65536 --count 400", timeout=60, check=True)
                grown = self.lab.stat("a")["rings_grown"] - before
                check((grown > 0) == grow, f"rings grew {grown} times with ring_kib={most}")
        self.gone_from_rings()

    def test_posted_messages_are_told(self):
        """A peer that does not look, because its program does not accept, is told nevertheless."""
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
        with self.serve("xway-bench serve --tcp 7001", port=7001) as server:
            server.signal(19)
            before = self.lab.stat("b")["hellos_received"]
            client = self.lab.start("a", f"sleep 20 | nc {B} 7001")
            self.lab.wait_until("b", f"[ $(sed -n 's/^hellos_received //p' /proc/xway_front/stat) -gt {before} ]", timeout=10)
            client.signal(9)
        self.gone_from_rings()

    def test_socket_cases_on_rings(self):
        self.cases("rings")

    def test_socket_cases_switching(self):
        self.knob("flip_ms", 4)
        try:
            self.cases("switching")
        finally:
            self.knob("flip_ms", 0)

    def test_socket_cases_starved(self):
        """Memory for eight rings of 16 KiB, which come and go."""
        self.reload("arena_kib=128 ring_kib=16 flip_ms=10")
        self.cases("starved")
        check(self.lab.stat("a")["arena_full"] > 0, "the arena was never full")
        self.reload()

    def test_random_programs(self):
        """tests/fuzz: the same programs by TCP, on rings, and with rails that change, give what TCP gives."""
        count = 3 if self.quick else 10 if self.kind == "pv" else 5
        ways = {"tcp": {"enable": 0}, "ring": {"enable": 1}, "flip": {"enable": 1, "flip_ms": 3}}
        logs = {}
        try:
            for way, knobs in ways.items():
                for key, value in knobs.items():
                    self.knob(key, value)
                attached = self.lab.stat("a")["conns_attached"]
                logs[way] = self.play(f"run --programs {count}", way)
                attached = self.lab.stat("a")["conns_attached"] - attached
                check((attached > count // 2) == (way != "tcp"), f"{way}: {attached} connections attached")
            self.knob("enable", 0)
            bad = []
            for way in ("ring", "flip"):
                differ = [seed for seed in logs["tcp"] if logs[way].get(seed) != logs["tcp"][seed]]
                differ = [seed for seed in differ if not self.is_tcps(seed, logs["tcp"][seed], logs[way].get(seed, [""])[0])]
                print(f"# {way}: {count} programs, {len(differ)} differ", flush=True)
                bad += [f"{way}: program {seed}" for seed in differ]
        finally:
            self.knob("enable", 1)
            self.knob("flip_ms", 0)
        check(not bad, f"{', '.join(bad)}: see {self.lab.out}/fuzz-*.log")
        self.gone_from_rings()

    def play(self, command, name):
        """What xway-socket-fuzz logs of programs, by their names: as often as each was played."""
        with self.serve("xway-socket-fuzz serve", port=7790):
            self.lab.run("a", f"xway-socket-fuzz {command} --peer {B} --block-ms 60 --await-ms 20000 --log /tmp/fuzz.log",
                         timeout=1200, check=True)
        text = self.lab.get("a", "/tmp/fuzz.log", self.lab.out / f"fuzz-{name}.log").decode()
        logs = {}
        for part in re.sub(r"^calls .*\n", "", text, flags=re.M).split("program ")[1:]:
            title, _, body = part.partition("\n")
            logs.setdefault(title, []).append(body.strip("\n"))
        return logs

    def is_tcps(self, seed, once, seen):
        """Does TCP give each result, too? Not always the same ones: how fast a reset comes is nobody's promise."""
        steps = subprocess.run([PROGRAMS[-1], "print", "--seed", seed], capture_output=True, check=True).stdout
        self.lab.put("a", steps, "/tmp/program.txt")
        plays = [play.split("\n") for play in once + self.play("replay --repeat 8 /tmp/program.txt", f"tcp-{seed}")["program.txt"]]
        seen = seen.split("\n")
        return len(seen) == len(plays[0]) and all(may_be(line, set(told)) for line, told in zip(seen, zip(*plays)))

    def test_socket_cases_on_plain_tcp(self):
        """What they are to be compared with: the same machine without the module."""
        for name in ("a", "b"):
            self.lab.unload_guest(name)
        self.cases("plain", rings=False)
        self.reload(loaded=False)

    def reload(self, parameters="", loaded=True):
        """Both guests' modules once more, with these parameters."""
        for name in ("a", "b") if loaded else ():
            self.lab.unload_guest(name)
        for name in ("a", "b"):
            self.lab.load_guest(name, parameters)
        for name in ("a", "b"):
            self.lab.wait_peers(name)

    def cases(self, mode, rings=True):
        glob = CASES[self.kind][mode]
        if self.quick:
            glob = QUICK_CASES + glob[1:]
        if rings:
            attached = self.lab.stat("a")["conns_attached"]
        with self.serve("xway-socket-cases serve", port=7710):
            passed, bad = self.run_cases([glob], 3, 8)
            if 0 < len(bad) <= 8:
                # The emulator stops for seconds at times: what fails once more, alone, has not failed of that.
                print("# once more, alone and with more time: " + ", ".join(bad), flush=True)
                again, bad = self.run_cases(bad, 6, 1)
                passed += again
        print(f"# socket cases: {self.kind} {mode}: {passed} passed, {len(bad)} failed", flush=True)
        check(not bad, "failed: " + " ".join(bad) + "; see socket-cases.log")
        if rings:
            check(self.lab.stat("a")["conns_attached"] - attached > 50, "the cases did not attach to rings")
            self.gone_from_rings()

    def run_cases(self, globs, scale, jobs):
        """Runs the cases that match: how many passed, and the names of those that failed."""
        filters = " ".join(f"--filter '{glob}'" for glob in globs)
        result = self.lab.run("a", f"xway-socket-cases run --peer {B} --peer6 fd77::12 --timeout-scale {scale} --jobs {jobs} {filters}",
                              timeout=2400)
        with (self.lab.out / "socket-cases.log").open("a") as log:
            log.write(result.stdout)
        count = re.search(r"^(\d+) passed, (\d+) failed", result.stdout, re.M)
        check(count and int(count[1]) + int(count[2]) > 0, f"no cases ran: {result.stderr[-300:]}")
        return int(count[1]), re.findall(r"^not ok (\S+)", result.stdout, re.M)

    def test_bridge_sees_no_data(self):
        """tcpdump on dom0's bridge: once both directions ride rings, 100 MiB pass and no segment carries a byte."""
        # A ring that its reader leaves full for 100 ms is given up for a while: the emulator itself may stop for as long.
        for _ in range(4):
            stalls = self.stalls()
            moved, seen, since = self.watch_bridge()
            if self.stalls() == stalls:
                break
        early = sum(size for when, size in seen if when < since)
        late = sum(size for when, size in seen if when >= since)
        print(f"# {moved >> 20} MiB rode rings; the bridge saw {early} bytes of data before that and {late} meanwhile, "
              f"in {len(seen)} segments", flush=True)
        check(len(seen) >= 6, "tcpdump saw neither handshake nor end")
        check(moved > 100 * MIB, f"only {moved} bytes rode the rings")
        check(late == 0, f"{late} bytes of data crossed the bridge")
        # What is sent before the peer has answered HELLO rides TCP.
        check(early < 4 * MIB, f"{early} bytes of data crossed the bridge before")

    def stalls(self):
        return sum(self.lab.stat(name)["stalls"] for name in ("a", "b"))

    def watch_bridge(self):
        """A transfer: bytes by ring since both directions rode one, segments (time, data) on the bridge, and that time."""
        self.lab.run("dom0", "rm -f /tmp/bridge.pcap")
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            dump = self.lab.start("dom0", "exec tcpdump -Z root -U -i xenbr0 -s 96 -w /tmp/bridge.pcap tcp port 7000")
            self.lab.wait_until("dom0", "[ -s /tmp/bridge.pcap ]")
            job = self.lasting(1, 8, 32 * MIB)
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
        return moved, seen, since

    def test_ss_and_show(self):
        with self.serve("xway-transfer serve --port 7000", port=7000), \
             self.serve("nc -l -p 7009 >/dev/null", name="dom0", port=7009):
            hold = self.lasting(1, 60)
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

    # ---- counters ----

    def figures(self, name="a"):
        """What `xway stat` counts in a guest."""
        return json.loads(self.lab.run(name, "xway stat -j", check=True).stdout)

    def metrics(self, name="a", more=""):
        return read_metrics(self.lab.run(name, f"xway stat --prometheus {more}", check=True).stdout)

    def test_counters_by_peer_reason_and_namespace(self):
        """A known transfer: the module, its one peer and the one namespace have counted the same bytes."""
        size = 4 * MIB
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            before = self.figures()
            self.transfer(3, size, 60)
            self.gone_from_rings()
            after = self.figures()
        check([peer["name"] for peer in after["peers"]] == ["b"], f"peers: {after['peers']}")

        def added(key, section=lambda figures: figures["total"]):
            return section(after)[key] - section(before)[key]

        scopes = {"the peer": lambda figures: figures["peers"][0]["counters"],
                  "the namespace": lambda figures: figures["namespace"]["counters"]}
        for who, section in scopes.items():
            for key in sorted(section(after)):
                check(added(key, section) == added(key), f"{who} has counted {added(key, section)} {key}, the module {added(key)}")
        for way in ("tx", "rx"):
            moved = added(f"{way}_ring_bytes") + added(f"{way}_tcp_bytes")
            check(3 * size <= moved < 3 * size + MIB, f"{way}: {moved} bytes, not {3 * size}")
            check(added(f"{way}_ring_bytes") > 2 * size, f"{way}: only {added(way + '_ring_bytes')} by ring")
        check(added("conns_attached") == added("conns_detached") == 3 <= added("switches_to_ring"), f"attachments: {after}")
        check(added("waiting", lambda figures: figures["reasons"]) == 3, "each connection waits for its peer's answer first")
        check(after["peers"][0]["counters"]["links_up"] >= 1, "the link was never up")

        metrics, labels = self.metrics(), [("peer", "b"), ("domid", str(after["peers"][0]["domid"]))]
        check(metrics["xway_conns_attached_total"][frozenset()] == after["total"]["conns_attached"], "JSON and metrics differ")
        check(metrics["xway_peer_tx_ring_bytes_total"][frozenset(labels)] == scopes["the peer"](after)["tx_ring_bytes"],
              "JSON and metrics differ in the peer's bytes")
        check(metrics["xway_peer_tcp_reasons_total"][frozenset(labels + [("reason", "waiting")])] ==
              after["peers"][0]["reasons"]["waiting"], "JSON and metrics differ in the reasons")
        check(metrics["xway_peer_link_up"][frozenset(labels)] == 1, "the metrics do not see the link")
        self.lab.run("a", "xway stat | grep -q '^conns_attached *[1-9]' && xway stat --watch 1 --count 2 | grep -q why_waiting",
                     check=True)

    def test_counters_of_reasons(self):
        """Each reason that can be brought about has counted its connections, and no other has."""
        def reasons(act, name="a", scope="reasons"):
            before = self.figures(name)
            act()
            after = self.figures(name)
            if scope == "peer":
                before, after = ({"peer": figures["peers"][0]["reasons"]} for figures in (before, after))
            return {key: value - before[scope][key] for key, value in after[scope].items() if value != before[scope][key]}

        def connect(address, port, server):
            with self.serve(f"nc -l -p {port} > /dev/null", name=server, port=port):
                self.lab.run("a", f"echo | timeout 10 nc {address} {port}", check=True)
                self.lab.wait_until("a", "! grep -q ESTABLISHED /proc/xway_front/sockets")

        seen = reasons(lambda: connect("10.77.0.1", 7009, "dom0"))
        check(seen == {"not-peer": 1}, f"a connection to dom0: {seen}")
        for address in ("127.0.0.1", A):
            seen = reasons(lambda to=address: connect(to, 7012, "a"))
            check(seen == {"local": 2}, f"both ends here, at {address}: {seen}")
        self.knob("enable", 0)
        try:
            for who, scope in (("a", "reasons"), ("a", "peer"), ("b", "peer")):
                seen = reasons(lambda: connect(B, 7013, "b"), who, scope)
                check(seen == {"disabled": 1}, f"switched off, {who}, {scope}: {seen}")
        finally:
            self.knob("enable", 1)

    def test_counters_of_another_namespace(self):
        """A second network namespace begins with zeros, counts for itself, and leaves nothing behind."""
        self.transfer_once()
        before = self.figures()
        script = """ip link set lo up && cat /proc/net/xway_stat > /tmp/fresh && xway stat --netns -j > /tmp/fresh.json &&
                    (timeout 20 nc -l -p 7014 > /dev/null & until grep -q ':1B66 .* 0A ' /proc/net/tcp /proc/net/tcp6; do usleep 50000; done
                     echo | timeout 10 nc 127.0.0.1 7014; wait) && cat /proc/net/xway_stat > /tmp/used && xway stat --netns -j > /tmp/used.json &&
                    xway stat --netns --prometheus > /tmp/used.prom"""
        self.lab.run("a", f"unshare -n sh -c '{script.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'", check=True, timeout=60)
        fresh, used = ({key: int(value) for key, value in (line.split() for line in self.lab.get("a", path).decode().splitlines())}
                       for path in ("/tmp/fresh", "/tmp/used"))
        check(fresh and not any(fresh.values()), f"a new namespace begins with {fresh}")
        check({key: value for key, value in used.items() if value} == {"why_local": 2}, f"the other namespace has counted {used}")
        shown = json.loads(self.lab.get("a", "/tmp/used.json"))
        check(set(shown) == {"namespace"} and shown["namespace"]["reasons"]["local"] == 2, f"xway stat --netns -j: {shown}")
        netns = shown["namespace"]["netns"]
        check(netns != before["namespace"]["netns"] == self.figures()["namespace"]["netns"], f"both namespaces are {netns}")
        metrics = read_metrics(self.lab.get("a", "/tmp/used.prom").decode())
        check(metrics["xway_netns_tcp_reasons_total"][frozenset([("netns", str(netns)), ("reason", "local")])] == 2, f"metrics: {metrics}")
        after = self.figures()
        check(after["reasons"]["local"] - before["reasons"]["local"] == 2, "the module has not counted what the namespace has")
        check(after["namespace"]["reasons"] == before["namespace"]["reasons"], "the first namespace has counted for the second")
        check(before["namespace"]["counters"]["tx_ring_bytes"] > 0, "the first namespace has counted nothing")
        self.lab.run("a", "for i in $(seq 60); do unshare -n true || exit 1; done", check=True, timeout=120)
        self.lab.run("a", "[ $(stat -c %a /proc/net/xway_stat) = 444 ] && [ $(stat -c %a /proc/xway_front/stat_peers) = 400 ]", check=True)

    def transfer_once(self):
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            self.transfer(1, MIB, 60)

    def test_counters_outlive_the_peers_module(self):
        """What dom0 goes on listing goes on counting: another life of the peer's module begins no new account."""
        self.transfer_once()
        before = self.figures()["peers"][0]
        self.lab.unload_guest("b")
        self.lab.wait_until("a", "grep -q ready=0 /proc/xway_front/peers")
        self.lab.load_guest("b")
        self.lab.wait_peers("a")
        self.transfer_once()
        after = self.figures()["peers"][0]
        check(after["domid"] == before["domid"], f"another peer: {after}")
        lower = [key for key in before["counters"] if after["counters"][key] < before["counters"][key]]
        check(not lower, f"these went down: {lower}")
        for key in ("links_up", "links_down", "tx_ring_bytes", "conns_attached"):
            check(after["counters"][key] > before["counters"][key], f"{key} has not moved: {after}")

    def test_hostile_peer_name(self):
        """Names come from dom0. Whatever they hold, a line stays a line, JSON stays JSON, metrics stay metrics."""
        own, peer = self.lab.domids["a"], self.lab.domids["b"]
        node = f"/local/domain/0/backend/xway/{own}/0/peer/{peer}"
        text = self.lab.run("dom0", f"xenstore-read {node}", check=True).stdout.strip()
        check(" name=b " in text, f"{node} says {text!r}")
        # As printf is given them, behind which xenstore-write takes backslashes away once more; and as the guest shows them.
        for name, shown in (('a"}', 'a"}'), (r"back\\\\slash", "back\\slash"), (r"new\nline", "new_line"), (r"tab\tbed", "tab_bed"),
                            (r"bell\a", "bell_"), ("domid=9", "domid=9"), (r"caf\303\251", "caf__"), (r"\377", "_")):
            self.lab.run("dom0", f"xenstore-write {node} \"$(printf '{text.replace(' name=b ', f' name={name} ')}')\"", check=True)
            self.lab.wait_until("a", f"grep -qF 'name={shown} ' /proc/xway_front/peers")
            for file in ("peers", "stat_peers"):
                lines = self.lab.run("a", f"cat /proc/xway_front/{file}", check=True).stdout.splitlines()
                check(len(lines) == 1 and lines[0].startswith(f"domid={peer} "), f"{name}: {file} says {lines}")
            figures = self.figures()["peers"]
            check([(each["domid"], each["name"]) for each in figures] == [(peer, shown)], f"{name}: {figures}")
            seen = [dict(labels) for labels in self.metrics()["xway_peer_tx_ring_bytes_total"]]
            check(seen == [{"peer": shown, "domid": str(peer)}], f"{name}: {seen}")
        self.lab.run("dom0", f"xenstore-write {node} '{text}'", check=True)
        self.lab.wait_until("a", "grep -q ' name=b ' /proc/xway_front/peers")

    def ss_info(self, name, port):
        """What `ss -ti` says of the one connection with that port, numbers by name."""
        text = self.lab.run(name, f"modprobe tcp_diag; ss -Htin '( sport = :{port} or dport = :{port} )'", check=True).stdout
        return {key: int(value) for key, value in re.findall(r"(\w+):(\d+)\b", text)}

    def test_ss_counts_ring_bytes(self):
        """ss asks TCP, not us: what rode the rings is in TCP's own statistics, exactly, after a quiet moment."""
        size = 3 * MIB + 7
        with self.serve(f"sh -c 'sleep 4; head -c {MIB} /dev/zero; sleep 40' | nc -l -p 7012 | head -c {size} > /tmp/got", port=7012):
            job = self.lab.start("a", f"(echo; sleep 2; head -c {size - 1} /dev/zero; sleep 40) | nc {B} 7012 > /dev/null")
            self.lab.wait_until("b", f"[ $(wc -c < /tmp/got) = {size} ]")
            self.lab.wait_until("a", "grep ':7012 ' /proc/xway_front/sockets | grep -q ' tx_ring=[1-9].* rx_ring=[1-9]'")
            time.sleep(4)
            rows = {name: next(row for row in self.lab.sockets(name) if ":7012" in row["local"] + row["remote"])
                    for name in ("a", "b")}
            infos = {name: self.ss_info(name, 7012) for name in ("a", "b")}
            job.signal(9)
        check(int(rows["a"]["tx_ring"]) > 2 * MIB and int(rows["a"]["rx_ring"]) > MIB // 2, f"not by ring: {rows['a']}")
        for name, sent, received in (("a", size, MIB), ("b", MIB, size)):
            info = infos[name]
            check(info.get("bytes_sent") == sent and info.get("bytes_acked") == sent + (name == "a")
                  and info.get("bytes_received") == received, f"{name}: {sent} sent, {received} received: ss says {info}")
        # TCP itself has carried nothing but the first line, at the very beginning.
        for key in ("lastsnd", "lastrcv"):
            check(infos["a"][key] < int(rows["a"]["age_ms"]) - 1500, f"{key} is {infos['a'][key]}, of {rows['a']['age_ms']} ms")

    def test_tracepoints(self):
        """Below events/xway of tracefs: what a connection goes through, and nothing once they are off."""
        tracing = "/sys/kernel/tracing"
        self.lab.run("a", f"[ -e {tracing}/trace ] || mount -t tracefs none {tracing}; cd {tracing} && echo > trace && "
                          "echo 1 > tracing_on && echo 1 > events/xway/enable", check=True)
        peer = re.search(r"domid=(\d+)", self.lab.run("a", "cat /proc/xway_front/peers", check=True).stdout)[1]
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            self.transfer(1, 4 * MIB, 60)
            self.gone_from_rings()
            text = self.lab.run("a", f"cat {tracing}/trace; cd {tracing}; echo 0 > events/xway/enable; echo > trace", check=True).stdout
            self.transfer(1, MIB, 60)
        off = self.lab.run("a", f"grep -c xway_ {tracing}/trace").stdout
        check(off.strip() == "0", f"{off} events although they are off")
        attached = re.findall(rf"xway_attach: local=({re.escape(A)}:\d+) remote={re.escape(B)}:7000 peer={peer} id=0x\w+ "
                              r"peer_id=0x\w+ role=client", text)
        check(len(attached) >= 1, f"no connection attached in\n{text[-2000:]}")
        whose = rf"local={re.escape(attached[-1])} remote={re.escape(B)}:7000 peer={peer} .*"
        for event in (rf"xway_switch: {whose}dir=tx from=tcp to=ring epoch=1 mark=\d+ why_tx=none",
                      rf"xway_switch: {whose}dir=rx from=tcp to=ring epoch=1 mark=\d+",
                      rf"xway_detach: {whose}reason=(peer-)?closed why_tx=\S+ tx_ring=[1-9]\d+ rx_ring=[1-9]\d+",
                      rf"xway_kick: peer={peer} irq=\d+ prod=\d+"):
            check(re.search(event, text), f"no line like {event} in\n{text[-3000:]}")

    def monitored(self, name="a", device="xwaymon0"):
        """Bytes, packets, errors and drops that a monitor device counts."""
        text = self.lab.run(name, f"grep '{device}:' /proc/net/dev", check=True).stdout
        return [int(word) for word in text.split(":")[1].split()[:4]]

    def test_packet_capture(self):
        """tcpdump on a device of kind xwaymon: an HTTP exchange that rode the ring, whole, and of this namespace alone."""
        request = "GET /page HTTP/1.0\r\n\r\n"
        # A page that fits in the ring: then it is never full, and all of it rides there.
        self.lab.run("b", "mkdir -p /tmp/www && seq 1 10000 > /tmp/www/page", check=True)
        self.lab.run("a", "rm -f /tmp/mon.pcap /tmp/other /tmp/stop; ip link add xwaymon0 type xwaymon && ip link set xwaymon0 up", check=True)
        other = self.lab.start("a", "unshare -n sh -c 'ip link add xwaymon1 type xwaymon && ip link set xwaymon1 up && touch /tmp/other && "
                                    "until [ -e /tmp/stop ]; do sleep 1; done; grep xwaymon1: /proc/net/dev'")
        self.lab.wait_until("a", "[ -e /tmp/other ]")
        dump = self.lab.start("a", "exec tcpdump -Z root -U -i xwaymon0 -w /tmp/mon.pcap")
        self.lab.wait_until("a", "[ -s /tmp/mon.pcap ]")
        with self.serve("httpd -f -p 8099 -h /tmp/www", port=8099), self.serve("xway-transfer serve --port 7000", port=7000):
            self.link_up()
            before = self.ring_bytes()
            # What is sent before the peer has answered HELLO rides TCP.
            self.lab.run("a", f"(sleep 1; printf '{request}') | nc {B} 8099 > /tmp/answer", timeout=60, check=True)
            moved = self.ring_bytes() - before
            self.transfer(1, MIB, 60, address="fd77::12")
            time.sleep(1)
            dump.signal(15)
            dump.wait(20)
            self.lab.run("a", "touch /tmp/stop", check=True)
            counted = other.wait(20).stdout
            self.capture_is_whole(request.encode(), self.lab.get("a", "/tmp/answer"), moved)
            check(re.search(r"xwaymon1: +0 +0 ", counted), f"another namespace's device counts {counted}")
            shown = self.monitored()
            check(shown[1] > 100 and shown[3] == 0, f"the device counts {shown}")
            self.lab.run("a", "ip link set xwaymon0 down", check=True)
            self.transfer(1, MIB, 60)
            check(self.monitored() == shown, f"down, the device counts {self.monitored()}, before {shown}")
        # A device that is up, and watched, does not keep the module.
        self.lab.run("a", "ip link set xwaymon0 up", check=True)
        dump = self.lab.start("a", "exec tcpdump -Z root -i xwaymon0 -w /dev/null")
        self.lab.unload_guest("a")
        self.lab.run("a", "! ip link show xwaymon0 2>/dev/null", check=True)
        dump.signal(15)
        self.lab.load_guest("a")
        for name in ("a", "b"):
            self.lab.wait_peers(name)

    def capture_is_whole(self, request, answer, moved):
        check(len(answer) > 40000 and moved >= len(answer), f"{len(answer)} bytes came, {moved} by ring")
        text = self.lab.run("a", "tcpdump -Z root -r /tmp/mon.pcap -n -A port 8099", check=True, timeout=120).stdout
        check("GET /page" in text and "200 OK" in text, f"tcpdump -A shows\n{text[:2000]}")
        sums = self.lab.run("a", "tcpdump -Z root -r /tmp/mon.pcap -n -vv", check=True, timeout=120).stdout
        for net in ("IP ", "IP6 "):
            check(re.search(rf"{net}[^\n]*(\n +[^\n]*)?cksum 0x\w+ \(correct\)", sums), f"no {net}with a checksum in\n{sums[:2000]}")
        check("incorrect" not in sums and "bad cksum" not in sums, "wrong checksums")
        packets = list(packets_of(self.lab.get("a", "/tmp/mon.pcap")))
        check(all(packet[0] == 6 for packet in packets), "other packets than TCP's")
        for ports, wanted in (((None, 8099), request), ((8099, None), answer)):
            parts = [packet for packet in packets if ports[0] in (None, packet[1]) and ports[1] in (None, packet[2])]
            check(parts, f"no packets {ports}")
            stream, begin = b"", parts[0][3]
            for _, _, _, seq, data in parts:
                check((seq - begin) % 2**32 == len(stream), f"{ports}: {seq - begin} follows {len(stream)}")
                stream += data
            check(stream == wanted, f"{ports}: {len(stream)} bytes were captured, {len(wanted)} went; they begin with {stream[:60]}")

    def test_check_names_each_precondition(self):
        self.lab.run("a", "ping -c 1 -W 5 b", check=True, timeout=20)
        result = self.lab.run("a", f"xway check {B}")
        check(result.ok, f"xway check {B} fails:\n{result.stdout}{result.stderr}")
        result = self.lab.run("a", "xway check 10.77.0.1")
        check(result.rc == 1, f"xway check of dom0 ends with {result.rc}:\n{result.stdout}")

    def test_unload_under_load_keeps_every_byte(self):
        for who in ("b", "a"):
            with self.serve("xway-transfer serve --port 7000", port=7000):
                job = self.lasting(4, 5)
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
                try:
                    self.go_on_without(stuck, way)
                finally:
                    stuck.signal(9)
                self.lab.wait_peers("a")
                self.link_up()

    def go_on_without(self, stuck, way):
        self.lab.wait_until("a", "grep ':7011 ' /proc/xway_front/sockets | grep -q tx=ring")
        self.lab.run("a", "sleep 2; echo > /tmp/go; sleep 1", check=True)
        job = self.lasting(4, 5)
        self.lab.wait_until("a", "grep ':7000 ' /proc/xway_front/sockets | grep -q 'tx=ring rx=ring'")
        self.lab.unload_guest("b", timeout=30)
        result = job.wait(300)
        check(result.rc == 0 and '"ok":true' in result.stdout,
              f"{way}: others were hurt: {result.stdout[-300:]}{result.stderr[-300:]}")
        self.lab.load_guest("b")
        self.transfer(1, 1 << 16, 60)
        check(stuck.running, f"{way}: the program was not stuck at all")

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
        """Withdrawn in mid-transfer: the rest goes by TCP, and nothing rides a ring until there is a policy for it again."""
        self.lab.put("dom0", b"device *\ndeny a b\nallow * *\n", "/etc/xway/deny.conf")
        try:
            with self.serve("xway-transfer serve --port 7000", port=7000):
                self.withdraw_policy()
                self.lab.wait_until("a", "! grep -q . /proc/xway_front/peers")
                refused = self.ring_bytes()
                self.transfer(2, MIB, 60)
                check(self.ring_bytes() == refused, "bytes ride a ring that policy forbids")
        finally:
            self.allow()

    def allow(self):
        self.lab.run("dom0", "xway policy apply /etc/xway/policy.conf", check=True)
        for name in ("a", "b"):
            self.lab.wait_peers(name)

    def withdraw_policy(self):
        self.link_up()
        before = self.ring_bytes()
        job = self.lasting(2, 10)
        self.lab.wait_until("a", "grep -q 'tx=ring rx=ring' /proc/xway_front/sockets")
        self.lab.run("dom0", "xway policy apply /etc/xway/deny.conf", check=True)
        result = job.wait(300)
        check(result.rc == 0, f"the policy's withdrawal hurt: {result.stdout[-300:]}{result.stderr[-300:]}")
        moved = json.loads(result.stdout.splitlines()[-1])
        check(self.ring_bytes() - before < moved["sent"] + moved["received"] - 2 * MIB, "all rode rings although policy forbade it")

    def test_arena_full(self):
        self.reload("arena_kib=64 ring_kib=16 flip_ms=5")
        with self.serve("xway-transfer serve --port 7000", port=7000):
            self.transfer(60, 256 << 10, 200)
        check(self.lab.stat("a")["arena_full"] > 0, "the arena was never full")
        self.gone_from_rings()
        self.reload()

    def test_peer_destroyed(self):
        rounds = 2 if self.quick or self.kind == "pvh" else 6
        waits = []
        for number in range(rounds):
            with self.serve("xway-transfer serve --port 7000", port=7000):
                job = self.lasting(3, 120)
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


def packets_of(pcap):
    """Protocol, ports, sequence number and data of each packet of a capture without link headers."""
    order = "<" if pcap[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    kind, at = struct.unpack_from(order + "I", pcap, 20)[0], 24
    check(kind == 101, f"link type {kind}, wanted raw IP")
    while at < len(pcap):
        size = struct.unpack_from(order + "I", pcap, at + 8)[0]
        packet, at = pcap[at + 16:at + 16 + size], at + 16 + size
        six = packet[0] >> 4 == 6
        head = 40 if six else (packet[0] & 15) * 4
        source, target, seq = struct.unpack_from("!HHI", packet, head)
        yield packet[6 if six else 9], source, target, seq, packet[head + (packet[head + 12] >> 4) * 4:]


def may_be(line, told):
    """Is a result one of TCP's? Where TCP gives several, of each part: a reset may come between two parts of a call."""
    return line in told or (len(told) > 1 and set(line.split()) <= {word for other in told for word in other.split()})


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
    """What has been done, and whether there is time for all that is left, at the speed so far."""

    def __init__(self, names, minutes):
        self.begin, self.names, self.seconds = time.monotonic(), names, minutes * 60
        self.passed = self.failed = self.done = 0

    @staticmethod
    def usual(key):
        return LONG.get(key.rpartition("/")[2], SHORT)

    def left(self):
        """Seconds."""
        slow = max(1, (time.monotonic() - self.begin) / self.done) if self.done > 60 else 1
        return slow * sum(map(self.usual, self.names))

    def is_late(self):
        return 0 < self.seconds < time.monotonic() - self.begin + self.left()

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
        if key in self.names:
            self.names.remove(key)
            self.done += self.usual(key)
        if reason:
            self.failed += 1
            print(f"not ok {name} - " + reason.replace("\n", "\n#   "), flush=True)
        else:
            self.passed += 1
            print(f"ok {name}   # {took:.0f} s, about {self.left() / 60:.0f} min left", flush=True)
        return not reason

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guest", choices=("pv", "pvh"), default="pv")
    parser.add_argument("--kernel", help="of dom0 and guests, or how its version begins (tests/vm/kernels list)")
    parser.add_argument("--vcpus", type=int, default=1, help="of each guest")
    parser.add_argument("--only", default="*", help="tests whose names match: GLOB[,GLOB...]")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--minutes", type=float, default=0, help="less of everything once there is no time for all; 0: there is")
    options = parser.parse_args()
    series = f"-{options.kernel}" if options.kernel else ""
    out = TOP / "build" / "vm" / f"test-{options.guest}{series}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "socket-cases.log").unlink(missing_ok=True)

    names = [name for name in vars(Tests) if name.startswith("test_") and any(fnmatch(name[5:], glob) for glob in options.only.split(","))]
    keys = {name: f"{options.guest}{series}/{name[5:]}" for name in names}
    report = Report(list(keys.values()), options.minutes)
    try:
        for may_fault in [options.guest == "pvh"] * FAULTS + [False]:
            lab = XwayLab(out, kind=options.guest, kernel=options.kernel, vcpus=options.vcpus, programs=["ss", "tcpdump", *map(str, PROGRAMS)],
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
    key = options.guest + (f"-{options.kernel}" if options.kernel else "")
    faulted = lambda: may_fault and lab.faulted()
    if not report.act(f"{key}/boot", f"boot ({key})", lab.boot):
        return []
    before = health.in_use(lab)
    if report.act(f"{key}/load", f"load ({key})", lab.load):
        tests = Tests(lab, options)
        for name in names:
            if not tests.quick and report.is_late():
                tests.quick = True
                print(f"# {options.minutes:g} minutes are not enough for all: less of everything from {name[5:]} on", flush=True)
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
