# SPDX-License-Identifier: GPL-2.0
"""qemu.py - the emulated machine: its command line, its process, and the lock that allows only one."""

import contextlib
import ctypes
import fcntl
import gzip
import lzma
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

from .image import LabError

LOCK = Path("/run/lock/xway-lab.lock")


class MachineLock:
    """Two emulated machines on one host make each other's time-outs: they take turns."""

    def __init__(self):
        path = LOCK if os.access(LOCK.parent, os.W_OK) else Path("/tmp") / LOCK.name
        self._file = open(path, "a")
        begin = time.monotonic()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"lab: another lab is running on this machine; waiting for {path}", file=sys.stderr, flush=True)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self.waited = time.monotonic() - begin

    def release(self):
        self._file.close()


def hypervisor(cache):
    """Xen itself, unpacked because QEMU's loader wants it so."""
    packed = sorted(Path("/boot").glob("xen-4.*-amd64.gz"))
    if not packed:
        raise LabError("no Xen in /boot: install the packages listed in tests/vm/packages (make deps)")
    return _derived(packed[-1], Path(cache) / packed[-1].stem, gzip.decompress)


def plain_kernel(kernel, cache):
    """A Kernel unpacked from its bzImage: an emulated processor would need seconds for that.

    It stays a bzImage where the compression is not one that can be undone here."""
    if not kernel.image:
        raise LabError(f"{kernel.modules}: modules, but no kernel")
    return _derived(kernel.image, Path(cache) / f"vmlinux-{kernel.version}", _payload)


def _derived(source, target, convert):
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        data = convert(source.read_bytes())
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(data)
        partial.rename(target)
    return target


def _payload(image):
    # The x86 boot protocol: setup_sects at 0x1f1, payload_offset and payload_length at 0x248.
    start, length = struct.unpack_from("<II", image, 0x248)
    start += (image[0x1F1] + 1) * 512
    payload = image[start:start + length]
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd") and shutil.which("zstd"):
        # Four bytes with the unpacked size follow what zstd knows.
        return subprocess.run(["zstd", "-dc"], input=payload[:-4], stdout=subprocess.PIPE, check=True).stdout
    return image


def _begin():
    """In the new process, before it is QEMU."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: even a killed runner leaves no QEMU
    # A processor that has halted must run at once when it is woken. Behind one compiler job on the same core it
    # would wait for the end of a time slice, and every round trip inside took tens of milliseconds.
    with contextlib.suppress(OSError):          # without the right to it: slower, not wrong
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Qemu:
    """One emulated machine. Its console goes to a file, or to the person's terminal."""

    def __init__(self, out, images, xen, dom0_kernel, dom0_image, memory, processors, dom0_memory, dom0_vcpus,
                 cpu, dom0_arguments="", terminal=False, disks=()):
        self.socket = out / "agent.sock"
        self.socket.unlink(missing_ok=True)
        self.console = out / "console-dom0.log"
        program = shutil.which("qemu-system-x86_64")
        if not program:
            raise LabError("no qemu-system-x86_64: install the packages listed in tests/vm/packages (make deps)")
        xen_arguments = (f"console=com1 com1=115200,8n1 dom0_mem={dom0_memory}M,max:{dom0_memory}M "
                         f"dom0_max_vcpus={dom0_vcpus} noreboot bootscrub=off "
                         "loglvl=all guest_loglvl=all conring_size=4M")
        linux_arguments = f"console=hvc0 clocksource=xen log_buf_len=4M {dom0_arguments}"
        command = [program, "-accel", "tcg,thread=multi,tb-size=1024", "-smp", str(processors), "-m", str(memory),
                   "-cpu", cpu, "-display", "none", "-no-reboot", "-nic", "none", "-no-user-config",
                   "-kernel", str(xen), "-append", xen_arguments,
                   "-initrd", f"{dom0_kernel} {linux_arguments},{dom0_image}",
                   "-chardev", f"socket,id=agent,path={self.socket},server=on,wait=off",
                   "-fsdev", f"local,id=images,path={images},security_model=none,readonly=on",
                   "-device", "virtio-9p-pci,fsdev=images,mount_tag=images",
                   "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=xlab"]
        for number, disk in enumerate(disks):
            command += ["-drive", f"file={disk},format=raw,if=none,id=disk{number},readonly=on",
                        "-device", f"virtio-blk-pci,drive=disk{number}"]
        if terminal:
            command += ["-chardev", f"stdio,id=console,mux=on,signal=off,logfile={self.console}",
                        "-serial", "chardev:console", "-mon", "chardev=console"]
        else:
            command += ["-monitor", "none", "-serial", f"file:{self.console}"]
        self.log = open(out / "qemu.log", "wb")
        self.log.write((" ".join(command) + "\n").encode())
        self.log.flush()
        self.process = subprocess.Popen(command, stdin=None if terminal else subprocess.DEVNULL,
                                        stdout=None if terminal else self.log, stderr=self.log,
                                        preexec_fn=_begin, start_new_session=not terminal)

    def check(self):
        if self.process.poll() is not None:
            raise LabError(f"the emulated machine ended (QEMU's exit status {self.process.returncode}); "
                           f"see {self.console}")
        text = self.console_text()
        if "Kernel panic" in text or "Hardware Dom0 crashed" in text or "Panic on CPU" in text:
            lines = [line for line in text.splitlines() if "anic" in line or "crashed" in line]
            raise LabError(f"the emulated machine crashed: {lines[0].strip() if lines else '?'}; see {self.console}")

    def console_text(self):
        try:
            return self.console.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()
        self.socket.unlink(missing_ok=True)
