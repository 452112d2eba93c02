# SPDX-License-Identifier: GPL-2.0
"""kernel.py - the kernels that the lab can boot: this machine's, and those that tests/vm/kernels has unpacked.

An unpacked kernel lies in a root of its own, with the headers, the compiler and the tools that its packages
ask for: `Kernel.run` builds in there, whatever this machine has.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .image import TOP, LabError

UNPACKED = TOP / "build" / "kernels"    # one directory a suite of Debian, with the root in `root`
PATH = "/usr/sbin:/usr/bin"


@dataclass(frozen=True)
class Kernel:
    version: str    # as `uname -r` says it
    root: Path      # where its packages are

    @property
    def modules(self):
        """The directory of its own modules."""
        return self.root / "lib" / "modules" / self.version

    @property
    def image(self):
        """The bzImage: in /boot, or beside the modules as Debian's packages have it since 6.19."""
        places = (self.root / "boot" / f"vmlinuz-{self.version}", self.modules / "vmlinuz")
        return next((path for path in places if path.exists()), None)

    @property
    def headers(self):
        """Where to build for it: a path in its root."""
        return f"/lib/modules/{self.version}/build"

    @property
    def has_headers(self):
        if self.root == Path("/"):
            return Path(self.headers).exists()
        return (self.root / "usr" / "src" / f"linux-headers-{self.version}").is_dir()

    def run(self, command, **how):
        """subprocess.run in this kernel's root, where the source tree has the path that it has here."""
        if self.root == Path("/"):
            return subprocess.run(command, check=False, **how)
        script = ('mkdir -p "$1$2" && mount --bind "$2" "$1$2" && mount --rbind /dev "$1/dev" && '
                  'mount --rbind /proc "$1/proc" && root=$1 && shift 2 && exec chroot "$root" "$@"')
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        return subprocess.run(["unshare", "--mount", *as_root, "sh", "-c", script, "sh", str(self.root), str(TOP),
                               *command], check=False, env={**os.environ, "PATH": PATH, "LC_ALL": "C"}, **how)


def order(kernel):
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", kernel.version)]


def all_in(root):
    found = (Kernel(path.name, root) for path in (root / "lib" / "modules").glob("*"))
    return sorted((kernel for kernel in found if kernel.image), key=order)


def known():
    """Every kernel that can be booted here."""
    unpacked = [root for root in sorted(UNPACKED.glob("*/root")) if root.is_dir()]
    return [kernel for root in (Path("/"), *unpacked) for kernel in all_in(root)]


def find(name=None):
    """The kernel of that version, or the newest whose version begins with `name` ("6.12", "7"). Without a name the
    newest that is installed, one with headers if there is one, so that our modules can be built for it."""
    if isinstance(name, Kernel):
        return name
    if name is None:
        installed = all_in(Path("/"))
        if not installed:
            raise LabError("no kernel in /boot: install the packages listed in tests/vm/packages (make deps)")
        return max([kernel for kernel in installed if kernel.has_headers] or installed, key=order)
    kernels = known()
    found = [kernel for kernel in kernels if re.match(re.escape(name) + r"($|[^\d])", kernel.version)]
    if not found:
        there = ", ".join(kernel.version for kernel in kernels) or "none"
        raise LabError(f"no kernel {name} here, only {there}. `tests/vm/kernels fetch SUITE` unpacks the one of a "
                       "suite of Debian, such as bookworm-backports")
    return max(found, key=order)
