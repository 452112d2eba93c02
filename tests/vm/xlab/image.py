# SPDX-License-Identifier: GPL-2.0
"""image.py - the initial ramdisks of dom0 and of the guests, made from the files of this machine.

An image is a list of entries (path -> file, text, link or device), written as one uncompressed cpio
archive: an emulated processor copies much faster than it decompresses. Images are cached under
a hash of what is in them, so a rebuilt program or kernel module makes a new image.
"""

import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent  # tests/vm
TOP = HERE.parent.parent                       # the source tree
CACHE = TOP / "build" / "vm" / "images"
SYSTEM_DIRS = ("/bin/", "/sbin/", "/lib/", "/lib64/", "/usr/", "/etc/")


class LabError(Exception):
    """The lab itself cannot go on: a missing package, a machine that does not start."""


class Image:
    """What a ramdisk will contain. Later entries replace earlier ones of the same path."""

    def __init__(self):
        self.entries = {}  # path without leading slash -> (mode, source), source: Path | bytes
        for directory in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "proc", "sys",
                          "dev", "run", "tmp", "root", "etc", "var/log", "var/lib"):
            self.directory(directory)
        for name in ("bin", "sbin", "lib", "lib64"):
            self.link(name, f"usr/{name}")
        self.link("var/run", "../run")
        self.link("var/lock", "../run/lock")

    def _place(self, path, mode, source):
        path = str(path).lstrip("/")
        head, _, rest = path.partition("/")
        if rest and head in ("bin", "sbin", "lib", "lib64"):
            path = f"usr/{path}"
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.directory(parent)
        self.entries[path] = (mode, source)

    def directory(self, path):
        self._place(path, stat.S_IFDIR | 0o755, b"")

    def link(self, path, target):
        self._place(path, stat.S_IFLNK | 0o777, target.encode())

    def text(self, path, text, mode=0o644):
        self._place(path, stat.S_IFREG | mode, text.encode())

    def file(self, source, path=None, mode=None):
        """Adds a file, or a directory with all that is in it."""
        source = Path(source)
        path = path or source
        if not source.exists():
            raise LabError(f"{source}: no such file (wanted in an image as {path})")
        if source.is_dir():
            for child in sorted(source.iterdir()):
                self.file(child, Path(path) / child.name)
            return
        self._place(path, stat.S_IFREG | (mode or (source.stat().st_mode & 0o7777)), without_debug(source.resolve()))

    def program(self, source, path=None):
        """Adds a program and the shared libraries that it needs."""
        source = Path(shutil.which(str(source)) or source)
        if not source.is_absolute():
            source = TOP / source
        if path is None:
            path = source if str(source).startswith(SYSTEM_DIRS) else f"/usr/local/bin/{source.name}"
        self.file(source, path, 0o755)
        for library in shared_libraries(source):
            self.file(library)

    def modules(self, kernel, names):
        """Adds modules of a Kernel and those that they depend on, with the indices that modprobe reads."""
        base, inside = kernel.modules, Path("/lib/modules") / kernel.version
        if not (base / "modules.dep").exists():
            raise LabError(f"{base}: no modules of this kernel")
        depends = {}
        for line in (base / "modules.dep").read_text().splitlines():
            path, _, needs = line.partition(":")
            depends[path] = needs.split()
        by_name = {module_name(path): path for path in depends}
        builtin = {module_name(line) for line in (base / "modules.builtin").read_text().split()}
        wanted = set()
        for name in names:
            name = module_name(name)
            if name in by_name:
                wanted |= {by_name[name], *depends[by_name[name]]}
            elif name not in builtin:
                raise LabError(f"kernel {kernel.version} has no module {name}")
        for path in wanted:
            plain = path.removesuffix(".xz")
            if plain == path:
                self.file(base / path, inside / path)
            else:
                self._place(inside / plain, stat.S_IFREG | 0o644, lzma.decompress((base / path).read_bytes()))
        lines = [f"{path}: {' '.join(depends[path])}\n".replace(".ko.xz", ".ko") for path in sorted(wanted)]
        self.text(inside / "modules.dep", "".join(lines))
        kept = {module_name(path) for path in wanted}
        aliases = [line for line in (base / "modules.alias").read_text().splitlines()
                   if line.rpartition(" ")[2] in kept]
        self.text(inside / "modules.alias", "\n".join(aliases) + "\n")
        self.file(base / "modules.builtin", inside / "modules.builtin")

    def write(self, directory, name):
        """Returns the path of the archive, which is made only if no such one is there yet."""
        digest = hashlib.sha256()
        for path, (mode, source) in sorted(self.entries.items()):
            if isinstance(source, Path):
                info = source.stat()
                stamp = 0 if "stripped" in source.parts else info.st_mtime_ns
                source = f"{source} {info.st_size} {stamp}".encode()
            digest.update(f"{path}\0{mode}\0".encode() + source + b"\0")
        target = Path(directory) / f"{name}-{digest.hexdigest()[:16]}.cpio"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(f".{os.getpid()}.partial")
            with open(partial, "wb") as out:
                write_cpio(out, self.entries)
            partial.rename(target)
            forget_old(directory, name)
        target.touch()
        return target


