# SPDX-License-Identifier: GPL-2.0
"""apps_lab.py - a Lab with xway whose guests, two or more, have a Debian with applications, under /debian.

    with AppsLab(out, disk) as lab:
        lab.load()
        lab.deb("a", "rsync --version")         # as lab.run(), inside that Debian
        lab.rail(xway=False)                    # from here on, new bytes by TCP
"""

import shlex
import sys
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))
from xway_lab import XwayLab  # noqa: E402

MODULES = ("crc32c_generic", "ext4", "overlay", "tcp_diag", "nfs", "nfsv4", "nfsd")

# The disk is the same for all guests, and read-only; what they write goes to memory. The kernel finds its modules in
# the ramdisk, not in Debian's root. `a` and `b` are IPv4 alone, for servers that listen there only; a6, b6 are IPv6.
MOUNT = r"""
set -e
echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
modprobe -a xen-blkfront crc32c_generic ext4 overlay
mkdir -p /disk /over /debian
tries=50; until [ -b /dev/xvda ] || [ $tries -eq 0 ]; do tries=$((tries - 1)); usleep 100000; done
mount -t ext4 -o ro /dev/xvda /disk
mount -t tmpfs -o size=75% tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/disk,upperdir=/over/upper,workdir=/over/work overlay /debian
for name in proc sys dev run tmp; do mount -o rbind /$name /debian/$name; done
sed -E 's/^(fd77::[0-9]+) [a-z] /\1 /' /etc/hosts >/debian/etc/hosts
: >/debian/etc/resolv.conf
sed -i 's/^hosts:.*/hosts: files/' /debian/etc/nsswitch.conf
rm -f /debian/usr/sbin/policy-rc.d
for name in sshd vsftpd/empty postgresql mysqld haproxy; do mkdir -p /run/$name; done
chroot /debian sh -c 'chown postgres /run/postgresql; chown mysql /run/mysqld'
"""


class AppsLab(XwayLab):
    def __init__(self, out, disk, say, kind="pv", guests=("a", "b"), memory=1024):
        super().__init__(out, kind=kind, guests=guests, memory=memory, disks=[disk], kernel_modules=list(MODULES), say=say)

    def boot(self):
        super().boot()
        for name in self.guests:
            self.run(name, MOUNT, check=True)

    def load(self, parameters=""):
        super().load(parameters)
        for one, other in combinations(self.guests, 2):
            self.ask_for_link(one, other)
        for name in self.guests:
            self.wait_until(name, f"[ $(grep -c link=up /proc/xway_front/peers) -eq {len(self.guests) - 1} ]", timeout=30)

    def ask_for_link(self, one, other):
        """The first connection does, and rides TCP until the link is there."""
        server = self.start(other, "nc -l -p 7 >/dev/null")
        self.wait_until(other, "grep -q ':0007 .* 0A ' /proc/net/tcp /proc/net/tcp6")
        self.run(one, f"echo hello | nc -w 5 {other} 7", check=True)
        server.stop()

    def deb(self, where, command, timeout=60, **more):
        return self.run(where, inside(command), timeout, **more)

    def deb_start(self, where, command):
        return self.start(where, inside(command))

    def deb_put(self, where, path, text, mode=0o644):
        self.put(where, text.encode(), f"/debian{path}", mode)

    def rail(self, xway):
        for name in self.guests:
            self.param(name, "enable", int(xway))


def inside(command):
    """A pipe whose first program fails has failed: a checksum of nothing is no result."""
    return f"exec env LC_ALL=C.UTF-8 HOME=/root chroot /debian /bin/bash -o pipefail -c {shlex.quote(command)}"
