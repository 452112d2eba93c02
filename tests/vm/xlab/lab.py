# SPDX-License-Identifier: GPL-2.0
"""lab.py - the lab: QEMU -> Xen -> dom0 -> guests, and commands run in each of them.

    with Lab("build/vm/mine", [Guest("a"), Guest("b", type="pvh")]) as lab:
        server = lab.start("b", "iperf3 -s")
        server.wait_for("listening")
        print(lab.run("a", "iperf3 -c b -t 2", timeout=60).stdout)

Leaving the `with` block, or lab.close(), fetches the consoles and ends QEMU, whatever happened before.
"""

import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import image, kernel as kernels, kmod
from .image import CACHE, TOP, LabError
from .qemu import MachineLock, Qemu, hypervisor, plain_kernel
from .wire import Channel, LabTimeout

BOOT_TIMEOUT = 240      # an idle machine needs a tenth of it
GUEST_TIMEOUT = 180
DISK_MODULES = ("virtio_blk", "xen-blkback")            # dom0's
FAULT = "Triple fault"      # as Xen reports it
PVH_TRIES = 3           # the emulator makes a PVH guest triple-fault at boot once in about ten


@dataclass
class Guest:
    """One guest. `programs`, `files` {source: path inside} and `modules` come on top of the Lab's own."""
    name: str
    type: str = "pv"                # pv | pvh
    memory: int = 384               # MiB
    vcpus: int = 1
    ip: str | None = None           # default 10.77.0.11, .12, ... in order; IPv6 is fd77:: and the last number
    kernel: str | None = None       # a version, or how it begins; default the newest installed, see kernel.py
    programs: list = field(default_factory=list)
    files: dict = field(default_factory=dict)
    modules: list = field(default_factory=list)         # our .ko files, put in /modules
    kernel_modules: list = field(default_factory=list)  # the kernel's own, by name, for modprobe
    config: str = ""                # more lines for xl's configuration
    arguments: str = ""             # more words for the kernel's command line
    number: int = 0                 # 1, 2, ... set by the Lab

    @property
    def ip4(self):
        return self.ip or f"10.77.0.{10 + self.number}"

    @property
    def ip6(self):
        return f"fd77::{self.ip4.rpartition('.')[2]}"

    @property
    def mac(self):
        return f"00:16:3e:77:00:{self.number:02x}"


@dataclass
class Dom0:
    memory: int = 1024
    vcpus: int = 1
    kernel: str | None = None
    programs: list = field(default_factory=list)
    files: dict = field(default_factory=dict)
    modules: list = field(default_factory=list)
    kernel_modules: list = field(default_factory=list)
    arguments: str = ""