def write_cpio(out, entries):
    """Writes the "newc" format that the kernel unpacks."""
    def header(number, path, mode, size):
        fields = (number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(path) + 1, 0)
        record = b"070701" + b"".join(b"%08X" % field for field in fields) + path + b"\0"
        out.write(record + b"\0" * (-len(record) % 4))

    for number, (path, (mode, source)) in enumerate(sorted(entries.items()), 1):
        data = source.read_bytes() if isinstance(source, Path) else source
        header(number, path.encode(), mode, len(data))
        out.write(data + b"\0" * (-len(data) % 4))
    header(0, b"TRAILER!!!", 0, 0)


def forget_old(directory, name, keep=6):
    archives = sorted(Path(directory).glob(f"{name}-*.cpio"), key=lambda path: path.stat().st_mtime)
    for path in archives[:-keep]:
        path.unlink()


def module_name(path):
    return re.sub(r"\.ko(\.xz)?$", "", os.path.basename(path)).replace("-", "_")


def shared_libraries(program):
    """The libraries of a program by their full paths; none for a static program or a script."""
    found = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
    missing = re.findall(r"(\S+) => not found", found.stdout)
    if missing:
        raise LabError(f"{program}: needs {', '.join(missing)}, which is not installed")
    return re.findall(r"(?:=> )?(/\S+) \(0x", found.stdout)


def without_debug(path):
    """A copy of a large program, library or kernel module without its debugging information, which
    no one reads inside but which would be copied at every boot. Symbols stay, for kernel traces."""
    info = path.stat()
    strip = shutil.which("strip")
    if not strip or info.st_size < 1 << 18:
        return path
    with open(path, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return path
    key = hashlib.sha256(f"{path} {info.st_size} {info.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = CACHE / "stripped" / f"{path.name}-{key}"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        for old in copy.parent.glob(f"{path.name}-*"):
            if time.time() - old.stat().st_atime > 3600:
                old.unlink(missing_ok=True)
        partial = copy.with_name(f".{copy.name}.{os.getpid()}")
        if subprocess.run([strip, "--strip-debug", "-o", str(partial), str(path)], capture_output=True).returncode:
            return path
        partial.rename(copy)
    os.utime(copy)
    return copy


def agent_program(directory):
    """Compiles the agent. Not static: only the shared libxenstore has the thread that watches need."""
    source = HERE / "agent.cpp"
    program = Path(directory) / "agent"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["g++", "-std=c++20", "-O2", "-Wall", "-Wextra", "-Wshadow", "-static-libstdc++",
                        "-static-libgcc", "-o", str(program), str(source), "-lxenvchan", "-lxenstore"], check=True)
    return program


def _base(kernel, modules, agent, init):
    image = Image()
    image.file("/bin/busybox", "/bin/busybox", 0o755)
    image.link("usr/bin/sh", "busybox")
    image.program(agent, "/usr/local/bin/agent")
    image.file(HERE / "rootfs" / init, "/init", 0o755)
    image.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    image.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    image.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
    for name in ("/etc/protocols", "/etc/services"):
        if os.path.exists(name):
            image.file(name)
    image.modules(kernel, modules)
    return image


def _extras(image, programs, files):
    for program in programs:
        image.program(program)
    for source, path in files.items():
        source = Path(source)
        image.file(source if source.is_absolute() else TOP / source, path)


GUEST_MODULES = ("xen-netfront", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs")
DOM0_MODULES = GUEST_MODULES[1:] + ("bridge", "xen-netback", "virtio_pci", "virtio_console", "9p", "9pnet_virtio")


def guest_image(cache, kernel, programs=(), files=None, kernel_modules=(), hosts=""):
    image = _base(kernel, (*GUEST_MODULES, *kernel_modules), agent_program(cache), "guest-init")
    image.text("etc/hosts", hosts)
    _extras(image, programs, files or {})
    return image.write(cache, "guest")


def dom0_image(cache, kernel, programs=(), files=None, kernel_modules=(), hosts=""):
    image = _base(kernel, (*DOM0_MODULES, *kernel_modules), agent_program(cache), "dom0-init")
    tools = sorted(Path("/usr/lib").glob("xen-4.*/bin/xl"))
    if not tools:
        raise LabError("no Xen toolstack: install the packages listed in tests/vm/packages (make deps)")
    for name in ("xl", "xenstored", "xen-init-dom0", "xenconsoled", "xenconsole", "libxl-save-helper", "lsevtchn",
                 "xen-diag"):
        image.program(tools[-1].parent / name)            # xl runs its helpers by their packaged paths
        image.link(f"usr/sbin/{name}", str(tools[-1].parent / name))
    for name in ("ls", "read", "write", "rm", "list", "watch", "exists", "chmod"):
        image.program(f"/usr/bin/xenstore-{name}")
    image.file("/lib/x86_64-linux-gnu/libgcc_s.so.1")     # for pthread_cancel, which loads it when called
    image.file("/etc/xen/xl.conf")
    for script in ("vif", "block"):
        image.file(HERE / "rootfs" / script, f"/etc/xen/scripts/{script}-xlab", 0o755)
    image.text("etc/hosts", hosts)
    _extras(image, programs, files or {})
    return image.write(cache, "dom0")
