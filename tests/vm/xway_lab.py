# SPDX-License-Identifier: GPL-2.0
"""xway_lab.py - a Lab with xway in it: its modules, its tools, a policy, and devices for the guests.

    with XwayLab(out, kind="pv") as lab:
        lab.load()                      # modules in dom0 and guests, policy, devices, both connected
        lab.run("a", "xway-bench run ...")
        lab.unload()                    # raises if a module does not go
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from xlab import Dom0, Guest, Lab, LabError, LabTimeout  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
TOOLS = [TOP / "build" / "tools" / name for name in ("xway", "xwayd-xen")]
POLICY = TOP / "configs" / "policy.conf"


class XwayLab(Lab):
    def __init__(self, out, kind="pv", guests=("a", "b"), programs=(), dom0_programs=(), memory=384,
                 vcpus=1, dom0_memory=1024, kernel=None, guest_modules=(), **more):
        super().__init__(
            out, [Guest(name, type=kind, memory=memory, vcpus=vcpus, kernel=kernel) for name in guests],
            Dom0(memory=dom0_memory, kernel=kernel, programs=[*map(str, TOOLS), *dom0_programs], modules=["backend"],
                 files={str(POLICY): "/etc/xway/policy.conf"}),
            programs=[str(TOOLS[0]), *programs], modules=["frontend", *guest_modules], **more)

    # ---- xway ----

    def load_dom0(self):
        self.run("dom0", "insmod /modules/xway_back.ko", check=True)

    def load_guest(self, name, parameters=""):
        """Device, if it has none, and module; the peers show up when both are connected."""
        self.run("dom0", f"xway domain show {name} >/dev/null 2>&1 || xway domain add {name}", check=True)
        self.run(name, f"insmod /modules/xway_front.ko {parameters}", check=True)
        self.wait_until(name, "grep -q state=connected /proc/xway_front/status")

    def load(self, parameters=""):
        self.load_dom0()
        for name in self.guests:
            self.run("dom0", f"xway domain add {name}", check=True)
        self.run("dom0", "xway policy apply /etc/xway/policy.conf", check=True)
        for name in self.guests:
            self.load_guest(name, parameters)
        for name in self.guests:
            self.wait_peers(name)

    def wait_peers(self, name, timeout=30):
        others = len(self.guests) - 1
        self.wait_until(name, f"[ $(grep -c ready=1 /proc/xway_front/peers) -ge {others} ]", timeout)

    def wait_idle(self, name, timeout=20):
        """Waits until no slot and no ring page of any link of a guest is in use any more."""
        try:
            self.wait_until(name, "! grep -qvE 'link=(none|down)|arena_used=0 .*slots_used=0 ' /proc/xway_front/peers",
                            timeout)
        except LabTimeout as error:
            left = [self.run(who, "cat /proc/xway_front/peers /proc/xway_front/sockets").stdout for who in self.alive()]
            raise LabError("slots or pages stay in use\n" + "\n".join(left)) from error

    def unload_guest(self, name, timeout=60):
        self.run(name, "rmmod xway_front", timeout=timeout, check=True)

    def unload(self):
        for name in self.alive():
            self.unload_guest(name)
        self.run("dom0", "rmmod xway_back", check=True)

    # ---- figures ----

    def stat(self, name):
        """The module's counters in a guest."""
        text = self.run(name, "cat /proc/xway_front/stat", check=True).stdout
        return {key: int(value) for key, value in (line.split() for line in text.splitlines())}

    def net_bytes(self, name, device="eth0"):
        """Bytes that a guest's netfront has received and sent."""
        line = next(line for line in self.run(name, "cat /proc/net/dev", check=True).stdout.splitlines()
                    if line.strip().startswith(device + ":"))
        words = line.split(":")[1].split()
        return int(words[0]) + int(words[8])

    def sockets(self, name):
        """/proc/xway_front/sockets, a dictionary a line."""
        text = self.run(name, "cat /proc/xway_front/sockets", check=True).stdout
        return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines()]

    def param(self, name, key, value):
        self.run(name, f"echo {value} > /sys/module/xway_front/parameters/{key}", check=True)
