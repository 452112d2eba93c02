#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""selftest.py - the lab tried by itself: commands at once, files, a guest destroyed and made again, save and restore.

    selftest.py [pv | pvh]
"""

import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from xlab import Guest, Lab, LabError, LabTimeout, health, image  # noqa: E402

begin = time.monotonic()


def passed(what):
    print(f"{time.monotonic() - begin:6.1f} s  ok    {what}", flush=True)


def commands(lab):
    assert lab.run("a", "echo out; echo err >&2; exit 3").rc == 3
    assert lab.run("a", "echo out; echo err >&2").stderr == "err\n"
    assert lab.run("a", "kill -9 $$").rc == 137
    assert lab.run("a", "ulimit -n").stdout == "65536\n"
    assert lab.run("a", "wc -c", stdin="x" * 5000).stdout == "5000\n"
    passed("exit status, output, input")

    jobs = [lab.start("a", f"sleep 1; echo {number}") for number in range(8)]
    now = time.monotonic()
    assert [job.wait(30).stdout for job in jobs] == [f"{number}\n" for number in range(8)]
    assert time.monotonic() - now < 6, "they did not run at once"
    passed("eight commands at once in one guest")

    try:
        lab.run("b", "sleep 100", timeout=2)
        raise AssertionError("no time-out")
    except LabTimeout:
        lab.wait_until("b", "! pidof sleep")
    passed("a command that hangs is named and killed")


def files(lab):
    data = bytes(range(256)) * 4096
    for where in ("dom0", "a"):
        now = time.monotonic()
        lab.put(where, data, "/tmp/deep/down/file", mode=0o755)
        back = lab.get(where, "/tmp/deep/down/file")
        assert back == data, f"{len(back)} bytes, {sum(x != y for x, y in zip(back, data))} of them wrong"
        passed(f"1 MiB to {where} and back in {time.monotonic() - now:.1f} s")


def lives(lab):
    lab.run("a", "ip link set eth0 down")
    assert lab.run("a", "hostname").stdout == "a\n"
    lab.run("a", "ip link set eth0 up")
    passed("a guest without network answers")

    victim = lab.start("b", "sleep 1000")
    lab.destroy("b")
    assert victim.wait(20).rc is None
    assert lab.alive() == ["a"]
    try:
        lab.run("b", "true")
        raise AssertionError("a destroyed guest answered")
    except LabError:
        pass
    lab.create("b")
    lab.wait_until("a", "ping -c 1 -w 5 b")
    passed("a guest destroyed and made again")

    counter = lab.start("a", "for i in 0 1 2 3 4 5 6 7 8; do echo $i; sleep 1; done >/tmp/count")
    lab.run("dom0", "xl save a /tmp/a.save", timeout=120, check=True)
    lab.run("dom0", "xl restore /tmp/a.save && rm /tmp/a.save", timeout=120, check=True)
    lab.attach("a")
    lab.wait_guest("a")
    lab.wait_until("a", "[ $(tail -n 1 /tmp/count) = 8 ]")
    lab.wait_until("a", "ping -c 1 -w 5 b")
    assert not counter.running
    passed("a guest saved and restored, its processes going on")


def main():
    kind = sys.argv[1] if len(sys.argv) > 1 else "pv"
    with Lab(image.TOP / "build" / "vm" / f"selftest-{kind}", [Guest("a", type=kind), Guest("b", type=kind)]) as lab:
        passed(f"boot (after {lab.waited:.0f} s of waiting for another lab)")
        before = health.in_use(lab)
        commands(lab)
        files(lab)
        lives(lab)
        after = health.in_use(lab)
        assert not (found := health.leaks(before, after)), found
        assert not (found := health.all_complaints(lab)), found
        passed("no leaks, no complaints")
    print("9 passed, 0 failed")


main()
