# SPDX-License-Identifier: GPL-2.0
"""local_lab - what bench/local and bench/demo-local share: ways to run a program, processes that end with us,
counters, progress, tables.

A *path* is what carries the bytes between two processes of this machine: the kernel's TCP over loopback, a UNIX
socket, xway (TCP programs under xway-run), and xway's direct mode. Programs are the same on each.
"""

import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
BUILD = TOP / "build"
BENCH = BUILD / "bench" / "xway-local-bench"
XWAY_RUN = BUILD / "libxway" / "xway-run"
XWAYD = BUILD / "libxway" / "xwayd"
LIBRARY = BUILD / "libxway" / "libxway.so"
XWAY = BUILD / "tools" / "xway"
PATHS = ("tcp", "unix", "xway", "direct")
TITLES = {"tcp": "TCP loopback", "unix": "UNIX socket", "xway": "xway", "direct": "xway direct"}
TICKS = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


class Problem(Exception):
    """Something is missing or went wrong; the text says what, and the remedy if there is one."""


def need(program, package):
    if not shutil.which(program):
        raise Problem(f"{program} is not installed. On Debian: apt-get install {package}")


def help_of(program):
    """What `program --help` says, or nothing if there is no such program."""
    if not os.access(program, os.X_OK):
        return ""
    try:
        done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL)
        return done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired):
        return ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- counters ----

def lo_bytes():
    """Bytes that the loopback interface has carried, of all programs."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            return int(figures.split()[0])
    raise Problem("there is no interface lo in /proc/net/dev")


def tree(pid):
    """The process and those that it has started, as far as they live."""
    yield pid
    try:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from tree(int(child))
    except OSError:
        pass


def cpu_seconds(pid):
    """User and system time of a process, its children that live, and those that it has waited for."""
    total = 0
    for one in tree(pid):
        try:
            words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(word) for word in words[11:15])
    return total / TICKS


def numbers_in(value, pattern):
    """All the numbers in some JSON whose key matches."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (int, float)) and re.search(pattern, key):
                yield inner
            yield from numbers_in(inner, pattern)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers_in(inner, pattern)


def median(values):
    return statistics.median(values) if values else None


