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
    """The module made from the directory `source`, which has a Kbuild, for `kernel`, a Kernel: its path."""
    return build(source, kernel)[0]


def build(source, kernel, target="modules"):
    """Runs one of kbuild's targets: the module's path, None if there is none, and what the tools have said."""
    tree = TREES / kernel.version
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
    made = kernel.run(["make", "-C", kernel.headers, f"M={place}", target], stdin=subprocess.DEVNULL,
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    modules = list(place.glob("*.ko"))
    if made.returncode or (target == "modules" and len(modules) != 1):
        raise LabError(f"{source} cannot be built for Linux {kernel.version} "
                       f"(headers: {kernel.headers} in {kernel.root}):\n{made.stdout[-2000:]}")
    return (modules[0] if modules else None), made.stdout


def link(path, target):
    if not path.is_symlink():
        path.symlink_to(target)
