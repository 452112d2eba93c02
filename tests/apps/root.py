# SPDX-License-Identifier: GPL-2.0
"""root.py - the Debian that the guests run: a disk image of its packages, made once and kept.

The packages come from the Debian archive that this machine's apt is configured for, whichever that is. The image is
found under a hash of all that decides what is in it: the list of packages, `setup`, `disk`, this file. ext4, because an
emulated processor reads faster than it decompresses; without a journal, because nobody ever writes to it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
CACHE = TOP / "build" / "apps"
LOG = TOP / "build" / "log" / "apps-root.log"
sys.path.insert(0, str(TOP / "tests" / "vm"))
from xlab import LabError  # noqa: E402

SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/doc-base/*")


def image(say, more=(), components=(), kind="debian"):
    """The image, and the list of its packages beside it: a line `name version` each. Made if there is none.

    `more` packages than tests/apps/packages, of these `components` of the archive, too; one image of a kind is kept.
    """
    names = [*(HERE / "packages").read_text().split(), *more]
    digest = hashlib.sha256("\n".join([*names, *components]).encode())
    for part in (HERE / "setup", HERE / "disk", Path(__file__)):
        digest.update(part.read_bytes())
    target = CACHE / f"{kind}-{digest.hexdigest()[:16]}.ext4"
    if not target.exists():
        say(f"the guests' Debian is made, {len(names)} packages and what they need: some minutes, once")
        make(target, kind, names, components)
    return target, target.with_suffix(".packages")


def make(target, kind, names, components):
    for program, package in (("apt-get", "apt"), ("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs")):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            raise LabError(f"{program} is not installed: make deps-apps, or apt-get install {package}")
    if os.geteuid():
        raise LabError("making the guests' disk image takes root, once: sudo make test-apps")
    for directory in (CACHE, LOG.parent):
        directory.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob(f"{kind}-" + "?" * 16 + ".*"):
        old.unlink()
    partial, listed = target.with_suffix(".partial"), target.with_suffix(".packages")
    # What there is of users, keys and databases is made here, where processors are fast.
    command = ["mmdebstrap", "--mode=root", "--variant=apt", "--format=null", f"--include={','.join(names)}",
               *(f"--aptopt={line}" for line in apt_options()),
               *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
               f"--customize-hook={HERE}/setup \"$1\"",
               f"--customize-hook=dpkg-query --admindir=\"$1/var/lib/dpkg\" -W -f '${{Package}} ${{Version}}\\n' >{listed}",
               "--customize-hook=rm -rf \"$1\"/var/cache/apt/*.bin \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/archives/*.deb",
               f"--customize-hook={HERE}/disk \"$1\" {partial}",
               SUITE, "/dev/null", "-"]
    with open(LOG, "w", encoding="utf-8") as log:
        made = subprocess.run(command, input=sources(components), stdout=log, stderr=subprocess.STDOUT, text=True, check=False)
    if made.returncode or not partial.exists():
        raise LabError(f"the guests' Debian cannot be made, see {LOG}:\n" + "\n".join(LOG.read_text().splitlines()[-8:]))
    partial.rename(target)


def sources(components):
    """The lines of a sources.list: what this machine's apt has of Debian's own archive, and these components of it."""
    fields = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = subprocess.run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages", "Origin: Debian"],
                            capture_output=True, text=True, check=False).stdout.splitlines()
    wanted = [line for line in listed if line.split()[1].startswith(SUITE)]
    if not wanted:
        raise LabError(f"this machine's apt knows no Debian {SUITE} (after an apt-get update?): "
                       "add it to /etc/apt/sources.list, the guests' packages come from there")
    for component in components:
        uri, release, _ = next(line for line in wanted if line.split()[1] == SUITE).split()
        wanted.append(f"{uri} {release} {component}")
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    return "".join(f"deb {signed}{line}\n" for line in wanted)


def apt_options():
    """What this machine's apt is told about its archive: proxies, dates, certificates."""
    told = subprocess.run(["apt-config", "dump", "--no-empty", "Acquire"], capture_output=True, text=True, check=False)
    heads = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return [line for line in told.stdout.splitlines() if line.startswith(heads)]


if __name__ == "__main__":
    print(*image(print), sep="\n")
