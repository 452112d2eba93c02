# SPDX-License-Identifier: GPL-2.0
"""kmod.py - kernel modules from their sources, for the kernel that will load them.

They are built in a tree of links of their own, a tree a kernel: what somebody has built beside the sources for
the kernel of this machine stays as it is.
"""

import subprocess

from .image import CACHE, TOP, LabError

TREES = CACHE.parent / "modules"
LEFT_OUT = (".o", ".ko", ".cmd", ".mod", ".mod.c", ".symvers", ".order")    # what kbuild leaves beside sources


def built(source, kernel):
    """The module made from the directory `source`, which has a Kbuild, for `kernel`: its path."""
    headers = f"/lib/modules/{kernel}/build"
    tree = TREES / kernel
    place = tree / source.name
    place.mkdir(parents=True, exist_ok=True)
    link(tree / "include", TOP / "include")
    sources = [path for path in source.iterdir()
               if not path.name.startswith(".") and not path.name.endswith(LEFT_OUT)]
    for path in sources:
        link(place / path.name, path)
    for path in place.iterdir():
        if path.is_symlink() and not path.exists():
            path.unlink()
    made = subprocess.run(["make", "-C", headers, f"M={place}", "modules"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    modules = list(place.glob("*.ko"))
    if made.returncode or len(modules) != 1:
        raise LabError(f"{source} cannot be built for Linux {kernel} (headers: {headers}):\n{made.stdout[-2000:]}")
    return modules[0]


def link(path, target):
    if not path.is_symlink():
        path.symlink_to(target)