def size_of(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


def text_of(value, unit=""):
    if value is None:
        return "-"
    size = abs(value)
    text = f"{value:,.0f}" if size >= 1000 else f"{value:.0f}" if size >= 100 else \
        f"{value:.3f}" if 0.95 < size < 1.05 and value != 1 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


# ---- progress ----

class Progress:
    """Each step has a weight, the seconds it should take; what is left goes as what was done."""

    def __init__(self):
        self.begin = self.start = time.monotonic()
        self.total = self.done = 0.0
        self.last = 0.0
        self.open = False

    def expect(self, weight):
        self.total += weight

    def say(self, text):
        if self.open:
            print()
            self.open = False
        print(f"{time.monotonic() - self.begin:6.0f} s  {text}", flush=True)

    def measure(self):
        self.start = time.monotonic()

    def step(self, text, weight):
        self.done += weight
        now = time.monotonic()
        left = (now - self.start) / max(self.done, 0.1) * max(0, self.total - self.done)
        if sys.stdout.isatty():
            print(f"\r{now - self.begin:6.0f} s  {text:<56.56} about {left:.0f} s left   ", end="", flush=True)
            self.open = True
        elif now - self.last > 15:
            self.last = now
            self.say(f"{text}: about {left:.0f} s left")


# ---- processes ----

def ending(status):
    """How a process has ended, as the begin of a sentence; nothing while it lives."""
    if status is None:
        return ""
    return f"ended by {signal.Signals(-status).name}: " if status < 0 else f"ended with status {status}: "


class Server:
    """A process that runs until it is stopped; it ends with us at the latest."""

    def __init__(self, command, env, log, name, talks=False):
        self.name, self.log = name, log

        def in_child():
            _libc.prctl(1, signal.SIGTERM)      # PR_SET_PDEATHSIG

        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=out,
                                            stdout=subprocess.PIPE if talks else out, start_new_session=True,
                                            preexec_fn=in_child)
        self.pid = self.process.pid

    def alive(self):
        return self.process.poll() is None

    def last_words(self):
        """How it ended, if it has, and the last that it said."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return ending(self.process.poll()) + (lines[-1] if lines else "it said nothing")

    def give_up(self, what):
        words = self.last_words()
        self.stop()
        raise Problem(f"{self.name} {what}: {words}")

    def first_line(self, seconds=10):
        """What a server that talks says when it is ready."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline().decode(errors="replace").strip() if ready else ""
        if not line:
            self.give_up("did not start")
        return line

    def wait_for_port(self, port, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.give_up(f"does not answer at port {port}")

    def wait_for_file(self, path, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive():
            if Path(path).exists():
                return
            time.sleep(0.02)
        self.give_up(f"did not make {path}")

    def stop(self):
        """Ends the process and its children: they are a session of their own."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(3)
                if number == signal.SIGTERM:
                    continue                    # children that did not listen
            except subprocess.TimeoutExpired:
                pass
        if self.process.stdout:
            self.process.stdout.close()


class Lab:
    """A directory, a monitor, servers; all of it goes at the end."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="xway-bench-"))
        self.servers = []
        self.monitor = None
        self.env = dict(os.environ, XWAY_SOCKET=str(self.dir / "xwayd.sock"))
        self.run_help, self.daemon_help = help_of(XWAY_RUN), help_of(XWAYD)
        self.why_not = {}
        missing = [file for file in (XWAY_RUN, LIBRARY) if not os.access(file, os.R_OK)]
        if missing:
            self.why_not["xway"] = self.why_not["direct"] = f"not built: there is no {missing[0].relative_to(TOP)}"
        elif "--direct" not in self.run_help:
            self.why_not["direct"] = "not built: xway-run has no option --direct"
        self.paths = [path for path in PATHS if path not in self.why_not]

    def close(self):
        for server in reversed(self.servers):
            server.stop()
        self.servers.clear()
        self.stop_monitor()
        shutil.rmtree(self.dir, ignore_errors=True)

    def prefix(self, path):
        if path not in ("xway", "direct"):
            return []
        ours = ["--no-daemon"] if self.monitor and "--no-daemon" in self.run_help else []
        return [str(XWAY_RUN), *ours, *(["--direct"] if path == "direct" else [])]

    def start(self, command, path="tcp", talks=False):
        """Starts a server; one that `talks` says in its first line on stdout that it is ready."""
        name = Path(command[0]).name
        server = Server([*self.prefix(path), *map(str, command)], self.env, self.dir / f"{name}-{path}.log", name, talks)
        self.servers.append(server)
        return server

    def stop(self, server):
        server.stop()
        if server in self.servers:
            self.servers.remove(server)

    def run(self, command, path="tcp", timeout=60):
        """Runs a program to its end: its output, and its CPU seconds with those of its children."""
        with tempfile.TemporaryFile(dir=self.dir) as out, tempfile.TemporaryFile(dir=self.dir) as err:
            child = subprocess.Popen([*self.prefix(path), *map(str, command)], env=self.env, stdout=out, stderr=err,
                                     stdin=subprocess.DEVNULL, start_new_session=True,
                                     preexec_fn=lambda: _libc.prctl(1, signal.SIGKILL))
            try:
                status, usage = self._wait(child, timeout, f"{Path(str(command[0])).name} on {TITLES[path]}")
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise
            out.seek(0)
            err.seek(0)
            output, errors = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        if status != 0:
            words = (errors.strip() or output.strip() or "it said nothing").splitlines()[-1]
            raise Problem(f"{Path(str(command[0])).name} on {TITLES[path]}: {ending(status)}{words}")
        return output, usage.ru_utime + usage.ru_stime

    @staticmethod
    def _wait(child, timeout, name):
        end = time.monotonic() + timeout
        fd = os.pidfd_open(child.pid)
        try:
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise Problem(f"{name}: no end after {timeout:.0f} s")
            _, status, usage = os.wait4(child.pid, 0)
        finally:
            os.close(fd)
        child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode, usage

    # ---- the monitor ----

    def start_monitor(self, *options):
        """An xwayd of our own. xway-run starts it itself where it is built so; then this has nothing to do."""
        if "xway" in self.why_not or not os.access(XWAYD, os.X_OK):
            return
        command = [str(XWAYD), *options]
        if "--socket" in self.daemon_help:
            command += ["--socket", self.env["XWAY_SOCKET"]]
        if "--direct" in self.daemon_help:
            command += ["--direct"]     # for the processes that ask for it
        self.monitor = Server(command, self.env, self.dir / "xwayd.log", "xwayd")
        self.monitor.wait_for_file(self.env["XWAY_SOCKET"])

    def stop_monitor(self):
        if self.monitor:
            self.monitor.stop()
            self.monitor = None

    def queue_designs(self):
        """The options of xwayd that choose how requests come to it: {name: options}."""
        found = re.search(r"(--queues?)[ =]\W*(?:TEXT:)?\W*((?:[a-z-]+[|,] ?)+[a-z-]+)", self.daemon_help)
        return {name: [found[1], name] for name in re.split(r"[|,] ?", found[2])} if found else {}

    def ring_bytes(self):
        """What `xway stat --local` says has gone through rings; None if it cannot say."""
        if not os.access(XWAY, os.X_OK):
            return None
        try:
            done = subprocess.run([XWAY, "stat", "--local", "--json"], env=self.env, capture_output=True, text=True,
                                  timeout=5)
            found = list(numbers_in(json.loads(done.stdout), r"tx_ring"))
            return sum(found) if done.returncode == 0 and found else None
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None

    def cpu(self, server):
        """CPU seconds of a server and of the monitor, without which it would not run."""
        return cpu_seconds(server.pid) + (cpu_seconds(self.monitor.pid) if self.monitor else 0)


def machine():
    """What the figures were measured on."""
    model = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {"kernel": os.uname().release, "cpu": model[1] if model else os.uname().machine,
            "cpus": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2)}


def warn_if_busy(name):
    load = os.getloadavg()[0]
    if load > 0.7:
        print(f"{name}: this machine is busy (load {load:.1f}): figures of programs that spin will look worse than they "
              f"are", file=sys.stderr)


def markdown(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = ["| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |" for row in [header, *rows]]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