class Lab:
    def __init__(self, out, guests, dom0=None, programs=(), files=None, modules=(), kernel_modules=(),
                 say=None, terminal=False, processors=2, disks=()):
        """`programs`, `files`, `modules` and `kernel_modules` are for every guest, and so are `disks`: images that
        each of them has, read-only, as xvda, xvdb, ..."""
        self.out = Path(out)
        self.dom0 = dom0 or Dom0()
        self.guests = {}
        for number, guest in enumerate(guests, 1):
            guest.number = number
            guest.kernel = kernels.find(guest.kernel)
            self.guests[guest.name] = guest
        self.dom0.kernel = kernels.find(self.dom0.kernel)
        self.programs, self.files = list(programs), dict(files or {})
        self.modules, self.kernel_modules = list(modules), list(kernel_modules)
        self.say = say or (lambda text: print(f"lab: {text}", file=sys.stderr, flush=True))
        self.terminal, self.processors = terminal, processors
        self.disks = list(disks)
        if self.disks:
            self.dom0.kernel_modules = [*self.dom0.kernel_modules, *DISK_MODULES]
            self.kernel_modules.append("xen-blkfront")
        self.domids = {}
        self.restarts = []      # names of PVH guests that the emulator made us start again
        self.waited = 0         # seconds that another lab kept us waiting
        self._lock = self._qemu = self._channel = None
        self._starting = False
        self._consoles = {}

    def __enter__(self):
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    # ---- life ----

    def boot(self):
        """Starts the machine and every guest."""
        self.start_dom0()
        self.create(*self.guests)

    def start_dom0(self):
        # Locked first: while another lab ran, our modules may have been built anew.
        self._lock = MachineLock()
        self.waited = self._lock.waited
        self.out.mkdir(parents=True, exist_ok=True)
        for old in self.out.glob("console-*.log"):
            old.unlink()
        ramdisk = self.build_images()
        pvh = any(guest.type == "pvh" for guest in self.guests.values())
        guests_memory = sum(guest.memory + 32 for guest in self.guests.values())
        self._qemu = Qemu(self.out, images=CACHE, xen=hypervisor(CACHE), dom0_image=ramdisk,
                          dom0_kernel=plain_kernel(self.dom0.kernel, CACHE),
                          memory=max(2048, self.dom0.memory + guests_memory + 512),
                          processors=self.processors, dom0_memory=self.dom0.memory, dom0_vcpus=self.dom0.vcpus,
                          # The plainest model: with `max`, PV dom0 dies of SMAP, RDTSCP makes Xen kill PVH guests, and
                          # programs crash now and then in library code that uses the newest instructions.
                          cpu="qemu64" + (",+svm,+npt" if pvh else ""),
                          dom0_arguments=self.dom0.arguments + (" xlab.shell" if self.terminal else ""),
                          terminal=self.terminal, disks=self.disks)
        self._channel = Channel(self._qemu.socket, self._check)
        if not self._channel.wait_until(lambda: 0 in self._channel.up, BOOT_TIMEOUT):
            raise LabTimeout(f"dom0 did not start in {BOOT_TIMEOUT} s; see {self._qemu.console}")
        if self.disks:
            # Without grants that stay mapped from request to request: whoever counts grants would see leaks.
            self.run("dom0", "modprobe virtio_blk && modprobe xen-blkback feature_persistent=0", check=True)

    def build_images(self):
        """Makes the images, or finds them in the cache. Returns dom0's; the guests' are read by xl from outside."""
        hosts = "127.0.0.1 localhost\n::1 localhost\n10.77.0.1 dom0\nfd77::1 dom0\n"
        hosts += "".join(f"{guest.ip4} {guest.name}\n{guest.ip6} {guest.name} {guest.name}6\n"
                         for guest in self.guests.values())
        files = {self._source(source): path for source, path in self.dom0.files.items()}
        files |= self._modules(self.dom0.modules, self.dom0.kernel)
        for guest in self.guests.values():
            inside = {**self.files, **guest.files}
            inside |= self._modules(self.modules + guest.modules, guest.kernel)
            ramdisk = image.guest_image(CACHE, guest.kernel, self.programs + guest.programs, inside,
                                        self.kernel_modules + guest.kernel_modules, hosts)
            guest.ramdisk_name = ramdisk.name
            guest.kernel_name = plain_kernel(guest.kernel, CACHE).name
        return image.dom0_image(CACHE, self.dom0.kernel, self.dom0.programs, files,
                                self.dom0.kernel_modules, hosts)

    def _modules(self, modules, kernel):
        """A directory with a Kbuild is built for the kernel that will load the module."""
        paths = [Path(self._source(module)) for module in modules]
        for number, path in enumerate(paths):
            if path.is_dir():
                self.say(f"module {path.name} for Linux {kernel.version}")
                paths[number] = kmod.built(path, kernel)
        return {path: f"/modules/{path.name}" for path in paths}

    @staticmethod
    def _source(path):
        return Path(path) if Path(path).is_absolute() else TOP / path

    def close(self):
        """Ends everything; never raises for a machine that is already broken."""
        if self._channel:
            self._fetch_consoles()
            self._channel.close()
        if self._qemu:
            self._qemu.kill()
        if self._lock:
            self._lock.release()
        for sink in self._consoles.values():
            sink.close()
        self._channel = self._qemu = self._lock = None

    def _fetch_consoles(self):
        # What follows the log while the lab runs may be a second behind: take the whole once more.
        for name, sink in self._consoles.items():
            try:
                whole = self.run("dom0", f"cat {_console_path(name)}", timeout=20).raw
            except LabError:
                continue
            sink.seek(0)
            sink.truncate()
            sink.write(whole)

    # ---- commands ----

    def start(self, where, command, sink=None):
        """Starts a command in "dom0" or a guest, and returns its Job."""
        target = 0 if where == "dom0" else self._guest(where).number
        if not self._channel or target not in self._channel.up:
            raise LabError(f"{where} is not running (wanted for: {command})")
        return self._channel.start(where, target, command, sink)

    def run(self, where, command, timeout=60, stdin=None, check=False):
        """Runs a command to its end. LabTimeout if it has not ended by then (it is killed);
        with `check`, LabError if its exit status is not 0."""
        job = self.start(where, command)
        try:
            if stdin is not None and stdin != b"":
                job.write(stdin.encode() if isinstance(stdin, str) else stdin)
            job.write()
            result = job.wait(timeout)
        except BaseException:
            if job.running and self._qemu and self._qemu.process.poll() is None:
                job.signal(9)
            raise
        if result.rc is None:
            raise LabError(f"{where} went away during: {command}")
        if check and result.rc:
            raise LabError(f"{where}: exit status {result.rc}: {command}\n{result.stdout}{result.stderr}".rstrip())
        return result

    def wait_until(self, where, command, timeout=60):
        """Runs a command again and again until it succeeds."""
        end = time.monotonic() + timeout
        while not self.run(where, command, timeout=max(1, end - time.monotonic())).ok:
            if time.monotonic() > end:
                raise LabTimeout(f"{where}: not true after {timeout:g} s: {command}")
            time.sleep(0.2)

    def put(self, where, source, path, mode=None, timeout=120):
        """Copies a file (or bytes) of this machine into dom0 or a guest."""
        data = source if isinstance(source, bytes) else self._source(source).read_bytes()
        if mode is None:
            mode = 0o644 if isinstance(source, bytes) else self._source(source).stat().st_mode & 0o7777
        quoted = shlex.quote(path)
        self.run(where, f'mkdir -p "$(dirname {quoted})" && cat > {quoted} && chmod {mode:o} {quoted}',
                 timeout=timeout, stdin=data, check=True)

    def get(self, where, path, target=None, timeout=120):
        """Fetches a file; returns its bytes, and writes them to `target` if one is given."""
        data = self.run(where, f"cat {shlex.quote(path)}", timeout=timeout, check=True).raw
        if target:
            Path(target).write_bytes(data)
        return data

    # ---- guests ----

    def create(self, *names):
        """Starts guests, one or several at once, and waits until their agents answer."""
        self._starting = True       # that a PVH guest faults now is dealt with below
        for name in names:
            self._create(name)
        for name in names:
            self._await(name)
        self._starting = False

    def _create(self, name):
        guest = self._guest(name)
        self.put("dom0", self.config(guest).encode(), f"/etc/xen/{name}.cfg")
        for tries_left in range(PVH_TRIES, 0, -1):
            faults = self._qemu.console_text().count(FAULT)
            self.run("dom0", f"xl create -q /etc/xen/{name}.cfg", timeout=GUEST_TIMEOUT, check=True)
            try:
                return self.attach(name)
            except LabError:
                # It may have come and gone already; see _await().
                if guest.type != "pvh" or tries_left == 1 or self._qemu.console_text().count(FAULT) == faults:
                    raise
            self.say(f"guest {name} (pvh) triple-faulted as it was created, a fault of the emulator: creating it again")
            self.restarts.append(name)

    def attach(self, name):
        """Turns to the domain that now has this guest's name, such as one that `xl restore` made."""
        domid = int(self.run("dom0", f"xl domid {name}", check=True).stdout)
        self.domids[name] = domid
        self._channel.attach(self._guest(name).number, domid)
        if name not in self._consoles:
            self._consoles[name] = open(self.out / f"console-{name}.log", "wb", buffering=0)
            self.start("dom0", f"tail -n +1 -F {_console_path(name)} 2>/dev/null", sink=self._consoles[name])

    def _await(self, name):
        guest = self._guest(name)
        up = lambda: guest.number in self._channel.up
        for tries_left in range(PVH_TRIES, 0, -1):
            faulted = lambda: self.has_faulted(name)
            end = time.monotonic() + GUEST_TIMEOUT
            while not up() and not faulted() and time.monotonic() < end:
                self._channel.wait_until(up, 1)
            if up():
                return
            if guest.type != "pvh" or not faulted() or tries_left == 1:
                break
            self.say(f"guest {name} (pvh) triple-faulted at boot, a fault of the emulator: starting it again")
            self.restarts.append(name)
            self.destroy(name)
            self._create(name)
        if not faulted():
            # Tells a guest that did not get as far as its agent from an agent that is not heard.
            offer = self.run("dom0", f"xenstore-ls -f /local/domain/{self.domids[name]}/data; xl list", timeout=30)
            (self.out / f"offer-{name}.log").write_text(offer.stdout + offer.stderr)
        what = "triple-faulted at boot" if faulted() else f"did not start in {GUEST_TIMEOUT} s"
        raise LabTimeout(f"guest {name} {what}; see {self.out}/console-{name}.log")

    def has_faulted(self, name):
        """Whether Xen says that this guest has triple-faulted: on PVH sometimes a fault of the emulator."""
        return f"d{self.domids.get(name)}v0 {FAULT}" in self._qemu.console_text()

    def faulted(self):
        """Names of the guests that have."""
        return [name for name in self.domids if self.has_faulted(name)]

    def _check(self):
        """Raises LabError if the machine has ended, or a guest that was up has faulted: who waits for it waits in vain."""
        self._qemu.check()
        if not self._starting and (gone := self.faulted()):
            raise LabError(f"guest {gone[0]} has triple-faulted, see {self.out}/console-dom0.log")

    def wait_guest(self, name, timeout=GUEST_TIMEOUT):
        """Waits until the guest's agent answers, after attach()."""
        if not self._channel.wait_until(lambda: self._guest(name).number in self._channel.up, timeout):
            raise LabTimeout(f"guest {name} does not answer after {timeout:g} s")

    def destroy(self, name):
        """Destroys a guest as a power failure would; create() may follow."""
        self._channel.detach(self._guest(name).number)
        domid = self.domids.pop(name)
        self.run("dom0", f"xl destroy {domid} || ! xl domid {name}", timeout=60)
        self._channel.up.discard(self._guest(name).number)

    def alive(self):
        """The names of the guests whose agents answer."""
        return [name for name, guest in self.guests.items() if guest.number in self._channel.up]

    def config(self, guest):
        shell = " xlab.shell" if self.terminal else ""
        lines = [f'name = "{guest.name}"', f'type = "{guest.type}"', f"memory = {guest.memory}",
                 f"vcpus = {guest.vcpus}",
                 f'kernel = "/guest/{guest.kernel_name}"', f'ramdisk = "/guest/{guest.ramdisk_name}"',
                 f'extra = "console=hvc0 clocksource=xen log_buf_len=4M xlab.name={guest.name} xlab.ip4={guest.ip4} '
                 f'xlab.ip6={guest.ip6}{shell} {guest.arguments}"',
                 f"vif = ['mac={guest.mac},bridge=xenbr0,script=vif-xlab']",
                 'on_reboot = "destroy"', 'on_crash = "destroy"']
        letters = "abcdefgh"[:len(self.disks)]
        if letters:
            disks = [f"vdev=xvd{letter},access=ro,script=block-xlab,target=/dev/vd{letter}" for letter in letters]
            lines.append(f"disk = {disks}")
        if guest.type == "pvh":
            lines.append('tsc_mode = "native"')
        return "\n".join(lines) + "\n" + guest.config + "\n"

    def _guest(self, name):
        if name not in self.guests:
            raise LabError(f"no guest {name!r}: there are {', '.join(self.guests)} and dom0")
        return self.guests[name]


def _console_path(name):
    return f"/var/log/xen/console/guest-{name}.log"
